"""A classifier of cells: the loss of yes and no behind the face that scikit-learn expects."""

from dataclasses import KW_ONLY, dataclass
from typing import Self

import numpy as np
from scipy.special import logit
from sklearn.base import clone
from sklearn.utils import assert_all_finite, column_or_1d, get_tags
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from sktf._cells.complaints import about_labels, explained, is_blank
from sktf._cells.record import holding_back, outside, tell_once
from sktf._cells.stored import Stored
from sktf._cells.validation import check_weights
from sktf._docs import documented
from sktf._models.base import BaseCompletion
from sktf._models.cp import CPCompletion
from sktf._models.links import has_loss
from sktf._models.pickles import VersionedPickle
from sktf._models.sklearn_types import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    checks_parameters,
)

_NAME = "logistic"


@documented(BaseCompletion)
@dataclass(eq=False, repr=False)
class CompletionClassifier(ClassifierMixin, MetaEstimatorMixin, VersionedPickle, BaseEstimator):
    """Completion of yes or no: a classifier of cells into two classes, with probabilities.

    An estimator with ``loss="logistic"`` whose y are any two labels.

    Parameters
    ----------
    estimator : estimator object, default=None
        A completion estimator that descends, whose ``loss`` is set to "logistic", or a
        `CompletionEnsemble` of such with this loss. None: ``CPCompletion()``.
    random_state : int, RandomState instance or None, default=None
        That of the estimator, in place of its own; None leaves this.

    Attributes
    ----------
    classes_ : ndarray of shape (2,)
        The labels in sorted order; the second one is yes.
    estimator_ : estimator
        The fitted estimator, which predicts the probability of yes, and has ``factors_``,
        ``extend``, ``summary`` and the rest.
    n_features_in_ : int
        Number of modes.
    feature_names_in_ : ndarray of shape (n_modes,)
        Column names of X, where it had some.

    See Also
    --------
    CPCompletion : With ``loss="logistic"``, for shares of yes, or y of 0 and 1.

    Notes
    -----
    The log-odds of a cell are the offset plus its components; ``score`` is the accuracy, and
    ``estimator_.score`` the share of deviance explained.

    Examples
    --------
    >>> import numpy as np
    >>> from sktf import CompletionClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = np.argwhere(rng.random((20, 15, 6)) < 0.7)
    >>> skill, effort = rng.normal(size=20), rng.normal(size=15)
    >>> y = np.where(skill[X[:, 0]] * effort[X[:, 1]] > 0, "right", "wrong")
    >>> model = CompletionClassifier().fit(X, y)
    >>> model.classes_.tolist(), bool(model.score(X, y) > 0.9)
    (['right', 'wrong'], True)
    """

    __module__ = "sktf"

    estimator: BaseEstimator | None = None
    _: KW_ONLY
    random_state: int | np.random.RandomState | None = None

    _parameter_constraints = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        "random_state": ["random_state"],
    }
    _doc_link_module = "sktf"
    _doc_link_template = BaseCompletion._doc_link_template

    __dask_tokenize__ = BaseCompletion.__dask_tokenize__

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self._inner()).input_tags
        tags.classifier_tags.multi_class = False
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "estimator_")

    def _inner(self):
        return CPCompletion() if self.estimator is None else self.estimator

    @checks_parameters(skip_nested=False)
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None) -> Self:
        """Fit the estimator to answers.

        Parameters
        ----------
        X : array-like of shape (n_observed, n_modes)
            Whole-number indices, or labels where the estimator has ``encode=True``.
        y : array-like of shape (n_observed,)
            Labels of two classes. A cell may occur in several rows.
        sample_weight : array-like of shape (n_observed,), default=None
            Weights of the rows; a row of weight zero counts as absent.
        X_val, y_val : array-like, default=None
            Held-out cells, as in the estimator.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        KeyboardInterrupt
            On Ctrl-C. The classifier then has the best state that the estimator has kept; where
            it has none, it is as before.
        ValueError
            When y has not two classes, or a label is blank or of another kind than the others,
            when y_val has another class, the estimator no loss of yes and no, or for what it
            raises.
        TypeError
            When X or y is that of ``open_entries``, in files.
        """
        _refuse_files(X, y, X_val, y_val)
        y = _labels(y, "y")
        classes = np.unique(y[check_weights(sample_weight, y) > 0])
        if len(classes) != 2:
            raise ValueError(
                "Only binary classification is supported: y has to have two classes, yes and no, "
                f"not {len(classes)}. Of more, fit one classifier for each against the rest "
                "(OneVsRestClassifier of scikit-learn)."
            )
        if y_val is not None:
            y_val = _labels(y_val, "y_val")
            if not np.isin(y_val, classes).all():
                raise ValueError("y_val holds a label that y has not; leave those rows out.")
            y_val = (y_val == classes[1]).astype(np.float64)
        model, yes = self._new_model(), (y == classes[1]).astype(np.float64)
        try:
            with holding_back() as held:
                model.fit(X, yes, sample_weight=sample_weight, X_val=X_val, y_val=y_val)
        finally:
            if hasattr(model, "rank_"):  # also where Ctrl-C has ended the fit
                self._set_fitted(classes, model)
            tell_once(held, outside())
        return self

    def _new_model(self):
        """Return a fresh estimator, with the loss."""
        model = clone(self._inner())
        if "loss" in model.get_params(deep=False):
            model.set_params(loss=_NAME)
        if not has_loss(model, _NAME):
            raise ValueError(
                f'estimator={self.estimator!r} has no loss="{_NAME}"; take one that descends, such '
                "as CPCompletion, or a CompletionEnsemble of such with this loss."
            )
        if self.random_state is not None:
            model.set_params(random_state=self.random_state)
        return model

    def _set_fitted(self, classes, model):
        """Set all fitted attributes at once."""
        self.classes_, self.estimator_ = classes, model
        vars(self).pop("feature_names_in_", None)
        names = ("n_features_in_", "feature_names_in_")
        vars(self).update({name: vars(model)[name] for name in names if name in vars(model)})

    def predict_proba(self, X) -> np.ndarray:
        """Predict the probabilities of both classes.

        Parameters
        ----------
        {X}

        Returns
        -------
        probabilities : ndarray of shape (n_cells, 2)
            Columns in the order of ``classes_``; rows add up to 1.
        """
        check_is_fitted(self)
        yes = np.clip(self.estimator_.predict(X), 0.0, 1.0)
        return np.column_stack([1 - yes, yes])

    def decision_function(self, X) -> np.ndarray:
        """Predict the log-odds of the second class.

        Parameters
        ----------
        {X}

        Returns
        -------
        log_odds : ndarray of shape (n_cells,)
            Positive where it is the likelier one.
        """
        return logit(self.predict_proba(X)[:, 1])

    def predict(self, X) -> np.ndarray:
        """Predict the likelier class of each cell.

        Parameters
        ----------
        {X}

        Returns
        -------
        y : ndarray of shape (n_cells,)
            Labels of ``classes_``.
        """
        likelier = self.predict_proba(X).argmax(axis=1)
        return self.classes_[likelier]


