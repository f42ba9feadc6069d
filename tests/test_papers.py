"""Claims of the papers and of this package, measured: rank found, laws conserved.

The laws are stated for half the sum of squares; its gradient is ``m / 2`` times that of our
mean of squares over m cells, and so are learning rates converted.
"""

from functools import cache
from itertools import pairwise
from math import inf

import numpy as np
import pytest

from sktf import CPCompletion, DeepMatrixCompletion
from sktf._cp import CPFactorization
from sktf._deep_matrix import MatrixFactorization
from sktf._descent import gradient_descent
from sktf._factorization import pack
from sktf._losses import ClippedSquare
from sktf._objective import FusedObjective
from sktf._steps import Constant, GroupRMSprop
from sktf._validation import Observations

# The descent of the papers: one Gaussian start, the squared loss of all cells as they are.
PAPERS = {
    "init": "gaussian",
    "init_mean": 0.0,
    "loss": "squared",
    "step": "grouprmsprop",
    "scale": False,
    "early_stopping": False,
}
SEEDS = range(10)


def low_rank(shape, rank, seed, norm=None):
    """A tensor of Gaussian factors, of a given Frobenius norm if wanted."""
    rng = np.random.default_rng(seed)
    letters = "ijkl"[: len(shape)]
    factors = [rng.standard_normal((size, rank)) for size in shape]
    tensor = np.einsum(",".join(n + "r" for n in letters) + "->" + letters, *factors)
    return tensor if norm is None else norm / np.linalg.norm(tensor) * tensor


def sample(tensor, n_observed, seed):
    """Uniform cells without replacement: X, y, and the linear indices of the others."""
    order = np.random.default_rng(1000 + seed).permutation(tensor.size)
    chosen = order[:n_observed]
    X = np.column_stack(np.unravel_index(chosen, tensor.shape))
    return X, tensor.ravel()[chosen], order[n_observed:]


def relative_error(model, tensor):
    """Over all cells, observed ones included."""
    return np.linalg.norm(model.to_dense() - tensor) / np.linalg.norm(tensor)


def effective_rank(matrix):
    p = np.linalg.svd(matrix, compute_uv=False)
    p = p[p > 1e-12 * p[0]] / p.sum()
    return np.exp(-p @ np.log(p))


class Experiment:
    """Half the sum of squares over some cells, by the objective of the package."""

    def __init__(self, factorization, target, mask):
        coords = np.argwhere(mask)
        observations = Observations(coords, target[mask], np.ones(len(coords)), target.shape)
        self.objective = FusedObjective(factorization, observations, ClippedSquare(inf))
        self.half = len(coords) / 2
        self.unpack = factorization.unpack
        self.target, self.mask = target, mask

    def flow(self, theta):
        """The negative gradient of half the sum of squares, as blocks."""
        return self.unpack(-self.half * self.objective(theta)[1])

    def descend(self, theta, step, n_iter, observe=None, until=-1.0):
        """Descend; ``until`` is half a sum of squares."""
        return gradient_descent(
            self.objective,
            theta,
            step,
            max_iter=n_iter,
            tol=until / self.half,
            observe=observe or (lambda iteration, time, loss, theta: None),
        )

    def steps(self, learning_rate):
        """Constant steps whose learning rate is meant for half the sum of squares."""
        return Constant(learning_rate * self.half)


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
        errors.append(relative_error(model, tensor))
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


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_depth_three_completes_where_depth_two_does_not(seed):
    """100 x 100 of rank 5, 2,000 cells seen: 20 times less error, and the true effective rank.

    Test error over the cells not seen; effective rank within 3 %.
    """
    matrix = low_rank((100, 100), 5, seed, norm=100)
    X, y, unseen = sample(matrix, 2000, seed)
    errors, ranks = {}, {}
    for depth in (2, 3):
        model = DeepMatrixCompletion(depth, shape=(100, 100), random_state=seed).fit(X, y)
        away = (model.to_dense() - matrix).ravel()[unseen]
        errors[depth], ranks[depth] = np.sqrt(np.mean(away**2)), model.effective_rank_
    assert errors[3] <= 0.05 * errors[2]
    truth = effective_rank(matrix)
    assert abs(ranks[3] - truth) <= 0.03 * truth < abs(ranks[2] - truth)


# Laws of deep matrix factorization.


