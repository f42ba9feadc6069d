"""What estimators with the loss of counts, or of yes and no, check and how they score."""

import numpy as np

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
            When a value is none that the loss allows, or for what ``predict`` raises.
        """
        loss = link_of(self)
        if loss is None:
            return super().score(X, y, sample_weight)
        predicted = self.predict(X)
        y = np.asarray(y, dtype=np.float64)
        loss.check(y)
        return share_of_deviance(loss, y, predicted, sample_weight)


class Linked(ScoresDeviance):
    """An estimator whose parameter ``loss`` may name one with a link."""

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
