"""Observed cells whose rows lie on several ranks, seen from rank 0 as if they lay there.

Functions before the classes are what each rank does with its own cells; an answer is a sum or a
few numbers. Rows are numbered in the order of the ranks.
"""

from itertools import pairwise
from math import prod
from zlib import crc32

import numpy as np

from sktf._cells.joining import merged
from sktf._cells.observations import Observations
from sktf._cells.offset import LEVEL, ROUNDING, Offset, tolerance
from sktf._cells.sorting import drawn_cells
from sktf._cells.unfolding import indices_seen, is_large, side_sizes, stored_sides
from sktf._objective.distributed import Each, Kept
from sktf._objective.spread_objective import SpreadObjective, SpreadRows
from sktf._objective.spread_terms import spread_terms

# Rows that are numbered at once.
_AT_ONCE = 2**22


def no_cells(shape):
    """Return no observations of a tensor of a shape."""
    return Observations(
        np.empty((0, len(shape)), np.int32), np.empty(0), np.broadcast_to(1.0, 0), tuple(shape)
    )


def joined(parts):
    """Return observations as one, in their order."""
    parts = [part for part in parts if len(part.values)] or parts[:1]
    coords, values = (np.concatenate([part[n] for part in parts]) for n in range(2))
    weights = np.concatenate([part.weights for part in parts])
    if (weights == 1).all():  # as one process reads rows without weights
        weights = np.broadcast_to(1.0, len(values))
    return Observations(coords, values, weights, parts[0].shape)


def cells_of_all(ranks, are_many):
    """Return the cells of all ranks: on rank 0, or, if they are many, where they lie."""
    cells = Kept("cells")
    if are_many:
        return SpreadCells(ranks, cells, ranks.mine(cells).shape)
    return joined(ranks.gather(Observations.take, cells, slice(None)))


def _facts(cells):
    """Return how many cells there are, the sum of their weights, the least and largest value."""
    some = len(cells.values) > 0
    bounds = cells.bounds() if some else (np.inf, -np.inf)
    return len(cells.values), float(cells.weights.sum()), *bounds


