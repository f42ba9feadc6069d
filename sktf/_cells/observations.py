"""Observed cells, once they are trusted."""

from typing import NamedTuple

import numpy as np

from sktf._cells.sorting import count_distinct, count_each, drawn_cells
from sktf._cells.unfolding import to_cells

# Of more rows, about so many tell how many are of distinct cells.
_MANY = 2**17


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
        """Whether they are held at once; ``Stream`` has those that are not."""
        return True

    def blocks(self):
        """Return the observations in blocks: as they are, in one."""
        return [self]

    def whole(self):
        """Return all of them at once."""
        return self

    def first(self, n_rows):
        """Return the indices of the first rows alone, as observations."""
        return self._replace(coords=self.coords[:n_rows], values=None, weights=None)

    def for_terms(self):
        """Return those that additive terms are fitted to."""
        return self

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

    def n_distinct(self):
        """Return how many distinct cells there are."""
        return count_distinct(self.coords, self.shape)

    def fibers(self):
        """Return about how many distinct cells there are, and fibers with cells along each mode."""
        share, modes = min(1.0, _MANY / len(self.coords)), range(len(self.shape))
        told = self.coords
        if share < 1:
            told = told[drawn_cells(told, share, np.random.RandomState(0))]
        others = [[n for n in modes if n != mode] for mode in modes]
        fibers = [count_distinct(self.coords[:, o], [self.shape[n] for n in o]) for o in others]
        return count_distinct(told, self.shape) / share, fibers

    def rows_in(self, frame):
        """Return the observations of the rows that the factorization of a frame reads."""
        rows = to_cells(self.coords, frame.shape, frame.groups, frame.stored)
        return self._replace(coords=rows, shape=frame.sizes)

    def split(self, draw):
        """Return the observations that a draw (``cell_draw``) leaves, and those that it takes."""
        out = draw(self.coords)
        return self.take(~out), self.take(out)

    def row_counts(self, sizes):
        """Return for each side of these sizes how many observations read each of its rows."""
        return [count_each(*pair) for pair in zip(self.coords.T, sizes, strict=True)]

    def take(self, rows):
        """Return the observations ``rows``."""
        coords, weights = self.coords[rows], self.weights
        # Equal weights are one number, seen as many times as there are cells.
        alike = weights.strides == (0,)
        weights = np.broadcast_to(weights[:1], len(coords)) if alike else weights[rows]
        return Observations(coords, self.values[rows], weights, self.shape)
