"""Fits of different kinds: weights that are best on held-out cells, then fits on all cells."""

import numpy as np
from scipy.optimize import nnls

from sktf._averages.jobs import encodes
from sktf._averages.posterior_choice import split
from sktf._averages.predictive import Predictive
from sktf._models.base import BaseCompletion
from sktf._models.inner import parameters_named
from sktf._models.sklearn_types import BaseComposition

# How much more an excess of the sum of weights over 1 counts than a value of one cell.
_FIRM = 1e4
# So many held-out cells tell of the weights; fewer, in so many folds at most.
_TELLING, _FOLDS = 500, 5
# A smaller weight is none: its fit is not worth the time.
_LEAST = 0.02


class Composition(BaseComposition):
    """Parameters of estimators given by name: ``get_params``, ``set_params``, and checks."""

    def get_params(self, deep=True):
        """Get the parameters, also those of ``estimators`` as ``name`` and ``name__parameter``.

        Parameters
        ----------
        deep : bool, default=True
            Whether to return those of the estimators as well.

        Returns
        -------
        params : dict
            Names and values.
        """
        return self._get_params("estimators", deep=deep)

    def set_params(self, **params):
        """Set parameters, those of ``estimators`` as ``name`` and ``name__parameter``.

        Parameters
        ----------
        **params : dict
            Names and values.

        Returns
        -------
        self : object
            The estimator.
        """
        return self._set_params("estimators", **params)

    def _named_kinds(self):
        """Return the estimators, checked."""
        if not self.estimators:
            raise ValueError("estimators=[]: give at least one.")
        for pair in self.estimators:
            if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)):
                raise ValueError(
                    f"estimators={self.estimators!r}: expected pairs of a name and an estimator."
                )
        names, kinds = zip(*self.estimators, strict=True)
        self._validate_names(names)
        for name, kind in self.estimators:
            if not isinstance(kind, (BaseCompletion, Predictive, Composition)):
                raise TypeError(
                    f"estimators: {name!r} is {kind!r}; give an instance of a completion "
                    "estimator of this package."
                )
        return kinds


def shape_of(kinds):
    """Return the ``shape`` that estimators have, or those inside them; None without any."""
    found = [
        value
        for kind in kinds
        for value in parameters_named(kind, "shape").values()
        if value is not None
    ]
    for other in found[1:]:
        if not np.array_equal(found[0], other):
            raise ValueError(
                f"estimators: one has shape={found[0]!r}, another shape={other!r}; give all the "
                "same, or none."
            )
    return found[0] if found else None


def labels_of(kinds):
    """Return () where the columns of X are labels to all estimators, None where to none."""
    found = {encodes(kind) for kind in kinds}
    if len(found) > 1:
        raise ValueError("estimators: set encode=True in all of them, or in none.")
    return () if found.pop() else None


def folds(observations, given, rng):
    """Return pairs of cells to train on and held out: several where these are few."""
    if given is not None:
        return [(observations, given)]
    found = [split(observations, rng)]
    n_folds = min(_FOLDS, -(-_TELLING // max(1, len(found[0][1] or ()))))
    while found[0][1] is not None and len(found) < n_folds:
        found.append(split(observations, rng))
    return [pair for pair in found if pair[1] is not None]


def stacked_weights(values, weights, predictions):
    """Return the non-negative weights of sum 1 whose mean is best on held-out cells.

    Least squares (L. Breiman, "Stacked regressions", 1996).

    Parameters
    ----------
    values, weights : ndarray of shape (n_cells,)
        Of cells that the fits have not been trained on.
    predictions : ndarray of shape (n_fits, n_cells)
        What each fit predicts there.
    """
    n_fits, mean = len(predictions), values.mean()
    unit = max(np.abs(values - mean).max(), np.abs(predictions - mean).max()) or 1.0
    root = np.sqrt(weights / weights.sum())
    left = root * (values - mean) / unit
    design = root * (predictions - mean) / unit
    design = np.vstack([design.T, np.full((1, n_fits), _FIRM)])
    found, _ = nnls(design, np.append(left, _FIRM))
    found = found / found.sum()
    kept = np.where((found >= _LEAST) | (found == found.max()), found, 0.0)
    return kept / kept.sum()
