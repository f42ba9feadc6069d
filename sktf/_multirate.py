"""Descent in rounds through which the components that hardly move sleep."""

from dataclasses import replace
from math import inf
from typing import Any, NamedTuple

import numpy as np

# Most steps of a round, and steps between two looks whether one begins or ends.
_ROUND, _LOOK = 400, 20
# How far a vector or matrix of a sleeper may move in a round, as a share of its length.
_MOVED = 0.03
# Curvature of all sleepers together, as a share of that of the most curved component. Sleepers
# take the steps of a round at once: ``_ROUND * _FLAT`` is far below the 2 that would be unstable.
_FLAT = 3e-4
# Share of the components that sleep where a round is worth its while.
_ASLEEP = 0.5


class _Round(NamedTuple):
    """The components awake and their walk; theta and gradient of all as it began; its most time."""

    awake: np.ndarray
    walk: Any
    theta: np.ndarray
    gradient: np.ndarray
    most_time: float

    @property
    def is_over(self):
        """Whether the sleepers are to move."""
        n_iter, time = self.walk.n_iter, self.walk.time
        return n_iter >= _ROUND or (n_iter % _LOOK == 0 and time >= self.most_time)

    def theta_after(self, time, factorization):
        """Return theta with the components awake where they are, the others moved so long."""
        theta = self.theta - self.theta.dtype.type(time) * self.gradient
        awake = factorization.narrowed(len(self.awake)).unpack(self.walk.theta)
        for block, columns in zip(factorization.unpack(theta), awake, strict=True):
            block[:, self.awake] = columns
        return theta


class MultirateWalk:
    """What ``Walk`` is, at the cost of the components that are awake.

    From a small start a few components grow at a time, and the others stay so near zero that a
    step moves them by less than a thousandth of their length. Those sleep through a round of up
    to ``_ROUND`` steps: the components awake descend as if the others were constant, and then
    every sleeper takes one step, by the sum of the step sizes of the round, along the gradient
    it fell asleep with. All of theta so follows one gradient flow for the same time (a multirate
    Euler method: C. W. Gear and D. R. Wells, "Multirate linear multistep methods", BIT 24, 1984).

    Parameters
    ----------
    objective : FusedObjective
        Of a factorization that can be ``narrowed``.
    theta, step, tol
        As of ``Walk``; the step is ``Adaptive``.
    """

    def __init__(self, objective, theta, step, tol):
        self._objective, self._step, self._tol = objective, step, tol
        self._all, self._round = objective.steps(theta, step, tol), None
        self._ended = 0, 0.0

    @property
    def _walk(self):
        return self._all if self._round is None else self._round.walk

    @property
    def theta(self):
        """A copy of all components, those asleep where they fell asleep."""
        if self._round is None:
            return self._all.theta
        return self._round.theta_after(0.0, self._objective.factorization)

    @property
    def loss(self):
        """The loss there."""
        return self._walk.loss

    @property
    def n_iter(self):
        """Steps taken."""
        return self._ended[0] + self._walk.n_iter

    @property
    def time(self):
        """Sum of the step sizes."""
        return self._ended[1] + self._walk.time

    def go(self, n_steps):
        """Take steps, as ``Walk.go`` does."""
        end = self.n_iter + n_steps
        while self.n_iter < end and self._tol <= self.loss < inf:
            walk = self._walk
            status = walk.go(min(end - self.n_iter, _LOOK - walk.n_iter % _LOOK))
            if self._round is None:
                if status:
                    return status
                if walk.n_iter % _LOOK == 0:
                    self._fall_asleep()
            elif status or self._round.is_over:
                self._wake_up()
                # Where those awake had come to rest, all take some steps.
                if not status:
                    self._fall_asleep()
        return None

    def _fall_asleep(self):
        """Begin a round, if enough components may sleep through it."""
        walk, factorization = self._all, self._objective.factorization
        theta, gradient = walk.theta, walk.gradient
        lengths, slopes = (_lengths(factorization.unpack(v)) for v in (theta, gradient))
        slow = (_ROUND * walk.eta * slopes <= _MOVED * lengths).all(axis=0)
        asleep = slow & _are_flat(lengths)
        if not asleep.size > asleep.sum() >= _ASLEEP * asleep.size:
            return
        moves = asleep & (slopes > 0)
        most_time = np.min(_MOVED * lengths[moves] / slopes[moves], initial=inf)
        awake = np.flatnonzero(~asleep)
        objective, part = self._objective.split(theta, awake, np.flatnonzero(asleep))
        narrow = objective.steps(part, replace(self._step, first_step=walk.eta), self._tol)
        ended = self.n_iter, self.time
        self._ended, self._round = ended, _Round(awake, narrow, theta, gradient, most_time)

    def _wake_up(self):
        """End the round: the sleepers take their step."""
        walk = self._round.walk
        theta = self._round.theta_after(walk.time, self._objective.factorization)
        everything = self._objective.steps(
            theta, replace(self._step, first_step=walk.eta), self._tol
        )
        ended = self.n_iter, self.time
        self._ended, self._all, self._round = ended, everything, None


def _lengths(blocks):
    """Lengths of all vectors and matrices of every component, shape (parts, n_components)."""
    parts = [np.linalg.norm(block, axis=0 if block.ndim == 2 else (2, 3)) for block in blocks]
    return np.vstack(parts)


def _are_flat(lengths):
    """Whether the loss hardly curves along a component, nor along all such components together.

    Along one part of a component it curves by the squared product of the lengths of the others.
    """
    squares = (lengths / max(lengths.max(), 1e-300)) ** 2
    others = [np.delete(squares, n, axis=0).prod(axis=0) for n in range(len(squares))]
    curvatures = np.sum(others, axis=0)
    order = np.argsort(curvatures)
    flat = np.empty(len(order), bool)
    flat[order] = np.cumsum(curvatures[order]) <= _FLAT * curvatures.max()
    return flat