def _labels(y, name):
    """Return labels as a vector, of classes and not of numbers in between."""
    if y is None:
        raise ValueError(
            f"CompletionClassifier requires y to be passed, but the target {name} is None."
        )
    _refuse_blank_or_mixed(y, name)
    with explained(_about_targets, name):
        y = column_or_1d(y, warn=True)
    if y.dtype == object and not all(map(_is_text, y)):
        y = np.array(y.tolist())  # numbers, or booleans
    with explained(about_labels, name.replace("y", "X"), None, y):
        assert_all_finite(y, input_name=name)
    with explained(_about_targets, name):
        check_classification_targets(y)
    return y


def _about_targets(error, name):
    """Return what to raise about labels that are no classes."""
    return ValueError(
        f"{name}: {error} Give two labels; shares of yes, between 0 and 1, are values of "
        f'CPCompletion with loss="{_NAME}".'
    )


def _refuse_blank_or_mixed(y, name):
    """Raise where labels, also those of a list, are blank, or some strings and others not."""
    dtype = getattr(y, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind in "biuUS":
        return
    labels = np.asarray(y, dtype=object).ravel().tolist()
    blank = next((row for row, label in enumerate(labels) if is_blank(label)), None)
    if blank is not None:
        raise ValueError(
            f"Input {name} contains NaN: row {blank} has no label. Cells without an answer are "
            "missing: leave those rows out."
        )
    other = next((n for n, label in enumerate(labels) if _is_text(label) != _is_text(labels[0])), 0)
    if other:
        raise ValueError(
            f"{name} mixes strings and other labels: row 0 has {labels[0]!r}, row {other} has "
            f"{labels[other]!r}. Give all of one kind, as {name}.astype(str) makes them."
        )


def _is_text(label):
    return isinstance(label, str)


def _refuse_files(*data):
    """Raise where one of X, y, X_val and y_val lies in files."""
    if any(isinstance(given, Stored) for given in data):
        raise TypeError(
            "CompletionClassifier reads X and y in memory, and these lie in files; pass "
            "np.asarray(X) and np.asarray(y), if they fit."
        )
