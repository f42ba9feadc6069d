"""Step sizes against their recurrences written out, and the laws they promise."""

from math import sqrt

import numpy as np
import pytest

from sktf._descent.loop import gradient_descent
from sktf._descent.steps import STEPS, Adaptive, Constant, GroupRMSprop, make_step, norm

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

# Curvatures of the quadratic that the tests descend on.
CURVATURES = np.array([1.0, 3.0, 10.0, 30.0])
EVERY = {
    "adaptive": Adaptive(),
    "grouprmsprop": GroupRMSprop(),
    "constant": Constant(1e-2),
}
every_step = pytest.mark.parametrize("name", EVERY)


def quadratic(theta):
    """``sum_i c_i theta_i^2 / 2``, curvatures c, minimum 0 at 0."""
    return float(CURVATURES @ theta**2) / 2, CURVATURES * theta


def walk(step, n_steps, objective=quadratic, start=(1.0, -2.0, 3.0, 0.5)):
    """Step sizes, iterates and gradients of a descent written out here."""
    theta = np.array(start)
    state = step.init(theta, objective(theta)[1])
    etas, thetas, gradients = [], [theta], []
    for _ in range(n_steps):
        gradient = objective(theta)[1]
        eta, state = step.update(gradient, state)
        theta = theta - eta * gradient
        etas.append(eta)
        thetas.append(theta)
        gradients.append(gradient)
    return np.array(etas), np.array(thetas), np.array(gradients)


@pytest.mark.parametrize("size", [1.0, 1e-5])
@pytest.mark.parametrize("eps", [1e-6, 1e-4])
def test_grouprmsprop_is_the_recurrence_of_the_papers(size, eps):
    """``v <- a v + (1-a) sum_p |g_p|^2``, ``h = lr / (sqrt(v / (1-a^t)) + eps)``, p by p.

    Gradients of size 1e-5 make eps count, which stands outside the root. Sums of 30 squares in
    another order: 1e-13.
    """
    rng = np.random.default_rng(0)
    blocks = [(4, 3), (5,), (2, 2, 2)]
    step, v, a, lr = GroupRMSprop(3e-3, eps=eps), 0.0, 0.99, 3e-3
    state = step.init(np.zeros(25), np.zeros(25))
    for t in range(1, 301):
        parameters = [size * rng.standard_normal(block) for block in blocks]
        v = a * v + (1 - a) * sum((g**2).sum() for g in parameters)
        h = lr / (sqrt(v / (1 - a**t)) + eps)
        eta, state = step.update(np.concatenate([g.ravel() for g in parameters]), state)
        np.testing.assert_allclose(eta, h, rtol=1e-13)


def test_grouprmsprop_moves_by_the_learning_rate_first():
    """The first step has length ``lr``, but for eps: the bias of v is corrected."""
    etas, thetas, _ = walk(GroupRMSprop(0.01, eps=0.0), 1)
    np.testing.assert_allclose(np.linalg.norm(thetas[1] - thetas[0]), 0.01, rtol=1e-12)


def test_adaptive_obeys_both_bounds_and_takes_the_smaller():
    """``eta = min(growth * eta_before, learning_rate / L)``, L the curvature along the path."""
    step = Adaptive(0.15, 1.3)
    etas, thetas, gradients = walk(step, 200)
    curvature = np.linalg.norm(np.diff(gradients, axis=0), axis=1)
    curvature /= np.linalg.norm(np.diff(thetas[:-1], axis=0), axis=1)
    expected = np.minimum(1.3 * etas[:-1], 0.15 / curvature)
    # The package has |theta_k - theta_(k-1)| as eta |g|: rounding of the difference, 1e-9.
    np.testing.assert_allclose(etas[1:], expected, rtol=1e-9)
    grown = etas[1:] > (1.3 - 1e-9) * etas[:-1]
    assert grown.any() and not grown.all()


def test_adaptive_stays_between_the_curvatures_of_a_quadratic():
    """L lies between the extreme curvatures, so eta is at most ``learning_rate`` over the least."""
    etas, _, _ = walk(Adaptive(0.15), 300)
    assert etas.max() <= 0.15 / CURVATURES.min() * (1 + 1e-9)
    assert etas[50:].min() >= 0.15 / CURVATURES.max() * (1 - 1e-9)


