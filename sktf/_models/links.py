"""What estimators with the loss of counts, or of yes and no, check and how they score."""

import numpy as np

from sktf._objective.links import LINKS, share_of_deviance


class Linked:
    """The loss with a link of an estimator that has the parameter ``loss``."""

    def _check_values(self, values, source="y"):
        """Raise where values are none of the loss."""
        if self.loss in LINKS:
            LINKS[self.loss].check(values, source)

    def score(self, X, y, sample_weight=None):
        """Return R^2 of the predictions, or of a loss with a link the share of deviance explained.

        Parameters
        ----------
        X : array-like of shape (n_cells, n_modes)
            Cells.
        y : array-like of shape (n_cells,)
            Their values.
        sample_weight : array-like of shape (n_cells,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            ``1 - sum_e w_e d(y_e, T_e) / sum_e w_e d(y_e, mean of y)``, at most 1, d the squared
            error, or the unit deviance of the loss: D^2.
        """
        name = vars(self).get("_link")
        if name is None:
            return super().score(X, y, sample_weight)
        predicted = self.predict(X)
        y = np.asarray(y, dtype=np.float64)
        LINKS[name].check(y)
        return share_of_deviance(LINKS[name], y, predicted, sample_weight)
