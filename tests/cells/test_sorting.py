"""Rows of whole numbers are sorted as NumPy sorts them."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sktf._cells import sorting
from sktf._cells.observations import Observations
from sktf._cells.sorting import count_distinct, count_each, drawn_cells, seen_numbers


@pytest.mark.parametrize("sizes", [(1,), (7,), (5, 4), (3, 2, 50), (2, 3, 2, 3, 2)])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_lexicographic_is_the_stable_sort_of_rows(sizes, dtype):
    """``np.lexsort``, whose last key is the foremost; equal rows keep their order."""
    rng = np.random.default_rng(0)
    for n_rows in (0, 1, 200):
        table = rng.integers(0, sizes, (n_rows, len(sizes))).astype(dtype)
        sequence = sorting.lexicographic(list(table.T))
        np.testing.assert_array_equal(sequence, np.lexsort(table.T[::-1]))


def test_lexicographic_of_large_gaps_takes_memory_by_rows_alone():
    """Indices near 2**31 would need a count for every smaller index: 16 GiB."""
    table = np.array([[2**31 - 2, 1], [5, 2**31 - 2], [2**31 - 2, 0], [5, 3]], np.int32)
    np.testing.assert_array_equal(sorting.lexicographic(list(table.T)), [3, 1, 2, 0])


def test_sort_pass_equals_its_twin():
    """Keys of few values, sorted once more after another sort."""
    rng = np.random.default_rng(0)
    keys, sequence = rng.integers(0, 9, 300), rng.permutation(300).astype(np.int32)
    expected = sorting.sort_pass_numpy(keys, 9, sequence)
    placed = sorting.sort_pass(keys, 9, sequence)
    assert placed.dtype == sequence.dtype
    np.testing.assert_array_equal(placed, expected)


@pytest.mark.parametrize("n_possible", [50, 10**6])
def test_distinct_rows_are_counted(n_possible):
    """Ticked off where all possible rows are few, else numbered; against np.unique."""
    shape = (5, n_possible // 5)
    table = np.random.default_rng(0).integers(0, shape, (400, 2)).astype(np.int32)
    assert count_distinct(table, shape) == len(np.unique(table, axis=0))
    assert count_distinct(table[:0], shape) == 0


@pytest.mark.parametrize(("n_rows", "size"), [(0, 3), (10, 40), (300_000, 7)])
def test_each_number_is_counted(n_rows, size):
    """In parts, if there are many; a number beyond the size adds to the length."""
    column = np.random.default_rng(0).integers(0, 9, n_rows).astype(np.int32)
    assert_array_equal(count_each(column, size), np.bincount(column, minlength=size))


def test_seen_numbers_are_those_of_unique():
    column = np.random.default_rng(0).integers(0, 90, 60).astype(np.int32)
    assert_array_equal(seen_numbers(column, 90), np.unique(column))


@pytest.mark.parametrize("row", [[-1, 0], [0, -5], [4, 0], [0, 900]])
def test_numbers_outside_are_refused(row):
    """Compiled code would write wherever they point."""
    table = np.array([[0, 0], row], np.int32)
    with pytest.raises(ValueError, match="negative, or not below"):
        count_distinct(table, (4, 4))
    outside = table[:, int(row[0] == 0)]
    with pytest.raises(ValueError, match="negative, or not below"):
        seen_numbers(outside, 4)
    if sum(row) < 0:
        with pytest.raises(ValueError, match="A number is negative"):
            count_each(outside, 4)


@pytest.mark.parametrize("n", [0, 5, 70_000, 140_000])
@pytest.mark.parametrize("alike", [True, False])
def test_observations_are_taken_by_mask_numbers_and_slice(n, alike):
    """As arrays of numpy are, whatever the parts that a mask is cut into."""
    rng = np.random.default_rng(0)
    coords, values = rng.integers(0, 9, (n, 3)).astype(np.int32), rng.standard_normal(n)
    weights = np.broadcast_to(1.0, n) if alike else rng.random(n)
    cells = Observations(coords, values, weights, (9, 9, 9))
    mask = rng.random(n) < 0.3
    for rows in (mask, ~mask, np.zeros(n, bool), np.flatnonzero(mask), slice(1, None, 3)):
        taken = cells.take(rows)
        assert_array_equal(taken.coords, coords[rows])
        assert_array_equal(taken.values, values[rows])
        assert_array_equal(taken.weights, weights[rows])
        assert taken.coords.dtype == np.int32


def test_rows_are_drawn_cell_by_cell():
    """Equal rows together, each cell with its probability: 4 deviations of a binomial count."""
    rng = np.random.default_rng(0)
    table = rng.integers(0, 1000, (60_000, 3)).astype(np.int32)
    rows = np.concatenate([table, table[::-1]])
    drawn = drawn_cells(rows, 0.1, np.random.RandomState(0))
    assert_array_equal(drawn[:60_000], drawn[60_000:][::-1])
    assert abs(drawn[:60_000].sum() - 6000) < 4 * np.sqrt(60_000 * 0.1 * 0.9)
    # No index is drawn more than others: counts of 60 or so of each of 1,000, 5 deviations.
    for column in table.T:
        counts = np.bincount(column[drawn[:60_000]], minlength=1000)
        expected = 0.1 * np.bincount(column, minlength=1000)
        assert (np.abs(counts - expected) < 5 * np.sqrt(expected) + 1).all()
    again = drawn_cells(rows, 0.1, np.random.RandomState(1))
    assert 0.5 < (again & drawn).sum() / (0.01 * len(rows)) < 1.5
