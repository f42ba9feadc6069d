"""Losses of one residual, and their derivatives at the prediction.

Both losses are one family, ``c * (2 r - c)`` with ``c = clip(r, -delta, delta)``: the square
where ``|r| <= delta`` and its tangent beyond. The squared loss is the member ``delta = inf``,
so a compiled kernel needs only ``delta``.
"""

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True)
class ClippedSquare:
    """The square within ``delta`` of zero, its tangent beyond.

    This is the convention of scikit-learn's ``HuberRegressor``; it is twice the textbook
    Huber loss, so that it meets the squared loss (mean, without a factor one half).
    """

    delta: float
    linked = False

    def __str__(self):
        return "Huber" if self.delta < inf else "squared"

    def value(self, residual):
        """Loss of each residual; numpy and torch alike."""
        clipped = residual.clip(-self.delta, self.delta)
        return clipped * (2 * residual - clipped)

    def at(self, predicted, values):
        """Loss of each value about what is predicted; numpy and torch alike."""
        return self.value(predicted - values)

    def reach(self, cells):
        """Return how far from zero the values of cells ask components to reach."""
        return max(map(abs, cells.bounds()))

    def derivative(self, residual):
        """Derivative of each loss at the prediction."""
        return 2 * residual.clip(-self.delta, self.delta)


def _squared(huber_delta):
    return ClippedSquare(inf)


LOSSES = {"squared": _squared, "huber": ClippedSquare}
