"""A callback that acts at one tick of a fit."""

import pytest
from sklearn.experimental import enable_halving_search_cv  # noqa: F401

from sktf import CPCompletion


class AtTick:
    """A callback that acts at the tick of the given number and counts what it sees."""

    def __init__(self, number=None, action=None):
        if not hasattr(CPCompletion, "set_callbacks"):
            pytest.skip("scikit-learn below 1.9 has no callbacks")
        self.number, self.action = number, action
        self.n_ticks = self.n_fits = self.n_teardowns = 0

    def setup(self, estimator, context):
        self.n_fits += 1

    def teardown(self, estimator, context):
        self.n_teardowns += 1

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "fit":
            return None
        self.n_ticks += 1
        return self.action() if self.n_ticks == self.number else None