def matrix_experiment(depth, init, seed=0):
    """6 x 6 of rank 2, 60 % seen; a balanced start of scale .05, or one of no structure."""
    rng = np.random.default_rng(seed)
    target = rng.standard_normal((6, 2)) @ rng.standard_normal((2, 6))
    mask = np.zeros(36, bool)
    mask[rng.permutation(36)[:22]] = True
    factorization = MatrixFactorization((6, 6), [6] * (depth - 1))
    if init == "balanced":
        theta = factorization.start(np.random.RandomState(seed), "balanced", 0.05, 0.0)
    else:
        theta = 0.3 * rng.standard_normal(factorization.n_parameters)
    return Experiment(factorization, target, mask.reshape(6, 6)), theta


def imbalance(layers):
    """``W_{j+1}^T W_{j+1} - W_j W_j^T`` for all j."""
    return np.array([b.T @ b - a @ a.T for a, b in pairwise(layers)])


def largest(matrices):
    return np.linalg.norm(matrices, axis=(1, 2)).max()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "init"), [(2, "balanced"), (3, "balanced"), (4, "balanced"), (3, "random")]
)
def test_descent_conserves_the_imbalance_of_layers(depth, init):
    """To time 30 the drift is below 1e-3 at step .0005, and proportional to the step."""
    experiment, theta = matrix_experiment(depth, init)
    before, drift = imbalance(experiment.unpack(theta)), {}
    for rate in (1e-3, 5e-4):
        result = experiment.descend(theta, experiment.steps(rate), round(30 / rate))
        drift[rate] = largest(imbalance(experiment.unpack(result.theta)) - before)
    assert drift[5e-4] < 1e-3
    assert 1.8 <= drift[1e-3] / drift[5e-4] <= 2.2


def law_error(depth, init, rate):
    """Largest error of the law of singular values over one step, at 20 times up to 30."""
    experiment, theta = matrix_experiment(depth, init)
    every, errors, previous = round(1.5 / rate), [], None

    def product(theta):
        matrix = np.eye(6)
        for layer in experiment.unpack(theta):
            matrix = layer @ matrix
        return matrix

    def observe(iteration, time, loss, theta):
        nonlocal previous
        if iteration % every == 0 and iteration > 0:
            matrix = product(previous)
            u, s, vt = np.linalg.svd(matrix)
            gradient = np.where(experiment.mask, matrix - experiment.target, 0)
            slopes = np.einsum("ir,ij,rj->r", u, gradient, vt)
            law = -depth * s ** (2 - 2 / depth) * slopes
            moved = (np.linalg.svd(product(theta), compute_uv=False) - s) / rate
            errors.append(np.abs(moved - law).max() / np.abs(law).max())
        previous = theta

    experiment.descend(theta, experiment.steps(rate), 20 * every, observe)
    assert len(errors) == 20
    return max(errors)


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 3, 4])
def test_singular_values_of_a_balanced_product_follow_their_law(depth):
    """``ds_r/dt = -N s_r^(2 - 2/N) <G, u_r v_r^T>``: within .5 % of the largest at steps of .001.

    The error is that of the step: it halves with it.
    """
    error = law_error(depth, "balanced", 1e-3)
    assert error < 5e-3
    assert 1.7 < error / law_error(depth, "balanced", 5e-4) < 2.3


@pytest.mark.slow
def test_singular_values_of_an_unbalanced_product_do_not():
    """The law errs by more than 10 % from a start that isn't balanced: so it can fail."""
    assert law_error(4, "random", 1e-3) > 0.1


def adam(experiment, theta, rate, until):
    """Adam as published: a step of its own for every parameter."""
    m = v = np.zeros_like(theta)
    for t in range(1, 100_001):
        loss, gradient = experiment.objective(theta)
        if loss * experiment.half < until:
            return theta
        gradient = experiment.half * gradient
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        theta = theta - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    raise AssertionError("did not converge")


@pytest.mark.parametrize(
    ("optimizer", "low", "high"),
    [("grouprmsprop", 0.0, 1e-3), ("constant", 0.0, 2e-2), ("adam", 0.1, inf)],
)
def test_one_step_size_for_all_keeps_balance_and_adam_breaks_it(optimizer, low, high):
    """Relative drift of a balanced start, depth 3, down to half a sum of squares of .001."""
    experiment, theta = matrix_experiment(3, "balanced")
    if optimizer == "adam":
        theta = adam(experiment, theta, 1e-3, until=1e-3)
    else:
        steps = {"grouprmsprop": GroupRMSprop(1e-3), "constant": experiment.steps(1e-2)}
        result = experiment.descend(theta, steps[optimizer], 100_000, until=1e-3)
        assert result.status == "converged"
        theta = result.theta
    layers = experiment.unpack(theta)
    size = max(np.linalg.norm(layer.T @ layer) for layer in layers)
    assert low <= largest(imbalance(layers)) / size < high


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


