"""What estimators with the loss of counts, or of yes and no, check and how they score."""

import numpy as np
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from sktf._cells.complaints import about_rows, explained
from sktf._cells.validation import check_weights
from sktf._models.inner import parameters_named
from sktf._models.scoring import ScoresAnyUnit
from sktf._objective.links import LINKS, link_of, share_of_deviance


class ScoresDeviance(ScoresAnyUnit):
    """An estimator that is scored by the deviance of its loss, if this has a link."""

    def score(self, X, y, sample_weight=None) -> float:
        """Return R^2 of the predictions, or of a loss with a link the share of deviance explained.

        Parameters
        ----------
        X : array-like of shape (n_cells, n_modes)
            Cells, as ``predict`` reads them.
        y : array-like of shape (n_cells,)
            Their values.
        sample_weight : array-like of shape (n_cells,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            ``1 - sum_e w_e d(y_e, T_e) / sum_e w_e d(y_e, mean of y)``, with squared errors d, or
            unit deviances of counts or of yes and no (D^2): 1 at best, 0 for the mean.

        Raises
        ------
        ValueError
            When y is not one finite number for each cell that the loss allows, when weights are
            negative or all zero, or for what ``predict`` raises.
        """
        loss = link_of(self)
        if loss is None:
            return super().score(X, y, sample_weight)
        predicted = self.predict(X)
        with explained(about_rows, "X", X, y):
            y = column_or_1d(check_array(y, ensure_2d=False, dtype=np.float64, input_name="y"))
            check_consistent_length(predicted, y)
        loss.check(y)
        return share_of_deviance(loss, y, predicted, check_weights(sample_weight, y))


class Linked(ScoresDeviance):
    """An estimator whose parameter ``loss`` may name one with a link."""

    def _read(self, X, y, sample_weight):
        """Return what is observed; values are complained of by their rows in y."""
        observations = super()._read(X, y, sample_weight)
        if self.loss in LINKS and sample_weight is not None:
            rows = np.flatnonzero(check_weights(sample_weight, X))
            LINKS[self.loss].check(observations.values, rows=rows)
        return observations

    def _check_values(self, cells, source="y"):
        """Raise where values are none of the loss, or the model has no means of it."""
        loss = LINKS.get(self.loss)
        if loss is None:
            return
        if loss.needs_parts and (not self._nonnegative or self.offset is not None):
            raise ValueError(
                f'loss="{self.loss}": means are sums of parts that are not negative; take '
                'NonNegativeCPCompletion with offset=None, or loss="poisson".'
            )
        if self._nonnegative and not loss.needs_parts:
            raise ValueError(
                f'loss="{self.loss}": parts that are not negative only raise the linear predictor; '
                'take loss="poisson_sum" for counts, or CPCompletion.'
            )
        if cells.ranks is not None:
            raise ValueError(
                f'loss="{self.loss}" reads the rows of all processes in one, and these are too '
                "many; set distributed=False, and fit some of them."
            )
        loss.check(cells.values, source)


def linked_loss(estimator):
    """Return the first loss with a link among the parameters of an estimator, None without."""
    losses = parameters_named(estimator, "loss").values()
    return next((loss for loss in losses if isinstance(loss, str) and loss in LINKS), None)


def has_loss(estimator, name):
    """Whether an estimator, or each one of an ensemble, has the loss of this name."""
    if not isinstance(estimator, ScoresDeviance):
        return False
    params = estimator.get_params(deep=False)
    if "loss" in params:
        return params["loss"] == name
    members = params.get("estimators") or [("", params.get("estimator"))]
    return all(has_loss(member, name) for _, member in members)
