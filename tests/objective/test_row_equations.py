"""Normal equations of rows: kernel and twin, least squares, threads."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sktf._cells.validation import Observations
from sktf._objective import row_equations as module
from sktf._objective.lanes import whole_lines
from sktf._objective.row_equations import (
    CellsByRow,
    row_equations,
    row_equations_numpy,
    solve_rows,
)


def draw(shape, n_cells, n_columns, *, weighted=False, seed=0):
    """Return observations and factors; some rows have no cells, some more than a batch."""
    rng = np.random.default_rng(seed)
    coords = np.stack([rng.integers(0, size, n_cells) for size in shape], axis=1)
    coords[: n_cells // 3, 0] = 0
    coords[coords[:, 0] == 1, 0] = 2
    weights = rng.uniform(0.5, 2, n_cells) if weighted else np.broadcast_to(1.0, n_cells)
    cells = Observations(coords.astype(np.int32), rng.standard_normal(n_cells), weights, shape)
    return cells, [rng.standard_normal((size, n_columns)) for size in shape]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_columns", [1, 8, 19])
@pytest.mark.parametrize("shape", [(9, 7), (6, 5, 4), (5, 4, 3, 6)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_kernel_does_what_its_twin_does(shape, n_columns, weighted, dtype):
    """To rounding: sums of up to 60 products, in another order."""
    cells, factors = draw(shape, 180, n_columns, weighted=weighted)
    by_row = CellsByRow.of(cells, 0, dtype)
    n_rows = sum(shape[1:])
    F = whole_lines(1, n_rows, n_columns, np.dtype(dtype))[0]
    np.concatenate(factors[1:], out=F[:, :n_columns], casting="same_kind")
    found = []
    for compute in (row_equations, row_equations_numpy):
        memory = np.zeros((3 * (n_columns + 1), F.shape[1]), dtype)
        grams, moments = memory[: 3 * n_columns], memory[3 * n_columns :]
        for _ in range(2):  # cells are added to what is there
            compute(0, 3, *by_row, F, grams, moments)
        found.append(memory)
    tol = 1e-12 if dtype == np.float64 else 1e-4
    assert_allclose(*found, rtol=tol, atol=tol)


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_rows_are_weighted_least_squares(mode):
    """Against numpy.linalg.lstsq, row by row, with weights that are not alike."""
    shape = (6, 5, 4)
    cells, factors = draw(shape, 300, 3, weighted=True)
    others = [factor for n, factor in enumerate(factors) if n != mode]

    def solve(grams, moments):
        kept = np.einsum("irr->i", grams) > 0
        solved = np.zeros(moments.shape)
        solved[kept] = np.linalg.solve(grams[kept], moments[kept][..., None])[..., 0]
        return solved

    solved = solve_rows(CellsByRow.of(cells, mode), others, solve)
    design = np.ones((300, 3))
    for n, factor in enumerate(factors):
        if n != mode:
            design *= factor[cells.coords[:, n]]
    for row in range(shape[mode]):
        at = cells.coords[:, mode] == row
        root = np.sqrt(cells.weights[at])
        wanted = np.linalg.lstsq(root[:, None] * design[at], root * cells.values[at])[0]
        assert_allclose(solved[row], wanted if at.any() else 0, atol=1e-10)


def test_the_same_bits_for_any_number_of_threads(monkeypatch):
    """Blocks are cut by the size of the problem alone."""
    cells, factors = draw((400, 30, 20), 5000, 40)
    by_row, found = CellsByRow.of(cells, 0), []
    for n_threads in (1, 2, 5):
        monkeypatch.setattr(module.numba_config, "NUMBA_NUM_THREADS", n_threads)
        found.append(solve_rows(by_row, factors[1:], lambda grams, moments: moments.copy()))
    assert_array_equal(found[0], found[1])
    assert_array_equal(found[0], found[2])


def test_weights_alike_are_one():
    """And their unit is nothing: the mean weight is 1."""
    cells, _ = draw((6, 5, 4), 50, 2)
    assert_array_equal(CellsByRow.of(cells, 1).weights, [1.0])
    cells = cells._replace(weights=np.arange(1.0, 51))
    assert CellsByRow.of(cells, 1).weights.mean() == pytest.approx(1)
