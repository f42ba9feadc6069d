"""From a user's cells and units to the model's: offset, scale and unfolding in one value."""

from typing import NamedTuple

import numpy as np

from sktf._cells.offset import Offset
from sktf._cells.unfolding import is_large, side_sizes, to_cells


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
        values, scale = self.left(observations), self.offset.scale
        if not scale:
            values = np.zeros_like(values)
        elif scale != 1:
            values = np.divide(values, scale, out=None if values is observations.values else values)
        return observations._replace(coords=cells, values=values, shape=self.sizes)

    def left(self, observations):
        """Return the values less the offset: themselves where there is none."""
        level, terms, _ = self.offset
        if not (level or terms):
            return observations.values
        return observations.values - (self.offset.at(observations.coords) if terms else level)

    def read(self, observations):
        """Return the observations whose indices all have rows."""
        cells = to_cells(observations.coords, self.shape, self.groups, self.stored)
        return observations.take((cells < self.sizes).all(axis=1))

    def with_terms(self, observations, scale, tol=None):
        """Return the frame with additive terms fitted to observations; a scale is kept."""
        if isinstance(scale, float):
            offset = observations.fit_offset("additive", False, tol)._replace(scale=scale)
        else:
            offset = observations.fit_offset("additive", scale, tol)
        return self._replace(offset=offset)

    def by_modes(self, observations, others=None):
        """Return the frame of the same values whose sides are the modes, seen at all of these."""
        groups = tuple((mode,) for mode in range(len(self.shape)))
        if self.groups == groups:
            return self
        sizes, stored = observations.find_sides(groups, beside=others)
        return self._replace(groups=groups, stored=stored, sizes=sizes)

    def filled(self):
        """Return the frame where sides of several modes have rows without cells too, if few."""
        full = side_sizes(self.shape, self.groups)
        stored = [
            seen if len(group) < 2 or is_large(size, group) else None
            for seen, size, group in zip(self.stored, full, self.groups, strict=True)
        ]
        pairs = zip(full, stored, strict=True)
        sizes = tuple(size if seen is None else len(seen) for size, seen in pairs)
        return self._replace(stored=stored, sizes=sizes)

    def sides(self, by_modes, tables):
        """Return for each side, and each mode of it, what the rows of the side read of this mode.

        ``tables`` has an array per mode, of its rows in the frame ``by_modes`` and of a last one
        that indices without row there read.
        """
        sides = []
        for group, seen, size in zip(self.groups, self.stored, self.sizes, strict=True):
            linear = np.arange(size) if seen is None else seen
            coords = np.zeros((size, len(self.shape)), np.int64)
            dims = [self.shape[mode] for mode in group]
            coords[:, group] = np.transpose(np.unravel_index(linear, dims))
            cells = to_cells(coords, self.shape, by_modes.groups, by_modes.stored)
            sides.append([tables[mode][cells[:, mode]] for mode in group])
        return sides

    def factors(self, factors):
        """Return factors in the units of the data, float64 since units may be extreme."""
        share = np.float64(self.offset.scale ** (1 / len(factors)))
        return [share * factor for factor in factors]


def fit_frame(observations, groups, offset, scale, *, whole=False):
    """Fit the frame to observations; ``offset`` and ``scale`` are the user's parameters.

    ``whole`` gives a row to every index, not only to those that have cells.
    """
    sizes, stored = observations.find_sides(groups, whole)
    fitted = observations.fit_offset(offset, scale)
    return Frame(observations.shape, groups, stored, sizes, fitted)
