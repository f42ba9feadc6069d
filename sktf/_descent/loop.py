"""Gradient descent: the one loop over iterations in the package."""

from math import isfinite
from typing import Any, NamedTuple

from sktf._descent.compiled_walk import steps_from
from sktf._descent.multirate_walk import MultirateWalk
from sktf._descent.steps import Adaptive


class Result(NamedTuple):
    """Where a descent ended.

    ``status`` is "converged", "held_out", "max_iter", "callback", "interrupted" or "diverged".
    """

    theta: Any
    loss: float
    n_iter: int
    time: float
    status: str


def gradient_descent(
    objective, theta, step, *, max_iter, tol, observe, due=lambda n: n + 1, keep=lambda walk: None
):
    """Descend on ``objective`` from ``theta``; one scalar step size for all of theta.

    Parameters
    ----------
    objective : callable
        ``theta -> (loss, gradient)``, the loss a float. Attributes of ``Objective`` tell, where
        there are any, whether steps are compiled and go in rounds.
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
    keep : callable
        Called with the walk before each look at it: notes its ``state``, or sets one to go on from.
    """
    walk = walk_from(objective, theta, step, tol)
    try:
        status = None
        while status is None:
            if walk.n_iter == max_iter:
                walk.settle()
            keep(walk)
            status = _end_of(walk, tol, max_iter, observe)
            if status is None:
                status = walk.go(min(due(walk.n_iter), max_iter) - walk.n_iter)
    except KeyboardInterrupt:
        status = "interrupted"
    return Result(walk.theta, walk.loss, walk.n_iter, walk.time, status)


def walk_from(objective, theta, step, tol):
    """Return a walk from theta, in rounds where a gradient of all components takes long."""
    rounds = isinstance(step, Adaptive) and getattr(objective, "is_long", False)
    return (MultirateWalk if rounds else steps_from)(objective, theta, step, tol)


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
