"""Normal equations of some rows of a factor, to which cells are added block by block."""

from collections import deque
from itertools import pairwise

import numpy as np
from numba import config as numba_config

from sktf._objective.lanes import whole_lines
from sktf._objective.pools import pool_of
from sktf._objective.row_equations import CellsByRow, row_equations, stack

# Numbers in the matrices that are solved at once.
_SOLVED = 2**16


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

    def add(self, blocks, mode, dtype, mean):
        """Add blocks of observations to the equations of a mode; ``mean`` is their mean weight.

        While one is added, other threads bring those that follow into the order of the mode.
        """
        if self._n_threads == 1:
            for block in blocks:
                self._add(CellsByRow.of(block, mode, dtype, mean), iter(self._parts))
            return
        ordered = deque()
        with pool_of(self._n_threads - 1) as pool:
            for block in blocks:
                ordered.append(pool.submit(CellsByRow.of, block, mode, dtype, mean))
                if len(ordered) == self._n_threads:
                    self._add_beside(pool, ordered.popleft().result())
            while ordered:
                self._add_beside(pool, ordered.popleft().result())

    def _add_beside(self, pool, cells):
        """Add cells in the order of the mode on all threads."""
        parts = iter(self._parts)
        others = [pool.submit(self._add, cells, parts) for _ in range(self._n_threads - 1)]
        self._add(cells, parts)
        for other in others:
            other.result()

    def _add(self, cells, parts):
        """Add cells in the order of the mode to one part of the rows after another."""
        for start, stop in parts:
            first, last = start - self._first, stop - self._first
            grams = self._grams[first * self._n_columns : last * self._n_columns]
            row_equations(start, stop, *cells, self._stacked, grams, self._moments[first:last])

    def solve(self, solve, start):
        """Return the rows, as ``solve`` makes them of their equations and of where they start."""
        n_rows, n = len(self._moments), self._n_columns
        matrices = self._grams.reshape(n_rows, n, -1)[:, :, :n]
        per_block = max(1, _SOLVED // n**2)
        starts = range(0, n_rows, per_block)
        blocks = [slice(start, start + per_block) for start in starts]
        with pool_of(self._n_threads) as pool:
            solved = pool.map(lambda b: solve(matrices[b], self._moments[b, :n], start[b]), blocks)
            return np.concatenate([*solved])
