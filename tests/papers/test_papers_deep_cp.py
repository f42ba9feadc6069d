"""Deep CP: its laws, and what depth does. The settings are ours: those of the paper are unknown."""

from functools import cache

import numpy as np
import pytest
from cases.experiments import Experiment, blocks_of_norm, low_rank, relative_error, sample_mask

from sktf._descent.steps import GroupRMSprop
from sktf._models.cp import CPFactorization
from sktf._models.deep_cp import DeepCPFactorization
from sktf._objective.factorization import pack
from sktf.dynamics import cp_growth, cp_invariants, unbalancedness, vector_part_growth
from sktf.metrics import unfolding_effective_ranks


def align(blocks, order):
    """Matrices ``x u_i u_{i-1}^T`` with random unit u_i, ``u_0 = w / |w|``, of the same norms."""
    rng, aligned = np.random.default_rng(1), list(blocks)
    for mode in range(order):
        matrices = blocks[order + mode]
        before = blocks[mode].T / np.linalg.norm(blocks[mode], axis=0)[:, None]
        rows = []
        for matrix in matrices:
            after = rng.standard_normal(before.shape)
            after /= np.linalg.norm(after, axis=1, keepdims=True)
            norms = np.linalg.norm(matrix, axis=(1, 2))[:, None, None]
            rows.append(norms * after[:, :, None] * before[:, None, :])
            before = after
        aligned[order + mode] = np.array(rows).reshape(matrices.shape)
    return aligned


def deep_cp_experiment(order, depth, norm=0.6, aligned=False):
    """4^N, three components, all blocks of this norm, a rank-2 target of norm 3, 70 % seen."""
    shape = (4,) * order
    target = low_rank(shape, 2, 0, norm=3)
    factorization = DeepCPFactorization(shape, 3, depth)
    mask = sample_mask(target, round(0.7 * target.size), 0)
    blocks = blocks_of_norm(norm, factorization.blocks, np.random.default_rng(0))
    if aligned:
        blocks = align(blocks, order)
    return Experiment(factorization, target, mask), pack(blocks)


# Of norm .6 all orders and depths; larger where these hardly leave the saddle.
SETTINGS = [(order, depth, 0.6) for order in (3, 4) for depth in (0, 1, 2)]
LARGER = [(3, 2, 0.9), (4, 1, 0.9)]
# Without matrices there is nothing to align.
MATRICES = [setting for setting in SETTINGS if setting[1] > 0]


@pytest.mark.slow
@pytest.mark.parametrize(("order", "depth", "norm"), [(3, 1, 0.6), *LARGER])
def test_descent_conserves_differences_of_squared_block_norms(order, depth, norm):
    """Of all blocks of a component: drift below 1e-3 at time 20, proportional to the step."""
    experiment, theta = deep_cp_experiment(order, depth, norm)

    def invariants(blocks):
        return cp_invariants(blocks[:order], blocks[order:])

    drift = {
        rate: unbalancedness(experiment.drift(theta, rate, 20, invariants)) for rate in (2e-3, 1e-3)
    }
    assert drift[1e-3] < 1e-3
    assert 1.8 <= drift[2e-3] / drift[1e-3] <= 2.2


@pytest.mark.slow
@pytest.mark.parametrize(("order", "depth", "norm"), SETTINGS + LARGER)
def test_vector_parts_grow_by_their_law(order, depth, norm):
    """``ds/dt = N delta s^(2 - 2/N + k)`` from Gaussian blocks: within .2 % at steps of .001.

    At 40 times up to 20. A component is never larger than ``s^(1 + k)``.
    """
    experiment, theta = deep_cp_experiment(order, depth, norm)
    excess = []

    def growth(blocks, gradient):
        vectors, matrices = blocks[:order], blocks[order:]
        part = vector_part_growth(vectors, gradient, matrices)
        size = cp_growth(vectors, gradient, matrices).value
        excess.append((size / part.value ** (1 + depth)).max())
        return part

    assert experiment.law_errors(theta, 1e-3, 20, 40, growth).max() < 2e-3
    assert max(excess) <= 1 + 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("order", "depth", "norm"), [*MATRICES, *LARGER, (4, 2, 1.0)])
