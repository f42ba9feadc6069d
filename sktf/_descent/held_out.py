"""When held-out cells have had enough of a descent."""

from math import inf

# Iterations between two looks at the held-out loss.
CHECK_EVERY = 10
# A held-out loss counts as better when it is smaller by this share.
_BETTER = 1e-3


class HeldOut:
    """Watches held-out cells through one stage and keeps the best theta.

    Patience is counted in progress first: its ``patience`` iterations begin once the training
    loss has moved by the share ``progress`` since the best held-out loss; of none, at this. On a
    plateau before the next component nothing moves, and nothing is counted. Where the loss has
    risen, ``rejects(theta)`` may end the stage at once.
    """

    def __init__(self, objective, patience, progress=0.3, rejects=None):
        self._objective, self._patience, self._progress = objective, patience, progress
        self._rejects = rejects
        self.loss, self._training, self._moved_at = inf, inf, None
        self.theta, self.latest = None, inf

    def observe(self, iteration, loss, theta):
        """Return "held_out" when the held-out cells have had enough."""
        if iteration % CHECK_EVERY:
            return None
        if self.look(loss, theta):
            self._moved_at = None if self._progress else iteration
            return None
        if self._moved_at is None and loss < (1 - self._progress) * self._training:
            self._moved_at = iteration
        enough = self._moved_at is not None and iteration - self._moved_at >= self._patience
        return "held_out" if enough or self._is_rejected(theta) else None

    def _is_rejected(self, theta):
        return self._rejects is not None and self.turned and self._rejects(theta)

    def due(self, iteration):
        """Return the iteration at which to look next."""
        return iteration + CHECK_EVERY - iteration % CHECK_EVERY

    def look(self, loss, theta):
        """Evaluate the held-out loss; return whether it is the best so far."""
        self.latest = self._objective.loss(theta)
        better = self.theta is None or self.latest < (1 - _BETTER) * self.loss
        if better:
            self.loss, self._training, self._moved_at = self.latest, loss, None
            self.theta = theta
        return better

    @property
    def state(self):
        """All that it has seen so far; first the best theta, or None."""
        return self.theta, self.loss, self._training, self._moved_at, self.latest

    @state.setter
    def state(self, state):
        self.theta, self.loss, self._training, self._moved_at, self.latest = state

    def best(self, result):
        """Return ``result`` with the best theta in place of the last."""
        self.look(result.loss, result.theta)
        return result._replace(theta=self.theta, loss=self._training)

    @property
    def turned(self):
        """Whether the held-out loss has risen since its best."""
        return self.latest > (1 + _BETTER) * self.loss
