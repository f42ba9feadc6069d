"""What draws say of cells: means, deviations, quantiles and samples of new values."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state, check_scalar
from sklearn.utils.validation import check_is_fitted

from sktf._averages.draws import Draws
from sktf._averages.posterior_space import Space
from sktf._cells.clipping import clip_bounds
from sktf._cells.validation import check_cells
from sktf._docs import documented
from sktf._models.base import BaseCompletion
from sktf._models.export import dense_tensor
from sktf._models.labeled import PredictsFrames


@documented(BaseCompletion)
class Predictive(PredictsFrames):
    """Predicts the mixture of draws, and of the descent beside them."""

    estimator_: BaseCompletion
    weight_: float
    shape_: tuple[int, ...]
    _draws: Draws
    _space: Space
    _range: tuple[float, float]

    def predict(self, X, return_std=False):
        """Predict the value of each cell.

        Parameters
        ----------
        X : array-like of shape (n_cells, n_modes)
            Whole-number indices, or labels where the estimator has ``encode=True``; a row names
            one cell.
        return_std : bool or "mean", default=False
            Whether to return a standard deviation as well: True, that of a new value, noise
            included; "mean", that of the mean of new values, without.

        Returns
        -------
        y : ndarray of shape (n_cells,)
            The mean of the draws, weighted with the prediction of the descent. An index without
            cells is drawn from the distribution of its mode; so is a new label, and with
            ``handle_unknown="mean"`` of the estimator an index outside ``shape_``.
        y_std : ndarray of shape (n_cells,)
            The standard deviation, with ``return_std``.

        Raises
        ------
        ValueError
            When an index is fractional, or, but for ``handle_unknown="mean"``, negative or outside
            ``shape_``; when a label is blank, or, with "error", new; when the labels of a column
            are of another type than in ``fit``; when ``return_std`` is something else.
        """
        if not (isinstance(return_std, (bool, np.bool_)) or return_std == "mean"):
            raise ValueError(f'return_std={return_std!r}: expected a bool or "mean".')
        cells = self._cells(*self._checked(X))
        if not return_std:
            return self._mean(cells)
        noise, unit = return_std != "mean", self._space.frame.offset.scale
        found = self._of_pieces(cells, lambda m: (m.mean(), m.variance(of_values=noise)))
        return self._values(found[0]), unit * np.sqrt(found[1])

    def predict_quantiles(self, X, quantiles):
        """Predict quantiles of a new value of each cell.

        Parameters
        ----------
        X : array-like of shape (n_cells, n_modes)
            Whole-number indices, or labels where the estimator has ``encode=True``; a row names
            one cell.
        quantiles : sequence of float
            Probabilities between 0 and 1.

        Returns
        -------
        y : ndarray of shape (n_quantiles, n_cells)
            A new value is below row k with the probability ``quantiles[k]``.

        Raises
        ------
        ValueError
            When a probability is not between 0 and 1, or for what ``predict`` raises.
        """
        asked = np.asarray(quantiles, dtype=float)
        if asked.ndim != 1 or not ((asked > 0) & (asked < 1)).all():
            raise ValueError(f"quantiles={quantiles!r}: expected numbers between 0 and 1.")
        cells = self._cells(*self._checked(X))
        found = self._of_pieces(cells, lambda mixture: [mixture.quantile(q) for q in asked])
        return self._values(found)

    def sample_y(self, X, n_samples=1, random_state=0):
        """Draw new values of each cell.

        Parameters
        ----------
        X : array-like of shape (n_cells, n_modes)
            Whole-number indices, or labels where the estimator has ``encode=True``; a row names
            one cell.
        n_samples : int, default=1
            Number of values for each.
        random_state : int, RandomState instance or None, default=0
            Draws the solution that a sample takes for all cells, and the noise of each.

        Returns
        -------
        y_samples : ndarray of shape (n_cells, n_samples)
            The values.
        """
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        coords, known = self._checked(X)
        (rows, descent), rng = self._cells(coords, known), check_random_state(random_state)
        ids = self._unseen(rows, np.where(known, coords, -1))
        rows = np.where(ids < 0, rows, rows + 1 + ids)
        values = np.empty((len(rows), n_samples))
        for number in range(n_samples):
            noise = rng.standard_normal(len(rows))
            if rng.random_sample() < self.weight_:
                draw = self._draws.draws[rng.randint(len(self._draws.draws))]
                values[:, number] = draw.sampled(ids, rng).at(rows) + draw.deviation * noise
            else:
                values[:, number] = descent + self._error_of_descent() * noise
        return self._values(values)

    def to_dense(self) -> np.ndarray:
        """Return the completed tensor.

        Returns
        -------
        tensor : ndarray of shape ``shape_``
            The predictions of all cells.

        Raises
        ------
        ValueError
            When the tensor would have more than 2**30 cells; ``predict`` those you need.
        """
        check_is_fitted(self)
        return dense_tensor(self.shape_, self._at)

    def _at(self, coords):
        """Return the mean of each cell."""
        return self._mean(self._cells(coords))

    def _checked(self, X):
        """Return the coordinates of cells, and which of them are inside ``shape_``."""
        check_is_fitted(self)
        return check_cells(self, X, self.shape_, self.estimator_.handle_unknown)

    def _cells(self, coords, known=True):
        """Return the rows that cells read, and what the descent predicts where it counts."""
        if self.weight_ < 1:
            descent = self._space.standardized(self.estimator_._at(coords, known))
        else:
            descent = None
        return self._space.rows(coords, known), descent

    def _error_of_descent(self):
        return self.estimator_._error / self._space.frame.offset.scale

    def _unseen(self, rows, indices):
        """Return a number for each index without cells, from 0 up in each mode, and -1 else."""
        ids = np.full(rows.shape, -1)
        for mode, size in enumerate(self._space.frame.sizes):
            unseen = rows[:, mode] == size
            ids[unseen, mode] = np.unique(indices[unseen, mode], return_inverse=True)[1]
        return ids

    def _mean(self, cells):
        return self._values(self._of_pieces(cells, lambda mixture: [mixture.mean()])[0])

    def _of_pieces(self, cells, what):
        """Return what is asked of the mixture at cells, an array each, in units of the chains."""
        (rows, descent), found = cells, []
        for piece in self._draws.pieces(len(rows)):
            mixture = self._draws.at(rows[piece])
            if descent is not None:
                mixture = mixture.beside(descent[piece], self._error_of_descent(), self.weight_)
            found.append(np.reshape(what(mixture), (-1, mixture.means.shape[1])))
        return np.concatenate(found, axis=1)

    def _values(self, predicted):
        """Return what is predicted in the units of y, within the bounds that the user sets."""
        values = self._space.values(predicted)
        bounds = clip_bounds(self.estimator_.clip, self._range)
        return values if bounds is None else np.clip(values, *bounds)
