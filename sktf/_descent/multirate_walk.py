"""Descent in rounds through which the components that hardly move sleep."""

from dataclasses import replace
from math import inf
from typing import NamedTuple

import numpy as np

from sktf._descent.compiled_walk import steps_from

# Most steps of a round, and steps between two looks whether one begins or ends.
_ROUND, _LOOK = 400, 40
# How far a vector or matrix of a sleeper may move in a round, as a share of its length.
_MOVED = 0.03
# Curvature of all sleepers together, as a share of that of the most curved component. Sleepers
# take the steps of a round at once: ``_ROUND * _FLAT`` is far below the 2 that would be unstable.
_FLAT = 3e-4
# Share of the components that sleep where a round is worth its while.
_ASLEEP = 0.5
# A loss that rises by more than this factor as sleepers move tells that they were not flat.
_RISE = 1.01


class _Round(NamedTuple):
    """Which components are awake; theta and gradient of all as they fell asleep; its most time."""

    awake: np.ndarray
    theta: np.ndarray
    gradient: np.ndarray
    most_time: float

    def theta_after(self, time, part, factorization):
        """Return theta with the components awake at ``part``, the others moved for a time."""
        theta = self.theta - self.theta.dtype.type(time) * self.gradient
        awake = factorization.narrowed(len(self.awake)).unpack(part)
        for block, columns in zip(factorization.unpack(theta), awake, strict=True):
            block[:, self.awake] = columns
        return theta


class MultirateWalk:
    """What ``Walk`` is to a descent, at the cost of the components that are awake.

    From a small start a few components grow at a time, and the others stay so near zero that a
    step moves them by less than a thousandth of their length. Those sleep through a round of up
    to ``_ROUND`` steps: the components awake descend as if the others were constant, and then
    every sleeper takes one step, by the sum of the step sizes of the round, along the gradient
    it fell asleep with. All of theta so follows one gradient flow for the same time (a multirate
    Euler method: C. W. Gear and D. R. Wells, "Multirate linear multistep methods", BIT 24, 1984).
    Where the components awake come to rest, time passes for the sleepers alone.

    Parameters
    ----------
    objective : FusedObjective
        Of a factorization that is ``separable``.
    theta, step, tol
        As of ``Walk``; the step is ``Adaptive``.
    """

    def __init__(self, objective, theta, step, tol):
        self._objective, self._step, self._tol = objective, step, tol
        self._walk, self._round = steps_from(objective, theta, step, tol), None
        self._ended, self._sleeps = (0, 0.0), True

    @property
    def theta(self):
        """A copy of all components, those asleep where they fell asleep."""
        return self._walk.theta if self._round is None else self._theta_after(0.0)

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

    @property
    def state(self):
        """What ``Walk.state`` is."""
        return self._walk.state, self._round, self._ended, self._sleeps

    @state.setter
    def state(self, state):
        walk, round_, self._ended, self._sleeps = state
        if round_ is not None:
            self._round = _Round(*round_)
            self._walk = self._narrow(self._round.theta, self._round.awake)
        self._walk.state = walk

    def go(self, n_steps):
        """Take steps, as ``Walk.go`` does."""
        end = self.n_iter + n_steps
        while self.n_iter < end and self._tol <= self.loss < inf:
            walk = self._walk
            at_rest = walk.go(min(end - self.n_iter, _LOOK - walk.n_iter % _LOOK))
            if self._round is None and at_rest:
                return at_rest
            if at_rest:  # and then all take some steps
                self._wake_up(max(walk.time, min(self._round.most_time, _ROUND * walk.eta)))
            elif walk.n_iter % _LOOK == 0:
                self._look()
        return None

    def settle(self):
        """Bring the sleepers to where they are by now."""
        if self._round is not None:
            self._wake_up(self._walk.time)

    def _look(self):
        """End a round that is over, and begin one if there is none."""
        if self._round is not None:
            if self._walk.n_iter < _ROUND and self._walk.time < self._round.most_time:
                return
            self._wake_up(self._walk.time)
        if self._sleeps:
            self._fall_asleep()

    def _fall_asleep(self):
        """Begin a round, if enough components may sleep through it."""
        walk, factorization = self._walk, self._objective.factorization
        theta, gradient = walk.theta, walk.gradient
        lengths, slopes = (_lengths(factorization.unpack(v)) for v in (theta, gradient))
        slow = (_ROUND * walk.eta * slopes <= _MOVED * lengths).all(axis=0)
        asleep = slow & _are_flat(lengths)
        if not asleep.size > asleep.sum() >= _ASLEEP * asleep.size:
            return
        moves = asleep & (slopes > 0)
        most_time = np.min(_MOVED * lengths[moves] / slopes[moves], initial=inf)
        awake = np.flatnonzero(~asleep)
        self._turn(self._narrow(theta, awake), _Round(awake, theta, gradient, most_time), walk.time)

    def _narrow(self, theta, awake):
        """Return a walk of the components awake beside the others, which are at rest."""
        asleep = np.delete(np.arange(self._objective.factorization.n_components), awake)
        objective, part = self._objective.split(theta, awake, asleep)
        return steps_from(objective, part, self._resumed(), self._tol)

    def _wake_up(self, time):
        """End the round, which has taken this long: the sleepers take their step."""
        walk = self._walk
        everything = self._all_from(time)
        if not everything.loss <= _RISE * walk.loss:
            everything = self._all_from(0.0)
            time, self._sleeps = walk.time, False
        self._turn(everything, None, time)

    def _all_from(self, time):
        """Return a walk of all components, the sleepers moved for a time."""
        theta = self._theta_after(time)
        return steps_from(self._objective, theta, self._resumed(), self._tol)

    def _turn(self, walk, round_, time):
        """Go on with another walk, after one that took this long."""
        ended = self.n_iter, self._ended[1] + time
        self._walk, self._round, self._ended = walk, round_, ended

    def _theta_after(self, time):
        return self._round.theta_after(time, self._walk.theta, self._objective.factorization)

    def _resumed(self):
        return replace(self._step, first_step=self._walk.eta)


def _lengths(blocks):
    """Lengths of all vectors and matrices of every component, shape (parts, n_components)."""
    # In double precision, in which the squares of small numbers do not vanish.
    parts = [
        np.linalg.norm(block.astype(np.float64, copy=False), axis=0 if block.ndim == 2 else (2, 3))
        for block in blocks
    ]
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
