"""What every completion estimator does once its factors are known: predict, export, extend."""

from abc import ABC, abstractmethod
from math import prod
from numbers import Real
from typing import Self

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sktf._cells.offset import Offset
from sktf._cells.unfolding import to_cells
from sktf._cells.validation import check_cells, check_extension
from sktf._models.sklearn_types import BaseEstimator, RegressorMixin
from sktf._objective import components

# Largest dense tensor that to_dense makes, in cells.
_MAX_DENSE = 2**30
# Cells of a dense tensor that are computed at once.
_CHUNK = 2**22


class BaseCompletion(RegressorMixin, BaseEstimator, ABC):
    """A tensor completed by components: offset plus ``sum_r prod_n factors_[n][i_n, r]``.

    Parameters
    ----------
    shape : sequence of int, default=None
        Mode sizes. None: largest index plus one of this call, which breaks in cross-validation
        on the fold that lacks the largest index; give it there.
    offset : {"auto", "mean", "additive"} or None, default="auto"
        What is taken off the values first: nothing (None), their mean, or the mean plus one term
        per index of each mode (ridge regression). "auto": the mean where it exceeds ten standard
        deviations, else nothing.
    scale : bool, default=True
        Divide what is left by its RMS.
    handle_unknown : {"error", "offset"}, default="error"
        What ``predict`` does with an index outside ``shape_``: raise, or return the offset.
    rank_tol : float, default=0.1
        A component counts for ``rank_`` when its norm exceeds ``rank_tol`` times the largest.

    Attributes
    ----------
    rank_ : int
        Number of components that count, parallel ones merged.
    component_norms_ : ndarray of shape (R,)
        Norms of the components, descending.
    factors_ : list of ndarray of shape (shape_[n], R)
        Factors of the completed tensor in the units of y, components in that order.
    offset_ : float
        Mean taken off the values.
    offset_terms_ : tuple of ndarray
        Additive terms, one array per mode; empty unless ``offset="additive"``.
    scale_ : float
        RMS the values were divided by, 1 with ``scale=False``; 0 where the offset left nothing,
        and ``rank_`` is 0.
    shape_ : tuple of int
        Mode sizes.
    n_features_in_ : int
        Number of modes.
    feature_names_in_ : ndarray of shape (n_modes,)
        Column names of X, where it had some.
    """

    rank_: int
    component_norms_: np.ndarray
    factors_: list[np.ndarray]
    offset_: float
    offset_terms_: tuple[np.ndarray, ...]
    scale_: float
    shape_: tuple[int, ...]
    n_features_in_: int

    _parameter_constraints: dict = {
        "shape": ["array-like", None],
        "offset": [StrOptions({"auto", "mean", "additive"}), None],
        "scale": ["boolean"],
        "handle_unknown": [StrOptions({"error", "offset"})],
        "rank_tol": [Interval(Real, 0, 1, closed="left")],
        "random_state": ["random_state"],
    }
    _doc_link_module = "sktf"
    _doc_link_template = (
        "https://sktf.readthedocs.io/en/stable/generated/{estimator_module}.{estimator_name}.html"
    )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.input_tags.positive_only = True
        return tags

    def __dask_tokenize__(self):
        # dask takes a dataclass for its fields; fits of other data would count as the same.
        return type(self).__module__, type(self).__qualname__, vars(self)

    def __sklearn_is_fitted__(self):
        # A fit that failed may have left n_features_in_ behind, which is not a fit.
        return hasattr(self, "shape_")

    @abstractmethod
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None) -> Self:
        """Fit the model to the observed cells.

        Parameters
        ----------
        X : array-like of shape (n_observed, n_modes)
            Whole-number indices; a row names one cell. Cells absent from X are missing.
        y : array-like of shape (n_observed,)
            Their values. A cell may occur in several rows.
        sample_weight : array-like of shape (n_observed,), default=None
            Weights of the rows; a row of weight zero counts as absent.
        X_val, y_val : array-like, default=None
            Held-out cells to stop on or to choose by, in place of a share of X.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        KeyboardInterrupt
            On Ctrl-C. The model keeps the best state it has reached, ``converged_`` is False; where
            it has reached none, it is as before.
        ValueError
            When an index is negative, fractional or outside ``shape``, when y is not finite, when
            a parameter does not fit the data, or when a descent diverges.
        TypeError or ValueError
            When a column of X holds labels or dates.
        """

    def _mode_groups(self, order):
        """Return one tuple of modes per factor; the modes of a tuple are read as one."""
        return tuple((mode,) for mode in range(order))

    def _components(self, factors, shape, stored, offset):
        """Return the attributes that describe the completed tensor; factors in data units."""
        if len(factors) == 2:  # only singular triplets are unique
            factors = components.svd_factors(*factors)
        order = components.descending(factors)
        factors = [np.ascontiguousarray(factor[:, order]) for factor in factors]
        return {
            "factors_": factors,
            "component_norms_": components.component_norms(factors),
            "rank_": components.count_above(components.merged_norms(factors), self.rank_tol),
            "offset_": offset.level,
            "offset_terms_": offset.terms,
            "scale_": offset.scale,
            "shape_": shape,
            "_stored": stored,
        }

    def _offset(self):
        return Offset(self.offset_, self.offset_terms_, self.scale_)

    def _interaction(self, coords):
        """Sum over components at each cell; zero where a matrix side has no row for it."""
        groups = self._mode_groups(len(self.shape_))
        cells, found = to_cells(coords, self.shape_, groups, self._stored)
        return np.where(found, components.sum_of_products(self.factors_, cells), 0.0)

    def predict(self, X) -> np.ndarray:
        """Predict the value of each cell.

        Parameters
        ----------
        X : array-like of shape (n_cells, n_modes)
            Whole-number indices; a row names one cell.

        Returns
        -------
        y : ndarray of shape (n_cells,)
            The offset plus ``sum_r prod_n factors_[n][i_n, r]``. With
            ``handle_unknown="offset"`` a cell with an index outside ``shape_``, or with the -1
            that ``OrdinalEncoder(unknown_value=-1)`` gives, gets the offset of its known indices
            alone.

        Raises
        ------
        ValueError
            When an index is fractional, or, with ``handle_unknown="error"``, negative or outside
            ``shape_``.
        """
        check_is_fitted(self)
        coords, known = check_cells(self, X, self.shape_, self.handle_unknown)
        interaction = np.where(known.all(axis=1), self._interaction(coords), 0.0)
        return self._offset().at(coords, known) + interaction

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
        if prod(self.shape_) > _MAX_DENSE:
            raise ValueError(
                f"A dense tensor of shape {self.shape_} needs {prod(self.shape_) / 2**27:.3g} "
                "GiB; predict the cells you need instead."
            )
        dense, offset = np.empty(prod(self.shape_)), self._offset()
        for start in range(0, dense.size, _CHUNK):
            linear = np.arange(start, min(start + _CHUNK, dense.size))
            coords = np.column_stack(np.unravel_index(linear, self.shape_))
            dense[linear] = offset.at(coords) + self._interaction(coords)
        return dense.reshape(self.shape_)

    def to_cp_tensor(self):
        """Return the components as a tensorly ``CPTensor``, without the offset.

        Returns
        -------
        cp_tensor : tensorly.cp_tensor.CPTensor
            Unit weights and a copy of ``factors_``. The factors of a matrix model describe the
            matrix that ``row_modes`` unfolds the tensor to.
        """
        check_is_fitted(self)
        return cp_tensor([factor.copy() for factor in self.factors_])

    def extend(self, X, y, *, mode) -> Self:
        """Learn rows for new indices of one mode, everything else fixed.

        Each new index gets the shortest row among those that fit its observations best;
        directions weaker than ``rank_tol`` times the strongest are left out.

        Parameters
        ----------
        X : array-like of shape (n_observed, n_modes)
            Cells whose index in ``mode`` is new: ``shape_[mode]`` or larger. An index that is
            skipped gets a row of zeros.
        y : array-like of shape (n_observed,)
            Their values.
        mode : int
            The mode to extend.

        Returns
        -------
        self : object
            The estimator, with ``shape_`` and ``factors_`` grown.

        Raises
        ------
        ValueError
            When an index of ``mode`` was fitted before, another index is outside ``shape_``, or
            the model reads ``mode`` together with other modes.
        """
        check_is_fitted(self)
        coords, values, size = check_extension(self, X, y, mode, self.shape_)
        groups = self._mode_groups(len(self.shape_))
        if (mode,) not in groups:
            raise ValueError(f"mode={mode} is read together with other modes and cannot grow.")
        rows, terms = self._solve_rows(coords, values, mode, size - self.shape_[mode])
        factors, shape, side = list(self.factors_), list(self.shape_), groups.index((mode,))
        factors[side], shape[mode] = np.concatenate([factors[side], rows]), size
        grown = list(self.offset_terms_)
        if grown:
            grown[mode] = np.concatenate([grown[mode], terms])
        offset = self._offset()._replace(terms=tuple(grown))
        vars(self).update(self._components(factors, tuple(shape), self._stored, offset))
        vars(self).pop("_theta", None)  # it does not describe the grown model
        return self

    def _solve_rows(self, coords, values, mode, n_rows):
        """Return a factor row and an additive term for each new index of ``mode``."""
        groups, new = self._mode_groups(len(self.shape_)), coords[:, mode] - self.shape_[mode]
        known = np.arange(len(self.shape_)) != mode
        coords = np.where(known, coords, 0)
        cells, found = to_cells(coords, self.shape_, groups, self._stored)
        others = [s for s, group in enumerate(groups) if group != (mode,)]
        rank, unit = self.factors_[0].shape[1], self.scale_ or 1.0
        design = np.repeat(found[:, None].astype(float), rank, axis=1)
        for s in others:
            design *= self.factors_[s][cells[:, s]]
        if self.offset_terms_:
            design = np.column_stack([design, np.full(len(design), unit)])
        left = values - self._offset().at(coords, known)
        solved = np.zeros((n_rows, design.shape[1]))
        for row in np.unique(new):
            at = new == row
            solved[row] = np.linalg.lstsq(design[at], left[at], rcond=self.rank_tol)[0]
        return solved[:, :rank], unit * solved[:, rank:].sum(axis=1)


def cp_tensor(factors):
    """Return factors of shape (n_m, R) as a tensorly `CPTensor` with unit weights."""
    import tensorly as tl
    from tensorly.cp_tensor import CPTensor

    with tl.backend_context("numpy", local_threadsafe=True):
        return CPTensor((np.ones(factors[0].shape[1]), list(factors)))
