"""Fits of cells in files are those of the same cells in memory, and say where they cannot be."""

import pickle
import re
import warnings

import numpy as np
import pytest
from cases.checkpoints import Killed, bits, count_writes, evenly
from cases.ticks import AtTick
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import r2_score

from sktf import (
    CompletionEnsemble,
    CompletionWarning,
    CPALSCompletion,
    CPCompletion,
    DeepCPCompletion,
    NonNegativeCPCompletion,
    PosteriorCompletion,
    complete,
)
from sktf._cells import stored, stream
from sktf._descent import blockwise_polish
from sktf._models import growth_choice, holding_out, sampled, streamed
from sktf._objective import row_sums
from sktf.datasets import open_entries

SHAPE = (60, 50, 40)
N = 20_000
COMPARED = "component_norms_", "offset_", "scale_", "loss_", "loss_curve_", "validation_score_"


def draw(level=0.0, noise=0.1, terms=0.0, n=N, seed=0):
    """Return cells of a tensor of rank 3, with terms of this size of each mode, and truths."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.integers(0, size, n) for size in SHAPE]).astype(np.int32)
    factors = [rng.standard_normal((size, 3)) for size in SHAPE]
    biases = [terms * rng.standard_normal(size) for size in SHAPE]
    truth = np.prod([f[column] for f, column in zip(factors, X.T, strict=True)], axis=0).sum(axis=1)
    truth += level + sum(b[column] for b, column in zip(biases, X.T, strict=True))
    return X, truth + noise * rng.standard_normal(n)


def write(folder, X, y, n_files=1):
    """Write pairs of arrays of NumPy and open them."""
    paths = []
    for number, at in enumerate(np.array_split(np.arange(len(y)), n_files)):
        paths.append((folder / f"X{number}.npy", folder / f"y{number}.npy"))
        np.save(paths[-1][0], X[at])
        np.save(paths[-1][1], y[at])
    return open_entries(paths)


def write_table(folder, X, y):
    """Write a file of Parquet and open it."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow.parquet import write_table

    table = pa.table({"i": X[:, 0], "j": X[:, 1], "k": X[:, 2], "y": y})
    write_table(table, folder / "cells.parquet", row_group_size=3333)
    return open_entries(folder / "cells.parquet")


@pytest.fixture
def small(monkeypatch):
    """Take what is said of many cells for fewer, so that tests are quick, in memory as well."""
    monkeypatch.setattr(streamed, "FEW", 1000)
    monkeypatch.setattr(holding_out, "_TOO_MANY_TO_NUMBER", 1000)
    monkeypatch.setattr(growth_choice, "_TOO_MANY", 1000)
    monkeypatch.setattr(sampled, "_ENOUGH", 5000)
    monkeypatch.setattr(stored, "BLOCK", 3000)


def model(**settings):
    return CPCompletion(shape=SHAPE, random_state=0, **settings)


def assert_same(found, expected, tol=1e-9):
    assert found.rank_ == expected.rank_
    for name in COMPARED:
        assert_allclose(getattr(found, name), getattr(expected, name), rtol=tol, atol=tol)
    cells = np.random.default_rng(1).integers(0, found.shape_, (1000, len(found.shape_)))
    assert_allclose(found.predict(cells), expected.predict(cells), rtol=tol, atol=tol)
    for name in ("n_iter_", "converged_", "n_features_in_", "shape_"):
        assert getattr(found, name) == getattr(expected, name)
    told, its = ([name for name, _ in fitted.summary().rows] for fitted in (found, expected))
    assert told == its


@pytest.mark.parametrize("n_files", [1, 3])
@pytest.mark.parametrize("block", [1000, 3217, 10**6])
def test_arrays_in_files_fit_as_in_memory(tmp_path, monkeypatch, small, n_files, block):
    """Block lengths that divide the cells and do not, over several files."""
    monkeypatch.setattr(stored, "BLOCK", block)
    X, y = draw()
    entries = write(tmp_path, X, y, n_files)
    found, expected = model().fit(entries.X, entries.y), model().fit(X, y)
    assert_same(found, expected)
    assert found.rank_ == 3
    assert_array_equal(np.asarray(entries.X), X)


