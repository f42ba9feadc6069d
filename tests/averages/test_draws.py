"""Mixtures of draws: moments and quantiles against SciPy, split-R-hat against its formula."""

import numpy as np
from numpy.testing import assert_allclose
from scipy.stats import norm

from sktf._averages.draws import Draws, Mixture
from sktf._averages.gibbs import State

MIXTURE = Mixture(np.array([[0.0, 1.0], [2.0, 5.0]]), np.array([1.0, 0.5]), np.array([0.25, 0.75]))


def test_moments_are_those_of_the_mixture():
    """By the law of total variance."""
    assert_allclose(MIXTURE.mean(), [1.5, 4.0])
    assert_allclose(MIXTURE.variance(of_values=False), [0.75, 3.0])
    assert_allclose(MIXTURE.variance(of_values=True), [0.75 + 0.4375, 3.0 + 0.4375])


def test_quantiles_invert_the_distribution():
    """Its distribution function, of SciPy's normal, at the quantile is the probability."""
    for probability in (0.01, 0.5, 0.95):
        at = MIXTURE.quantile(probability)
        below = 0.25 * norm.cdf(at, MIXTURE.means[0], 1.0) + 0.75 * norm.cdf(
            at, MIXTURE.means[1], 0.5
        )
        assert_allclose(below, probability, atol=1e-9)


def test_what_is_put_beside_takes_its_share():
    """The shares still add up to one."""
    mixture = MIXTURE.beside(np.array([10.0, 20.0]), 0.1, 0.8)
    assert_allclose(mixture.shares, [0.2, 0.6, 0.2])
    assert_allclose(mixture.mean(), 0.8 * MIXTURE.mean() + [2.0, 4.0])


def _draws(values):
    """Return draws that predict ``values`` (n_chains, n_draws) at cell (0, 0)."""
    chains = [
        [
            State([np.full((1, 1), v), np.ones((1, 1))], [np.zeros(1), np.zeros(1)], 4.0, None)
            for v in chain
        ]
        for chain in values
    ]
    return Draws.of(chains)


def test_disagreement_is_the_split_r_hat():
    """By the formula of the book, with loops."""
    values = np.random.RandomState(0).standard_normal((3, 10)) + 0.5 * np.arange(3)[:, None]
    halves = [half for chain in values for half in (chain[:5], chain[5:])]
    within = np.mean([np.var(half, ddof=1) for half in halves])
    between = np.var([np.mean(half) for half in halves], ddof=1)
    cell = np.zeros((1, 2), int)
    assert_allclose(_draws(values).disagreement(cell), np.sqrt(4 / 5 + between / within), rtol=1e-5)


def test_too_few_draws_do_not_tell():
    """A single chain, or halves of one draw."""
    cell = np.zeros((1, 2), int)
    assert np.isnan(_draws(np.ones((1, 10))).disagreement(cell)).all()
    assert np.isnan(_draws(np.ones((2, 3))).disagreement(cell)).all()


def test_draws_predict_what_states_did():
    """And know the deviation of the noise."""
    draws = _draws([[1.0, 2.0], [4.0, 5.0]])
    mixture = draws.at(np.zeros((1, 2), int))
    assert_allclose(mixture.means[:, 0], [1.0, 2.0, 4.0, 5.0])
    assert_allclose(mixture.deviations, 0.5)
    assert_allclose(mixture.mean(), 3.0)
