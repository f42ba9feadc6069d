"""Sweeps over cells that are read block by block: one pass of reading for each mode."""

from contextlib import closing

import numpy as np

from sktf._descent.polish import Polish
from sktf._objective.row_equations import CellsByRow
from sktf._objective.row_sums import RowSums

# Numbers in the matrices of rows that are held at once, 512 MiB; of more, a mode takes more passes.
_HELD = 2**26
# Numbers that a row of a matrix may be longer by, to fill a cache line.
_LANES = 8


class StreamedPolish(Polish):
    """What ``Polish`` is, for cells that are never held at once (``Stream``)."""

    def _solved(self, mode, others, solve, start):
        n_rows, n_columns = self._cells.shape[mode], others[0].shape[1]
        n_held = max(1, _HELD // (n_columns * (n_columns + _LANES)))
        parts = []
        for first in range(0, n_rows, n_held):
            rows = range(first, min(first + n_held, n_rows))
            sums = RowSums(rows, others)
            self._add_all(sums, mode)
            parts.append(sums.solve(solve, start[rows.start : rows.stop]))
        return np.concatenate(parts)

    def _add_all(self, sums, mode):
        """Add all cells to normal equations of a mode."""
        self._progress.say(f"Sweep: all {self._n_cells} cells are read for mode {mode}")
        self._progress.tell()
        with closing(self._cells.blocks()) as blocks:
            for block in blocks:
                sums.add(CellsByRow.of(block, mode, self._dtype))
