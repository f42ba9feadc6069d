"""Rows of whole numbers are sorted as NumPy sorts them."""

import numpy as np
import pytest

from sktf._cells import sorting


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