def _moments(cells, center, unit):
    """Return the sums of powers 1, 2 and 4 of the values in a unit, less a center."""
    sums = np.zeros(3)
    for start in range(0, len(cells.values), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        left, weights = cells.values[part] / unit - center, cells.weights[part]
        sums += [weights @ left, weights @ left**2, weights @ left**4]
    return sums


def _left(cells, offset, unit):
    """Return the largest value that an offset leaves, and the sum of its squares, in a unit."""
    left = cells.values / unit - offset.at(cells.coords)
    return np.abs(left).max(initial=0.0), float(cells.weights @ left**2)


def _largest_left(cells, frame):
    return cells.largest_left(frame) if len(cells.values) else 0.0


def _row_counts(cells, sizes):
    return np.concatenate(cells.row_counts(sizes))


def _seen(cells, groups):
    return [indices_seen(cells.coords, cells.shape, group) for group in groups]


def _drawn(cells, share, rng):
    return drawn_cells(cells.coords, share, rng)


def _left_where(cells, mask):
    return cells.take(~mask)


def _new_numbers(cells):
    return np.empty(len(cells.values), np.int64)


def _keys(cells, modes):
    """Return one number for each cell, in lexicographic order; of a large shape, rows."""
    shape, coords = [cells.shape[mode] for mode in modes], cells.coords[:, modes]
    return np.ravel_multi_index(tuple(coords.T), shape) if prod(shape) < 2**63 else coords


def _bucket(cells, modes, bounds):
    column = cells.coords[:, modes[0]]
    return np.flatnonzero((column >= bounds[0]) & (column < bounds[1]))


def _distinct(cells, modes, bounds):
    """Return the distinct cells whose first index lies between bounds."""
    rows = _bucket(cells, modes, bounds)
    return np.unique(_keys(cells.take(rows), modes), axis=0)


def _write_numbers(cells, modes, bounds, found, numbers):
    """Write the numbers of the cells whose first index lies between bounds."""
    rows = _bucket(cells, modes, bounds)
    which = np.unique(_keys(cells.take(rows), modes), axis=0, return_inverse=True)[1]
    numbers[rows] = found[which.ravel()]


def _numbers_where(numbers, mask):
    return numbers[mask]


def _squares_left(cells, predict):
    left = cells.values - predict(cells.coords)
    return [cells.weights @ left**2]


def _mask_of(numbers, chosen):
    return np.unpackbits(chosen).view(bool)[numbers]


class _Column:
    """Of a column that lies on several ranks, how long it is."""

    def __init__(self, length):
        self._length = length

    def __len__(self):
        return self._length


class Numbered:
    """Numbers of the distinct cells of each rank, from 0 up in lexicographic order."""

    def __init__(self, ranks, kept, n_distinct):
        self.n_distinct, self._ranks, self._kept = n_distinct, ranks, kept

    def mask(self, chosen):
        """Return, kept on each rank, which rows are of the cells ``chosen``, a mask."""
        return self._ranks.keep(_mask_of, self._kept, np.packbits(chosen))

    def of(self, mask):
        """Return the numbers of rows of a mask that ranks keep."""
        return np.concatenate(self._ranks.gather(_numbers_where, self._kept, mask))


class SpreadCells:
    """What ``Observations`` is, of rows that lie on several ranks.

    Parameters
    ----------
    ranks : Ranks
        The group, seen from rank 0.
    kept : Kept
        The ``Observations`` of each rank, of one shape.
    shape : tuple of int
        The mode sizes.
    """

    in_memory = True

    def __init__(self, ranks, kept, shape):
        self.ranks, self.kept, self.shape = ranks, kept, tuple(shape)
        facts = ranks.gather(_facts, kept)
        self.counts, self.weight_sums = ([its[n] for its in facts] for n in range(2))
        self._bounds = min(its[2] for its in facts), max(its[3] for its in facts)
        self.values = _Column(sum(self.counts))

    def _unit(self):
        """Return a power of two near the largest value: in it no power over- or underflows."""
        return 2.0 ** (np.frexp(max(self._bounds[1], -self._bounds[0]))[1] - 1)

    def _new(self, kept, shape=None):
        return SpreadCells(self.ranks, kept, shape or self.shape)

    def _starts(self):
        return np.cumsum([0, *self.counts])

    def seen_by(self, frame):
        """Return the cells as the factorization of a frame reads them."""
        return self._new(self.ranks.keep(Observations.seen_by, self.kept, frame), frame.sizes)

    def rows_read(self, frame):
        """Return the cells with the rows that they read of each factor."""
        return self._new(self.ranks.keep(Observations.rows_read, self.kept, frame), frame.sizes)

    def n_read(self, frame):
        """Return how many cells have rows in all modes of a frame."""
        return int(self.ranks.sum(1, Observations.n_read, self.kept, frame)[0])

    def bounds(self):
        """Return the least and the largest value."""
        return self._bounds

    def largest_left(self, frame):
        """Return the largest absolute value that an offset leaves."""
        return max(self.ranks.gather(_largest_left, self.kept, frame))

    def moments(self, center, unit):
        """Return the weighted means of powers 1, 2 and 4 of the values in a unit, less a center."""
        return self.ranks.sum(3, _moments, self.kept, center, unit) / sum(self.weight_sums)

    def mean(self):
        """Return the weighted mean of the values."""
        unit = self._unit()
        return float(unit * self.moments(0.0, unit)[0])

    def level_share(self):
        """Return the share of the squares of the values that their mean holds."""
        unit = max(self._bounds[1], -self._bounds[0]) or 1.0
        mean, square, _ = self.moments(0.0, unit)
        return float(mean**2 / square) if square > 0 else 0.0

    def kurtosis(self):
        """Return the fourth central moment over the squared second."""
        mean = self.mean()
        unit = max(self._bounds[1] - mean, mean - self._bounds[0]) or 1.0
        _, square, fourth = self.moments(mean / unit, unit)
        return float(fourth / square**2) if square > 0 else 0.0

    def row_counts(self, sizes):
        """Return for each side of these sizes how many cells read each of its rows."""
        counts = self.ranks.sum(sum(sizes), _row_counts, self.kept, tuple(sizes))
        return np.split(counts.astype(np.int64), np.cumsum(sizes)[:-1])

    def take(self, rows):
        """Return the ``Observations`` of these rows: a slice, a mask, or numbers in order."""
        starts = self._starts()
        if isinstance(rows, slice):
            parts = [part_of(rows, *bounds, starts[-1]) for bounds in pairwise(starts)]
        else:
            rows = np.flatnonzero(rows) if rows.dtype == bool else rows
            cuts = np.searchsorted(rows, starts)
            parts = [rows[i:j] - at for (i, j), at in zip(pairwise(cuts), starts, strict=False)]
        return joined(self.ranks.gather(Observations.take, self.kept, Each(parts)))

    def whole(self):
        """Return all of them as ``Observations``."""
        return self.take(slice(None))

    fibers = Observations.fibers

    def drawn_apart(self, share, rng):
        """Return the cells but for a random share of them, and these as ``Observations``."""
        return self.apart(self.ranks.keep(_drawn, self.kept, share, rng))

    def drawn(self, share, rng):
        """Return a random share of the distinct cells as ``Observations``."""
        mask = self.ranks.keep(_drawn, self.kept, share, rng)
        return joined(self.ranks.gather(Observations.take, self.kept, mask))

    def apart(self, mask):
        """Return the cells but for those of a mask that ranks keep, and these as observations."""
        held_out = joined(self.ranks.gather(Observations.take, self.kept, mask))
        rest = self._new(self.ranks.keep(_left_where, self.kept, mask))
        return rest, held_out

    def unread(self, counts):
        """Return, kept on each rank, which cells read a row that has no cells."""
        return self.ranks.keep(Observations.unread, self.kept, counts)

    def squares_left(self, predict):
        """Return the sum of squared errors of predictions, weights of mean 1."""
        square = self.ranks.sum(1, _squares_left, self.kept, predict)[0]
        return square * sum(self.counts) / sum(self.weight_sums)

    def checksum(self, before=0):
        """Return a number that other cells hardly have."""
        sums = self.ranks.gather(Observations.checksum, self.kept)
        return crc32(np.array([before, *sums], np.int64))

    def n_distinct(self, modes=None):
        """Return how many distinct cells there are, or of indices of some modes."""
        modes = list(range(len(self.shape))) if modes is None else list(modes)
        return sum(len(np.unique(np.concatenate(its), axis=0)) for _, its in self._buckets(modes))

    def numbered(self):
        """Return the numbers of distinct cells."""
        modes, n_distinct = list(range(len(self.shape))), 0
        numbers = self.ranks.keep(_new_numbers, self.kept)
        for bounds, parts in self._buckets(modes):
            distinct, which = np.unique(np.concatenate(parts), axis=0, return_inverse=True)
            found = np.split(which.ravel() + n_distinct, np.cumsum([*map(len, parts)])[:-1])
            n_distinct += len(distinct)
            told = self.kept, modes, bounds, Each(found), numbers
            self.ranks.keep(_write_numbers, *told)
        return Numbered(self.ranks, numbers, n_distinct)

    def _buckets(self, modes):
        """Yield bounds of the first of some modes, and each rank's distinct cells between them."""
        sums = np.cumsum(self.row_counts(self.shape)[modes[0]])
        cuts = np.searchsorted(sums, np.arange(_AT_ONCE, sums[-1], _AT_ONCE)) + 1
        for bounds in pairwise(np.unique([0, *cuts, len(sums)])):
            yield bounds, self.ranks.gather(_distinct, self.kept, modes, bounds)

    def find_sides(self, groups, whole=False, beside=None):
        """Return the number of rows of each side and those stored, as ``unfolding`` does."""
        parts = self.ranks.gather(_seen, self.kept, groups)
        parts += [_seen(beside, groups)] if beside else []
        full = side_sizes(self.shape, groups)
        found = [
            None if whole and not is_large(size, group) else np.unique(np.concatenate(its))
            for its, size, group in zip(zip(*parts, strict=True), full, groups, strict=True)
        ]
        return stored_sides(found, self.shape, groups)

    def joined_indices(self):
        """Return a label for each index of each mode, the same where cells join them."""
        labels = np.arange(sum(self.shape))
        for its in self.ranks.gather(Observations.joined_indices, self.kept):
            # Each index is joined with the first of its label.
            first = np.unique(its, return_index=True, return_inverse=True)
            labels = merged(labels, labels, labels[first[1][first[2]]])
        return labels

    def objective(self, factorization, loss, *, device, dtype):
        """Return the objective of the cells of all ranks."""
        return SpreadObjective(self, factorization, loss, device=device, dtype=dtype)

    def by_row(self, mode, dtype):
        """Return the cells of all ranks in the order of their rows in a mode."""
        return SpreadRows(self, mode, dtype)

    def fit_offset(self, kind, scale, tol=None):
        """Fit the offset, as ``sktf._cells.offset.fit_offset`` does."""
        unit = self._unit()
        mean = self.moments(0.0, unit)[0]
        if kind == "auto":
            kind = "mean" if np.abs(mean) > LEVEL * np.sqrt(self.moments(mean, unit)[1]) else None
        level, terms = mean if kind is not None else 0.0, ()
        if kind == "additive":
            tol = tolerance(len(self.values)) if tol is None else tol
            terms = spread_terms(self, level, unit, tol)
        largest, squares = zip(
            *self.ranks.gather(_left, self.kept, Offset(level, terms, 1.0), unit), strict=True
        )
        rms = float(unit * np.sqrt(sum(squares) / sum(self.weight_sums))) if scale else 1.0
        rms = rms if max(largest) > ROUNDING else 0.0
        return Offset(float(unit * level), tuple(unit * term for term in terms), rms)


def part_of(rows, start, stop, n_rows):
    """Return the part of a slice of all rows that lies from start to stop, from there."""
    first, last, step = rows.indices(n_rows)
    first = max(first, first + -(-(start - first) // step) * step) if start > first else first
    last = min(last, stop)
    return slice(first - start, max(first, last) - start, step)
