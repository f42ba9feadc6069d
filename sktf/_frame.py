"""From a user's cells and units to the model's: offset, scale and unfolding in one value."""

from typing import NamedTuple

import numpy as np

from ._kernels import lexicographic
from ._offset import Offset, fit_offset
from ._sides import find_sides, to_cells


class Frame(NamedTuple):
    """How observations are seen by a factorization.

    ``groups`` and ``stored`` are those of ``_sides``; ``sizes`` the mode sizes of the
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
        cells, found = to_cells(observations.coords, self.shape, self.groups, self.stored)
        if not found.all():
            observations, cells = observations.take(found), cells[found]
        left, scale = observations.values - self.offset.at(observations.coords), self.offset.scale
        values = left / scale if scale else np.zeros_like(left)
        return observations._replace(coords=cells, values=values, shape=self.sizes)

    def factors(self, factors):
        """Return factors in the units of the data, float64 since units may be extreme."""
        share = np.float64(self.offset.scale ** (1 / len(factors)))
        return [share * factor for factor in factors]


def fit_frame(observations, groups, offset, scale):
    """Fit the frame to observations; ``offset`` and ``scale`` are the user's parameters."""
    sizes, stored = find_sides(observations.coords, observations.shape, groups)
    fitted = fit_offset(observations, offset, scale)
    return Frame(observations.shape, groups, stored, sizes, fitted)


def cell_numbers(observations):
    """Return a number for each observation, the same for the same cell, from 0 up."""
    return row_numbers(observations.coords)


def row_numbers(table):
    """Return a number for each row of non-negative integers, the same for equal rows."""
    if not table.shape[1]:
        return np.zeros(len(table), np.int64)
    sequence = lexicographic(list(table.T))
    new = np.zeros(len(table), bool)
    for column in table.T:
        column = column[sequence]
        new[1:] |= column[1:] != column[:-1]
    numbers = np.empty_like(sequence)
    numbers[sequence] = np.cumsum(new, dtype=sequence.dtype)
    return numbers
