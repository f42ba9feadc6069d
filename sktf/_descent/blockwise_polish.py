"""Sweeps for which cells are brought into the order of a mode block by block."""

from contextlib import closing

import numpy as np

from sktf._descent.polish import Polish
from sktf._objective.row_sums import RowSums

# Numbers in the matrices of rows that are held at once, 512 MiB; of more, a mode takes more passes.
_HELD = 2**26
# Numbers that a row of a matrix may be longer by, to fill a cache line.
_LANES = 8
# Cells of a block, for a cache, and how many there are at least for each row, whose matrix is read
# and written once a block.
_BLOCK, _PER_ROW = 2**18, 32


class BlockwisePolish(Polish):
    """What ``Polish`` is, of cells of which only a block is held in the order of a mode.

    For a few sweeps that takes less time, too: a block that a cache holds is ordered while the one
    before it is added to the normal equations.
    """

    def _solved(self, mode, others, solve, start):
        n_rows, n_columns = self._cells.shape[mode], others[0].shape[1]
        n_held = max(1, _HELD // (n_columns * (n_columns + _LANES)))
        if self._cells.ranks is not None or (self._cells.in_memory and n_rows > n_held):
            return super()._solved(mode, others, solve, start)
        parts = []
        for first in range(0, n_rows, n_held):
            rows = range(first, min(first + n_held, n_rows))
            sums = RowSums(rows, others)
            self._add_all(sums, mode)
            parts.append(sums.solve(solve, start[rows.start : rows.stop]))
        return np.concatenate(parts)

    def _add_all(self, sums, mode):
        """Add all cells to normal equations of a mode."""
        if not self._cells.in_memory:
            self._progress.say(f"Sweep: all {self._n_cells} cells are read for mode {mode}")
            self._progress.tell()
        with closing(self._blocks(mode)) as blocks:
            sums.add(blocks, mode, self._dtype, self._mean_weight)

    def _blocks(self, mode):
        """Yield the cells in blocks."""
        size = max(_BLOCK, _PER_ROW * self._cells.shape[mode])
        with closing(self._cells.blocks()) as blocks:
            for block in blocks:
                for start in range(0, len(block.values), size):
                    yield block.take(slice(start, start + size))

    @property
    def _mean_weight(self):
        return float(self._cells.weights.mean()) if self._cells.in_memory else 1.0
