"""The loop against closed forms of descent on quadratics; how it can end."""

from math import inf, nan

import numpy as np
import pytest

from sktf._descent.loop import gradient_descent
from sktf._descent.steps import Adaptive, Constant

CURVATURES = np.array([1.0, 2.0, 5.0])
CENTER = np.array([1.0, -1.0, 2.0])
START = np.array([4.0, 0.0, -3.0])


def quadratic(theta):
    """``sum_i c_i (theta_i - center_i)^2 / 2``."""
    away = theta - CENTER
    return float(CURVATURES @ away**2) / 2, CURVATURES * away


def descend(objective=quadratic, start=START, step=None, observe=None, **options):
    """Descend from START; the arguments of interest are given by the tests."""
    return gradient_descent(
        objective,
        start,
        step or Constant(0.1),
        observe=observe or (lambda iteration, time, loss, theta: None),
        **({"max_iter": 50, "tol": 0.0} | options),
    )


class Failing:
    """The quadratic until call number ``n``, then something else."""

    def __init__(self, n, outcome):
        self.n, self.outcome, self.n_calls = n, outcome, 0

    def __call__(self, theta):
        self.n_calls += 1
        loss, gradient = quadratic(theta)
        if self.n_calls < self.n:
            return loss, gradient
        if isinstance(self.outcome, float):
            return self.outcome, gradient
        raise self.outcome


@pytest.mark.parametrize("n_iter", [0, 1, 7, 50])
def test_constant_steps_on_a_quadratic_have_a_closed_form(n_iter):
    """``theta_k - center = (1 - eta c)^k (theta_0 - center)`` in every coordinate; 1e-13."""
    result = descend(max_iter=n_iter)
    expected = CENTER + (1 - 0.1 * CURVATURES) ** n_iter * (START - CENTER)
    np.testing.assert_allclose(result.theta, expected, rtol=1e-13)
    assert result.n_iter == n_iter and result.status == "max_iter"
    np.testing.assert_allclose(result.time, 0.1 * n_iter, rtol=1e-13)
    np.testing.assert_allclose(result.loss, quadratic(expected)[0], rtol=1e-12, atol=1e-28)


def test_an_iteration_costs_one_gradient():
    """k updates take k + 1 gradients: the loss of the last theta is part of the result."""
    objective = Failing(10**9, None)
    descend(objective, max_iter=20)
    assert objective.n_calls == 21


def test_the_start_is_not_written_to():
    """A read-only start descends, and is what it was."""
    start = START.copy()
    start.flags.writeable = False
    result = descend(start=start)
    assert not np.shares_memory(result.theta, start)
    np.testing.assert_array_equal(start, START)


def test_converged_is_below_tol_for_the_first_time():
    """The loss before is still above; every loss of the way falls at this small step."""
    losses = []
    result = descend(tol=1e-3, observe=lambda i, t, loss, theta: losses.append(loss))
    assert result.status == "converged"
    assert result.loss == losses[-1] < 1e-3 <= losses[-2]
    assert result.n_iter == len(losses) - 1
    assert (np.diff(losses) < 0).all()


@pytest.mark.parametrize("step", [Constant(0.1), Adaptive()])
def test_converged_is_also_where_steps_change_nothing(step):
    """With tol 0 the descent ends at the center, to the last digits, long before max_iter."""
    result = descend(step=step, max_iter=10_000)
    assert result.status == "converged" and result.n_iter < 1000
    np.testing.assert_allclose(result.theta, CENTER, rtol=1e-13)


def test_a_stationary_start_converges_at_once():
    """A gradient of zero, theta zero or not."""
    for theta in (np.zeros(3), np.ones(3)):
        for step in (Constant(0.1), Adaptive()):
            result = descend(lambda t: (1.0, np.zeros(3)), theta, step)
            assert (result.status, result.n_iter) == ("converged", 0)


def test_a_flat_stretch_is_not_convergence():
    """Gradients of 1e-9 of theta move it by little; the descent goes on all the same."""
    result = descend(lambda t: (1.0, np.full(3, 1e-9)), np.ones(3), max_iter=300)
    assert (result.status, result.n_iter) == ("max_iter", 300)


@pytest.mark.parametrize("outcome", [nan, inf])
def test_diverged_is_a_loss_that_is_not_finite(outcome):
    """At the fifth gradient: four updates were made."""
    seen = []
    result = descend(Failing(5, outcome), observe=lambda i, *_: seen.append(i))
    assert (result.status, result.n_iter) == ("diverged", 4)
    assert seen == [0, 1, 2, 3]


def test_too_large_a_step_diverges():
    """Beyond 2 over the largest curvature the iterates of a quadratic grow until they overflow."""
    with np.errstate(over="ignore"):
        result = descend(step=Constant(10.0), max_iter=10_000)
    assert result.status == "diverged"


def test_an_interrupt_keeps_what_was_reached():
    """The last theta whose loss is known, of closed form; the first gradient is at the start."""
    result = descend(Failing(8, KeyboardInterrupt()))
    assert (result.status, result.n_iter) == ("interrupted", 6)
    expected = CENTER + (1 - 0.1 * CURVATURES) ** 6 * (START - CENTER)
    np.testing.assert_allclose(result.theta, expected, rtol=1e-13)
    np.testing.assert_allclose(result.loss, quadratic(expected)[0], rtol=1e-12)


def test_other_errors_pass_through():
    """Only an interrupt is caught."""
    with pytest.raises(ZeroDivisionError):
        descend(Failing(3, ZeroDivisionError()))


def test_an_observer_ends_the_descent_with_its_own_word():
    """Asked at iteration 6: six updates, and no more."""
    result = descend(observe=lambda i, *_: "enough" if i == 6 else None)
    assert (result.status, result.n_iter) == ("enough", 6)


def test_the_word_of_the_observer_wins():
    """Where max_iter and tol end the descent as well, the observer's status is kept."""
    result = descend(max_iter=6, tol=inf, observe=lambda *_: "enough")
    assert (result.status, result.n_iter) == ("enough", 0)
    result = descend(max_iter=6, observe=lambda i, *_: "enough" if i == 6 else None)
    assert (result.status, result.n_iter) == ("enough", 6)


def test_the_observer_sees_every_iteration_once():
    """Iterations from 0 to max_iter, with the loss and the time of theta."""
    seen = []
    descend(max_iter=10, observe=lambda *arguments: seen.append(arguments))
    assert [iteration for iteration, *_ in seen] == list(range(11))
    for iteration, time, loss, theta in seen:
        np.testing.assert_allclose(time, 0.1 * iteration, rtol=1e-13, atol=0)
        assert loss == quadratic(theta)[0]