def test_adaptive_finds_the_minimum_of_a_quadratic():
    """Curvatures 1 to 30, condition 30: the distance falls below 1e-8 in 500 steps."""
    _, thetas, _ = walk(Adaptive(), 500)
    assert np.linalg.norm(thetas[-1]) < 1e-8 * np.linalg.norm(thetas[0])


def test_adaptive_begins_with_a_thousandth_of_theta():
    """The first step moves theta by ``first_move`` of its length."""
    _, thetas, _ = walk(Adaptive(first_move=1e-3), 1)
    moved = np.linalg.norm(thetas[1] - thetas[0]) / np.linalg.norm(thetas[0])
    np.testing.assert_allclose(moved, 1e-3, rtol=1e-12)


def test_adaptive_does_not_divide_by_a_gradient_change_of_zero():
    """On a slope of constant gradient eta grows by ``growth`` and stays finite."""
    gradient = np.array([1.0, 2.0])
    etas, _, _ = walk(Adaptive(growth=1.3), 30, lambda t: (t @ gradient, gradient), (5.0, 5.0))
    np.testing.assert_allclose(etas[1:] / etas[:-1], 1.3, rtol=1e-14)


def test_adaptive_survives_a_gradient_of_zero():
    """At a stationary start the step is finite, and so is the next."""
    zero = np.zeros(3)
    etas, thetas, _ = walk(Adaptive(), 2, lambda t: (0.0, zero), (1.0, 1.0, 1.0))
    assert np.isfinite(etas).all()
    np.testing.assert_array_equal(thetas, 1.0)


def test_adaptive_needs_no_units():
    """The loss times 1024 has the same iterates: a power of two, so to the bit."""
    _, thetas, _ = walk(Adaptive(), 100)
    _, scaled, _ = walk(Adaptive(), 100, lambda t: (0.0, 1024 * CURVATURES * t))
    np.testing.assert_array_equal(scaled, thetas)


def test_constant_is_constant():
    """The learning rate at every step."""
    etas, _, _ = walk(Constant(0.02), 20)
    np.testing.assert_array_equal(etas, 0.02)


@every_step
def test_every_move_is_along_the_negative_gradient(name):
    """One scalar for all parameters: ``theta_(k+1) - theta_k`` is parallel to ``-g_k``.

    Up to rounding of theta, 1e-16 of its size, over moves of 1e-3 of it or more.
    """
    thetas = []
    gradient_descent(
        quadratic,
        np.array([1.0, -2.0, 3.0, 0.5]),
        EVERY[name],
        max_iter=40,
        tol=0,
        observe=lambda iteration, time, loss, theta: thetas.append(theta),
    )
    moves, gradients = np.diff(thetas, axis=0), CURVATURES * np.array(thetas[:-1])
    cosines = (moves * gradients).sum(axis=1)
    cosines /= np.linalg.norm(moves, axis=1) * np.linalg.norm(gradients, axis=1)
    assert len(moves) == 40
    np.testing.assert_allclose(cosines, -1, rtol=0, atol=1e-10)


@every_step
def test_numpy_and_torch_take_the_same_steps(name):
    """Sums of four squares may round differently: 1e-13 after 20 steps."""
    step, rng = EVERY[name], np.random.default_rng(0)
    gradients, theta = rng.standard_normal((20, 4)), rng.standard_normal(4)
    by_numpy = step.init(theta, gradients[0])
    by_torch = step.init(torch.tensor(theta), torch.tensor(gradients[0]))
    for gradient in gradients:
        expected, by_numpy = step.update(gradient, by_numpy)
        eta, by_torch = step.update(torch.tensor(gradient), by_torch)
        assert isinstance(eta, float)
        np.testing.assert_allclose(eta, expected, rtol=1e-13)


@every_step
def test_make_step_knows_every_name(name):
    """None leaves a step its own default; a number replaces it."""
    assert set(EVERY) == set(STEPS)
    assert make_step(name, None) == STEPS[name]()
    assert make_step(name, 0.5).learning_rate == 0.5


def test_norm_is_a_float():
    """The Euclidean norm, on numpy and torch alike."""
    for vector in (np.array([3.0, 4.0]), torch.tensor([3.0, 4.0])):
        assert norm(vector) == 5.0 and isinstance(norm(vector), float)
