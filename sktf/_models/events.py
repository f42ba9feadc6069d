"""One more event: as many as held-out cells have of what is rare, they may lack by chance.

To be sure of zeros costs nothing where no event is seen, and of few cells none may be. Fits below a
link are judged as if held-out cells had seen one more.
"""

from typing import Any, NamedTuple

import numpy as np


class Event(NamedTuple):
    """An event, a count or the rarer answer, of so much weight, at a level, below a loss.

    The weight is that of a typical cell with events, ``sum m^2 / sum m`` of their weights m, so
    that all have the weight of about ``sum m / weight`` of it.
    """

    weight: float
    sign: int
    level: float
    loss: Any

    @classmethod
    def of(cls, training, loss):
        """Return that of the cells that a fit is trained on."""
        y, weights = training.values, training.weights
        mean = training.mean()
        sign = 1 if mean <= loss.most / 2 else -1
        level = loss.level(mean, len(y))
        if loss.needs_parts:  # what has no parts is zero, beside which any are likelier
            return cls(0.0, sign, level, loss)
        events = weights * (y if sign > 0 else loss.most - y)
        largest = events.max()
        if not largest > 0:
            return cls(float(weights.mean()), sign, level, loss)
        weight = largest * ((events / largest) ** 2).sum() / (events / largest).sum()
        return cls(float(weight), sign, level, loss)

    def added(self, eta, held_out):
        """Return what it adds to the mean deviance of held-out cells, beyond that at the level.

        It may be in any of them, and is no less likely than by one of all.
        """
        if not self.weight:
            return 0.0
        total, n = held_out.weights.sum(), len(held_out.values)
        beyond = np.minimum(self._cost(eta) - self._cost(self.level), 2 * np.log(n))
        mean = float(np.average(np.broadcast_to(beyond, n), weights=held_out.weights))
        return max(mean, 0.0) * self.weight / total

    def _cost(self, eta):
        return self.sign * (self.loss.cost(eta, 1.0) - self.loss.cost(eta, 0.0))
