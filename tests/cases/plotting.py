"""Helpers of several files of tests."""

import numpy as np
from sklearn.base import BaseEstimator


class Fitted(BaseEstimator):
    """An estimator that has nothing but the given fitted attributes."""

    def fit(self, **attributes):
        """Take the attributes."""
        vars(self).update(attributes)
        return self


def make_trace(tops=(10.0, 6.0, 3.0), n_components=20, n_records=40, quantity="component_norms"):
    """Return a staircase: one sigmoid per top, the other components near zero."""
    iteration = np.arange(n_records) * 10
    norms = np.full((n_records, n_components), 1e-3)
    for column, top in enumerate(tops):
        norms[:, column] = top / (1 + np.exp(5.0 * (column + 1) - iteration / 20))
    loss = np.exp(-iteration / 50)
    return {"iteration": iteration, "time": 0.1 * iteration, "loss": loss, quantity: norms}


def make_factors(shape=(13, 4, 40), n_components=3):
    """Return random factors, the components in descending order."""
    rng = np.random.default_rng(0)
    factors = [rng.standard_normal((size, n_components)) for size in shape]
    factors[0] *= np.linspace(9, 1, n_components)
    return factors


def heights(ax):
    """Return the heights of the bars of `ax`."""
    return np.array([patch.get_height() for patch in ax.patches])
