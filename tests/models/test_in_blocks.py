"""Very many cells in memory are looked at block by block, and nobody sees a difference."""

import tracemalloc
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sktf import CPCompletion, DeepCPCompletion, NonNegativeCPCompletion
from sktf._cells import stored
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


def draw(shape=SHAPE, n=N, level=0.0, terms=0.0):
    """Return distinct cells of a tensor of rank 3, with additive terms of this size, and noise."""
    rng = np.random.default_rng(0)
    coords = rng.permutation(np.prod(shape))[:n]
    X = np.column_stack(np.unravel_index(coords, shape)).astype(np.int32)
    factors = [rng.standard_normal((size, 3)) for size in shape]
    biases = [terms * rng.standard_normal(size) for size in shape]
    truth = np.prod([f[column] for f, column in zip(factors, X.T, strict=True)], axis=0).sum(axis=1)
    truth += level + sum(b[column] for b, column in zip(biases, X.T, strict=True))
    return X, truth + 0.1 * rng.standard_normal(n)


def model(shape=SHAPE, **settings):
    return CPCompletion(shape=shape, random_state=0, **settings)


@pytest.mark.parametrize(
    ("told", "settings"),
    [
        ({}, {}),
        ({"level": 100.0}, {"dtype": "float32"}),
        ({"terms": 1.0}, {}),
        ({"level": 1.0, "terms": 1.0}, {"offset": "additive"}),
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
    assert "cells in blocks to fit" in told
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
