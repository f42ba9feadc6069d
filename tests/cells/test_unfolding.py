"""Unfolding of cells against ``reshape`` and ``ravel_multi_index`` of numpy."""

import numpy as np
import pytest

from sktf._cells import unfolding
from sktf._cells.unfolding import find_sides, matrix_groups, to_cells

SHAPE = (3, 4, 5, 2)


def all_cells(shape):
    return np.argwhere(np.ones(shape, bool))


@pytest.mark.parametrize("rows", [(0,), (1,), (0, 1), (2, 0), (3, 1, 0), (0, 1, 2, 3)])
def test_unfolding_is_transpose_and_reshape(rows):
    """The cell of a tensor is the cell of the matrix numpy makes, and every side is full."""
    groups = matrix_groups(rows, len(SHAPE))
    tensor = np.random.default_rng(0).standard_normal(SHAPE)
    n_rows = int(np.prod([SHAPE[mode] for mode in rows]))
    matrix = tensor.transpose([*groups[0], *groups[1]]).reshape(n_rows, -1)
    coords = all_cells(SHAPE)
    sizes, stored = find_sides(coords, SHAPE, groups)
    cells = to_cells(coords, SHAPE, groups, stored)
    assert sizes == matrix.shape and stored == [None, None]
    np.testing.assert_array_equal(matrix[tuple(cells.T)], tensor[tuple(coords.T)])


def test_modes_of_their_own_stay_as_they_are():
    """One mode per side: cells are coordinates."""
    coords, groups = all_cells(SHAPE), tuple((mode,) for mode in range(4))
    sizes, stored = find_sides(coords, SHAPE, groups)
    np.testing.assert_array_equal(to_cells(coords, SHAPE, groups, stored), coords)
    assert sizes == SHAPE


def test_a_large_side_of_several_modes_stores_what_was_observed(monkeypatch):
    """Rows are numbered by their linear index; what was not observed is not found."""
    monkeypatch.setattr(unfolding, "_MOST_ROWS", 10)
    groups, rng = ((0, 2), (1, 3)), np.random.default_rng(0)
    combos = np.array([[2, 4], [0, 1], [1, 3]])
    observed = np.column_stack([combos, rng.integers(0, 2, (3, 2))])[:, [0, 2, 1, 3]]
    sizes, stored = find_sides(observed, SHAPE, groups, whole=True)
    assert sizes == (3, 8)
    np.testing.assert_array_equal(stored[0], np.sort(np.ravel_multi_index(tuple(combos.T), (3, 5))))
    assert stored[1] is None
    cells = to_cells(observed, SHAPE, groups, stored)
    np.testing.assert_array_equal(cells[:, 0], [2, 0, 1])
    cells = to_cells(all_cells(SHAPE), SHAPE, groups, stored)
    expected = [(i, k) in {(2, 4), (0, 1), (1, 3)} for i, _, k, _ in all_cells(SHAPE)]
    np.testing.assert_array_equal(cells[:, 0] < 3, expected)
    assert cells.min() >= 0 and cells[:, 0].max() == 3


def test_rows_are_those_of_the_indices_that_occur(monkeypatch):
    """All of a mode where that is asked for, however large the mode is."""
    monkeypatch.setattr(unfolding, "_MOST_ROWS", 10)
    coords, groups = np.array([[11, 0], [4, 1], [11, 2]]), ((0,), (1,))
    sizes, stored = find_sides(coords, (12, 3), groups)
    assert sizes == (2, 3) and stored[0].tolist() == [4, 11] and stored[1] is None
    cells = to_cells(np.array([[4, 2], [11, 0], [5, 1]]), (12, 3), groups, stored)
    assert cells.tolist() == [[0, 2], [1, 0], [2, 1]]
    assert find_sides(coords, (12, 3), groups, whole=True) == ((12, 3), [None, None])


def test_what_is_not_known_reads_one_past_the_last_row():
    """Whether or not every index has a row."""
    coords, groups = np.array([[0, 0], [1, 2], [1, 1]]), ((0,), (1,))
    known = np.array([[True, False], [True, True], [False, True]])
    cells = to_cells(coords, (2, 3), groups, [None, None], known)
    assert cells.tolist() == [[0, 3], [1, 2], [2, 1]]
    side = to_cells(coords, (2, 3), ((0, 1), ()), [None, None], known)
    assert side.tolist() == [[6, 0], [5, 0], [6, 0]]


def test_huge_sides_are_numbered_exactly():
    """Sides of 10^18 cells, beyond the whole numbers of a float64: neighbors stay apart."""
    shape, groups = (10**6, 10**6, 10**6, 7), ((0, 1, 2), (3,))
    top = 10**6 - 1
    coords = np.array([[top, top, top, 0], [top, top, top - 1, 1], [top, 0, 0, 2], [0, 0, 0, 3]])
    sizes, stored = find_sides(coords, shape, groups)
    assert sizes == (4, 4) and stored[1].tolist() == [0, 1, 2, 3]
    python = sorted((i * 10**6 + j) * 10**6 + k for i, j, k, _ in coords.tolist())
    assert stored[0].tolist() == python
    cells = to_cells(coords, shape, groups, stored)
    np.testing.assert_array_equal(cells[:, 0], [3, 2, 1, 0])
    unseen = to_cells(np.array([[top, top, top - 2, 0]]), shape, groups, stored)
    assert unseen.tolist() == [[4, 0]]


def test_sides_beyond_int64_are_refused():
    """10^24 cells cannot be numbered; the message names the parameter and the shape."""
    shape = (10**6,) * 4
    with pytest.raises(ValueError, match="row_modes cuts shape"):
        find_sides(np.zeros((1, 4), np.int64), shape, ((0, 1, 2, 3), ()))


@pytest.mark.parametrize("wrong", [(), (0, 0), (3,), (-1,), (0.5,), ("a",), (True, 5)])
def test_row_modes_that_name_no_modes_are_refused(wrong):
    """Empty, repeated, outside or not whole: the message says what is expected."""
    with pytest.raises(ValueError, match="expected one or more distinct modes from 0 to 2"):
        matrix_groups(wrong, 3)


def test_groups_keep_the_order_of_row_modes():
    """Rows as given, columns ascending."""
    assert matrix_groups((2, 0), 4) == ((2, 0), (1, 3))
    assert matrix_groups(np.array([1]), 2) == ((1,), (0,))
