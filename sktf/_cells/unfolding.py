"""Reading several modes of a tensor as one side of a matrix, and back.

``groups`` holds one tuple of modes per side; ``stored`` one entry per side: None, or the sorted
linear indices that have a row when a side is too large to give a row to every index.
"""

from math import prod
from numbers import Integral

import numpy as np

# Sides of several modes with more cells than this store only those that were observed.
_MOST_ROWS = 2**20


def find_sides(coords, shape, groups):
    """Return the number of rows of each side and ``stored``.

    Raises
    ------
    ValueError
        When a side has more cells than an int64 can number.
    """
    full = [prod(shape[mode] for mode in group) for group in groups]
    if max(full) >= 2**63:
        raise ValueError(f"row_modes cuts shape={shape} into a side of {max(full):.1e} cells.")
    stored = [
        np.unique(_linear(coords, shape, group)) if size > _MOST_ROWS and len(group) > 1 else None
        for size, group in zip(full, groups, strict=True)
    ]
    sizes = [size if seen is None else len(seen) for size, seen in zip(full, stored, strict=True)]
    return tuple(sizes), stored


def to_cells(coords, shape, groups, stored):
    """Return the row of each cell on each side, and a mask of the cells that have one."""
    found = np.ones(len(coords), bool)
    if groups == tuple((mode,) for mode in range(len(shape))):
        return coords, found
    cells = np.empty((len(coords), len(groups)), coords.dtype)
    for side, (group, seen) in enumerate(zip(groups, stored, strict=True)):
        linear = _linear(coords, shape, group)
        if seen is not None:
            rows = np.minimum(np.searchsorted(seen, linear), len(seen) - 1)
            found &= seen[rows] == linear
            linear = rows
        cells[:, side] = linear
    return cells, found


def _linear(coords, shape, group):
    if not group:
        return np.zeros(len(coords), np.int64)
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
