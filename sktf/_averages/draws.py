"""The draws that chains keep: what they predict, how far apart they are, and whether they agree."""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from sktf._averages.gibbs import State

# Numbers held at once: predictions of a piece of cells by all draws.
_PIECE = 2**22
# Cells without rows of their own whose second moments are held at once.
_AT_ONCE = 2**10
# Halvings of the interval that a quantile lies in: to 1e-12 of its width.
_HALVINGS = 40
# Deviations about the farthest means within which all quantiles lie.
_FAR = 40.0


class Mixture(NamedTuple):
    """Normal distributions of each cell, side by side, and the probability of each.

    ``means`` and ``variances`` (n_parts, n_cells) are those of the values without noise, given the
    part; ``deviations`` (n_parts,) those of the noise, ``shares`` (n_parts,) the probabilities.
    """

    means: np.ndarray
    variances: np.ndarray
    deviations: np.ndarray
    shares: np.ndarray

    def mean(self):
        """Return the mean of each cell."""
        return self.shares @ self.means

    def variance(self, *, of_values):
        """Return the variance of a new value of each cell, or of its mean without noise."""
        spread = self.shares @ ((self.means - self.mean()) ** 2 + self.variances)
        return spread + self.shares @ self.deviations**2 if of_values else spread

    def quantile(self, probability):
        """Return the quantile of a new value of each cell, by bisection."""
        deviations = np.sqrt(self.variances + self.deviations[:, None] ** 2)
        deviations = np.maximum(deviations, 1e-300)
        far = _FAR * deviations.max(axis=0)
        low, high = self.means.min(axis=0) - far, self.means.max(axis=0) + far
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            below = self.shares @ ndtr((middle - self.means) / deviations)
            low, high = np.where(below < probability, [middle, high], [low, middle])
        return (low + high) / 2

    def beside(self, mean, deviation, share):
        """Return the mixture in which another normal distribution takes all but a share."""
        return Mixture(
            np.vstack([self.means, mean]),
            np.vstack([self.variances, np.zeros_like(mean)]),
            np.append(self.deviations, deviation),
            np.append(share * self.shares, 1 - share),
        )


class Draw(NamedTuple):
    """A draw in single precision; the last row of each mode is the mean of its rows.

    ``covariances`` are those of the rows.
    """

    state: State
    covariances: list

    @classmethod
    def of(cls, state):
        """Return what predicts of a state, in half of the memory."""
        last = state.with_mean_row()
        factors, terms = ([a.astype(np.float32) for a in part] for part in last[:2])
        covariances = [covariance.astype(np.float32) for _, covariance in state.rows]
        return cls(State(factors, terms, state.precision, None), covariances)

    @property
    def deviation(self):
        """Deviation of the noise."""
        return float(self.state.precision**-0.5)

    def variance(self, cells):
        """Return the variance of cells that comes of indices without cells of their own.

        These have independent rows of the mean and covariance of their mode, so that the second
        moment of a product is the product of second moments.
        """
        found = np.zeros(len(cells))
        unseen = cells == [len(factor) - 1 for factor in self.state.factors]
        some = np.flatnonzero(unseen.any(axis=1))
        for start in range(0, len(some), _AT_ONCE):
            at = some[start : start + _AT_ONCE]
            found[at] = self._variance(cells[at], unseen[at])
        return found

    def _variance(self, cells, unseen):
        moments, product, cross = 1.0, 1.0, 0.0
        rows = [factor[column] for factor, column in zip(self.state.factors, cells.T, strict=True)]
        for mode, (row, covariance) in enumerate(zip(rows, self.covariances, strict=True)):
            open_ = unseen[:, mode, None, None]
            moments = moments * (row[:, :, None] * row[:, None] + open_ * covariance[:-1, :-1])
            product = product * row
            others = [r for n, r in enumerate(rows) if n != mode] or [np.ones_like(row)]
            others = np.prod(others, axis=0)
            own = covariance[-1, -1] + 2 * others @ covariance[:-1, -1]
            cross = cross + unseen[:, mode] * own
        return np.maximum(moments.sum(axis=(1, 2)) - product.sum(axis=1) ** 2 + cross, 0.0)

    def sampled(self, ids, rng):
        """Return a state that has rows of their own for indices without cells, and their rows.

        ``ids`` (n_cells, n_modes) is -1 where an index has cells, else the number of the index.
        """
        counts = ids.max(axis=0, initial=-1) + 1
        new = []
        for mode, count in enumerate(counts):
            mean = np.append(self.state.factors[mode][-1], self.state.terms[mode][-1])
            root = np.linalg.cholesky(self.covariances[mode].astype(np.float64))
            new.append(mean + rng.standard_normal((count, len(mean))) @ root.T)
        return self.state.with_rows(new)


class Draws(NamedTuple):
    """Draws of several chains, of values of mean 0 and variance 1; ``chains`` are their numbers."""

    draws: list
    chains: np.ndarray

    @classmethod
    def of(cls, chains):
        """Return the draws of chains, a list each."""
        numbers = np.repeat(np.arange(len(chains)), [*map(len, chains)])
        return cls([draw for chain in chains for draw in chain], numbers)

    @property
    def deviations(self):
        """Deviations of the noise."""
        return np.array([draw.deviation for draw in self.draws])

    def at(self, cells):
        """Return the mixture of the draws at cells."""
        means = np.stack([draw.state.at(cells) for draw in self.draws])
        variances = np.stack([draw.variance(cells) for draw in self.draws])
        return Mixture(means, variances, self.deviations, np.full(len(means), 1 / len(means)))

    def pieces(self, n_cells):
        """Return slices of cells of which all draws are predicted at once."""
        size = max(1, _PIECE // len(self.chains))
        return [slice(start, start + size) for start in range(0, max(n_cells, 1), size)]

    def disagreement(self, cells):
        """Return the split-R-hat of the prediction of each cell.

        The standard deviation of all draws over that within halves of chains (A. Gelman et al.,
        "Bayesian Data Analysis", 3rd edition 2013, section 11.4): near 1 where chains have found
        the same, and are long enough.
        """
        means = self.at(cells).means
        n = np.bincount(self.chains).min() // 2
        if n < 2 or self.chains[-1] < 1:
            return np.full(len(cells), np.nan)
        halves = [means[self.chains == chain][: 2 * n] for chain in range(self.chains[-1] + 1)]
        halves = np.concatenate([draws.reshape(2, n, -1) for draws in halves])
        within = halves.var(axis=1, ddof=1).mean(axis=0)
        between = halves.mean(axis=1).var(axis=0, ddof=1)
        return np.sqrt((n - 1) / n + between / np.maximum(within, 1e-300))
