"""Sorting and numbering rows of whole numbers, in linear time."""

import numpy as np

from sktf._compile import compiled


def cell_numbers(observations):
    """Return a number for each observation, the same for the same cell, from 0 up."""
    return row_numbers(observations.coords)


def row_numbers(table):
    """Return a number for each row of non-negative integers, the same for equal rows."""
    if not table.shape[1]:
        return np.zeros(len(table), np.int64)
    sequence = lexicographic(list(table.T))
    new = np.zeros(len(table), bool)
    for column in table.T:
        column = column[sequence]
        new[1:] |= column[1:] != column[:-1]
    numbers = np.empty_like(sequence)
    numbers[sequence] = np.cumsum(new, dtype=sequence.dtype)
    return numbers


@compiled()
def sort_pass(keys, n_keys, sequence):
    """Return ``sequence`` sorted stably by ``keys[sequence]``, whole numbers below ``n_keys``.

    Counts, then places: time and memory O(n_observed + n_keys).
    """
    ends = np.zeros(n_keys + 1, np.int64)
    for key in keys:
        ends[key + 1] += 1
    for key in range(n_keys):
        ends[key + 1] += ends[key]
    placed = np.empty_like(sequence)
    for e in sequence:
        placed[ends[keys[e]]] = e
        ends[keys[e]] += 1
    return placed


def sort_pass_numpy(keys, n_keys, sequence):
    """Do as ``sort_pass`` does, in NumPy: time O(n log n), memory whatever ``n_keys`` is."""
    return sequence[np.argsort(keys[sequence], kind="stable")]


def lexicographic(columns):
    """Return the sequence that sorts rows of whole numbers, given by columns, the first foremost.

    Equal rows keep their order. Columns of large gaps are sorted by comparison.
    """
    n_rows = len(columns[0])
    sequence = np.arange(n_rows, dtype=np.int32 if n_rows < 2**31 else np.int64)
    for keys in reversed(columns):
        n_keys = int(keys.max(initial=-1)) + 1
        sort = sort_pass if n_keys <= 4 * n_rows else sort_pass_numpy
        sequence = sort(np.ascontiguousarray(keys), n_keys, sequence)
    return sequence
