"""Sweeps over blocks of cells: those over all of them at once."""

import numpy as np
import pytest
from cases.polish import gaussian, numerical_gradient, observe
from numpy.testing import assert_allclose, assert_array_equal

from sktf._descent import blockwise_polish as module
from sktf._descent.blockwise_polish import BlockwisePolish
from sktf._descent.polish import Model, Penalty, Polish
from sktf._descent.progress import Progress
from sktf._objective import row_sums

PENALTY = Penalty(0.7, (0.5, 0.5, 0.5))


@pytest.fixture
def small(monkeypatch):
    """Blocks of 40 cells."""
    monkeypatch.setattr(module, "_BLOCK", 40)
    monkeypatch.setattr(module, "_PER_ROW", 1)


def problem(alike, nonnegative=False):
    """400 cells, the weights of all alike, or one weight for the first 200 and one for the rest."""
    shape = (6, 5, 4)
    truth = Model(gaussian(shape, 2), tuple(np.linspace(-1, 1, size) for size in shape))
    cells = observe(shape, truth.at, noise=0.3)
    weights = np.broadcast_to(3.0, 400) if alike else np.repeat([0.5, 3.0], 200)
    terms = tuple(np.zeros(size) for size in shape)
    start = Model(list(map(np.abs, gaussian(shape, 3, seed=5))), terms, nonnegative)
    return cells._replace(weights=weights), start


@pytest.mark.parametrize("alike", [True, False])
def test_a_sweep_ends_where_its_last_mode_is_stationary(small, alike):
    """The last mode is solved with all others as they end: the gradient by its rows vanishes."""
    cells, start = problem(alike)
    model = BlockwisePolish(cells, cells, Progress()).sweep(start, PENALTY)
    for part in (model.factors[-1], model.terms[-1]):
        assert_allclose(numerical_gradient(model, cells, PENALTY, part), 0, atol=1e-5)


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_the_bits_are_those_of_any_number_of_threads(small, monkeypatch, nonnegative, n_threads):
    """And, whatever rows may not be, to rounding those of all cells at once."""
    cells, start = problem(alike=False, nonnegative=nonnegative)
    whole = Polish(cells, cells, Progress()).sweep(start, PENALTY)
    expected = BlockwisePolish(cells, cells, Progress()).sweep(start, PENALTY)
    monkeypatch.setattr(row_sums.numba_config, "NUMBA_NUM_THREADS", n_threads)
    found = BlockwisePolish(cells, cells, Progress()).sweep(start, PENALTY)
    for its, same, near in zip(found.factors, expected.factors, whole.factors, strict=True):
        assert_array_equal(its, same)
        assert_allclose(its, near, atol=1e-9)


def test_rows_whose_matrices_are_too_many_are_ordered_at_once(monkeypatch):
    """In memory that takes one pass, and less time than many."""
    cells, start = problem(alike=False)
    whole = Polish(cells, cells, Progress()).sweep(start, PENALTY)
    monkeypatch.setattr(module, "_HELD", 5)
    monkeypatch.setattr(BlockwisePolish, "_add_all", None)
    found = BlockwisePolish(cells, cells, Progress()).sweep(start, PENALTY)
    for its, same in zip(found.factors, whole.factors, strict=True):
        assert_array_equal(its, same)
