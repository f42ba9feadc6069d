"""CP: rank found by the defaults, its laws, components one after another."""

from functools import cache

import numpy as np
import pytest
from cases.experiments import (
    PAPERS,
    Experiment,
    blocks_of_norm,
    low_rank,
    relative_error,
    sample,
    sample_mask,
)

from sktf import CPCompletion
from sktf._descent.steps import GroupRMSprop
from sktf._models.cp import CPFactorization
from sktf._models.deep_cp import DeepCPFactorization
from sktf._models.deep_matrix import MatrixFactorization
from sktf._objective.factorization import pack
from sktf.dynamics import (
    balanced_layers,
    cp_growth,
    cp_growth_bounds,
    cp_invariants,
    escape_time,
    unbalancedness,
)
from sktf.metrics import als_tensor_rank, unfolding_effective_ranks

SEEDS = range(10)

# What fits with the defaults find.


@cache
def default_fits(shape, rank, n_observed, **options):
    """``rank_`` and relative error of ten fits."""
    ranks, errors = [], []
    for seed in SEEDS:
        tensor = low_rank(shape, rank, seed)
        X, y, _ = sample(tensor, n_observed, seed)
        model = CPCompletion(shape=shape, random_state=seed, **options).fit(X, y)
        ranks.append(model.rank_)
        errors.append(relative_error(model.to_dense(), tensor))
    return np.array(ranks), np.array(errors)


@pytest.mark.slow
def test_rank_one_is_found_among_64_components():
    """8 x 8 x 8, 200 cells seen: rank 1 and an error below 1 % in nine of ten draws."""
    ranks, errors = default_fits((8, 8, 8), 1, 200, n_components=64)
    assert (ranks == 1).sum() >= 9
    assert (errors < 1e-2).sum() >= 9


@pytest.mark.slow
@pytest.mark.parametrize("rank", [2, 3])
def test_low_rank_tensors_are_completed(rank):
    """10 x 10 x 10, half seen, no rank told: an error below 1 % in nine of ten draws."""
    _, errors = default_fits((10, 10, 10), rank, 500)
    assert (errors < 1e-2).sum() >= 9


@pytest.mark.slow
@pytest.mark.parametrize("rank", [2, 3])
def test_the_rank_is_found(rank):
    """10 x 10 x 10, half seen, no rank told: ``rank_`` is the true one in nine of ten draws."""
    ranks, _ = default_fits((10, 10, 10), rank, 500)
    assert (ranks == rank).sum() >= 9


# Laws.


def cp_experiment(order, first=1.0, seed=0):
    """5^N, six components of vectors of norm .3 c_r each, a rank-2 target of norm 3, 60 % seen.

    The vectors of the first mode are longer by the factor ``first``.
    """
    rng = np.random.default_rng(seed)
    shape = (5,) * order
    target = low_rank(shape, 2, seed, norm=3)
    mask = np.zeros(target.size, bool)
    mask[rng.permutation(target.size)[: round(0.6 * target.size)]] = True
    sizes = 0.3 * rng.uniform(0.5, 1.5, 6)
    factors = [rng.standard_normal((5, 6)) for _ in shape]
    factors = [sizes * factor / np.linalg.norm(factor, axis=0) for factor in factors]
    factors[0] = first * factors[0]
    return Experiment(CPFactorization(shape, 6), target, mask.reshape(shape)), pack(factors)


@pytest.mark.slow
@pytest.mark.parametrize("order", [3, 4])
def test_descent_conserves_differences_of_squared_norms(order):
    """Of the vectors of a component: drift below 1e-3 at time 20, proportional to the step."""
    experiment, theta = cp_experiment(order)
    drift = {
        rate: unbalancedness(experiment.drift(theta, rate, 20, cp_invariants))
        for rate in (1e-3, 5e-4)
    }
    assert drift[1e-3] < 1e-3
    assert 1.8 <= drift[1e-3] / drift[5e-4] <= 2.2


@pytest.mark.slow
@pytest.mark.parametrize("order", [3, 4])
def test_balanced_components_grow_by_their_law(order):
    """``ds/dt = N gamma s^(2 - 2/N)``: over one step, within .2 % of the largest rate.

    At 40 times up to 20, steps of .001.
    """
    experiment, theta = cp_experiment(order)
    assert experiment.law_errors(theta, 1e-3, 20, 40, cp_growth).max() < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize("order", [3, 4])
