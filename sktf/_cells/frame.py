"""From a user's cells and units to the model's: offset, scale and unfolding in one value."""

from typing import Any, NamedTuple

import numpy as np

from sktf._cells.offset import Offset
from sktf._cells.unfolding import is_large, side_sizes, to_cells


class Frame(NamedTuple):
    """How observations are seen by a factorization.

    ``groups`` and ``stored`` are those of ``unfolding``; ``sizes`` the mode sizes of the
    factorization; ``offset`` is taken off the values and its scale divided out, unless that
    is 0 because nothing is left: then the standardized values and all factors are 0. With a
    ``loss`` that has a link, components and offset add up to the linear predictor, values have two
    columns, y and what the offset adds, and the scale is 1.
    """

    shape: tuple
    groups: tuple
    stored: list
    sizes: tuple
    offset: Offset
    loss: Any = None

    def apply(self, observations):
        """Return observations with cells of the factorization and standardized values."""
        cells = to_cells(observations.coords, self.shape, self.groups, self.stored)
        values, scale = self._standardized(observations), self.offset.scale
        if not scale:
            values = np.zeros_like(values)
        elif scale != 1:
            values = np.divide(values, scale, out=None if values is observations.values else values)
        return observations._replace(coords=cells, values=values, shape=self.sizes)

    def _standardized(self, observations):
        if self.loss is None:
            return self.left(observations)
        return np.column_stack([observations.values, self.offset.at(observations.coords)])

    def mean(self, predicted):
        """Return the mean of a value where components and offset add up to what is predicted."""
        return predicted if self.loss is None else self.loss.mean(predicted)

    def left(self, observations):
        """Return the values less the offset: themselves where there is none.

        Of a loss with a link, the linear predictors near which the values lie.
        """
        level, terms, _ = self.offset
        if self.loss is not None:
            return self.loss.rough(observations.values) - self.offset.at(observations.coords)
        if not (level or terms):
            return observations.values
        return observations.values - (self.offset.at(observations.coords) if terms else level)

    def read(self, observations):
        """Return the observations whose indices all have rows."""
        cells = to_cells(observations.coords, self.shape, self.groups, self.stored)
        return observations.take((cells < self.sizes).all(axis=1))

    def with_terms(self, observations, scale, tol=None):
        """Return the frame with additive terms fitted to observations; a scale is kept."""
        if self.loss is not None:
            offset = observations.fit_link_offset("additive", self.loss, tol)
        elif isinstance(scale, float):
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

    def with_rows_for(self, mode, new, size):
        """Return the frame where new indices of a mode, grown to a size, have rows; in what order.

        That is for each row the number it had before, or, of a new one, the number that follows.
        """
        side = self.groups.index((mode,))
        seen, n_rows = self.stored[side], self.sizes[side]
        indices = np.arange(n_rows) if seen is None else seen
        kept = np.flatnonzero(~np.isin(indices, new))
        indices = np.concatenate([indices[kept], new])
        places, sequence = np.append(kept, n_rows + np.arange(len(new))), np.argsort(indices)
        shape, stored, sizes = [*self.shape], [*self.stored], [*self.sizes]
        shape[mode], sizes[side] = size, len(indices)
        stored[side] = None if len(indices) == size else indices[sequence]
        grown = self._replace(shape=tuple(shape), stored=stored, sizes=tuple(sizes))
        return grown, places[sequence]

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


def fit_frame(observations, groups, offset, scale, *, whole=False, loss=None):
    """Fit the frame to observations; ``offset`` and ``scale`` are the user's parameters.

    ``loss`` is one with a link, or None.

    ``whole`` gives a row to every index, not only to those that have cells.
    """
    sizes, stored = observations.find_sides(groups, whole)
    if loss is None:
        fitted = observations.fit_offset(offset, scale)
    else:
        fitted = observations.fit_link_offset(offset, loss)
    return Frame(observations.shape, groups, stored, sizes, fitted, loss)
