"""A descent under way, in steps of Python."""

from math import isfinite

from sktf._descent.steps import norm
from sktf._objective.factorization import like

# A step that moves theta by less than this share of its length changes no digit of it.
NO_MOVE = 1e-15


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

    @property
    def state(self):
        """All that another walk on the objective, with the step, needs to go on as this one."""
        step = self._state or self._step.init(self.theta, self.gradient)
        return self.theta, self.gradient, self.n_iter, self.time, self.loss, step

    @state.setter
    def state(self, state):
        first = self._step.init(self.theta, self.gradient)
        theta, gradient, self.n_iter, self.time, self.loss, step = state
        self.theta, self.gradient = like(self.theta, theta), like(self.theta, gradient)
        if step is not None:
            step = [like(self.theta, part) if hasattr(part, "dtype") else part for part in step]
            self._state = type(first)(*step)

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