# Laws of CP.


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


def squares(factors):
    """``|w_r^n|^2`` of every mode and component."""
    return np.array([(factor**2).sum(axis=0) for factor in factors])


def growth(factors, flow):
    """s and ds/dt of every component along the flow, and gamma by its definition."""
    norms = np.sqrt(squares(factors))
    s = norms.prod(axis=0)
    along = [(f * v).sum(axis=0) for f, v in zip(factors, flow, strict=True)]
    rates = s * (np.array(along) / norms**2).sum(axis=0)
    # <-G, component> is <w^n, flow^n> for any n; gamma is that over s.
    return s, rates, along[0] / s


@pytest.mark.slow
@pytest.mark.parametrize("order", [3, 4])
def test_descent_conserves_differences_of_squared_norms(order):
    """Of the vectors of a component: drift below 1e-3 at time 20, proportional to the step."""
    experiment, theta = cp_experiment(order)
    before, drift = squares(experiment.unpack(theta)), {}
    for rate in (1e-3, 5e-4):
        result = experiment.descend(theta, experiment.steps(rate), round(20 / rate))
        change = squares(experiment.unpack(result.theta)) - before
        drift[rate] = (change.max(axis=0) - change.min(axis=0)).max()
    assert drift[1e-3] < 1e-3
    assert 1.8 <= drift[1e-3] / drift[5e-4] <= 2.2


@pytest.mark.slow
@pytest.mark.parametrize("order", [3, 4])
def test_balanced_components_grow_by_their_law(order):
    """``ds/dt = N gamma s^(2 - 2/N)``: over one step, within .2 % of the largest rate.

    At 40 times up to 20, steps of .001.
    """
    experiment, theta = cp_experiment(order)
    rate, worst, previous = 1e-3, [], None

    def observe(iteration, time, loss, theta):
        nonlocal previous
        if iteration % 500 == 1:
            s, _, gamma = growth(experiment.unpack(previous), experiment.flow(previous))
            law = order * gamma * s ** (2 - 2 / order)
            moved = np.sqrt(squares(experiment.unpack(theta)).prod(axis=0)) - s
            worst.append(np.abs(moved / rate - law).max() / np.abs(law).max())
        previous = theta

    experiment.descend(theta, experiment.steps(rate), 20_000, observe)
    assert len(worst) == 40
    assert max(worst) < 2e-3


@pytest.mark.slow
@pytest.mark.parametrize("order", [3, 4])
def test_unbalanced_components_grow_within_their_bounds(order):
    """Between ``N gamma s^2 / (s^(2/N) + e)`` and ``N gamma (s^(2/N) + e)^(N-1)``.

    e is the largest difference of squared norms at the start, the first vectors being longer
    by sqrt(1.3); at 40 times up to 20, both bounds to 1e-6, swapped where gamma is negative.
    """
    experiment, theta = cp_experiment(order, first=np.sqrt(1.3))
    start = squares(experiment.unpack(theta))
    e = (start.max(axis=0) - start.min(axis=0)).max()
    outside = []

    def observe(iteration, time, loss, theta):
        if iteration % 500 == 0:
            s, rates, gamma = growth(experiment.unpack(theta), experiment.flow(theta))
            bounds = np.array(
                [
                    order * gamma * s**2 / (s ** (2 / order) + e),
                    order * gamma * (s ** (2 / order) + e) ** (order - 1),
                ]
            )
            slack = 1e-6 * np.abs(bounds).max(axis=0)
            outside.append(
                (rates < bounds.min(axis=0) - slack) | (rates > bounds.max(axis=0) + slack)
            )

    experiment.descend(theta, experiment.steps(1e-3), 20_000, observe)
    assert len(outside) == 41
    assert not np.any(outside)


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
    active later than the one before, the second not before twice the time of the first.
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
        errors[std] = relative_error(models[std], tensor)
    small, large = models[0.001], models[0.3]
    norms = small.component_norms_
    assert (norms > 0.01 * norms[0]).sum() == 3
    np.testing.assert_allclose(norms[:3], true_norms, rtol=0.02)
    assert errors[0.001] < 5e-3
    reached = -np.sort(-small.trace_["component_norms"], axis=1)[:, :3] >= true_norms / 2
    first, second, third = small.trace_["iteration"][reached.argmax(axis=0)]
    assert reached.any(axis=0).all()
    assert first < second < third and second > 2 * first
    norms = large.component_norms_
    assert errors[0.3] > 0.3 and (norms > 0.01 * norms[0]).sum() >= 10
    assert errors[0.3] > errors[0.1] > errors[0.01]
