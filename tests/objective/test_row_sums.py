"""Normal equations that grow block by block: those of all cells at once."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sktf._cells.observations import Observations
from sktf._objective import row_sums
from sktf._objective.row_sums import RowSums


@pytest.fixture
def problem():
    """200 cells of a (9, 5, 4) tensor, none in row 2, and factors of five columns."""
    rng = np.random.default_rng(0)
    coords = np.stack([rng.integers(0, size, 200) for size in (9, 5, 4)], axis=1).astype(np.int32)
    coords[coords[:, 0] == 2, 0] = 3
    cells = Observations(coords, rng.standard_normal(200), np.broadcast_to(1.0, 200), (9, 5, 4))
    return cells, [rng.standard_normal((size, 5)) for size in (5, 4)]


def sums_of(problem, rows, cuts):
    cells, others = problem
    sums, parts = RowSums(rows, others), np.split(np.arange(200), cuts)
    sums.add(map(cells.take, parts), 0, np.float64, cells.weights.mean())

    def side_by_side(grams, moments, _):
        return np.dstack([grams, moments[..., None]])

    return sums.solve(side_by_side, np.zeros((9, 5)))


@pytest.mark.parametrize("cuts", [[], [1, 7, 150], [100]])
@pytest.mark.parametrize("rows", [range(9), range(2, 5), range(8, 9)])
def test_sums_are_those_of_a_plain_formula(problem, rows, cuts):
    """``sum_E d d^T`` and ``sum_E y d``, to rounding; of a row without cells zeros."""
    cells, (F, G) = problem
    found = sums_of(problem, rows, cuts)
    design = F[cells.coords[:, 1]] * G[cells.coords[:, 2]]
    for row, its in zip(rows, found, strict=True):
        at = cells.coords[:, 0] == row
        right = design[at].T @ cells.values[at]
        assert_allclose(its[:, :5], design[at].T @ design[at], atol=1e-12)
        assert_allclose(its[:, 5], right, atol=1e-12)


def test_the_bits_are_those_of_any_number_of_threads(problem, monkeypatch):
    """Each row is summed by one thread, in the order of the cells."""
    one = sums_of(problem, range(9), [30, 90])
    monkeypatch.setattr(row_sums.numba_config, "NUMBA_NUM_THREADS", 3)
    monkeypatch.setattr(row_sums, "_SOLVED", 50)  # two rows at once
    assert_array_equal(sums_of(problem, range(9), [30, 90]), one)
