"""Deep matrix factorization: its laws, the entry that diverges, what depth and init do."""

from functools import cache
from math import inf

import numpy as np
import pytest
from cases.experiments import (
    PAPERS,
    Experiment,
    adam,
    effective_rank,
    low_rank,
    relative_error,
    sample,
    sample_mask,
)

from sktf import DeepMatrixCompletion, NuclearNormCompletion
from sktf._descent.steps import Constant, GroupRMSprop
from sktf._models.deep_matrix import MatrixFactorization
from sktf._objective.factorization import pack
from sktf.dynamics import (
    balanced_layers,
    matrix_growth,
    matrix_invariants,
    singular_value_growth,
    unbalancedness,
    unobserved_entry_bound,
)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_depth_three_completes_where_depth_two_does_not(seed):
    """100 x 100 of rank 5, 2,000 cells seen: 20 times less error, and the true effective rank.

    Descent alone, nothing pruned. Test error over the cells not seen; effective rank within 3 %.
    """
    matrix = low_rank((100, 100), 5, seed, norm=100)
    X, y, unseen = sample(matrix, 2000, seed)
    errors, ranks = {}, {}
    for depth in (2, 3):
        model = DeepMatrixCompletion(depth, shape=(100, 100), prune=False, random_state=seed)
        model.fit(X, y)
        away = (model.to_dense() - matrix).ravel()[unseen]
        errors[depth], ranks[depth] = np.sqrt(np.mean(away**2)), model.effective_rank_
    assert errors[3] <= 0.05 * errors[2]
    truth = effective_rank(matrix)
    assert abs(ranks[3] - truth) <= 0.03 * truth < abs(ranks[2] - truth)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 3])
def test_pruning_makes_up_for_depth(depth):
    """The same matrix by the defaults: rank 5 at either depth, and an error below a hundredth."""
    matrix = low_rank((100, 100), 5, 0, norm=100)
    X, y, unseen = sample(matrix, 2000, 0)
    model = DeepMatrixCompletion(depth, shape=(100, 100), random_state=0).fit(X, y)
    away = (model.to_dense() - matrix).ravel()[unseen]
    assert model.rank_ == 5 and np.sqrt(np.mean(away**2)) < 0.01


# Laws.


def matrix_experiment(depth, init, seed=0):
    """6 x 6 of rank 2, 60 % seen; a balanced start of scale .05, or one of no structure."""
    rng = np.random.default_rng(seed)
    target = rng.standard_normal((6, 2)) @ rng.standard_normal((2, 6))
    mask = np.zeros(36, bool)
    mask[rng.permutation(36)[:22]] = True
    factorization = MatrixFactorization((6, 6), [6] * (depth - 1))
    if init == "balanced":
        theta = pack(balanced_layers((6, 6), depth, 0.05, random_state=seed))
    else:
        theta = 0.3 * rng.standard_normal(factorization.n_parameters)
    return Experiment(factorization, target, mask.reshape(6, 6)), theta


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "init"), [(2, "balanced"), (3, "balanced"), (4, "balanced"), (3, "random")]
)
def test_descent_conserves_the_imbalance_of_layers(depth, init):
    """To time 30 the drift is below 1e-3 at step .0005, and proportional to the step."""
    experiment, theta = matrix_experiment(depth, init)
    drift = {
        rate: unbalancedness(experiment.drift(theta, rate, 30, matrix_invariants))
        for rate in (1e-3, 5e-4)
    }
    assert drift[5e-4] < 1e-3
    assert 1.8 <= drift[1e-3] / drift[5e-4] <= 2.2


def law_error(depth, init, rate):
    """Largest error of the law of singular values at 20 times up to 30."""
    experiment, theta = matrix_experiment(depth, init)
    return experiment.law_errors(theta, rate, 30, 20, singular_value_growth).max()


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_singular_values_of_a_balanced_product_follow_their_law(depth):
    """``ds_r/dt = -N s_r^(2 - 2/N) <G, u_r v_r^T>``: within .5 % of the largest at steps of .001.

    The error is that of the step: it halves with it, within 15 %.
    """
    error = law_error(depth, "balanced", 1e-3)
    assert error < 5e-3
    assert 1.7 < error / law_error(depth, "balanced", 5e-4) < 2.3