def test_aligned_components_grow_like_those_of_higher_order(order, depth, norm):
    """``dS/dt = N (k + 1) gamma S^(2 - 2/(N (k + 1)))``: within .5 % at steps of .001.

    At (4, 1, .6) a probe falls on a plateau, where rates are so small that the curvature of one
    step is 1.2 % of them; the error halves with the step, so this one is taken at 2.5e-4. The
    derivative itself obeys the law to 1e-5 everywhere.
    """
    experiment, theta = deep_cp_experiment(order, depth, norm, aligned=True)
    rate, errors = 2.5e-4 if (order, depth, norm) == (4, 1, 0.6) else 1e-3, []

    def growth(blocks, gradient):
        rates = cp_growth(blocks[:order], gradient, blocks[order:])
        errors.append(rates.error)
        return rates

    assert experiment.law_errors(theta, rate, 20, 40, growth).max() < 5e-3
    assert max(errors) < 1e-5


@pytest.mark.slow
def test_components_that_are_not_aligned_do_not():
    """The same law errs by more than half from Gaussian matrices: so it can fail."""
    experiment, theta = deep_cp_experiment(3, 1)

    def growth(blocks, gradient):
        return cp_growth(blocks[:3], gradient, blocks[3:])

    assert experiment.law_errors(theta, 1e-3, 20, 40, growth).max() > 0.5


@pytest.mark.parametrize("order", [3, 4])
def test_depth_zero_descends_like_cp(order):
    """Over 1,000 steps, to 1e-12."""
    experiment, theta = deep_cp_experiment(order, 0)
    plain = Experiment(CPFactorization((4,) * order, 3), experiment.target, experiment.mask)
    ends = [e.descend(theta, e.steps(1e-2), 1000).theta for e in (experiment, plain)]
    np.testing.assert_allclose(*ends, rtol=0, atol=1e-12)


@cache
def completion(depth, seed):
    """Iterations, components above 1 %, mean effective rank of unfoldings, error over all cells.

    8 x 8 x 8 of rank 1, entries of RMS 1, 200 seen, 24 components; the product of the vectors of
    a component starts near .3 at every depth.
    """
    target = low_rank((8, 8, 8), 1, seed, norm=np.sqrt(512))
    factorization = DeepCPFactorization((8, 8, 8), 24, depth)
    experiment = Experiment(factorization, target, sample_mask(target, 200, seed))
    std = 0.3 ** (1 / 3) / np.sqrt(8)
    theta = factorization.start(np.random.RandomState(seed), "gaussian", std, 0.0)
    result = experiment.descend(theta, GroupRMSprop(1e-2), 8000, until=1e-5 * experiment.half)
    found = experiment.dense(result.theta)
    norms = np.prod([np.linalg.norm(f, axis=0) for f in experiment.factors(result.theta)], axis=0)
    components = (norms > 0.01 * norms.max()).sum()
    mean_rank = np.mean(unfolding_effective_ranks(found))
    return result.n_iter, components, mean_rank, relative_error(found, target)


@pytest.mark.slow
def test_depth_lowers_rank_and_error():
    """Six draws, depths 0, 1, 2: medians of rank and error fall, at depth 2 all draws have rank 1.

    Depth 2 also needs fewer iterations.
    """
    results = np.array([[completion(depth, seed) for seed in range(6)] for depth in range(3)])
    medians = np.median(results, axis=1)
    n_iter, components, ranks, errors = medians.T
    assert components[0] >= 5 and (results[2, :, 1] == 1).all()
    assert ranks[0] > 1.3 and ranks[1] < 1.1 and ranks[2] < 1.01
    assert errors[1] < 0.3 * errors[0]
    assert (results[2, :, 3] < 0.02).all()
    assert errors[2] < errors[1] < errors[0] and ranks[2] < ranks[1] < ranks[0]
    assert n_iter[2] < n_iter[0]
