"""From a user's cells and units to the model's: offset, scale and unfolding in one value."""

from typing import NamedTuple

import numpy as np

from sktf._cells.offset import Offset, fit_offset
from sktf._cells.unfolding import find_sides, to_cells


class Frame(NamedTuple):
    """How observations are seen by a factorization.

    ``groups`` and ``stored`` are those of ``unfolding``; ``sizes`` the mode sizes of the
    factorization; ``offset`` is taken off the values and its scale divided out, unless that
    is 0 because nothing is left: then the standardized values and all factors are 0.
    """

    shape: tuple
    groups: tuple
    stored: list
    sizes: tuple
    offset: Offset

    def apply(self, observations):
        """Return observations with cells of the factorization and standardized values."""
        cells = to_cells(observations.coords, self.shape, self.groups, self.stored)
        values, (level, terms, scale) = observations.values, self.offset
        if level or terms:
            values = values - (self.offset.at(observations.coords) if terms else level)
        if scale != 1:
            values = values / scale if scale else np.zeros_like(values)
        return observations._replace(coords=cells, values=values, shape=self.sizes)

    def read(self, observations):
        """Return the observations whose indices all have rows."""
        cells = to_cells(observations.coords, self.shape, self.groups, self.stored)
        return observations.take((cells < self.sizes).all(axis=1))

    def with_terms(self, observations, scale, tol=None):
        """Return the frame with additive terms fitted to observations; a scale is kept."""
        if isinstance(scale, float):
            offset = fit_offset(observations, "additive", False, tol)._replace(scale=scale)
        else:
            offset = fit_offset(observations, "additive", scale, tol)
        return self._replace(offset=offset)

    def factors(self, factors):
        """Return factors in the units of the data, float64 since units may be extreme."""
        share = np.float64(self.offset.scale ** (1 / len(factors)))
        return [share * factor for factor in factors]


def fit_frame(observations, groups, offset, scale, *, whole=False):
    """Fit the frame to observations; ``offset`` and ``scale`` are the user's parameters.

    ``whole`` gives a row to every index, not only to those that have cells.
    """
    sizes, stored = find_sides(observations.coords, observations.shape, groups, whole)
    fitted = fit_offset(observations, offset, scale)
    return Frame(observations.shape, groups, stored, sizes, fitted)
