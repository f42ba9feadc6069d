"""R^2 of predictions in any unit: scikit-learn's, of values whose squares do not overflow."""

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import r2_score
from sklearn.utils import check_array

from sktf._models.sklearn_types import RegressorMixin


class ScoresAnyUnit(RegressorMixin):
    """The ``score`` of an estimator of values."""

    if TYPE_CHECKING:

        def predict(self, X: Any) -> Any: ...

    def score(self, X, y, sample_weight=None) -> float:
        """Return the R^2 of the predictions, as `sklearn.metrics.r2_score` does.

        Parameters
        ----------
        X : array-like of shape (n_cells, n_modes)
            Cells, as ``predict`` takes them.
        y : array-like of shape (n_cells,)
            Their values, of any magnitude.
        sample_weight : array-like of shape (n_cells,), default=None
            Weights of the cells.

        Returns
        -------
        score : float
            ``1 - sum_e w_e (y_e - predicted_e)^2 / sum_e w_e (y_e - mean)^2``, NaN of fewer than
            two cells.
        """
        predicted = self.predict(X)
        y = check_array(y, ensure_2d=False, dtype=np.float64, ensure_min_samples=0, input_name="y")
        largest = max(np.abs(values).max(initial=0) for values in (predicted, y))
        unit = 2.0 ** (np.frexp(largest)[1] - 1)  # a power of two, which changes no digit
        return r2_score(y / unit, predicted / unit, sample_weight=sample_weight)
