r"""Gibbs sampling of a CP model with additive terms: every row of every factor drawn in turn.

.. math:: y_e = \sum_r \prod_n F_n[i_n, r] + \sum_n b_n[i_n] + \varepsilon_e / \sqrt{w_e \alpha}

with standard normal :math:`\varepsilon_e`. The row :math:`(F_n[i], b_n[i])` is a normal draw of
mean :math:`\mu_n` and precision :math:`\Lambda_n`, which have a normal-Wishart distribution, as in
R. Salakhutdinov and A. Mnih, "Bayesian probabilistic matrix factorization using Markov chain Monte
Carlo", ICML 2008, and for tensors in L. Xiong et al., "Temporal collaborative filtering with
Bayesian probabilistic tensor factorization", SDM 2010; :math:`\alpha` has a gamma distribution.
"""

from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from sktf._objective.components import sum_of_products
from sktf._objective.devices import cells_by_row
from sktf._objective.row_draws import draw_rows
from sktf._objective.row_equations import others_of


class Prior(NamedTuple):
    """What is believed of rows and noise before any cell is seen, of values of variance 1.

    The mean of the rows counts as ``strength`` of them; their precision matrix of size d has
    ``d + freedom`` degrees of freedom and the identity as scale; the precision of the noise is a
    gamma draw of this ``shape`` and ``rate``.
    """

    strength: float = 1.0
    freedom: float = 0.0
    shape: float = 1e-3
    rate: float = 1e-3

    def of_rows(self, rows, rng):
        """Return a draw of the precision matrix of rows, and of their mean."""
        (n, d), mean = rows.shape, rows.mean(axis=0)
        left = rows - mean
        share = n * self.strength / (n + self.strength)
        spread = np.eye(d) + left.T @ left + share * np.outer(mean, mean)
        precision = wishart(spread, d + self.freedom + n, rng)
        root = np.linalg.cholesky((n + self.strength) * precision)
        step = solve_triangular(root, rng.standard_normal(d), lower=True, trans=1)
        return precision, n / (n + self.strength) * mean + step

    def of_noise(self, n_cells, squares, rng):
        """Return a draw of the precision of noise that left so many squares at so many cells."""
        return rng.gamma(self.shape + n_cells / 2, 1 / (self.rate + squares / 2))


# What chains believe.
VAGUE = Prior()


def wishart(spread, freedom, rng):
    """Return a Wishart draw whose scale is the inverse of ``spread`` (Bartlett 1933)."""
    d = len(spread)
    root = np.tril(rng.standard_normal((d, d)), -1)
    root[np.diag_indices(d)] = np.sqrt(rng.chisquare(freedom - np.arange(d)))
    half = solve_triangular(np.linalg.cholesky(spread), root, lower=True, trans=1)
    return half @ half.T


class State(NamedTuple):
    """Where a chain is: factors, additive terms, the precision of the noise and what draws.

    ``rows`` holds for each mode the mean and the covariance of its rows: what an index without
    cells may be. Empty before the first sweep.
    """

    factors: list
    terms: list
    precision: float
    rng: Any
    rows: list = []

    def at(self, coords):
        """Return the predictions of cells."""
        total = sum_of_products(self.factors, coords)
        for mode, term in enumerate(self.terms):
            total += term[coords[:, mode]]
        return total

    def with_rows(self, rows):
        """Return the state with more rows, some of each mode: factors and terms side by side."""
        pairs = zip(self.factors, self.terms, rows, strict=True)
        grown = [np.vstack([np.column_stack(pair), new]) for *pair, new in pairs]
        factors, terms = zip(*((rows[:, :-1], rows[:, -1]) for rows in grown), strict=True)
        return self._replace(factors=list(factors), terms=list(terms))

    def with_mean_row(self):
        """Return the state whose last row of each mode is the mean: that of no cells."""
        return self.with_rows([mean[None] for mean, _ in self.rows])

    def copy(self):
        """Return the state with a generator of its own."""
        return self._replace(rng=deepcopy(self.rng))


class Sampler:
    """Draws states given cells.

    Parameters
    ----------
    cells : Observations
        Cells whose values have mean 0 and variance 1. A weight is the precision of a value, in
        units of their mean.
    prior : Prior
        What is believed before.
    """

    def __init__(self, cells, prior=VAGUE):
        self.cells, self._prior = cells, prior
        self._modes = [cells_by_row(cells, mode) for mode in range(len(cells.shape))]

    def sweep(self, state):
        """Return the state after all that is unknown has been drawn once."""
        factors, terms, rng = list(state.factors), list(state.terms), state.rng
        beliefs = []
        for mode, cells in enumerate(self._modes):
            rows = np.column_stack([factors[mode], terms[mode]])
            precision, mean = self._prior.of_rows(rows, rng)
            noise, shift = rng.standard_normal(rows.shape), precision @ mean
            beliefs.append((mean, np.linalg.inv(precision)))

            def draw(grams, moments, noise, prior=(state.precision, precision, shift)):
                drawn = np.empty_like(noise)
                draw_rows(grams, moments, noise, *prior, drawn)
                return drawn

            others = others_of(factors, terms, mode)
            rows = cells.solve(others, draw, [noise])
            factors[mode], terms[mode] = rows[:, :-1], rows[:, -1]
        precision = self._prior.of_noise(*self._left(factors, terms), rng)
        return State(factors, terms, precision, rng, beliefs)

    def _left(self, factors, terms):
        predict = State(factors, terms, 0.0, None).at
        return len(self.cells.values), self.cells.squares_left(predict)

    def begin(self, factors, terms, rng):
        """Return the state in which a chain begins: its noise is what factors and terms leave."""
        state = State(factors, terms, 1.0, rng)
        return state._replace(precision=self._prior.of_noise(*self._left(factors, terms), rng))
