"""``CompletionImputer``: tables whose columns are features, completed inside pipelines."""

from copy import deepcopy
from dataclasses import KW_ONLY, dataclass
from typing import Self

import numpy as np
from sklearn.impute import MissingIndicator
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.validation import FLOAT_DTYPES, check_is_fitted, validate_data

from sktf._cells.complaints import about_features, explained
from sktf._cells.record import holding_back, outside, tell_once
from sktf._cells.validation import MAX_VALUE
from sktf._filling.filler import filler
from sktf._models.inner import parameters_named
from sktf._models.links import linked_loss
from sktf._models.pickles import VersionedPickle
from sktf._models.restoring import restoring_features
from sktf._models.sklearn_types import (
    BaseEstimator,
    OneToOneFeatureMixin,
    TransformerMixin,
    checks_parameters,
)

# A deviation that is a smaller share of the largest value is rounding.
_ALIKE = 1e-14


@dataclass(eq=False, repr=False)
class CompletionImputer(VersionedPickle, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Fill the gaps of a table whose columns are features, as `sklearn.impute.KNNImputer` does.

    Each feature is standardized, and the matrix of rows and features completed; a row to be
    transformed is taken for a new row of that matrix, and predicted from the values that it has.

    Parameters
    ----------
    estimator : estimator object, default=None
        A completion estimator that has ``extend``, and no ``clip`` and no loss of counts or of yes
        and no, as it sees standardized values. None: ``CPCompletion()``.
    add_indicator : bool, default=False
        Whether to add the columns of a `sklearn.impute.MissingIndicator`.
    keep_empty_features : bool, default=False
        Whether to keep features without any value in ``fit``, filled with 0.
    random_state : int, RandomState instance or None, default=None
        Set in the estimator, as `complete` does. None: as it has it.

    Attributes
    ----------
    estimator_ : estimator
        The fitted estimator: of rows that have values, features that have values, and standardized
        values.
    mean_, scale_ : ndarray of shape (n_features,)
        Mean and standard deviation of the values of each feature; NaN without any.
    indicator_ : MissingIndicator or None
        What adds columns.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, where X had some.

    See Also
    --------
    complete : Arrays of any number of modes, and tables, in one call.

    Notes
    -----
    A row is filled from its own values by ``extend``, also one of ``fit``: what is filled does not
    depend on the other rows that are transformed. A row without any value gets the means. Values
    of a feature that was constant in ``fit`` tell nothing of others.

    Examples
    --------
    >>> import numpy as np
    >>> from sktf import CompletionImputer
    >>> X = np.outer(np.arange(1.0, 9.0), [1.0, 10.0, 100.0]) + [0.0, 5.0, 7.0]
    >>> X[2, 1] = X[5, 0] = np.nan
    >>> imputer = CompletionImputer(random_state=0).fit(X)
    >>> imputer.transform([[4.0, np.nan, 407.0]]).round(1)
    array([[  4.,  45., 407.]])
    """

    __module__ = "sktf"

    estimator: BaseEstimator | None = None
    _: KW_ONLY
    add_indicator: bool = False
    keep_empty_features: bool = False
    random_state: int | np.random.RandomState | None = None

    _parameter_constraints = {
        "estimator": [HasMethods(["fit", "predict", "extend"]), None],
        "add_indicator": ["boolean"],
        "keep_empty_features": ["boolean"],
        "random_state": ["random_state"],
    }

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "estimator_")

    @checks_parameters(skip_nested=False)
    def fit(self, X, y=None) -> Self:
        """Learn how the features go together.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The features, NaN where missing.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted imputer.

        Raises
        ------
        ValueError
            When no cell has a value, when one is infinite, when the estimator has a ``clip``
            or a loss of counts or of yes and no, or for what the estimator raises.
        """
        with restoring_features(self):
            X = self._read(X, reset=True)
            known = ~np.isnan(X)
            if not known.any():
                raise ValueError("X has no value at all: there is nothing to learn from.")
            indicator = MissingIndicator(error_on_new=False).fit(X) if self.add_indicator else None
            mean, scale = _moments(X, known)
            standard = _standardized(X, mean, scale)[known.any(axis=1)][:, known.any(axis=0)]
            how = filler(self.estimator, False, True, random_state=self.random_state)
            _refuse_other_tables(how.estimator)
            with holding_back() as held:
                model = how.fitted(*_known_cells(standard), standard.shape)
            fitted = {"estimator_": model, "mean_": mean, "scale_": scale, "indicator_": indicator}
            vars(self).update(fitted)
        tell_once(held, outside())
        return self

    def transform(self, X):
        """Fill the missing values of rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The features, NaN where missing.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features_out)
            The features that had values in ``fit``, or all, and the columns of the indicator.
            Values are what they were; float32 stays so.

        Raises
        ------
        ValueError
            When X has other features than in ``fit``, or a value is infinite, or beyond 1e303
            deviations from the mean.
        """
        check_is_fitted(self)
        X = self._read(X, reset=False)
        kept = ~np.isnan(self.mean_)
        filled = X.copy()
        filled[:, ~kept] = 0.0
        missing = np.isnan(filled)
        filled[missing] = self._predicted(X, missing)[missing]
        columns = [filled if self.keep_empty_features else filled[:, kept]]
        if self.indicator_ is not None:
            columns.append(self.indicator_.transform(X).astype(X.dtype))
        return np.hstack(columns)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns that ``transform`` returns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the features. None: those of ``fit``, or x0, x1 and so on.

        Returns
        -------
        names : ndarray of str
            The names.
        """
        check_is_fitted(self)
        names = super().get_feature_names_out(input_features)
        kept = names if self.keep_empty_features else names[~np.isnan(self.mean_)]
        if self.indicator_ is None:
            return kept
        return np.concatenate([kept, self.indicator_.get_feature_names_out(names)])

    def _read(self, X, *, reset):
        with explained(about_features, X):
            return validate_data(
                self, X, dtype=FLOAT_DTYPES, ensure_all_finite="allow-nan", reset=reset
            )

    def _predicted(self, X, missing):
        """Return what is predicted of cells that are missing, and elsewhere the means."""
        predicted = np.tile(self.mean_, (len(X), 1))
        standard = _standardized(X, self.mean_, self.scale_)
        standard[:, self.scale_ == 0] = np.nan  # fit has learned nothing of these
        told = np.flatnonzero(missing.any(axis=1) & ~np.isnan(standard).all(axis=1))
        if len(told):
            kept, first = ~np.isnan(self.mean_), np.array([self.estimator_.shape_[0], 0])
            self._check_size(standard, told)
            cells, values = _known_cells(standard[told][:, kept])
            model = deepcopy(self.estimator_).extend(cells + first, values, mode=0)
            rows, features = np.nonzero(missing[told])
            new = np.column_stack([rows, np.cumsum(kept)[features] - 1]) + first
            predicted[told[rows], features] += self.scale_[features] * model.predict(new)
        return predicted

    def _check_size(self, standard, rows):
        """Raise where a value of one of the rows is beyond what the estimator reads."""
        large = np.argwhere(np.abs(standard[rows]) > MAX_VALUE)
        if len(large):
            row, feature = large[0]
            name = getattr(self, "feature_names_in_", np.arange(len(self.mean_))).tolist()[feature]
            raise ValueError(
                f"Row {rows[row]} of X has a value in feature {name!r} that is more than "
                f"{MAX_VALUE:.0e} standard deviations from the mean in fit; make it NaN to fill it."
            )