@pytest.mark.slow
def test_singular_values_of_an_unbalanced_product_do_not():
    """The law errs by more than 10 % from a start that isn't balanced: so it can fail."""
    assert law_error(4, "random", 1e-3) > 0.1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_one_step_moves_a_balanced_product_by_its_law(depth, seed):
    """5 x 5, fully observed, scale .5: within .1 % of the end-to-end law for a step of 1e-4."""
    target = np.random.default_rng(seed).standard_normal((5, 5))
    layers = balanced_layers((5, 5), depth, 0.5, random_state=seed)
    factorization = MatrixFactorization((5, 5), [5] * (depth - 1))
    experiment = Experiment(factorization, target, np.ones((5, 5), bool))
    theta = pack(layers)
    law = matrix_growth(layers, experiment.gradient(theta)).predicted
    after = experiment.descend(theta, experiment.steps(1e-4), 1).theta
    moved = (experiment.dense(after) - experiment.dense(theta)) / 1e-4
    assert relative_error(moved, law) < 1e-3


@pytest.mark.parametrize(
    ("optimizer", "low", "high"),
    [("grouprmsprop", 0.0, 1e-3), ("constant", 0.0, 2e-2), ("adam", 0.1, inf)],
)
def test_one_step_size_for_all_keeps_balance_and_adam_breaks_it(optimizer, low, high):
    """Relative drift of a balanced start, depth 3, down to half a sum of squares of .001."""
    experiment, theta = matrix_experiment(3, "balanced")
    if optimizer == "adam":
        theta = adam(experiment, theta, 1e-3, 100_000, until=1e-3)
    else:
        steps = {"grouprmsprop": GroupRMSprop(1e-3), "constant": experiment.steps(1e-2)}
        theta = experiment.descend(theta, steps[optimizer], 100_000, until=1e-3).theta
    assert experiment.objective(theta)[0] * experiment.half < 1e-3
    layers = experiment.unpack(theta)
    size = max(np.linalg.norm(layer.T @ layer) for layer in layers)
    assert low <= unbalancedness(matrix_invariants(layers)) / size < high


# The entry that no norm bounds (Razin and Cohen, 2020).


def corner(size, depth, scale, det_sign, seed, values=(1.0, 1.0, 0.0)):
    """Only (1, 1) unobserved; ``values`` at (1, 2), (2, 1), (2, 2), beyond them the identity."""
    target = np.eye(size)
    target[0, 1], target[1, 0], target[1, 1] = values
    mask = np.ones((size, size), bool)
    mask[0, 0] = False
    experiment = Experiment(MatrixFactorization((size, size), [size] * (depth - 1)), target, mask)
    layers = balanced_layers((size, size), depth, scale, det_sign=det_sign, random_state=seed)
    return experiment, pack(layers)


def descend_watched(experiment, theta, step, until):
    """The matrix at the end, and losses, determinants, |W_11| every 50 iterations."""
    probes = []

    def observe(iteration, time, loss, theta):
        if iteration % 50 == 0:
            matrix = experiment.dense(theta)
            probes.append((experiment.half * loss, np.linalg.det(matrix), abs(matrix[0, 0])))

    result = experiment.descend(theta, step, 400_000, observe, until)
    assert result.status == "converged"
    observe(0, 0.0, result.loss, result.theta)
    return experiment.dense(result.theta), np.array(probes).T


