"""Observed cells, once they are trusted.

Rows that lie on several processes have the same methods (``sktf._objective.spread``), and so have
those in blocks (``sktf._cells.stream``) as far as fits ask for them.
"""

from functools import reduce
from typing import NamedTuple
from zlib import crc32

import numpy as np

from sktf._cells import offset
from sktf._cells.joining import joined_indices
from sktf._cells.sorting import cell_numbers, count_distinct, count_each, drawn_cells
from sktf._cells.unfolding import find_sides, to_cells

# Of more rows, about so many tell how many are of distinct cells.
MANY = 2**17
# Rows of a mask that are numbered at once.
_CHUNK = 2**16


class Numbered(NamedTuple):
    """Numbers of cells, from 0 up, the same for equal ones, and how many distinct ones."""

    numbers: np.ndarray
    n_distinct: int

    def mask(self, chosen):
        """Return which rows are of the distinct cells ``chosen``, a mask."""
        return chosen[self.numbers]

    def of(self, mask):
        """Return the numbers of rows of a mask."""
        return self.numbers[mask]


class Observations(NamedTuple):
    """Observed cells of a tensor.

    ``coords`` (n_observed, n_modes) int32, ``values`` and ``weights`` (n_observed,) float64,
    ``shape`` the mode sizes.
    """

    coords: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    shape: tuple

    @property
    def in_memory(self):
        """Whether fits see them at once, not block by block as those of a ``Stream``."""
        return True

    def blocks(self):
        """Yield the observations in blocks: as they are, in one."""
        yield self

    def whole(self):
        """Return all of them at once."""
        return self

    @property
    def ranks(self):
        """The processes that rows lie on: None, since all lie in this one."""
        return None

    def seen_by(self, frame):
        """Return the observations as the factorization of a frame reads them."""
        return frame.apply(self)

    def bounds(self):
        """Return the least and the largest value."""
        return float(self.values.min()), float(self.values.max())

    def mean(self):
        """Return the weighted mean of the values."""
        alike = self.weights.strides == (0,)  # then nothing is multiplied
        return float(self.values.mean() if alike else np.average(self.values, weights=self.weights))

    def n_distinct(self, modes=None):
        """Return how many distinct cells there are, or of indices of some modes."""
        if modes is None:
            return count_distinct(self.coords, self.shape)
        return count_distinct(self.coords[:, modes], [self.shape[mode] for mode in modes])

    def numbered(self):
        """Return the numbers of distinct cells."""
        numbers = cell_numbers(self)
        return Numbered(numbers, int(numbers.max()) + 1)

    def drawn_apart(self, share, rng):
        """Return the observations but for a random share of the distinct cells, and these."""
        return self.apart(drawn_cells(self.coords, share, rng))

    def drawn(self, share, rng):
        """Return the observations of a random share of the distinct cells."""
        return self.take(drawn_cells(self.coords, share, rng))

    def apart(self, mask):
        """Return the observations but for those of a mask, and these."""
        return self.take(~mask), self.take(mask)

    def rows_read(self, frame):
        """Return the observations with the rows that they read of each factor of a frame."""
        cells = to_cells(self.coords, frame.shape, frame.groups, frame.stored)
        return self._replace(coords=cells, shape=frame.sizes)

    def n_read(self, frame):
        """Return how many observations have rows in all modes of a frame."""
        return len(frame.read(self).values)

    def unread(self, counts):
        """Return which observations read a row that has no cells, of ``counts`` of each mode."""
        pairs = zip(counts, self.coords.T, strict=True)
        return np.any([count[column] == 0 for count, column in pairs], axis=0)

    def squares_left(self, predict):
        """Return the sum of squared errors of predictions, weights of mean 1."""
        left = self.values - predict(self.coords)
        return self.weights / self.weights.mean() @ left**2

    def checksum(self, before=0):
        """Return a number that other observations hardly have."""
        return reduce(lambda sum_, array: crc32(np.ascontiguousarray(array), sum_), self, before)

    def find_sides(self, groups, whole=False, beside=None):
        """Return the number of rows of each side and those stored, with those of others beside."""
        coords = self.coords if beside is None else np.concatenate([self.coords, beside.coords])
        return find_sides(coords, self.shape, groups, whole)

    def joined_indices(self):
        """Return a label for each index of each mode, the same where cells join them."""
        return joined_indices(self)

    def fit_offset(self, kind, scale, tol=None):
        """Return the offset of a kind (``sktf._cells.offset.fit_offset``)."""
        return offset.fit_offset(self, kind, scale, tol)

    def fit_link_offset(self, kind, loss, tol=None):
        """Return the offset of a kind below the link of a loss."""
        return offset.fit_link_offset(self, kind, loss, tol)

    def level_share(self):
        """Return the share of the squares of the values that their mean holds."""
        return offset.level_share(self)

    def kurtosis(self):
        """Return the fourth central moment of the values over the squared second."""
        return offset.kurtosis(self)

    def largest_left(self, frame):
        """Return the largest absolute value that the offset of a frame leaves."""
        return float(offset.largest(frame.left(self)))

    def about_distinct(self):
        """Return about how many distinct cells there are."""
        share = min(1.0, MANY / len(self.values))
        told = self.drawn(share, np.random.RandomState(0)) if share < 1 else self
        return told.n_distinct() / share

    def fibers(self):
        """Return how many fibers with cells there are along each mode."""
        modes = range(len(self.shape))
        return [self.n_distinct([n for n in modes if n != mode]) for mode in modes]

    def row_counts(self, sizes):
        """Return for each side of these sizes how many observations read each of its rows."""
        return [count_each(*pair) for pair in zip(self.coords.T, sizes, strict=True)]

    def take(self, rows):
        """Return the observations ``rows``: a slice, numbers or a mask."""
        coords, weights = _taken(self.coords, rows), self.weights
        # Equal weights are one number, seen as many times as there are cells.
        alike = weights.strides == (0,)
        weights = np.broadcast_to(weights[:1], len(coords)) if alike else _taken(weights, rows)
        return Observations(coords, _taken(self.values, rows), weights, self.shape)


def _taken(array, rows):
    """Return ``array[rows]`` in a third of the time; of a mask no row is numbered for long."""
    if isinstance(rows, slice):
        return array[rows]
    if np.asarray(rows).dtype != bool:
        return array.take(rows, axis=0)
    taken, at = np.empty((np.count_nonzero(rows), *array.shape[1:]), array.dtype), 0
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        chosen = array[part].take(np.flatnonzero(rows[part]), axis=0)
        taken[at : at + len(chosen)] = chosen
        at += len(chosen)
    return taken