@pytest.mark.parametrize(
    ("told", "settings"),
    [
        ({}, {"dtype": "float32"}),
        ({}, {"refit": False}),
        ({}, {"scale": False}),
        ({}, {"n_components": 5}),
        ({"level": 100.0}, {}),
        ({"level": 1.0}, {"offset": "mean"}),
        ({"level": 1.0}, {"offset": None, "clip": "range"}),
    ],
    ids=str,
)
def test_tables_fit_as_in_memory_with_parameters(tmp_path, small, told, settings):
    """What the parameters ask for, they ask of files as well; here of one of Parquet."""
    X, y = draw(**told)
    entries = write_table(tmp_path, X, y)
    assert_same(model(**settings).fit(*entries[:2]), model(**settings).fit(X, y))


def test_matrices_and_rows_of_one_cell_and_gaps(tmp_path, small):
    """Two modes; cells with two rows; indices without cells, of which both fits warn."""
    X, y = draw()
    X, y = np.vstack([X[:15_000], X[:5000]]) * [2, 1, 1], np.append(y[:15_000], y[:5000] + 0.1)
    X = np.column_stack([X[:, 0], X[:, 1]])
    y = np.sin(X[:, 0]) * np.cos(X[:, 1]) + 0.1 * np.random.default_rng(0).standard_normal(N)
    entries = write(tmp_path, X, y)
    told, fits = [], []
    for cells in (entries[:2], (X, y)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fits.append(CPCompletion(random_state=0).fit(*cells))
        told.append([str(warning.message) for warning in caught])
        assert {warning.filename for warning in caught} == {__file__}
    assert told[0] == told[1]
    assert "No cell tells of 59 of the 119 indices of mode 0" in told[0][0]
    assert_same(*fits)


def test_held_out_cells_may_be_given(tmp_path, small):
    """Then all cells of the files are fitted, in sweeps over all of them at the end."""
    X, y = draw()
    entries = write(tmp_path, X[2000:], y[2000:])
    given = {"X_val": X[:2000], "y_val": y[:2000]}
    assert_same(model().fit(*entries[:2], **given), model().fit(X[2000:], y[2000:], **given))
    with pytest.raises(TypeError, match="[Xy]_val lies in files"):
        model().fit(X, y, X_val=entries.X, y_val=entries.y)


def error(fitted, X, truth):
    return np.sqrt(np.mean((fitted.predict(X) - truth) ** 2))


@pytest.mark.parametrize("offset", ["auto", "additive"])
def test_additive_terms_begin_from_a_sample(tmp_path, monkeypatch, small, offset):
    """Sweeps over all cells end near those in memory, as near to the truth, noise being 3.

    Far less apart than either is from the truth: a fifth of that is far above what is seen.
    """
    monkeypatch.setattr(stream, "_FOR_TERMS", 10_000)
    told = {"level": 3.0, "terms": 3.0}
    X, y = draw(**told, noise=3.0)
    entries = write(tmp_path, X, y)
    found, expected = (
        model(offset=offset, n_init=1).fit(*cells) for cells in (entries[:2], (X, y))
    )
    truth = draw(**told, noise=0.0)[1]
    assert found.offset_terms_ and expected.offset_terms_
    assert found.rank_ == expected.rank_ == 3
    difference = np.sqrt(np.mean((found.predict(X) - expected.predict(X)) ** 2))
    assert difference < 0.2 * error(expected, X, truth)
    assert error(found, X, truth) < 1.02 * error(expected, X, truth)


def test_a_sample_of_all_cells_is_read_whole(tmp_path, monkeypatch, small):
    """Where so many are needed to see components, as of matrices of many rows."""
    monkeypatch.setattr(sampled, "_ENOUGH", 10**6)
    X, y = draw()
    entries = write(tmp_path, X, y)
    assert_same(model().fit(*entries[:2]), model().fit(X, y))


def test_a_smaller_sample_than_in_memory_is_told(tmp_path, monkeypatch, small):
    """Components grow on what memory may hold, and the fit is as good where these are clear."""
    monkeypatch.setattr(streamed, "_MOST_SAMPLED", 4000)
    X, y = draw()
    entries = write(tmp_path, X, y)
    with pytest.warns(CompletionWarning, match="sample of 4000 cells.*would take 7500") as caught:
        found = model().fit(*entries[:2])
    assert caught[0].filename == __file__
    assert found.rank_ == 3


def test_few_cells_are_read_and_fitted_as_usual(tmp_path):
    """By the same bits, whatever the parameters ask for; weights too."""
    X, y = draw(n=400)
    entries = write(tmp_path, X, y)
    for settings in ({"max_iter": 50}, {"init": "gaussian", "max_iter": 20}):
        with warnings.catch_warnings(action="ignore"):
            found = model(**settings).fit(*entries[:2], sample_weight=np.arange(1, 401.0))
            expected = model(**settings).fit(X, y, sample_weight=np.arange(1, 401.0))
        for pair in zip(found.factors_, expected.factors_, strict=True):
            assert_array_equal(*pair)


def test_predictions_and_scores_are_read_in_blocks(tmp_path, small):
    """Of all models of descent; R^2 is that of scikit-learn."""
    X, y = draw(level=5.0)
    entries, fitted = write(tmp_path, X, y), model().fit(X, y)
    assert_array_equal(fitted.predict(entries.X), fitted.predict(X))
    assert_allclose(fitted.score(*entries[:2]), r2_score(y, fitted.predict(X)), rtol=1e-12)
    constant = write(tmp_path, X, np.ones(N))
    assert fitted.score(*constant[:2]) == r2_score(np.ones(N), fitted.predict(X))
    with pytest.raises(TypeError, match="same open_entries"):
        fitted.score(entries.X, y)
    with pytest.raises(ValueError, match="no sample_weight"):
        fitted.score(*entries[:2], sample_weight=np.ones(N))


REFUSED = [
    ({"init": "gaussian"}, {}, "leave init, init_scale"),
    ({"warm_start": True}, {}, "leave init, init_scale"),
    ({"measures": {"one": len}}, {}, "leave init, init_scale"),
    ({"prune": False}, {}, "leave init, init_scale"),
    ({"early_stopping": False}, {}, "leave init, init_scale"),
    ({"encode": True}, {}, "encode=True"),
    ({}, {"sample_weight": np.ones(N)}, "no sample_weight"),
    ({"shape": (60, 50, 39)}, {}, "index 39 in mode 2, which has size 39"),
    ({"shape": (60, 50)}, {}, "has 2 modes but X has 3 columns"),
]


@pytest.mark.parametrize(("settings", "given", "says"), REFUSED, ids=lambda v: str(v)[:30])
def test_what_needs_all_cells_at_once_is_refused(tmp_path, small, settings, given, says):
    """At once and with the remedy; the estimator is as it was."""
    entries = write(tmp_path, *draw())
    fresh = model().set_params(**settings)
    with pytest.raises(ValueError, match=re.escape(says)):
        fresh.fit(*entries[:2], **given)
    assert not hasattr(fresh, "n_features_in_")


@pytest.mark.parametrize(
    "other",
    [
        DeepCPCompletion(),
        NonNegativeCPCompletion(),
        CPALSCompletion(),
        PosteriorCompletion(),
        CompletionEnsemble(estimators=[("cp", CPCompletion()), ("als", CPALSCompletion())]),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_other_estimators_refuse_files(tmp_path, other):
    """However few cells there are, so that nobody learns it from the first large file."""
    entries = write(tmp_path, *draw(n=400))
    with pytest.raises(TypeError, match=r"[Xy] lies in files .*np\.asarray"):
        other.fit(*entries[:2])


def test_other_pairs_are_refused(tmp_path, small):
    """X and y in files belong together."""
    X, y = draw()
    entries = write(tmp_path, X, y)
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other", X, y)
    for cells in ((entries.X, y), (entries.X, other.y), (entries.X, entries.X)):
        with pytest.raises(TypeError, match="y has to be that of the same open_entries"):
            model().fit(*cells)
    with pytest.raises(TypeError, match="y lies in files"):
        model().fit(X, entries.y)
    one = write(tmp_path / "other", X[:, :1], y)
    with pytest.raises(ValueError, match="one mode"):
        CPCompletion().fit(*one[:2])


def test_mostly_repeated_cells_are_refused(tmp_path, small):
    """To hold out whole cells all rows would have to be compared; in memory they are."""
    X, y = draw()
    entries = write(tmp_path, np.repeat(X[:2000], 10, axis=0), np.repeat(y[:2000], 10))
    with pytest.raises(ValueError, match="Average the rows of each cell first"):
        model().fit(*entries[:2])


def test_rows_beyond_what_is_held_take_more_passes(tmp_path, monkeypatch, small):
    """With the same bits: matrices of some rows at a time, and of any number of threads."""
    entries = write(tmp_path, *draw())
    expected = model().fit(*entries[:2])
    monkeypatch.setattr(blockwise_polish, "_HELD", 3 * 11 * 7)  # seven rows of three components
    monkeypatch.setattr(row_sums.numba_config, "NUMBA_NUM_THREADS", 2)
    for pair in zip(model().fit(*entries[:2]).factors_, expected.factors_, strict=True):
        assert_array_equal(*pair)


def test_passes_are_told(tmp_path, small, capsys):
    """How many cells there are, and each pass of the sweeps."""
    entries = write(tmp_path, *draw())
    model(verbose=1).fit(*entries[:2])
    told = capsys.readouterr().out
    assert re.search(r"\d+ cells in files to fit, \d+ held out", told)
    assert told.count("Sweep: all 20000 cells are read for mode") == 6


def test_ctrl_c_keeps_the_best_so_far(tmp_path, monkeypatch, small):
    """In the second of the last sweeps, the first one stays."""
    entries, n_passes = write(tmp_path, *draw()), []
    swept = blockwise_polish.BlockwisePolish._add_all

    def interrupted(self, sums, mode):
        n_passes.append(mode)
        if len(n_passes) == 5:
            raise KeyboardInterrupt
        swept(self, sums, mode)

    monkeypatch.setattr(blockwise_polish.BlockwisePolish, "_add_all", interrupted)
    fresh = model()
    with pytest.raises(KeyboardInterrupt):
        fresh.fit(*entries[:2])
    assert fresh.rank_ == 3 and not fresh.converged_
    monkeypatch.setattr(sampled, "_LAST_SWEEPS", 1)
    n_passes[:] = [0] * 9
    expected = model().fit(*entries[:2])
    for pair in zip(fresh.factors_, expected.factors_, strict=True):
        assert_array_equal(*pair)


def test_callbacks_hear_of_all_ticks(tmp_path, small):
    """As in memory."""
    entries, counted = write(tmp_path, *draw()), AtTick()
    model().set_callbacks(counted).fit(*entries[:2])
    assert (counted.n_fits, counted.n_ticks, counted.n_teardowns) == (1, 100, 1)


def test_fitted_models_hold_nothing_of_the_files(tmp_path, small):
    """They are pickled, cloned and fitted again, and the files may go."""
    X, y = draw()
    entries = write(tmp_path, X, y)
    fitted = model().fit(*entries[:2])
    predicted = fitted.predict(X)
    assert len(pickle.dumps(fitted)) < 200_000
    assert_array_equal(clone(fitted).fit(*entries[:2]).predict(X), predicted)
    assert_array_equal(fitted.fit(*entries[:2]).predict(X), predicted)
    for path in tmp_path.iterdir():
        path.unlink()
    assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(X), predicted)
    with pytest.raises(FileNotFoundError):
        fitted.fit(*entries[:2])
    assert_array_equal(fitted.predict(X), predicted)


def test_arrays_are_filled_from_memory(tmp_path):
    """What lies in files is no array with gaps."""
    entries = write(tmp_path, *draw(n=400))
    with pytest.raises((TypeError, ValueError)):
        complete(entries.y)


def test_a_killed_fit_of_files_goes_on(small, tmp_path, monkeypatch):
    """From its checkpoint, to the same bits, wherever it was; other files are refused."""
    X, y = draw()
    entries, path = write(tmp_path, X, y), tmp_path / "checkpoint"
    expected = bits(model().fit(entries.X, entries.y))
    writes = count_writes(monkeypatch)
    model(checkpoint=path).fit(entries.X, entries.y)
    for last in evenly(writes.n, 4):
        path.unlink()
        writes.kill_after(last)
        with pytest.raises(Killed):
            model(checkpoint=path).fit(entries.X, entries.y)
        writes.kill_after(None)
        assert bits(model(checkpoint=path).fit(entries.X, entries.y)) == expected
    others = write(tmp_path, X, y + 1)
    with pytest.raises(ValueError, match="the file is of another fit, which differs in y"):
        model(checkpoint=path).fit(others.X, others.y)
