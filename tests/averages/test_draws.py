"""Mixtures of draws: moments and quantiles against SciPy, split-R-hat against its formula."""

import numpy as np
from numpy.testing import assert_allclose
from scipy.stats import norm

from sktf._averages.draws import Draw, Draws, Mixture
from sktf._averages.gibbs import State

MIXTURE = Mixture(
    np.array([[0.0, 1.0], [2.0, 5.0]]),
    np.zeros((2, 2)),
    np.array([1.0, 0.5]),
    np.array([0.25, 0.75]),
)


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
    rows = [(np.zeros(2), np.eye(2))] * 2
    chains = [
        [
            Draw.of(
                State([np.full((1, 1), v), np.ones((1, 1))], [np.zeros(1)] * 2, 4.0, None, rows)
            )
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


def test_indices_without_cells_have_the_moments_of_their_mode():
    """Mean and variance of cells with one such index, or two, against 200,000 sampled rows."""
    rng, n = np.random.RandomState(0), 200_000
    rows = []
    for _ in range(3):
        half = rng.standard_normal((3, 3))
        rows.append((rng.standard_normal(3), half @ half.T / 3 + 0.2 * np.eye(3)))
    factors = [rng.standard_normal((4, 2)) for _ in range(3)]
    terms = [rng.standard_normal(4) for _ in range(3)]
    draw = Draw.of(State(factors, terms, 1.0, None, rows))
    cells = np.array([[4, 1, 2], [4, 1, 4], [0, 1, 2]])
    sampled = [rng.multivariate_normal(*its, n).astype(np.float32) for its in rows]
    for cell, mean, variance in zip(cells, draw.state.at(cells), draw.variance(cells), strict=True):
        read = [
            its if index == 4 else np.append(factor[index], term[index])[None]
            for its, index, factor, term in zip(sampled, cell, factors, terms, strict=True)
        ]
        parts = [np.broadcast_to(row, (n, 3)) for row in read]
        values = np.prod([row[:, :2] for row in parts], axis=0).sum(1) + sum(r[:, 2] for r in parts)
        # Of n draws: five errors of the mean, and 5 % of the variance, whose tails are heavy.
        assert abs(values.mean() - mean) < 5 * values.std() / np.sqrt(n) + 1e-5
        assert_allclose(variance, values.var(), rtol=0.05, atol=1e-6)


def test_sampled_indices_have_rows_of_their_own():
    """Two without cells differ as rows of their mode do; those with cells are as they were."""
    rows = [(np.array([1.0, 2.0]), np.diag([0.5, 0.1])), (np.zeros(2), np.eye(2))]
    state = State(
        [np.ones((2, 1)), np.full((3, 1), 2.0)], [np.zeros(2), np.zeros(3)], 1.0, None, rows
    )
    draw, rng = Draw.of(state), np.random.RandomState(0)
    ids = np.array([[-1, -1], [0, -1], [1, -1]])
    found = np.array([draw.sampled(ids, rng).factors[0][:, 0] for _ in range(4000)])
    assert_allclose(found[:, :3], [[1.0, 1.0, 1.0]] * 4000)
    assert_allclose(found[:, 3:].mean(axis=0), 1.0, atol=5 * np.sqrt(0.5 / 4000))
    assert abs(np.corrcoef(found[:, 3], found[:, 4])[0, 1]) < 5 / np.sqrt(4000)
