"""What every completion estimator does once its factors are known: predict, export, extend."""

import warnings
from abc import ABC, abstractmethod
from numbers import Integral, Real
from typing import Self

import numpy as np
from sklearn.utils import check_scalar
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from sktf._cells.clipping import clip_bounds
from sktf._cells.frame import Frame
from sktf._cells.identifiability import CompletionWarning
from sktf._cells.offset import Offset
from sktf._cells.record import with_extension
from sktf._cells.threads import one_blas_thread
from sktf._cells.unfolding import is_large, side_sizes, to_cells
from sktf._cells.validation import check_cells, check_extension, check_mode
from sktf._models.export import cp_tensor, dense_tensor, offset_components
from sktf._models.extension import solve_rows, with_terms
from sktf._models.honesty import warn_far_predictions, warn_wild_predictions
from sktf._models.labeled import LabeledFactors
from sktf._models.pickles import VersionedPickle
from sktf._models.rows import in_units, variance_of_rows, with_mean_row
from sktf._models.scoring import ScoresAnyUnit
from sktf._models.summarized import Summarized
from sktf._objective import components
from sktf._objective.links import link_of

# Second moments that are held at once.
_CHUNK = 2**22


class BaseCompletion(LabeledFactors, VersionedPickle, ScoresAnyUnit, Summarized, ABC):
    """A tensor completed by components: offset plus ``sum_r prod_n factors_[n][i_n, r]``.

    Parameters
    ----------
    shape : sequence of int, default=None
        Mode sizes. None: largest index plus one of this call, which breaks in cross-validation
        on the fold that lacks the largest index; give it there. With ``encode`` None suffices: the
        sizes are the numbers of labels, none larger than in ``shape``.
    encode : bool, default=False
        Whether the columns of X hold labels: strings, numbers with gaps, dates, booleans or
        categories of pandas. ``fit`` numbers each mode's in sorted order, categories in their own,
        also those without cells.
    offset : {"auto", "mean", "additive"} or None, default="auto"
        What is taken off the values first: nothing (None), their mean, or the mean plus one term
        per index of each mode (ridge regression). "auto": the mean where it exceeds ten standard
        deviations, else nothing; a fit by gradient descent from ``init="auto"`` lets held-out
        cells choose: it tries additive terms where alone their error is within 1.3 times its own,
        and takes the mean in place of components that predict no better.
    scale : bool, default=True
        Divide what is left by its RMS.
    handle_unknown : {"auto", "error", "mean"}, default="auto"
        What ``predict`` does with an index outside ``shape_``, or a label that ``fit`` has not
        seen. "error": raise. "mean": predict what the indices of its mode that have cells predict
        on average. "auto": raise for an index; for a label "mean", with a `CompletionWarning`.
    clip : {"range"} or (float, float), default=None
        Bounds of what is predicted: "range" those of y in fit, or the least and the largest value.
    rank_tol : float, default=0.1
        A component counts for ``rank_`` when its norm exceeds ``rank_tol`` times the largest.

    Attributes
    ----------
    rank_ : int
        Number of components that count, parallel ones merged; 0 where held-out cells do not say,
        by two standard errors, that they predict better than the offset: then as much of them is
        predicted as is best there, 0 to 1.
    component_norms_ : ndarray of shape (R,)
        Norms of the components over the indices that have cells, descending.
    factors_ : list of ndarray of shape (shape_[n], R)
        Factors of the completed tensor in the units of y, components in that order. An index
        without cells has the mean row of its mode.
    offset_ : float
        Mean taken off the values.
    offset_terms_ : tuple of ndarray
        Additive terms, one array per mode; empty unless ``offset`` is "additive", or "auto" took
        some.
    scale_ : float
        RMS the values were divided by, 1 with ``scale=False``; 0 where the offset left nothing,
        and ``rank_`` is 0.
    shape_ : tuple of int
        Mode sizes.
    n_features_in_ : int
        Number of modes.
    feature_names_in_ : ndarray of shape (n_modes,)
        Column names of X, where it had some.
    categories_ : list of ndarray
        With ``encode``, the labels of each mode, in the order of ``shape_`` and ``factors_``.
    """

    rank_: int
    component_norms_: np.ndarray
    offset_: float
    offset_terms_: tuple[np.ndarray, ...]
    scale_: float
    shape_: tuple[int, ...]
    n_features_in_: int

    _parameter_constraints: dict = {
        "shape": ["array-like", None],
        "encode": ["boolean"],
        "offset": [StrOptions({"auto", "mean", "additive"}), None],
        "scale": ["boolean"],
        "handle_unknown": [StrOptions({"auto", "error", "mean"})],
        "clip": [StrOptions({"range"}), "array-like", None],
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
        tags.input_tags.string = self.encode
        tags.input_tags.positive_only = not self.encode
        return tags

    def __dask_tokenize__(self):
        # dask takes a dataclass for its fields; fits of other data would count as the same, and
        # by their seconds all fits as different.
        state = {name: value for name, value in vars(self).items() if name != "_seconds"}
        return type(self).__module__, type(self).__qualname__, state

    def __sklearn_is_fitted__(self):
        # A fit that failed may have left n_features_in_ behind, which is not a fit.
        return hasattr(self, "shape_")

    # Whether no entry of a factor is negative.
    _nonnegative = False

    @abstractmethod
    def fit(self, X, y=None, sample_weight=None, *, X_val=None, y_val=None) -> Self:
        """Fit the model to the observed cells.

        Parameters
        ----------
        X : array-like of shape (n_observed, n_modes)
            Whole-number indices, or labels with ``encode``; a row names one cell. Cells absent from
            X are missing. ``CPCompletion`` takes X and y of ``open_entries``, which lie in files.
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
            When an index is negative, fractional or outside ``shape``, or a label blank, when y is
            not finite, when a parameter does not fit the data, or when a descent diverges.
        TypeError or ValueError
            When a column of X holds labels or dates without ``encode``, or with it labels that do
            not compare, such as strings and numbers.
        """

    def _mode_groups(self, order):
        """Return one tuple of modes per factor; the modes of a tuple are read as one."""
        return tuple((mode,) for mode in range(order))

    def _tells_triplets(self, factors):
        """Whether components are singular triplets: of a matrix only these are unique."""
        return len(factors) == 2 and not self._nonnegative

    def _components(self, factors, frame, counts):
        """Return the attributes that describe the completed tensor.

        ``factors`` are in data units, ``counts`` how many cells each of their rows has.
        """
        if self._tells_triplets(factors):
            factors = components.svd_factors(*factors)
        order = components.descending(factors)
        factors = [factor[:, order] for factor in factors]
        norms = components.component_norms(factors)
        if not np.isfinite(norms).all():
            raise ValueError("A component overflows: divide y by a constant, or lower init_scale.")
        return {
            "component_norms_": norms,
            "rank_": components.count_above(components.merged_norms(factors), self.rank_tol),
            "offset_": frame.offset.level,
            "offset_terms_": frame.offset.terms,
            "scale_": frame.offset.scale,
            "shape_": frame.shape,
            "_rows": [*map(with_mean_row, factors, counts)],
            "_counts": counts,
            "_stored": frame.stored,
        }

    @property
    def factors_(self) -> list[np.ndarray]:
        """Factors of the completed tensor; an index without cells has the mean row of its mode."""
        groups = self._mode_groups(len(self.shape_))
        sides = zip(self._rows, self._stored, side_sizes(self.shape_, groups), groups, strict=True)
        return [
            rows[:-1] if seen is None or is_large(size, group) else _at_all(rows, seen, size)
            for rows, seen, size, group in sides
        ]

    @factors_.setter
    def factors_(self, factors):
        self._counts = [np.ones(len(factor), int) for factor in factors]
        self._rows = [*map(with_mean_row, factors, self._counts)]
        self._stored = [None] * len(factors)

    def _frame(self):
        """Return the frame of the fit: from a user's cells and units to rows of the factors."""
        groups = self._mode_groups(len(self.shape_))
        sizes = tuple(len(rows) - 1 for rows in self._rows)
        offset = Offset(self.offset_, self.offset_terms_, self.scale_)
        return Frame(self.shape_, groups, self._stored, sizes, offset, link_of(self))

    def _at(self, coords, known=True):
        """Predict cells; an index that is not known, or has no cells, reads the mean row."""
        frame = self._frame()
        cells = to_cells(coords, frame.shape, frame.groups, frame.stored, known)
        total = components.sum_of_products(self._rows, cells) + frame.offset.at(coords, known)
        predicted, bounds = frame.mean(total), clip_bounds(self.clip, self._range)
        return predicted if bounds is None else np.clip(predicted, *bounds)

    def _warn_of_predictions(self, observations, error, stacklevel):
        """Warn where predictions are far beyond what was observed; once, of the worst."""
        frame = self._frame()
        left = observations.largest_left(frame)
        if frame.loss is not None:
            left = max(left, frame.loss.slight)
        far = warn_far_predictions(self._rows, left, stacklevel)
        if not far and self.clip is None:
            told = self._at, self.shape_, observations.bounds(), error
            warn_wild_predictions(*told, stacklevel)

    def predict(self, X) -> np.ndarray:
        """Predict the value of each cell.

        Parameters
        ----------
        X : array-like of shape (n_cells, n_modes)
            Whole-number indices, or labels with ``encode``; a row names one cell.

        Returns
        -------
        y : ndarray of shape (n_cells,)
            The offset plus ``sum_r prod_n factors_[n][i_n, r]``. An index of ``shape_`` without
            cells has the mean row of its mode, so that a cell gets what the other indices predict
            on average; so has a new label, and with ``handle_unknown="mean"`` an index outside
            ``shape_``, or the -1 that ``OrdinalEncoder(unknown_value=-1)`` gives.

        Raises
        ------
        ValueError
            When an index is fractional, or, but for ``handle_unknown="mean"``, negative or outside
            ``shape_``; when a label is blank, or, with ``handle_unknown="error"``, new; when the
            labels of a column are of another type than in ``fit``, such as text of numbers.
        """
        check_is_fitted(self)
        return self._at(*check_cells(self, X, self.shape_, self.handle_unknown))

    def _variance_of_rows(self, X, exponent=0):
        """Return the variance that comes of indices with few cells, in units of 4**exponent."""
        coords, known = check_cells(self, X, self.shape_, self.handle_unknown)
        frame, alive = self._frame(), np.flatnonzero(self.component_norms_)
        noise, variance = np.ldexp(self._error, -exponent) ** 2, np.empty(len(coords))
        rows = in_units([factor[:, alive] for factor in self._rows], exponent)
        cells = to_cells(coords, frame.shape, frame.groups, frame.stored, known)
        n_rows = max(1, _CHUNK // max(1, len(alive)) ** 2)
        for start in range(0, len(cells), n_rows):
            part = slice(start, start + n_rows)
            variance[part] = variance_of_rows(rows, self._counts, cells[part], noise)
        for mode, term in enumerate(self.offset_terms_):
            side = next(n for n, group in enumerate(frame.groups) if mode in group)
            variance[cells[:, side] == frame.sizes[side]] += np.var(np.ldexp(term, -exponent))
        return variance

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

    def to_cp_tensor(self, *, n_components=None, offset=False):
        """Return the components as a tensorly ``CPTensor``: unit columns, norms as weights.

        Parameters
        ----------
        n_components : int, default=None
            How many components to keep, the largest first. None: all that are not zero.
        offset : bool, default=False
            Whether to add the offset as constant components. Without it, a `CompletionWarning`
            tells that there is one.

        Returns
        -------
        cp_tensor : tensorly.cp_tensor.CPTensor
            Its factors are copies, and know nothing of ``clip``. Those of a matrix model describe
            the matrix that ``row_modes`` unfolds the tensor to.

        Raises
        ------
        ValueError
            When ``n_components`` is below 1, or ``offset=True`` where a side of several modes has
            too many indices for a row each.
        """
        check_is_fitted(self)
        if n_components is not None:
            check_scalar(n_components, "n_components", Integral, min_val=1)
        if (self.offset_ or self.offset_terms_) and not offset:
            warnings.warn(
                f"The offset (offset_ = {self.offset_:.3g}) is left out of the CP tensor; add it "
                "with offset=True.",
                CompletionWarning,
                stacklevel=2,
            )
        factors = [factor[:, :n_components] for factor in self.factors_]
        if offset:
            terms = offset_components(self._frame())
            factors = [np.hstack(pair) for pair in zip(factors, terms, strict=True)]
        return cp_tensor(factors)

    @one_blas_thread()
    def extend(self, X, y, *, mode) -> Self:
        """Learn rows for indices of one mode that have no cells yet, everything else fixed.

        Each gets the row that its cells and the other rows of its mode make likely: rows are taken
        for normal draws of the mean and covariance of those that have cells, and cells for as far
        off as the fit was. Of few cells it stays near the mean row, of many it is least squares.

        Parameters
        ----------
        X : array-like of shape (n_observed, n_modes)
            Cells whose index in ``mode`` is new: outside ``shape_``, or inside without cells in
            ``fit``. Labels not in ``categories_`` get the numbers after these, in order.
        y : array-like of shape (n_observed,)
            Their values.
        mode : int or str
            The mode to extend, by number or by its name in ``feature_names_in_``.

        Returns
        -------
        self : object
            The estimator, with ``factors_`` and, where an index is outside, ``shape_`` and
            ``categories_`` grown.

        Raises
        ------
        ValueError
            When an index of ``mode`` had cells before, another index is outside ``shape_`` or
            another label new, or the model reads ``mode`` together with other modes.
        """
        check_is_fitted(self)
        frame, mode = self._frame(), check_mode(self, mode, len(self.shape_))
        if (mode,) not in frame.groups:
            raise ValueError(f"mode={mode} is read together with other modes and cannot grow.")
        side = frame.groups.index((mode,))
        had = np.flatnonzero(self._counts[side])
        had = had if self._stored[side] is None else self._stored[side][had]
        coords, values, size, named = check_extension(self, X, y, mode, self.shape_, had)
        new, which = np.unique(coords[:, mode], return_inverse=True)
        told = coords, values, which, self._error
        rows, terms = solve_rows(self._rows, self._counts, frame, mode, *told, self._nonnegative)
        factors, counts = [rows[:-1] for rows in self._rows], [*self._counts]
        offset = with_terms(frame.offset, mode, new, terms, size)
        frame, places = frame._replace(offset=offset).with_rows_for(mode, new, size)
        factors[side] = np.concatenate([factors[side], rows])[places]
        counts[side] = np.concatenate([counts[side], np.bincount(which)])[places]
        record = with_extension(getattr(self, "_record", {}), coords, frame.shape, mode)
        vars(self).update(self._components(factors, frame, counts), _record=record, **named)
        vars(self).pop("_theta", None)  # it does not describe the grown model
        return self


def _at_all(rows, seen, size):
    """Return a row for every index, the last of ``rows`` for those not seen."""
    every = np.broadcast_to(rows[-1], (size, rows.shape[1])).copy()
    every[seen] = rows[:-1]
    return every
