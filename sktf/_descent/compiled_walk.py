"""A descent of CP factors, or their roots, in compiled steps, where one thread is enough."""

import numpy as np

from sktf._descent.steps import Adaptive
from sktf._descent.walk import NO_MOVE, Walk
from sktf._objective import kernels
from sktf._objective.lanes import whole_lines


def steps_from(objective, theta, step, tol):
    """Return a walk from theta, compiled where a gradient is work for one thread."""
    start, problem = (theta, step, tol), _compiled_problem(objective, step)
    return CompiledWalk(*problem, *start) if problem else Walk(objective, *start)


def n_descents(objective, step):
    """Return how many descents may go on at once: those in Python would wait for each other."""
    return objective.n_beside if _compiled_problem(objective, step) else 1


def _compiled_problem(objective, step):
    compiled = isinstance(step, Adaptive)
    return getattr(objective, "one_thread_problem", None) if compiled else None


class CompiledWalk:
    """What ``Walk`` is, for factors or their roots under the step ``Adaptive``.

    Nothing is done in Python between two looks of an observer: at a thousand cells, Python would
    take twice as long as the gradient and keep other threads from descending beside this one.

    Parameters
    ----------
    cells : tuple
        The first five arguments of ``cp_pass``.
    delta : float
        Of the loss ``ClippedSquare``, of the precision of theta.
    n_rows : int
        Rows of all factors.
    squared : bool
        Whether the factors are the squares of theta.
    theta : ndarray
        The factors, or their roots, one after another.
    step : Adaptive
        Gives the step sizes.
    tol : float
        A loss below it ends ``go``.
    """

    def __init__(self, cells, delta, n_rows, squared, theta, step, tol):
        self._n_components = theta.size // n_rows
        self._arrays = whole_lines(3 + squared, n_rows, self._n_components, theta.dtype)
        self._stacked, gradients = self._arrays[0], self._arrays[1:3]
        squares = self._arrays[3] if squared else self._stacked[:0]
        self._stacked[:, : self._n_components] = theta.reshape(n_rows, -1)
        loss = kernels.cp_gradient(cells, delta, self._stacked, squares, gradients[0])
        first = step.init(theta, gradients[0].ravel())
        self._state = np.array([loss, 0.0, 0.0, first.bound, 0.0, 0.0])
        rule = float(step.learning_rate), float(step.growth), NO_MOVE
        problem = cells, delta, self._stacked, squares
        self._arguments = *problem, gradients, rule, self._state, float(tol)

    @property
    def theta(self):
        """A copy of theta."""
        return self._stacked[:, : self._n_components].flatten()

    @property
    def loss(self):
        """The loss there."""
        return float(self._state[0])

    @property
    def time(self):
        """Sum of the step sizes."""
        return float(self._state[1])

    @property
    def n_iter(self):
        """Steps taken."""
        return int(self._state[5])

    @property
    def gradient(self):
        """A copy of the gradient there."""
        return self._arguments[4][0][:, : self._n_components].flatten()

    @property
    def eta(self):
        """The last step size; before a step, the first."""
        return float(self._state[2] or self._state[3])

    @property
    def state(self):
        """What ``Walk.state`` is."""
        return self._arrays.copy(), self._state.copy()

    @state.setter
    def state(self, state):
        self._arrays[:], self._state[:] = state

    def go(self, n_steps):
        """Take steps, as ``Walk.go`` does."""
        return "converged" if kernels.cp_walk(n_steps, *self._arguments) else None

    def settle(self):
        """Do nothing, as ``Walk.settle`` does."""
