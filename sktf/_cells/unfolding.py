"""Which row of which factor a cell reads, and the modes of a tensor read as one side of a matrix.

``groups`` holds one tuple of modes per side; ``stored`` one entry per side: None where every index
has a row, or the sorted linear indices that have one.
"""

from math import prod
from numbers import Integral

import numpy as np

from sktf._cells.sorting import seen_numbers

# Sides of several modes with more cells than this store only those that were observed.
_MOST_ROWS = 2**20


def find_sides(coords, shape, groups, whole=False):
    """Return the number of rows of each side and ``stored``: a row for every index with cells.

    ``whole`` gives a row to every index, unless a side of several modes is too large for that.

    Raises
    ------
    ValueError
        When a side has more cells than an int64 can number.
    """
    seen = [
        None if whole and not is_large(size, group) else indices_seen(coords, shape, group)
        for size, group in zip(side_sizes(shape, groups), groups, strict=True)
    ]
    return stored_sides(seen, shape, groups)


def indices_seen(coords, shape, group):
    """Return the sorted distinct indices of a side, each a number."""
    (size,) = side_sizes(shape, [group])
    if size >= 2**63:
        raise ValueError(
            f"row_modes cuts shape={shape} into a side of {size:.1e} cells, more than can be "
            "numbered; give other row_modes, or encode columns whose indices have gaps."
        )
    return seen_indices(_linear(coords, shape, group), size)


def stored_sides(seen, shape, groups):
    """Return the number of rows of each side, and the indices stored; None of ``seen`` are all."""
    full = side_sizes(shape, groups)
    stored = [
        None if its is None or len(its) == size else its
        for its, size in zip(seen, full, strict=True)
    ]
    sizes = [size if seen is None else len(seen) for size, seen in zip(full, stored, strict=True)]
    return tuple(sizes), stored


def side_sizes(shape, groups):
    """Return how many indices each side has."""
    return [prod(shape[mode] for mode in group) for group in groups]


def is_large(size, group):
    """Whether a side of several modes is too large to give a row to every index."""
    return size > _MOST_ROWS and len(group) > 1


def seen_indices(column, size):
    """Return the sorted distinct indices of a column, whole numbers below ``size``."""
    if size > 4 * len(column):
        return np.unique(column)
    return seen_numbers(column, size)


def to_cells(coords, shape, groups, stored, known=True):
    """Return the row of each cell on each side; one past the last where there is none.

    There is none for an index that is not stored, or not ``known`` (of the shape of ``coords``).
    """
    plain = groups == tuple((mode,) for mode in range(len(shape)))
    if known is True and plain and all(seen is None for seen in stored):
        return coords
    known = np.broadcast_to(known, coords.shape)
    cells = np.empty((len(coords), len(groups)), coords.dtype)
    sizes = side_sizes(shape, groups)
    for side, (group, seen, size) in enumerate(zip(groups, stored, sizes, strict=True)):
        rows = _linear(coords, shape, group)
        if seen is not None:
            size, linear, rows = len(seen), rows, np.searchsorted(seen, rows)
            rows = np.where(seen.take(rows, mode="clip") == linear, rows, size)
        cells[:, side] = np.where(known[:, list(group)].all(axis=1), rows, size)
    return cells


def _linear(coords, shape, group):
    """Return the number of the indices of a group, read as one."""
    if not group:
        return np.zeros(len(coords), np.int64)
    if len(group) == 1:
        return coords[:, group[0]]
    return np.ravel_multi_index(
        tuple(coords[:, mode] for mode in group), [shape[mode] for mode in group]
    )


def matrix_groups(row_modes, order):
    """Return the modes that index rows and those that index columns.

    Raises
    ------
    ValueError
        When ``row_modes`` is empty, repeats a mode or names one that is not there.
    """
    rows = tuple(row_modes)
    whole = all(
        isinstance(mode, Integral) and not isinstance(mode, bool) and 0 <= mode < order
        for mode in rows
    )
    if not rows or not whole or len(set(rows)) < len(rows):
        raise ValueError(
            f"row_modes={row_modes!r}: expected one or more distinct modes from 0 to {order - 1}."
        )
    return rows, tuple(mode for mode in range(order) if mode not in rows)
