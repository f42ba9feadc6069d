"""Sorting and numbering rows of whole numbers, in linear time."""

from functools import partial
from math import prod

import numpy as np

from sktf._compile import compiled

# Of so many times as many possible rows as rows, a byte each is cheaper than a sort.
_MANY_POSSIBLE = 16


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


def count_distinct(table, shape):
    """Return how many distinct rows there are of non-negative integers below ``shape``.

    Where all possible rows are few, they are ticked off; else the rows are numbered.
    """
    n_possible = prod(shape)
    if not len(table) or n_possible > _MANY_POSSIBLE * len(table):
        return int(row_numbers(table).max(initial=-1)) + 1
    return int(np.count_nonzero(_occurring(table, shape)))


def seen_numbers(column, size):
    """Return the sorted distinct ones of a column of whole numbers from 0 up, below ``size``."""
    return np.flatnonzero(_occurring(column[:, None], (size,)))


def _occurring(table, shape):
    """Return for each possible row, the last column running fastest, whether it occurs."""
    occurs = np.zeros(prod(shape), bool)
    mark(table, np.array(shape, np.int64), occurs)
    return occurs


@compiled()
def mark(table, shape, occurs):
    """Write True where a row occurs among all possible ones, the last column running fastest."""
    for e in range(len(table)):
        at = 0
        for n in range(table.shape[1]):
            if not 0 <= table[e, n] < shape[n]:
                raise ValueError("A number is negative, or not below the size of its column.")
            at = at * shape[n] + table[e, n]
        occurs[at] = True


def count_each(column, size):
    """Return how often each whole number from 0 up, to ``size`` at least, occurs in a column."""
    counts = np.zeros(max(size, int(column.max(initial=-1)) + 1), np.int64)
    _count(column, counts)
    return counts


@compiled()
def _count(column, counts):
    for number in column:
        if number < 0:
            raise ValueError("A number is negative.")
        counts[number] += 1


def drawn_cells(coords, share, rng):
    """Return a mask of rows: equal rows are drawn together, each with the probability ``share``."""
    return cell_draw(coords.shape[1], share, rng)(coords)


def cell_draw(n_modes, share, rng):
    """Return a function from rows to their mask, the same for the same row (``drawn_cells``).

    Rows are mixed to whole numbers by random odd multipliers and shifts (G. Steele, D. Lea and C.
    Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014), and the least are drawn.
    """
    odd = rng.randint(2**32, size=(n_modes + 2, 2), dtype=np.uint64)
    multipliers = (odd[:, 0] << np.uint64(32)) | odd[:, 1] | np.uint64(1)
    return partial(_mask, multipliers=multipliers, least=np.uint64(share * 2**32))


def _mask(coords, multipliers, least):
    drawn = np.empty(len(coords), bool)
    with np.errstate(over="ignore"):  # of scalars, where nothing is compiled
        _draw(coords, multipliers, least, drawn)
    return drawn


@compiled()
def _draw(coords, multipliers, least, drawn):
    """Write which rows are mixed to numbers below ``least``."""
    last, before = multipliers[-1], multipliers[-2]
    for e in range(len(coords)):
        mixed = np.uint64(0)
        for n in range(coords.shape[1]):
            mixed = (mixed ^ (mixed >> np.uint64(29))) * last
            mixed += np.uint64(coords[e, n]) * multipliers[n]
        for shift in (np.uint64(30), np.uint64(27)):
            mixed = (mixed ^ (mixed >> shift)) * before
        drawn[e] = (mixed >> np.uint64(32)) < least


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
