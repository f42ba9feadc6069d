"""Descent in rounds against the descent that moves every component at every step."""

import os
import subprocess
import sys
from math import inf

import numpy as np
import pytest

from sktf._cells.validation import Observations
from sktf._descent import multirate_walk
from sktf._descent.compiled_walk import steps_from
from sktf._descent.loop import gradient_descent, walk_from
from sktf._descent.multirate_walk import MultirateWalk, _are_flat, _lengths
from sktf._descent.steps import Adaptive, Constant
from sktf._models.cp import CPFactorization
from sktf._models.deep_cp import DeepCPFactorization
from sktf._models.deep_matrix import MatrixFactorization
from sktf._objective import cpu
from sktf._objective.cpu import FusedObjective
from sktf._objective.losses import ClippedSquare
from sktf.datasets import make_low_rank, sample_entries

STEP, SQUARED, SHAPE, N_COMPONENTS = Adaptive(), ClippedSquare(inf), (6, 6, 6, 6), 256
SCALE = {0: 0.03, 1: 0.2}  # of entries; small enough for one component to grow at a time


def make(seed=0, n_components=N_COMPONENTS, depth=0, dtype="float64", scale=None):
    """An objective over 600 cells of a tensor of rank 3, and a small start."""
    tensor, _ = make_low_rank(SHAPE, 3, random_state=seed)
    X, y = sample_entries(tensor, 600, random_state=seed)
    cells = Observations(X, y / y.std(), np.ones(len(y)), SHAPE)
    model = DeepCPFactorization(SHAPE, n_components, depth)
    objective = FusedObjective(model, cells, SQUARED, dtype=dtype)
    theta = model.start(np.random.default_rng(seed), "gaussian", scale or SCALE[depth], 0.0)
    return objective, objective.from_numpy(theta)


