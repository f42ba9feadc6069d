"""Very many cells in memory are looked at block by block, and nobody sees a difference."""

import re
import tracemalloc
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sktf import CPCompletion, DeepCPCompletion, NonNegativeCPCompletion
from sktf._cells import stored, stream
from sktf._models import growth_choice, holding_out, sampled, streamed

SHAPE = (60, 50, 40)
N = 20_000


@pytest.fixture
def small(monkeypatch):
    """Take what is said of many cells for fewer."""
    monkeypatch.setattr(streamed, "_MANY", N)
    monkeypatch.setattr(holding_out, "_TOO_MANY_TO_NUMBER", 1000)
    monkeypatch.setattr(growth_choice, "_TOO_MANY", 1000)
    monkeypatch.setattr(sampled, "_ENOUGH", 5000)
    monkeypatch.setattr(stored, "BLOCK", 3217)
    monkeypatch.setattr(stream, "_FOR_TERMS", 1000)


def draw(shape=SHAPE, n=N, level=0.0, terms=0.0, size=1.0):
    """Return distinct cells of a tensor of rank 3, with additive terms of this size, and noise.

    ``size`` is that of the components; a stretch of the values is zero.
    """
    rng = np.random.default_rng(0)
    coords = rng.permutation(np.prod(shape))[:n]
    X = np.column_stack(np.unravel_index(coords, shape)).astype(np.int32)
    factors = [rng.standard_normal((size, 3)) for size in shape]
    biases = [terms * rng.standard_normal(size) for size in shape]
    products = np.prod([f[column] for f, column in zip(factors, X.T, strict=True)], axis=0)
    truth = level + sum(b[column] for b, column in zip(biases, X.T, strict=True))
    y = truth + size * products.sum(axis=1) + 0.1 * rng.standard_normal(n)
    y[3217:6434] = 0
    return X, y


def model(shape=SHAPE, **settings):
    return CPCompletion(shape=shape, random_state=0, **settings)


@pytest.mark.parametrize(
    ("told", "settings"),
    [
        ({}, {}),
        ({"level": 100.0}, {"dtype": "float32"}),
        ({"terms": 1.0}, {}),
        ({"level": 1.0, "terms": 1.0}, {"offset": "additive"}),
        ({"terms": 1.0, "size": 0.0}, {"offset": "additive"}),
        ({"shape": (300, 200)}, {"shape": (301, 200)}),
        ({}, {"refit": False, "n_components": 5}),
    ],
    ids=str,
)
def test_the_fit_is_that_of_all_at_once(monkeypatch, small, told, settings):
    """To 1e-9; with the same warnings."""
    X, y = draw(**told)
    fits, caught = [], []
    for many in (N, N + 1):
        monkeypatch.setattr(streamed, "_MANY", many)
        with warnings.catch_warnings(record=True) as of_fit:
            warnings.simplefilter("always")
            fits.append(model(**settings).fit(X, y))
        caught.append([(str(warning.message), warning.filename) for warning in of_fit])
    found, expected = fits
    assert caught[0] == caught[1]
    assert found.rank_ == expected.rank_
    assert_allclose(found.predict(X), expected.predict(X), rtol=0, atol=1e-9)
    rows = [fitted.summary().rows for fitted in fits]
    assert [name for name, _ in rows[0]] == [name for name, _ in rows[1]]


@pytest.mark.parametrize("unit", [1e-200, 1e-15, 1e200])
def test_units_change_nothing(small, unit):
    """Nor where a block holds zeros alone."""
    X, y = draw()
    found, expected = model().fit(X, unit * y), model().fit(X, y)
    assert found.rank_ == expected.rank_ == 3
    assert_allclose(found.predict(X) / unit, expected.predict(X), rtol=0, atol=1e-9)


def test_a_checkpoint_names_what_differs(tmp_path, small):
    """Alone, though weights are reason to look at all cells at once."""
    X, y = draw()
    model(checkpoint=tmp_path / "fit").fit(X, y)
    with pytest.raises(ValueError, match=r"another fit, which differs in sample_weight\."):
        model(checkpoint=tmp_path / "fit").fit(X, y, np.linspace(1, 2, N))
    again = model(checkpoint=tmp_path / "fit").fit(X, y)
    assert_array_equal(again.predict(X), model().fit(X, y).predict(X))


def test_no_held_out_cell_is_refused(small):
    """With what would do."""
    with pytest.raises(
        ValueError, match="validation_fraction=1e-09 holds out none of 20000 .* 5e-"
    ):
        model(validation_fraction=1e-9).fit(*draw())


def test_no_copy_of_all_cells_is_made(monkeypatch, small):
    """The most memory is below that of the cells; at once it is far above."""
    X, y = draw((200,) * 3, 1_000_000)
    peaks = []
    for many in (N, 10**9):
        monkeypatch.setattr(streamed, "_MANY", many)
        model((200,) * 3).fit(X[:N], y[:N])  # what is compiled and imported
        tracemalloc.start()
        model((200,) * 3).fit(X, y)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] < X.nbytes + y.nbytes < peaks[1] / 1.5


def test_it_is_told(small, capsys):
    """How many cells there are, and each pass of the sweeps."""
    model(verbose=1).fit(*draw())
    told = capsys.readouterr().out
    assert re.search(r"\d+ cells to fit, \d+ held out, 9 starts", told)
    assert told.count(f"Sweep: all {N} cells are read for mode") == 6


@pytest.mark.parametrize(
    "fit",
    [
        lambda X, y: model().fit(X, y, np.linspace(1, 2, len(y))),
        lambda X, y: model().fit(X[1000:], y[1000:], X_val=X[:1000], y_val=y[:1000]),
        lambda X, y: model().fit(np.repeat(X[:2000], 10, axis=0), np.repeat(y[:2000], 10)),
        lambda X, y: model(n_components=3, early_stopping=False, max_iter=20).fit(X, y),
        lambda X, y: model(n_components=3, init="gaussian", max_iter=20).fit(X, y),
        lambda X, y: model((N,)).fit(np.arange(N)[:, None], y),
        lambda X, y: DeepCPCompletion(shape=SHAPE, random_state=0).fit(X, y),
        lambda X, y: NonNegativeCPCompletion(shape=SHAPE, random_state=0).fit(X, y**2),
    ],
)
@pytest.mark.filterwarnings("ignore")  # of what is learned so
def test_other_fits_see_all_cells_at_once(monkeypatch, small, fit):
    """Weights, cells that repeat, cells held out by the user, what descends on all cells."""
    monkeypatch.setattr(streamed, "_MANY", 1000)
    monkeypatch.setattr(streamed, "HeldCells", None)
    fit(*draw())


def test_modes_whose_samples_would_be_too_large_are_seen_at_once(monkeypatch, small):
    """A sample has so many cells a row."""
    monkeypatch.setattr(streamed, "_MOST_SAMPLED", 5000)
    monkeypatch.setattr(streamed, "HeldCells", None)
    assert model().fit(*draw()).rank_ == 3


def test_cells_in_blocks_are_not_written_to(small):
    """Nor are others than those of the user read."""
    X, y = draw()
    X.flags.writeable = y.flags.writeable = False
    assert_array_equal(model().fit(X, y).predict(X), model().fit(X.copy("F"), y).predict(X))
