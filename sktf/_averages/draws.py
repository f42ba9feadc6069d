"""The draws that chains keep: what they predict, how far apart they are, and whether they agree."""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from sktf._averages.gibbs import State

# Numbers held at once: predictions of a piece of cells by all draws.
_PIECE = 2**22
# Halvings of the interval that a quantile lies in: to 1e-12 of its width.
_HALVINGS = 40
# Deviations about the farthest means within which all quantiles lie.
_FAR = 40.0


class Mixture(NamedTuple):
    """Normal distributions of each cell, side by side, and the probability of each.

    ``means`` (n_parts, n_cells); ``deviations`` and ``shares`` (n_parts,).
    """

    means: np.ndarray
    deviations: np.ndarray
    shares: np.ndarray

    def mean(self):
        """Return the mean of each cell."""
        return self.shares @ self.means

    def variance(self, *, of_values):
        """Return the variance of a new value of each cell, or of the means alone."""
        spread = self.shares @ (self.means - self.mean()) ** 2
        return spread + self.shares @ self.deviations**2 if of_values else spread

    def quantile(self, probability):
        """Return the quantile of a new value of each cell, by bisection."""
        far = _FAR * self.deviations.max()
        low, high = self.means.min(axis=0) - far, self.means.max(axis=0) + far
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            below = self.shares @ ndtr((middle - self.means) / self.deviations[:, None])
            low, high = np.where(below < probability, [middle, high], [low, middle])
        return (low + high) / 2

    def beside(self, mean, deviation, share):
        """Return the mixture in which another normal distribution takes all but a share."""
        return Mixture(
            np.vstack([self.means, mean]),
            np.append(self.deviations, deviation),
            np.append(share * self.shares, 1 - share),
        )


class Draws(NamedTuple):
    """Draws of several chains, in single precision, of values of mean 0 and variance 1.

    ``factors`` and ``terms`` hold one array a mode, whose first axis is the draw; ``deviations``
    (n_draws,) are those of the noise, ``chains`` the number of the chain of each draw.
    """

    factors: list
    terms: list
    deviations: np.ndarray
    chains: np.ndarray

    @classmethod
    def of(cls, chains):
        """Return the draws of chains, a list of states each."""
        states = [state for chain in chains for state in chain]
        factors = [np.stack(each) for each in zip(*(s.factors for s in states), strict=True)]
        terms = [np.stack(each) for each in zip(*(s.terms for s in states), strict=True)]
        deviations = np.array([s.precision for s in states]) ** -0.5
        return cls(
            factors, terms, deviations, np.repeat(np.arange(len(chains)), [*map(len, chains)])
        )

    def at(self, cells):
        """Return the mixture of the draws at cells."""
        means = np.stack([self.state(number)[0].at(cells) for number in range(len(self.chains))])
        return Mixture(means, self.deviations, np.full(len(means), 1 / len(means)))

    def pieces(self, n_cells):
        """Return slices of cells of which all draws are predicted at once."""
        size = max(1, _PIECE // len(self.chains))
        return [slice(start, start + size) for start in range(0, max(n_cells, 1), size)]

    def state(self, number):
        """Return the state of a draw, and the deviation of the noise."""
        factors, terms = ([part[number] for part in parts] for parts in self[:2])
        deviation = self.deviations[number]
        return State(factors, terms, deviation**-2, None), deviation

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
