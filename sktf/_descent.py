"""Gradient descent: the one loop over iterations in the package."""

from functools import partial
from math import isfinite
from typing import Any, NamedTuple

from ._steps import norm

# A step that moves theta by less than this share of its length changes no digit of it.
NO_MOVE = 1e-15


class Result(NamedTuple):
    """Where a descent ended.

    ``status`` is "converged", "held_out", "max_iter", "callback", "interrupted" or "diverged".
    """

    theta: Any
    loss: float
    n_iter: int
    time: float
    status: str


class Walk:
    """A descent under way: where it is, and how it goes on.

    ``theta`` after ``n_iter`` steps, the loss there, and the sum ``time`` of the step sizes.
    """

    def __init__(self, objective, theta, step, tol):
        self._objective, self._step, self._tol = objective, step, tol
        self.theta, self.n_iter, self.time = theta, 0, 0.0
        self.loss, self.gradient = objective(theta)
        self._state = None

    @property
    def eta(self):
        """The last step size, of a step that tells; before a step, the first."""
        return (self._state or self._step.init(self.theta, self.gradient)).eta

    def go(self, n_steps):
        """Take up to ``n_steps`` steps, as long as the loss is finite and at least ``tol``.

        Return "converged" where a step would change nothing, else None.
        """
        for _ in range(n_steps):
            gradient = self.gradient
            if self._state is None:
                self._state = self._step.init(self.theta, gradient)
            eta, self._state = self._step.update(gradient, self._state)
            if eta * norm(gradient) <= NO_MOVE * norm(self.theta):
                return "converged"
            theta = self.theta - eta * gradient
            # At once, so that Ctrl-C leaves no theta beside the loss of another.
            (self.loss, self.gradient), self.theta = self._objective(theta), theta
            self.n_iter, self.time = self.n_iter + 1, self.time + eta
            if not isfinite(self.loss) or self.loss < self._tol:
                break
        return None

    def settle(self):
        """Bring all of theta to the same time, as it is here."""


def gradient_descent(objective, theta, step, *, max_iter, tol, observe, due=lambda n: n + 1):
    """Descend on ``objective`` from ``theta``; one scalar step size for all of theta.

    Parameters
    ----------
    objective : callable
        ``theta -> (loss, gradient)``, the loss a float. Its method ``walk``, if it has one,
        makes what goes from one theta to the next in place of ``Walk``.
    theta : vector
        The start; it is not written to.
    step : object of ``STEPS``
        Gives the step sizes.
    max_iter : int
        Largest number of updates.
    tol : float
        The descent has converged below this loss.
    observe : callable
        ``(iteration, time, loss, theta) -> status or None``, called at the start, whenever it
        is due and at the end; a status ends the descent. ``time`` is the sum of the step sizes
        so far.
    due : callable
        The iteration after iteration ``n`` at which to observe next.
    """
    walk = getattr(objective, "walk", partial(Walk, objective))(theta, step, tol)
    try:
        status = None
        while status is None:
            if walk.n_iter == max_iter:
                walk.settle()
            status = _end_of(walk, tol, max_iter, observe)
            if status is None:
                status = walk.go(min(due(walk.n_iter), max_iter) - walk.n_iter)
    except KeyboardInterrupt:
        status = "interrupted"
    return Result(walk.theta, walk.loss, walk.n_iter, walk.time, status)


def _end_of(walk, tol, max_iter, observe):
    """Return the status that ends the descent here, or None."""
    if not isfinite(walk.loss):
        return "diverged"
    observed = observe(walk.n_iter, walk.time, walk.loss, walk.theta)
    if observed is not None:
        return observed
    if walk.loss < tol:
        return "converged"
    return "max_iter" if walk.n_iter == max_iter else None