def _refuse_other_tables(estimator):
    """Raise where parameters are of values that are not standardized, or not of rows by columns."""
    loss = linked_loss(estimator)
    if loss is not None:
        raise ValueError(
            f'loss="{loss}": the estimator sees standardized features, which are no counts and no '
            'yes or no. Take loss="auto", or fill the table with sktf.complete.'
        )
    bounds = parameters_named(estimator, "clip").values()
    clip = next((value for value in bounds if value is not None), None)
    if clip is not None:
        raise ValueError(
            f"clip={clip!r}: the estimator sees standardized features, whose bounds are those of "
            "no feature. Leave its clip at None, and bound what transform returns."
        )
    for name, modes in parameters_named(estimator, "row_modes").items():
        if np.size(modes) != 1:
            raise ValueError(
                f"{name}={modes!r}: rows of a table differ by mode 0, features by mode 1; "
                f"set {name}=(0,)."
            )


def _moments(X, known):
    """Return mean and standard deviation of each feature, NaN without values; 0 of equal ones."""
    unit = np.where(known, np.abs(X), 0.0).max(axis=0).astype(np.float64)  # squares may overflow
    unit[unit == 0] = 1.0
    counts = np.where(known.any(axis=0), known.sum(axis=0), np.nan)
    scaled = np.where(known, X / unit, 0.0)
    mean = scaled.sum(axis=0) / counts
    scale = np.sqrt((np.where(known, scaled - mean, 0.0) ** 2).sum(axis=0) / counts)
    scale[scale < _ALIKE] = 0.0
    return unit * mean, unit * scale


def _standardized(X, mean, scale):
    """Return features less their means, in deviations; 0 of those that are constant."""
    with np.errstate(over="ignore"):
        standard = (X - mean) / np.where(scale == 0, 1.0, scale)
    standard[:, scale == 0] *= 0.0
    return standard


def _known_cells(X):
    """Return the cells of a table that are not NaN, and their values."""
    cells = np.argwhere(~np.isnan(X))
    return cells, X[tuple(cells.T)]