def check_divergence(matrix, probes, low):
    losses, determinants, entries = probes
    assert (determinants > 0).all()
    assert (entries >= unobserved_entry_bound(losses))[losses < 0.5].all()
    radius = np.sqrt(2 * losses[-1])
    assert low <= entries[-1] * radius <= 1.03
    assert np.linalg.svd(matrix, compute_uv=False)[1] <= 2 * radius


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("depth", "scale"), [(3, 1e-5), (4, 1e-3)])
def test_the_unobserved_entry_grows_as_the_loss_falls(depth, scale, seed):
    """2 x 2, det > 0: ``|W_11| sqrt(2 l)`` in [.95, 1.03] at loss .01, never below the bound."""
    experiment, theta = corner(2, depth, scale, 1, seed)
    check_divergence(*descend_watched(experiment, theta, experiment.steps(6e-3), 1e-2), low=0.95)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [3, 4])
def test_the_unobserved_entry_goes_on_growing(depth):
    """At loss .001 within [.98, 1.03]; at depth 3 the effective rank is then below 1.001."""
    experiment, theta = corner(2, depth, {3: 1e-5, 4: 1e-3}[depth], 1, 0)
    matrix, probes = descend_watched(experiment, theta, GroupRMSprop(1e-3), 1e-3)
    check_divergence(matrix, probes, low=0.98)
    assert depth == 4 or effective_rank(matrix) < 1.001


@pytest.mark.parametrize("seed", range(5))
def test_the_unobserved_entry_stays_small_from_the_other_sign(seed):
    """det < 0, depth 2: below 2 at loss 1e-6."""
    experiment, theta = corner(2, 2, 1e-5, -1, seed)
    matrix, _ = descend_watched(experiment, theta, experiment.steps(6e-3), 1e-6)
    assert abs(matrix[0, 0]) < 2


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [0.5, 0.1])
def test_a_perturbed_entry_bounds_the_unobserved_one(epsilon):
    """(-2, .5, e) observed, det < 0: |W_11| in [.97, 1.02] / e at loss 1e-6, above its bound."""
    values = (-2.0, 0.5, epsilon)
    experiment, theta = corner(2, 3, 1e-5, -1, 0, values)
    _, probes = descend_watched(experiment, theta, experiment.steps(3e-3), 1e-6)
    losses, determinants, entries = probes
    assert 0.97 <= epsilon * entries[-1] <= 1.02
    assert (determinants < 0).all()
    # The bound holds once the observed signs are right: below loss 1/8 they cannot be wrong.
    assert (entries >= unobserved_entry_bound(losses, values))[losses < 0.125].all()


@pytest.mark.slow
@pytest.mark.parametrize("size", [3, 4])
def test_the_unobserved_entry_of_larger_matrices_grows_alike(size):
    """d x d, identity on the rest of the diagonal: [.97, 1.03] at loss .001."""
    experiment, theta = corner(size, 3, 1e-5, 1, 0)
    _, probes = descend_watched(experiment, theta, experiment.steps(3e-3), 1e-3)
    assert 0.97 <= probes[2, -1] * np.sqrt(2 * probes[0, -1]) <= 1.03


# Depth, initialization, nuclear norm: 40 x 40 of rank 3, entries of RMS 1.

FEW, ENOUGH = 480, 900


@cache
def truth(seed):
    return low_rank((40, 40), 3, seed, norm=40)


@cache
def deep(seed, depth, n_observed=FEW, scale=1e-5):
    """GroupRMSprop from a Gaussian start, as Arora et al., down to a mean square of 1e-6."""
    factorization = MatrixFactorization((40, 40), [40] * (depth - 1))
    experiment = Experiment(factorization, truth(seed), sample_mask(truth(seed), n_observed, seed))
    theta = factorization.start(np.random.RandomState(seed), "gaussian", scale, 0.0)
    step = GroupRMSprop(1e-3, eps=1e-4)
    result = experiment.descend(theta, step, 30_000, until=1e-6 * experiment.half)
    assert result.status == "converged"
    return experiment.dense(result.theta)


@cache
def convex(seed, n_observed=FEW, epsilon=1e-3):
    X, y, _ = sample(truth(seed), n_observed, seed)
    model = NuclearNormCompletion(shape=(40, 40), epsilon=epsilon)
    return model.fit(X, y).to_dense()