def test_unbalanced_components_grow_within_their_bounds(order):
    """With e the largest difference of squared norms at the start, about .06.

    The first vectors are longer by sqrt(1.3); at 41 times up to 20, both bounds to 1e-6.
    """
    experiment, theta = cp_experiment(order, first=np.sqrt(1.3))
    e = unbalancedness(cp_invariants(experiment.unpack(theta)))
    outside = []

    def observe(iteration, time, loss, theta):
        if iteration % 500 == 0:
            factors, gradient = experiment.unpack(theta), experiment.gradient(theta)
            lower, upper = cp_growth_bounds(factors, gradient, e)
            rates = cp_growth(factors, gradient).measured
            slack = 1e-6 * np.maximum(abs(lower), abs(upper))
            outside.append((rates < lower - slack) | (rates > upper + slack))

    experiment.descend(theta, experiment.steps(1e-3), 20_000, observe)
    assert len(outside) == 41
    assert not np.any(outside)


def escape(factorization, theta, rate):
    """Time to half the norm of a fully observed rank-1 target of norm 1, and theta then."""
    target = low_rank(factorization.shape, 1, 0, norm=1)
    experiment = Experiment(factorization, target, np.ones(target.shape, bool))

    def observe(iteration, time, loss, theta):
        return "callback" if np.linalg.norm(experiment.dense(theta)) >= 0.5 else None

    result = experiment.descend(theta, experiment.steps(rate), 400_000, observe)
    assert result.status == "callback"
    return result.time / experiment.half, experiment.factors(result.theta)


def component_escapes(order, depth, norms, rate, seed):
    """Escape times from balanced starts of these norms, and (other norms) / (leading one)."""
    factorization = DeepCPFactorization((4,) * order, 8, depth)
    times, others = [], []
    for alpha in norms:
        start = blocks_of_norm(alpha, factorization.blocks, np.random.default_rng(seed))
        time, factors = escape(factorization, pack(start), rate)
        sizes = np.prod([np.linalg.norm(factor, axis=0) for factor in factors], axis=0)
        times.append(time)
        others.append(sizes.sum() / sizes.max() - 1)
    return np.array(times), np.array(others)


def scaling_law(order, norms):
    """Ratios of escape times from sizes ``a^N`` to 1/2."""
    times = escape_time(np.array(norms) ** order, 0.5, order)
    return times[1:] / times[:-1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("order", "norms", "rate", "low", "high"),
    [(3, (0.04, 0.02, 0.01), 0.05, 1.9, 2.1), (4, (0.2, 0.1, 0.05), 0.1, 3.8, 4.2)],
)
def test_escape_times_of_components(order, norms, rate, low, high, seed):
    """Halving the start multiplies them by ``2^(N - 2)``, and leaves one component alone."""
    times, others = component_escapes(order, 0, norms, rate, seed)
    ratios = times[1:] / times[:-1]
    assert ((low <= ratios) & (ratios <= high)).all()
    assert (low <= scaling_law(order, norms)).all() and (scaling_law(order, norms) <= high).all()
    assert (others[1:] < others[:-1] / 2).all()


@pytest.mark.slow
def test_escape_time_of_deep_components():
    """Order 3 with one matrix each scales like order 6: ratio 15.5 to 16 (law: 16)."""
    times, _ = component_escapes(3, 1, (0.4, 0.2), 0.1, 0)
    assert 15.5 <= times[1] / times[0] <= 16.0


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "low", "high"), [(3, 1.9, 2.1), (4, 3.8, 4.2)])
def test_escape_times_of_matrices(depth, low, high):
    """A product of N matrices scales like a component of order N."""
    factorization = MatrixFactorization((4, 4), [4] * (depth - 1))
    times = []
    for alpha in {3: (0.04, 0.02, 0.01), 4: (0.2, 0.1, 0.05)}[depth]:
        layers = balanced_layers((4, 4), depth, alpha**depth, random_state=0)
        times.append(escape(factorization, pack(layers), {3: 0.05, 4: 0.1}[depth])[0])
    ratios = np.array(times[1:]) / times[:-1]
    assert ((low <= ratios) & (ratios <= high)).all()


# Low rank from small starts.


