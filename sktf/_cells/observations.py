"""Observed cells, once they are trusted."""

from typing import NamedTuple

import numpy as np

from sktf._cells.sorting import count_distinct, count_each


class Observations(NamedTuple):
    """Observed cells of a tensor.

    ``coords`` (n_observed, n_modes) int32, ``values`` and ``weights`` (n_observed,) float64,
    ``shape`` the mode sizes.
    """

    coords: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    shape: tuple

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
