"""Gibbs sweeps draw from the posterior: checked by draws from the prior, and closed forms."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import chi2

from sktf._averages.gibbs import Prior, Sampler, State, wishart
from sktf._cells.threads import one_blas_thread
from sktf._cells.validation import Observations
from sktf._objective import row_equations as module

# Rows of three columns that hardly go astray, noise of about a third of them.
TIGHT = Prior(strength=5.0, freedom=15.0, shape=20.0, rate=2.0)


def test_wishart_has_its_mean():
    """Degrees of freedom times the inverse of the spread; entries of n draws within 5 errors."""
    rng, n, freedom = np.random.RandomState(0), 20_000, 6.5
    spread = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.3], [0.0, 0.3, 4.0]])
    draws = np.array([wishart(spread, freedom, rng) for _ in range(n)])
    scale = np.linalg.inv(spread)
    variance = freedom * (scale**2 + np.outer(np.diag(scale), np.diag(scale)))
    assert (np.abs(draws.mean(axis=0) - freedom * scale) < 5 * np.sqrt(variance / n)).all()


def test_of_many_rows_the_prior_draws_their_mean_and_covariance():
    """Of 20,000 rows what is believed before hardly counts: 5 % of the entries."""
    rng = np.random.RandomState(0)
    covariance = np.array([[1.0, 0.6], [0.6, 2.0]])
    rows = rng.multivariate_normal([1.0, -2.0], covariance, 20_000)
    precision, mean = Prior().of_rows(rows, rng)
    assert_allclose(np.linalg.inv(precision), covariance, rtol=0.05)
    assert_allclose(mean, [1.0, -2.0], atol=0.05)


def test_noise_is_drawn_about_what_is_left():
    """Of 10^5 cells to 2 %, five standard errors (sqrt(2 / n))."""
    precision = Prior().of_noise(100_000, 25_000.0, np.random.RandomState(0))
    assert_allclose(precision, 4.0, rtol=0.02)


def _from_prior(prior, shape, n_components, rng):
    """Return a state drawn from the prior."""
    factors, terms = [], []
    d = n_components + 1
    for size in shape:
        precision = wishart(np.eye(d), d + prior.freedom, rng)
        covariance = np.linalg.inv(precision)
        mean = rng.multivariate_normal(np.zeros(d), covariance / prior.strength)
        rows = rng.multivariate_normal(mean, covariance, size)
        factors.append(rows[:, :-1])
        terms.append(rows[:, -1])
    return State(factors, terms, rng.gamma(prior.shape, 1 / prior.rate), rng)


def _rank(seed, shape, weighted):
    """Return the rank of the truth at a cell that is not seen among draws given other cells."""
    rng = np.random.RandomState(seed)
    truth = _from_prior(TIGHT, shape, 2, rng)
    coords = np.column_stack([rng.randint(size, size=30) for size in shape]).astype(np.int32)
    coords[:, 0] = np.minimum(coords[:, 0], shape[0] - 2)  # the last index has no cells
    weights = rng.choice([0.5, 1.5], size=30) if weighted else np.ones(30)
    weights = weights / weights.mean()
    noise = rng.standard_normal(30) / np.sqrt(weights * truth.precision)
    cells = Observations(coords, truth.at(coords) + noise, weights, shape)
    sampler, state = Sampler(cells, TIGHT), _from_prior(TIGHT, shape, 2, rng)
    asked = np.array([[0] * len(shape), [shape[0] - 1] + [0] * (len(shape) - 1)], np.int32)
    below = np.zeros(3)
    for sweep in range(20 + 19 * 8):
        state = sampler.sweep(state)
        if sweep >= 20 and sweep % 8 == 0:
            below[:2] += state.at(asked) < truth.at(asked)
            below[2] += state.precision < truth.precision
    return below


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "weighted"), [((5, 4, 3), False), ((6, 5), True)])
def test_truths_are_spread_evenly_among_draws(shape, weighted):
    """Simulation-based calibration (Talts et al. 2018): 200 truths drawn from the prior.

    Ranks among 19 draws are uniform: of a cell whose rows have cells, of one with a row that has
    none, and of the precision of the noise; chi-square of ten bins, p > .01 each.
    """
    with one_blas_thread():
        ranks = np.array([_rank(seed, shape, weighted) for seed in range(200)])
    for column in ranks.T:
        counts = np.bincount((column // 2).astype(int), minlength=10)
        assert chi2.sf(((counts - 20.0) ** 2 / 20).sum(), 9) > 0.01


def test_bits_do_not_depend_on_threads(monkeypatch):
    """Rows are cut into blocks by the size of the problem, their noise is drawn before."""
    rng = np.random.RandomState(0)
    monkeypatch.setattr(module, "_BLOCK", 2**9)
    coords = np.column_stack([rng.randint(60, size=2000), rng.randint(50, size=2000)])
    cells = Observations(
        coords.astype(np.int32), rng.standard_normal(2000), np.ones(2000), (61, 51)
    )
    found = []
    for n_threads in (1, 2, 3):
        monkeypatch.setattr(module.numba_config, "NUMBA_NUM_THREADS", n_threads)
        sampler, rng = Sampler(cells), np.random.RandomState(1)
        state = State(
            [rng.standard_normal((n, 3)) for n in (61, 51)], [np.zeros(61), np.zeros(51)], 1.0, rng
        )
        for _ in range(3):
            state = sampler.sweep(state)
        found.append(
            np.concatenate([*state.factors, *(t[:, None] for t in state.terms)], axis=None)
        )
    assert (found[0] == found[1]).all() and (found[0] == found[2]).all()
