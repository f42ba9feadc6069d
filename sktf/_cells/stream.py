"""Observed cells in blocks: what ``Observations`` are, of cells in files or very many in memory."""

from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sktf._cells.joining import joined_indices
from sktf._cells.observations import MANY, Observations
from sktf._cells.offset import largest
from sktf._cells.sorting import cell_draw, count_distinct, mark
from sktf._cells.stored import StoredCells
from sktf._cells.unfolding import stored_sides

# Cells that additive terms begin from.
_FOR_TERMS = 2**22
# Fibers that are ticked off, and else rows about the fibers of which are counted.
_MOST_TICKED, _N_DRAWN = 2**26, 2**20


@dataclass(frozen=True)
class _Values:
    """What is known of values without reading them again."""

    n_cells: int
    low: float
    high: float

    def __len__(self):
        return self.n_cells

    def min(self):
        """Return the least value."""
        return self.low

    def max(self):
        """Return the largest value."""
        return self.high


@dataclass(frozen=True, eq=False)
class Stream:
    """Observed cells, read in blocks in their order.

    Parameters
    ----------
    cells : StoredCells
        The cells, in files or in memory (``HeldCells``).
    shape : tuple of int
        The mode sizes; of the factors of a frame, once it sees them.
    frame : Frame or None
        What sees the cells.
    draw : callable or None
        Mask of the cells that are not among them, from their indices.
    out : Observations or None
        Those cells.
    """

    cells: StoredCells
    shape: tuple
    frame: Any = None
    draw: Any = None
    out: Any = None

    in_memory, ranks = False, None

    @property
    def values(self):
        """How many values there are, the least and the largest, as the user sees them."""
        n_out = 0 if self.out is None else len(self.out.values)
        return _Values(self.cells.n_rows - n_out, *self.bounds())

    def numbered(self):
        """Raise, for not all indices are held at once."""
        raise ValueError(
            "Most of the first rows of X repeat a cell, and to hold some cells out all rows would "
            "have to be compared, but X lies in files. Average the rows of each cell first, or "
            "read X and y into memory with np.asarray, if they fit."
        )

    def bounds(self):
        """Return the least and the largest value."""
        return self.cells.moments.low, self.cells.moments.high

    def mean(self):
        """Return the mean of the values, as the user sees them."""
        unit, n_all = self.cells.moments.unit, self.cells.n_rows
        total = n_all * self.cells.moments.mean
        if self.out is None:
            return unit * total / n_all
        return unit * (total - (self.out.values / unit).sum()) / len(self.values)

    def blocks(self):
        """Yield the observations, block by block."""
        sizes = self.shape if self.frame is None else self.frame.shape
        with closing(self.cells.blocks()) as blocks:
            for coords, values in blocks:
                block = _observations(coords, values, sizes)
                if self.draw is not None:
                    block = block.take(~self.draw(coords))
                yield block if self.frame is None else self.frame.apply(block)

    def take(self, rows):
        """Return the observations of a mask, slice or sorted numbers of rows."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self.values)))
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        start, taken = 0, []
        with closing(self.blocks()) as blocks:
            for block in blocks:
                stop = start + len(block.values)
                first, last = np.searchsorted(rows, [start, stop])
                taken.append(block.take(rows[first:last] - start))
                start = stop
                if last == len(rows):
                    break
        return _joined(taken, self.shape)

    def whole(self):
        """Return all of them at once."""
        return _joined([*self.blocks()], self.shape)

    def for_terms(self):
        """Return what additive terms begin from: all cells, or of files some, drawn at random."""
        if self.cells.held:
            return self.whole()
        drawn = np.random.RandomState(0).randint(len(self.values), size=_FOR_TERMS)
        return self.take(np.unique(drawn))

    def find_sides(self, groups, whole=False):
        """Return the number of rows of each mode, of which each is a side, and those stored."""
        seen = [np.flatnonzero(count) for count in self.row_counts(self.shape)]
        return stored_sides(seen, self.shape, groups)

    def fit_offset(self, kind, scale, tol=None):
        """Return the offset of a kind; additive terms are those of ``for_terms``."""
        if kind == "additive":
            return self.for_terms().fit_offset(kind, scale, tol)
        return self.cells.moments.offset(kind, scale)

    def seen_by(self, frame):
        """Return the observations as the factorization of a frame reads them."""
        return replace(self, shape=frame.sizes, frame=frame)

    rows_read = seen_by

    def drawn_apart(self, share, rng):
        """Return the observations but for a random share of the distinct cells, and these."""
        draw = cell_draw(len(self.shape), share, rng)
        out = self._drawn(draw)
        return replace(self, draw=draw, out=out), out

    def largest_left(self, frame):
        """Return the largest absolute value that the offset of a frame leaves."""
        return max(float(largest(frame.left(block))) for block in self.blocks())

    def joined_indices(self):
        """Return a label for each index of each mode, the same where cells join them."""
        return joined_indices(self)

    def _drawn(self, draw):
        with closing(self.blocks()) as blocks:
            return _joined([block.take(draw(block.coords)) for block in blocks], self.shape)

    def about_distinct(self):
        """Return about how many distinct cells there are."""
        share = min(1.0, MANY / len(self.values))
        return self._counted([_Distinct(self.shape, range(len(self.shape)), share, ticked=0)])[0]

    def n_distinct(self):
        """Return about how many distinct cells there are, a whole number."""
        return round(self.about_distinct())

    def row_counts(self, sizes):
        """Return for each side of these sizes how many observations read each of its rows."""
        counts = [np.zeros(len(count), np.int64) + count for count in self.cells.counts]
        if self.out is not None:
            gone = self.out.row_counts(self.cells.shape)
            counts = [count - less for count, less in zip(counts, gone, strict=True)]
        if self.frame is not None:
            pairs = zip(counts, self.frame.stored, strict=True)
            counts = [count if seen is None else count[seen] for count, seen in pairs]
        return [_padded(*pair) for pair in zip(counts, sizes, strict=True)]

    def fibers(self):
        """Return about how many fibers with cells there are along each mode."""
        modes, share = range(len(self.shape)), min(1.0, _N_DRAWN / len(self.values))
        others = [[n for n in modes if n != mode] for mode in modes]
        return self._counted([_Distinct(self.shape, some, share) for some in others])

    def _counted(self, counters):
        """Return what counters of cells have counted, in one pass."""
        with closing(self.blocks()) as blocks:
            for block in blocks:
                for counter in counters:
                    counter.add(block.coords)
        return [counter.count() for counter in counters]


class _Distinct:
    """Counts distinct rows of some modes: ticked off, or where too many may be, a share of them."""

    def __init__(self, shape, modes, share, ticked=_MOST_TICKED):
        self._modes, self._sizes = [*modes], [shape[mode] for mode in modes]
        self._share, self._drawn = share, []
        self._draw = cell_draw(len(self._modes), share, np.random.RandomState(0))
        n_possible = np.prod(self._sizes, dtype=float)
        self._occurs = np.zeros(int(n_possible), bool) if n_possible <= ticked else None

    def add(self, coords):
        """Take note of some rows."""
        rows = np.ascontiguousarray(coords[:, self._modes])
        if self._occurs is None:
            self._drawn.append(rows[self._draw(rows)])
        else:
            mark(rows, np.array(self._sizes, np.int64), self._occurs)

    def count(self):
        """Return how many there are, or about how many."""
        if self._occurs is None:
            return count_distinct(np.concatenate(self._drawn), self._sizes) / self._share
        return int(np.count_nonzero(self._occurs))


def _observations(coords, values, shape):
    return Observations(coords, values, np.broadcast_to(1.0, len(values)), shape)


def _joined(parts, shape):
    """Return observations, of one weight each, joined."""
    coords, values = (np.concatenate([part[n] for part in parts]) for n in range(2))
    return _observations(coords, values, shape)


def _padded(counts, size):
    return np.concatenate([counts, np.zeros(size - len(counts), np.int64)])
