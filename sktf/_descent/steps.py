"""Step sizes: one scalar for all parameters, so that every direction is the negative gradient.

A step is a pair of functions, ``init(theta, gradient) -> state`` and
``update(gradient, state) -> (eta, state)``; both work on numpy and torch vectors.
"""

from dataclasses import dataclass
from math import inf, sqrt
from typing import Any, NamedTuple


def norm(vector):
    """Euclidean norm as a Python float."""
    square = float(vector @ vector)
    if 1e-30 < square < 1e30:
        return sqrt(square)
    # In single precision squares may have under- or overflowed.
    peak = float(abs(vector).max())
    if not 0 < peak < inf:
        return peak
    return peak * sqrt(float(((vector / peak) ** 2).sum()))


class _AdaptiveState(NamedTuple):
    eta: float
    gradient: Any
    bound: float


@dataclass(frozen=True)
class Adaptive:
    """A fraction of the inverse local curvature along the path, of bounded growth.

    ``eta = learning_rate / L`` with ``L = |g_k - g_(k-1)| / |theta_k - theta_(k-1)|``, and
    ``eta`` at most ``growth`` times the previous one (Malitsky and Mishchenko, "Adaptive
    gradient descent without descent", ICML 2020, with a smaller fraction). The first step
    is ``first_step``; None: it moves theta by ``first_move`` of its own length.
    """

    learning_rate: float = 0.3
    growth: float = 1.3
    first_move: float = 1e-3
    first_step: float | None = None

    def init(self, theta, gradient):
        """State before the first step."""
        if self.first_step is not None:
            return _AdaptiveState(self.first_step, None, self.first_step)
        length = norm(gradient)
        eta = self.first_move * max(norm(theta), 1e-12) / length if length > 0 else 1.0
        return _AdaptiveState(eta, None, eta)

    def update(self, gradient, state):
        """Step size for ``gradient`` and the state after it."""
        eta = state.bound
        if state.gradient is not None:
            change = norm(gradient - state.gradient)
            length = state.eta * norm(state.gradient)
            if change > 0:
                eta = min(eta, self.learning_rate * length / change)
        return eta, _AdaptiveState(eta, gradient, self.growth * eta)


class _RMSState(NamedTuple):
    mean_square: float
    correction: float


@dataclass(frozen=True)
class GroupRMSprop:
    """``eta = learning_rate / (sqrt(v / (1 - a^t)) + eps)``, v a running mean of ``|g|^2``.

    The step of Razin and Cohen (2020) and of Razin, Maman and Cohen (2021).
    """

    learning_rate: float = 1e-2
    decay: float = 0.99
    eps: float = 1e-6

    def init(self, theta, gradient):
        """State before the first step."""
        return _RMSState(0.0, 1.0)

    def update(self, gradient, state):
        """Step size for ``gradient`` and the state after it."""
        square = norm(gradient) ** 2
        mean_square = self.decay * state.mean_square + (1 - self.decay) * square
        correction = self.decay * state.correction
        eta = self.learning_rate / (sqrt(mean_square / (1 - correction)) + self.eps)
        return eta, _RMSState(mean_square, correction)


@dataclass(frozen=True)
class Constant:
    """The same step size throughout."""

    learning_rate: float = 1e-2

    def init(self, theta, gradient):
        """State before the first step."""
        return None

    def update(self, gradient, state):
        """Step size for ``gradient`` and the state after it."""
        return self.learning_rate, state


STEPS = {"adaptive": Adaptive, "grouprmsprop": GroupRMSprop, "constant": Constant}


def make_step(name, learning_rate):
    """Return the step ``name``, at its own default where ``learning_rate`` is None."""
    return STEPS[name]() if learning_rate is None else STEPS[name](learning_rate)