def settled(experiment, theta, step, tol):
    """Descend until the mean square was below tol at three looks in a row, 100 iterations apart."""
    below = []

    def observe(iteration, time, loss, theta):
        if iteration % 100 == 0:
            below.append(loss < tol)
        return "callback" if below[-3:] == [True] * 3 else None

    result = experiment.descend(theta, step, 100_000, observe)
    assert result.status == "callback"
    return result.theta


@cache
def rank_one(n_observed, std, seed):
    """The truth, 8 x 8 x 8 of norm 1, the completion of R = 64 from this std, and zero-filling."""
    tensor = low_rank((8, 8, 8), 1, seed, norm=1)
    mask = sample_mask(tensor, n_observed, seed)
    factorization = CPFactorization((8, 8, 8), 64)
    experiment = Experiment(factorization, tensor, mask)
    theta = factorization.start(np.random.RandomState(seed), "gaussian", std, 0.0)
    theta = settled(experiment, theta, GroupRMSprop(1e-2), 1e-6)
    return tensor, experiment.dense(theta), np.where(mask, tensor, 0)


@pytest.mark.slow
@pytest.mark.parametrize("n_observed", [200, 300, 450])
def test_a_small_start_completes_a_tensor_of_rank_one(n_observed):
    """Medians of five draws: error, largest effective rank of an unfolding, CP-ALS rank."""
    small = [rank_one(n_observed, 1e-3, seed) for seed in range(5)]
    large = [rank_one(n_observed, 1e-2, seed) for seed in range(5)]
    error = np.median([relative_error(found, truth) for truth, found, _ in small])
    assert error < 1e-3
    assert error < 0.1 * np.median([relative_error(found, truth) for truth, found, _ in large])
    assert error < 1e-2 * np.median([relative_error(filled, truth) for truth, _, filled in small])
    ranks = [max(unfolding_effective_ranks(found)) for _, found, _ in small]
    assert np.median(ranks) < 1.01
    options = {"mse_tol": 1e-6, "n_init": 1, "random_state": 0}
    assert np.median([als_tensor_rank(found, **options) for _, found, _ in small]) == 1
    assert als_tensor_rank(small[0][2], **options) >= 10


def orthonormal_tensor(seed, weights=(1.0, 0.7, 0.45)):
    """10^3, three components with orthonormal factors, entries of RMS 1; their norms."""
    rng = np.random.default_rng(seed)
    factors = [np.linalg.qr(rng.standard_normal((10, 3)))[0] for _ in range(3)]
    tensor = np.einsum("r,ir,jr,kr->ijk", np.array(weights), *factors)
    scale = np.sqrt(1000) / np.linalg.norm(tensor)
    return scale * tensor, scale * np.array(weights)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_components_appear_one_after_another(seed):
    """500 of 1,000 cells, R = 100, GroupRMSprop; the smaller the start, the lower the rank.

    Down to a mean square of 1e-5, from std .001 to 1e-6: at 1e-5 its error may be .55 %.

    From std .001: three components within 2 % of the true norms, an error below .5 %, each
    active later than the one before, the second not before twice the time of the first, so that
    0, 1, 2 and 3 are active in turn.
    From std .3: an error above 30 % and ten components or more. The error falls with std.
    """
    tensor, true_norms = orthonormal_tensor(seed)
    X, y, _ = sample(tensor, 500, seed)
    models, errors = {}, {}
    for std in (0.3, 0.1, 0.01, 0.001):
        models[std] = CPCompletion(
            100,
            init_scale=std,
            tol=1e-6 if std == 0.001 else 1e-5,
            max_iter=20_000,
            record_every=25,
            random_state=seed,
            **PAPERS,
        ).fit(X, y)
        errors[std] = relative_error(models[std].to_dense(), tensor)
    small, large = models[0.001], models[0.3]
    norms = small.component_norms_
    assert (norms > 0.01 * norms[0]).sum() == 3
    np.testing.assert_allclose(norms[:3], true_norms, rtol=0.02)
    assert errors[0.001] < 5e-3
    reached = -np.sort(-small.trace_["component_norms"], axis=1)[:, :3] >= true_norms / 2
    first, second, third = small.trace_["iteration"][reached.argmax(axis=0)]
    assert set(reached.sum(axis=1)) == {0, 1, 2, 3}
    assert first < second < third and second > 2 * first
    norms = large.component_norms_
    assert errors[0.3] > 0.3 and (norms > 0.01 * norms[0]).sum() >= 10
    assert errors[0.3] > errors[0.1] > errors[0.01]