def descend(walk, n_steps, spacing):
    """Times and losses every few steps."""
    path = [(walk.time, walk.loss)]
    for _ in range(n_steps // spacing):
        walk.go(spacing)
        path.append((walk.time, walk.loss))
    return np.array(path)


def times_of_fall(path, levels):
    """Times at which the loss first falls below these shares of the first."""
    shares = path[:, 1] / path[0, 1]
    return np.array([path[np.argmax(shares < level), 0] for level in levels])


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_loss_falls_when_it_falls_without_rounds(seed, depth):
    """Within 2 % of flow time: sleepers move by 3 % of their lengths at once.

    The step rule itself moves these times by 5 to 15 % (learning rate .05 against .3).
    """
    objective, theta = make(seed, depth=depth)
    rounds, plain = (
        walk_from(objective, theta, STEP, 1e-9),
        steps_from(objective, theta, STEP, 1e-9),
    )
    assert isinstance(rounds, MultirateWalk)
    levels = [0.9, 0.6, 0.4]
    times = [times_of_fall(descend(walk, 3000, 5), levels) for walk in (rounds, plain)]
    assert times[1].min() > 0
    np.testing.assert_allclose(times[0], times[1], rtol=0.02)


def test_a_step_costs_the_components_awake(monkeypatch):
    """Of 2,000 steps fewer than a fifth compute the gradient of all 256 components."""
    widths = []
    steps = multirate_walk.steps_from

    def counted(objective, *arguments):
        walk = steps(objective, *arguments)
        widths.append((objective.factorization.n_components, walk))
        return walk

    monkeypatch.setattr(multirate_walk, "steps_from", counted)
    objective, theta = make()
    walk = walk_from(objective, theta, STEP, 1e-12)
    walk.go(2000)
    n_wide = sum(1 + walk.n_iter for width, walk in widths if width == N_COMPONENTS)
    assert walk.n_iter == sum(walk.n_iter for _, walk in widths) == 2000
    assert n_wide < 400
    assert min(width for width, _ in widths) <= 5


def test_components_stay_balanced():
    """Flow keeps ``|w_r^m|^2 - |w_r^n|^2``; steps of finite size add the square of the step.

    So a component, asleep or grown, keeps it within 3 % of the squared length that it has.
    """
    objective, theta = make()
    model = objective.factorization
    walk = walk_from(objective, theta, STEP, 1e-12)
    walk.go(2000)
    before, after = (model.unpack(values)[:4] for values in (theta, walk.theta))
    squares = [np.array([(f**2).sum(axis=0) for f in factors]) for factors in (before, after)]
    unbalance = [np.ptp(values, axis=0) for values in squares]
    drift, squares = np.abs(unbalance[1] - unbalance[0]), squares[1].max(axis=0)
    assert squares.max() > 100 * np.median(squares)  # some grew, most did not
    assert (drift <= 0.03 * squares).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_theta_and_loss_belong_together_amid_a_round(dtype):
    objective, theta = make(dtype=dtype)
    walk = walk_from(objective, theta, STEP, 1e-12)
    within = 0
    for _ in range(50):
        walk.go(7)
        within += walk._round is not None
        np.testing.assert_allclose(walk.loss, objective.loss(walk.theta), rtol=1e-4, atol=1e-7)
    assert within > 10


def test_sleepers_take_one_step_along_the_gradient_they_fell_asleep_with():
    objective, theta = make()
    walk = walk_from(objective, theta, STEP, 1e-12)
    while walk._round is None:
        walk.go(1)
    began, before = walk.time, walk.theta
    asleep = np.setdiff1d(np.arange(N_COMPONENTS), walk._round.awake)
    _, gradient = objective(before)
    while walk._round is not None and walk._ended[1] == began:
        same = walk.theta
        walk.go(1)
    thetas = (before, same, walk.theta, gradient)
    # Without matrices there are four blocks, one a mode.
    blocks = zip(*(objective.factorization.unpack(values)[:4] for values in thetas), strict=True)
    for old, last, new, slope in blocks:
        np.testing.assert_array_equal(last[:, asleep], old[:, asleep])
        expected = old[:, asleep] - (walk._ended[1] - began) * slope[:, asleep]
        np.testing.assert_allclose(new[:, asleep], expected, rtol=1e-9, atol=1e-18)
        moved = np.linalg.norm(new - old, axis=0)[asleep]
        assert (moved <= 0.06 * np.linalg.norm(old, axis=0)[asleep]).all()
        assert moved.min() > 0


def test_looks_change_no_bit():
    """A descent that is observed often, or at the end alone, is the same."""
    ends = []
    for spacing in (1, 7, 5000):
        objective, theta = make()
        end = gradient_descent(
            objective, theta, STEP, max_iter=900, tol=1e-12,
            observe=lambda *_: None, due=lambda n, spacing=spacing: n + spacing,
        )  # fmt: skip
        ends.append((end.theta.tobytes(), end.loss, end.time, end.n_iter, end.status))
    assert ends[0] == ends[1] == ends[2]
    assert ends[0][3:] == (900, "max_iter")


def test_blocks_of_cells_change_the_rounding_alone(monkeypatch):
    """Many components are summed over blocks, the few awake over fewer or one."""
    objective, theta = make()
    alone = walk_from(objective, theta, STEP, 1e-12)
    monkeypatch.setattr(cpu, "_BLOCK_WORK", 2**15)
    objective, theta = make()
    assert len(objective._blocks) > 1
    blocks = walk_from(objective, theta, STEP, 1e-12)
    for walk in (alone, blocks):
        while walk._round is None:
            walk.go(1)
        walk.go(20)
    assert alone.n_iter == blocks.n_iter
    np.testing.assert_allclose(blocks.theta, alone.theta, rtol=0, atol=1e-6)


def second_grows_behind_the_first():
    """All cells of 12^3, of two orthogonal components, the second 1 %; the first is fitted."""
    rng, shape = np.random.default_rng(0), (12, 12, 12)
    truth = [np.linalg.qr(rng.standard_normal((12, 2)))[0] for _ in shape]
    truth = [np.sqrt(12) * factor * [1, 0.01 ** (1 / 3)] for factor in truth]
    X = np.argwhere(np.ones(shape))
    values = np.einsum("ar,br,cr->abc", *truth).ravel()
    model = CPFactorization(shape, 128)
    objective = FusedObjective(model, Observations(X, values, np.ones(1728), shape), SQUARED)
    theta = model.start(rng, "gaussian", 0.03, 0.0)
    for factor, vectors in zip(model.unpack(theta), truth, strict=True):
        factor[:, 0] = vectors[:, 0]
    return objective, theta


def test_while_those_awake_rest_time_passes():
    """The second component grows at the same time, after no more steps than without rounds."""
    objective, theta = second_grows_behind_the_first()
    walks = walk_from(objective, theta, STEP, 2e-5), steps_from(objective, theta, STEP, 2e-5)
    for walk in walks:
        walk.go(20_000)
        assert walk.loss < 2e-5 < 5e-5 < objective.loss(theta)
    rounds, plain = walks
    assert isinstance(rounds, MultirateWalk) and rounds.n_iter < plain.n_iter < 20_000
    np.testing.assert_allclose(rounds.time, plain.time, rtol=0.03)


def test_a_descent_at_rest_ends():
    """Sleepers and all: the loss is that of rounding."""
    X, y = sample_entries(np.ones(SHAPE), 600, random_state=0)
    objective, theta = make()
    objective._cells = objective._cells[0], np.ones(600), objective._cells[2]
    for factor in objective.factorization.unpack(theta)[:4]:
        factor[:] *= 1e-4
        factor[:, 0] = 1
    end = gradient_descent(
        objective, theta, STEP, max_iter=20_000, tol=0.0, observe=lambda *_: None,
        due=lambda n: n + 100,
    )  # fmt: skip
    assert end.status == "converged" and end.n_iter < 20_000
    assert end.loss < 1e-24


@pytest.mark.parametrize("n_steps", [100, 200])
def test_many_short_descents_are_one_long_one(n_steps):
    """Sleepers are brought up to date at the end of each; left behind, they are 6 to 10 % late."""
    objective, theta = make(scale=0.02)
    plain = descend(steps_from(objective, theta, STEP, 1e-9), 9000, 20)
    path, time = [(0.0, objective.loss(theta))], 0.0
    for _ in range(9000 // n_steps):
        end = gradient_descent(
            objective, theta, STEP, max_iter=n_steps, tol=1e-9, due=lambda n: n + 20,
            observe=lambda _, at, loss, __, time=time: path.append((time + at, loss)),
        )  # fmt: skip
        theta, time = end.theta, time + end.time
        np.testing.assert_allclose(end.loss, objective.loss(theta), rtol=1e-6)
    level = [0.02]
    fallen = times_of_fall(np.array(path), level), times_of_fall(plain, level)
    np.testing.assert_allclose(*fallen, rtol=0.03)


def test_a_component_of_zeros_sleeps():
    objective, theta = make()
    blocks = objective.factorization.unpack(theta)[:4]
    for block in blocks:
        block[:, 7] = 0
    walk = walk_from(objective, theta, STEP, 1e-9)
    walk.go(500)
    assert walk.n_iter - walk._walk.n_iter > 0
    assert not any(b[:, 7].any() for b in objective.factorization.unpack(walk.theta)[:4])


def test_lengths_do_not_underflow_in_single_precision():
    """Squares of 1e-30 vanish below the least number there."""
    blocks = [np.full((4, 3), 1e-30, np.float32), np.full((2, 3, 2, 2), 1e-30, np.float32)]
    np.testing.assert_allclose(_lengths(blocks), np.full((3, 3), 2e-30), rtol=1e-6)


def cancelling_pairs(weights):
    """A start whose pairs of large components cancel: curved in all of them, and hardly steep."""
    rng = np.random.default_rng(1)
    tensor, _ = make_low_rank((8,) * 4, 3, random_state=0)
    X, y = sample_entries(tensor, 900, random_state=0)
    y, first = y / y.std(), X[:, 0] == 0
    vectors = [3e3 * (np.arange(8) == 0), *(1 + 0.3 * rng.standard_normal((3, 8)))]
    y[first] = np.prod([v[column] for v, column in zip(vectors, X[first].T, strict=True)], axis=0)
    model = CPFactorization((8,) * 4, 192)
    observations = Observations(X, y, np.where(first, weights, 1.0), (8,) * 4)
    objective = FusedObjective(model, observations, SQUARED)
    theta = model.start(rng, "gaussian", 0.01, 0.0)
    for n, (factor, vector) in enumerate(zip(model.unpack(theta), vectors, strict=True)):
        pairs = 0.9 * rng.standard_normal((8, 60))
        factor[:, 1:61], factor[:, 61:121], factor[:, 0] = pairs, pairs if n else -pairs, vector
    return objective, theta


@pytest.mark.parametrize("weight", [1e-5, 1e-7])
def test_sleepers_that_were_not_flat_stay_where_they_were(weight):
    """Light weights hide how the loss curves: a loss that rises ends the rounds for good."""
    objective, theta = cancelling_pairs(weight)
    rounds, plain = (
        walk_from(objective, theta, STEP, 1e-6),
        steps_from(objective, theta, STEP, 1e-6),
    )
    least = rounds.loss
    for _ in range(80):
        rounds.go(50)
        assert rounds.loss <= 1.05 * least
        least = min(least, rounds.loss)
    plain.go(4000)
    assert isinstance(rounds, MultirateWalk)
    assert rounds.loss < 2e-5 and rounds.loss < 10 * plain.loss


def test_curved_components_stay_awake():
    """Lengths alone tell that pairs which cancel curve the loss; asleep they would go unstable."""
    objective, theta = cancelling_pairs(1.0)
    blocks = objective.factorization.unpack(theta)
    blocks[0][:, 0] = 0
    assert not _are_flat(_lengths(blocks))[1:121].any()
    assert _are_flat(_lengths(blocks))[121:].all()


def test_a_round_ends_when_sleepers_have_moved_enough():
    """Steps grow a thousandfold after the first component has grown; no round lasts as long."""
    objective, theta = make()
    walk = walk_from(objective, theta, STEP, 1e-9)
    shares, steps = [], []
    for _ in range(300):
        before, ended = walk._round, walk._ended
        walk.go(10)
        if before is not None and walk._round is not before:
            shares.append((walk._ended[1] - ended[1]) / before.most_time)
            steps.append(walk._ended[0] - ended[0])
    assert min(steps) < 400 == max(steps)
    assert 1 <= max(shares) < 3


def test_a_loss_that_turns_infinite_amid_a_round_ends_it():
    objective, theta = make()
    walk = walk_from(objective, theta, STEP, 0.0)
    while walk._round is None:
        walk.go(1)
    cells = walk._walk._arguments[0]
    cells[3][:] = 1e200
    n_iter = walk.n_iter
    with np.errstate(over="ignore", invalid="ignore"):
        walk.go(500)
    assert not np.isfinite(walk.loss) and walk.n_iter <= n_iter + 2


def test_interrupted_as_sleepers_wake(monkeypatch):
    """The state before the interrupt is whole: steps counted once, theta of the round."""
    objective, theta = make()
    walk = walk_from(objective, theta, STEP, 1e-12)
    while walk._round is None:
        walk.go(1)
    n_iter, time = walk.n_iter, walk.time

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(multirate_walk, "steps_from", interrupted)
    with pytest.raises(KeyboardInterrupt):
        walk.settle()
    assert (walk.n_iter, walk.time) == (n_iter, time)
    np.testing.assert_allclose(walk.loss, objective.loss(walk.theta), rtol=1e-9)


def test_where_a_descent_goes_in_rounds(monkeypatch):
    """Models of 64 components or more, each with its own parameters; the adaptive step."""
    objective, theta = make()
    assert type(walk_from(objective, theta, STEP, 0.0)) is MultirateWalk
    assert type(walk_from(objective, theta, Constant(), 0.0)) is not MultirateWalk
    monkeypatch.setattr(cpu, "_LONG", 0)
    few, theta = make(n_components=63)
    assert type(walk_from(few, theta, STEP, 0.0)) is not MultirateWalk
    model = MatrixFactorization((64, 64), [64])
    cells = Observations(np.argwhere(np.ones((64, 64))), np.ones(4096), np.ones(4096), (64, 64))
    matrix = FusedObjective(model, cells, SQUARED)
    assert type(walk_from(matrix, np.ones(model.n_parameters), STEP, 0.0)) is not MultirateWalk


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_what_sleepers_add_is_the_sum_of_their_products(order, dtype):
    """13 components, no whole number of cache lines, beside 6 that are split off."""
    rng, shape = np.random.default_rng(order), (4, 3, 3, 2, 3)[:order]
    coords = rng.integers(0, shape, (70, order))
    values, weights = rng.standard_normal(70), rng.uniform(0.5, 2, 70)
    model = CPFactorization(shape, 19)
    cells = Observations(coords, values, weights, shape)
    objective = FusedObjective(model, cells, SQUARED, dtype=dtype)
    theta = objective.from_numpy(rng.standard_normal(model.n_parameters))
    some = np.arange(0, 19, 3)[:6]
    others = np.setdiff1d(np.arange(19), some)
    part, narrow = objective.split(theta, some, others)
    letters = "abcde"[:order]
    subscripts = ",".join(f"{c}r" for c in letters) + f"->{letters}"
    factors = [factor.astype(float) for factor in model.unpack(theta)]
    precision = 1e-5 if dtype == "float32" else 1e-12
    for columns, at in ((np.arange(19), narrow), (others, 0 * narrow)):
        dense = np.einsum(subscripts, *(factor[:, columns] for factor in factors))
        squares = (dense[tuple(coords.T)] - values) ** 2
        expected = np.average(squares, weights=weights)
        np.testing.assert_allclose(part.loss(at), expected, rtol=precision)


@pytest.mark.slow
def test_rounds_without_compilation():
    """The twin of the kernel that predicts what sleepers add."""
    code = (
        "import numpy as np\n"
        "from sktf import CPCompletion\n"
        "X = np.argwhere(np.ones((6, 6, 6, 6)))\n"
        "y = (X + 1.0).prod(axis=1)\n"
        "model = CPCompletion(256, init='gaussian', init_scale=0.03, n_init=1, max_iter=200,\n"
        "                     early_stopping=False, prune=False, random_state=0)\n"
        "print(model.fit(X, y).rank_)\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert run.stdout.strip() == "1"
