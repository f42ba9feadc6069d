"""Normal equations of some rows of a factor, to which cells are added block by block."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numba import config as numba_config

from sktf._objective.lanes import whole_lines
from sktf._objective.row_equations import row_equations, stack

# Numbers in the matrices that are solved at once.
_SOLVED = 2**20


class RowSums:
    """The normal equations of ``row_equations``, which grow by blocks of cells.

    Threads add to rows of their own, cells in their order: the same bits for any number of these.

    Parameters
    ----------
    rows : range
        The rows of the mode.
    others : list of ndarray of shape (n_rows, R)
        The other factors.
    """

    def __init__(self, rows, others):
        self._first, n_rows = rows.start, len(rows)
        self._stacked, self._n_columns = stack(others), others[0].shape[1]
        n_lines = n_rows * (self._n_columns + 1)
        memory = whole_lines(1, n_lines, self._n_columns, self._stacked.dtype)[0]
        self._moments, self._grams = memory[:n_rows], memory[n_rows:]
        self._n_threads = numba_config.NUMBA_NUM_THREADS
        cuts = np.linspace(rows.start, rows.stop, 4 * self._n_threads + 1).astype(int)
        self._parts = [part for part in pairwise(cuts.tolist()) if part[0] < part[1]]

    def add(self, cells):
        """Add cells in the order of the mode (``CellsByRow``)."""
        if self._n_threads == 1:
            return [self._add(part, cells) for part in self._parts]
        with ThreadPoolExecutor(self._n_threads) as pool:
            return [*pool.map(lambda part: self._add(part, cells), self._parts)]

    def _add(self, part, cells):
        first, stop = (row - self._first for row in part)
        grams = self._grams[first * self._n_columns : stop * self._n_columns]
        row_equations(*part, *cells, self._stacked, grams, self._moments[first:stop])

    def solve(self, solve, start):
        """Return the rows, as ``solve`` makes them of their equations and of where they start."""
        n_rows, n = len(self._moments), self._n_columns
        matrices = self._grams.reshape(n_rows, n, -1)[:, :, :n]
        per_block = max(1, _SOLVED // n**2)
        starts = range(0, n_rows, per_block)
        blocks = [slice(start, start + per_block) for start in starts]
        solved = [solve(matrices[b], self._moments[b, :n], start[b]) for b in blocks]
        return np.concatenate(solved)
