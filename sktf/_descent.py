"""Gradient descent: the one loop over iterations in the package."""

from math import isfinite, isnan, nan
from typing import Any, NamedTuple

from ._steps import norm

# A step that moves theta by less than this share of its length changes no digit of it.
_NO_MOVE = 1e-15


class Result(NamedTuple):
    """Where a descent ended.

    ``status`` is "converged", "held_out", "max_iter", "callback", "interrupted" or "diverged".
    """

    theta: Any
    loss: float
    n_iter: int
    time: float
    status: str


def gradient_descent(objective, theta, step, *, max_iter, tol, observe):
    """Descend on ``objective`` from ``theta``; one scalar step size for all of theta.

    Parameters
    ----------
    objective : callable
        ``theta -> (loss, gradient)``, the loss a float.
    theta : vector
        The start; it is not written to.
    step : object of ``STEPS``
        Gives the step sizes.
    max_iter : int
        Largest number of updates.
    tol : float
        The descent has converged below this loss.
    observe : callable
        ``(iteration, time, loss, theta) -> status or None``, before every update and once at
        the end; a status ends the descent. ``time`` is the sum of the step sizes so far.
    """
    time, n_iter, loss = 0.0, 0, nan
    try:
        for n_iter in range(max_iter + 1):
            loss, gradient = objective(theta)
            status = _end_of(loss, tol, n_iter, max_iter, observe, (n_iter, time, loss, theta))
            if status is not None:
                break
            if n_iter == 0:
                state = step.init(theta, gradient)
            eta, state = step.update(gradient, state)
            if eta * norm(gradient) <= _NO_MOVE * norm(theta):
                status = "converged"
                break
            theta = theta - eta * gradient
            time += eta
    except KeyboardInterrupt:
        if isnan(loss):
            raise
        status = "interrupted"
    return Result(theta, loss, n_iter, time, status)


def _end_of(loss, tol, n_iter, max_iter, observe, seen):
    """Return the status that ends the descent here, or None."""
    if not isfinite(loss):
        return "diverged"
    observed = observe(*seen)
    if observed is not None:
        return observed
    if loss < tol:
        return "converged"
    return "max_iter" if n_iter == max_iter else None