def error(matrix, seed):
    """Mean square over all entries."""
    return np.mean((matrix - truth(seed)) ** 2)


def zero_fill(seed):
    return np.where(sample_mask(truth(seed), FEW, seed), truth(seed), 0)


def nuclear(matrix):
    return np.linalg.norm(matrix, "nuc")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_depth_beats_the_nuclear_norm_with_few_observations(seed):
    """30 % seen: depth 3 finds the matrix, depth 2 and the nuclear norm do not, in this order."""
    two, three, least = deep(seed, 2), deep(seed, 3), convex(seed)
    assert error(three, seed) < 1e-3
    assert error(three, seed) < 0.1 * error(two, seed)
    assert error(two, seed) < error(least, seed)
    assert error(least, seed) > max(1e-2, 20 * error(three, seed))
    assert error(zero_fill(seed), seed) > 0.5
    assert effective_rank(three) == pytest.approx(effective_rank(truth(seed)), rel=0.03)
    assert effective_rank(least) > 1.2 * effective_rank(truth(seed))
    assert nuclear(three) > nuclear(least)


@pytest.mark.slow
def test_all_agree_with_enough_observations():
    """56 % seen: every depth errs by less than 1e-4, the nuclear norm by less than 1e-6."""
    assert all(error(deep(0, depth, ENOUGH), 0) < 1e-4 for depth in (2, 3, 4))
    assert error(convex(0, ENOUGH, epsilon=1e-4), 0) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_smaller_start_helps_at_depth_two(seed):
    """Scale 1e-5 instead of 1e-3 at least halves the error."""
    assert error(deep(seed, 2), seed) < 0.5 * error(deep(seed, 2, scale=1e-3), seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_depth_orders_error_and_rank_with_constant_steps(seed):
    """Plain descent from ``a^(1/N) I``, a = .001, down to 1e-5; depth 1 leaves unseen cells."""
    matrices = {}
    for depth, rate in ((1, 20.0), (2, 1.0), (3, 0.5)):
        factorization = MatrixFactorization((40, 40), [40] * (depth - 1))
        experiment = Experiment(factorization, truth(seed), sample_mask(truth(seed), FEW, seed))
        theta = factorization.start(None, "identity", 1e-3, 0.0)
        result = experiment.descend(theta, Constant(rate), 20_000, until=1e-5 * experiment.half)
        assert result.status == "converged"
        matrices[depth] = experiment.dense(result.theta)
    errors = {depth: error(matrix, seed) for depth, matrix in matrices.items()}
    ranks = {depth: effective_rank(matrix) for depth, matrix in matrices.items()}
    assert errors[1] > 0.5 and 1e-2 < errors[2] < 0.2 and errors[3] < 1e-3
    assert ranks[1] > ranks[2] > ranks[3] and ranks[3] < 3.1
    assert errors[1] == pytest.approx(error(zero_fill(seed), seed), abs=1e-2)


@pytest.mark.slow
def test_singular_values_appear_one_after_another():
    """64 x 64 of rank 5, half seen, depth 3, layers of std .001: 0, 1, ..., 5 values above 5.

    Their number never falls and takes every value; a sixth never appears; the matrix is found.
    """
    matrix = low_rank((64, 64), 5, 0, norm=64)
    X, y, _ = sample(matrix, 2048, 0)
    # Layers of std s have the product scale (s sqrt(n))^N.
    scale = (1e-3 * 8) ** 3
    model = DeepMatrixCompletion(
        3, init_scale=scale, tol=5e-5, max_iter=20_000, record_every=50, random_state=0, **PAPERS
    ).fit(X, y)
    values = model.trace_["singular_values"]
    counts = (values > 5).sum(axis=1)
    assert (np.diff(counts) >= 0).all()
    assert set(counts) == {0, 1, 2, 3, 4, 5}
    assert values[:, 5].max() < 0.5
    assert np.mean((model.to_dense() - matrix) ** 2) < 2e-3
