"""Cells as a chain reads them, and where its factors begin."""

from typing import NamedTuple

import numpy as np

from sktf._averages.gibbs import Sampler
from sktf._cells.frame import Frame, fit_frame
from sktf._cells.unfolding import to_cells
from sktf._objective.components import component_norms

# Standard deviation of the entries of factors that begin small, on values of variance 1.
_SMALL = 0.1
# What is so many deviations off is as wrong as any, and its square fits into single precision.
_FAR = 1e15
# A descent whose balanced factors have entries as large has gone astray: chains begin small.
_ASTRAY = 1e4


class Space(NamedTuple):
    """From a user's cells and units to those of a chain: rows of factors, mean 0, variance 1."""

    frame: Frame

    @classmethod
    def of(cls, observations):
        """Return the space in which observations have mean 0 and variance 1.

        Where all are equal, what they are is the unit in which another may differ.
        """
        groups = tuple((mode,) for mode in range(len(observations.shape)))
        frame = fit_frame(observations, groups, None, False)
        offset = observations.fit_offset("mean", True)
        unit = offset.scale or abs(offset.level) or 1.0
        return cls(frame._replace(offset=offset._replace(scale=unit)))

    def rows(self, coords, known=True):
        """Return the rows that cells read; that after the last one where there is none."""
        frame = self.frame
        return to_cells(coords, frame.shape, frame.groups, frame.stored, known)

    def sampler(self, observations):
        """Return what draws states given observations."""
        return Sampler(observations.seen_by(self.frame))

    def values(self, predicted):
        """Return values in the units of y."""
        return self.frame.offset.level + self.frame.offset.scale * predicted

    def standardized(self, values):
        """Return values in the units of a chain."""
        return _in_units(values - self.frame.offset.level, self.frame.offset.scale)

    def begin(self, kind, model, n_components, rng):
        """Return factors and terms to begin with: "descent", those of a model, or "small" ones."""
        small = self._small(n_components, rng)
        return self._of_model(model, *small) if kind == "descent" else small

    def _small(self, n_components, rng):
        factors = [_SMALL * rng.standard_normal((size, n_components)) for size in self.frame.sizes]
        return factors, [np.zeros(size) for size in self.frame.sizes]

    def _of_model(self, model, factors, terms):
        """Write the largest components of a model, and its offset, over factors and terms."""
        (level, _, unit), order = self.frame.offset, len(self.frame.sizes)
        alive = np.flatnonzero(model.component_norms_)[: factors[0].shape[1]]
        found = [self._stored(factor[:, alive], n) for n, factor in enumerate(model.factors_)]
        found = [_in_units(its, unit ** (1 / order)) for its in _balanced(found)]
        if max(np.abs(its).max(initial=0) for its in found) > _ASTRAY:
            return factors, terms
        for factor, its in zip(factors, found, strict=True):
            factor[:, : len(alive)] = its
        for mode, term in enumerate(model.offset_terms_):
            terms[mode] = _in_units(self._stored(term, mode), unit)
        terms[0] = terms[0] + _in_units(model.offset_ - level, unit)
        return factors, terms

    def _stored(self, rows, mode):
        """Return the rows of the indices that have cells."""
        seen = self.frame.stored[mode]
        return rows if seen is None else rows[seen]


def _in_units(values, unit):
    with np.errstate(over="ignore"):
        return np.clip(values / unit, -_FAR, _FAR)


def _balanced(factors):
    """Return factors whose columns have one RMS in all modes, as the prior expects of them."""
    sizes = [component_norms([factor]) / np.sqrt(len(factor)) for factor in factors]
    sizes = np.maximum(sizes, 1e-300)
    mean = np.exp(np.log(sizes).mean(axis=0))
    return [factor * (mean / size) for factor, size in zip(factors, sizes, strict=True)]
