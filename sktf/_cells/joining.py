"""Indices of different modes that cells join: the graph in which a cell is an edge."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Cells whose indices are joined at once: the first ones mostly join all of them.
_CHUNK, _PER_INDEX = 2**13, 4


def joined_indices(cells):
    """Return a label for each index of each mode, the same where cells join them."""
    starts = np.cumsum([0, *cells.shape])
    labels = np.arange(starts[-1])
    n_rows = max(_PER_INDEX * starts[-1], _CHUNK)
    for part in _parts(cells, n_rows):
        first, *others = labels[part + starts[:-1]].T
        if not others:
            break  # one mode: nothing is joined
        labels = merged(labels, np.tile(first, len(others)), np.concatenate(others))
        if (labels == labels[0]).all():  # whatever the other cells join
            break
    return labels


def _parts(cells, n_rows):
    """Yield the indices of so many cells at once."""
    for block in cells.blocks():
        for start in range(0, len(block.coords), n_rows):
            yield block.coords[start : start + n_rows]


def merged(labels, left, right):
    """Return labels after those of each pair have become one."""
    edges = coo_array((np.ones(left.size, bool), (left, right)), shape=(len(labels),) * 2)
    return connected_components(edges, directed=False)[1][labels]
