"""Several fits of one estimator, averaged; their disagreement is the uncertainty."""

import warnings
from copy import deepcopy
from dataclasses import KW_ONLY, dataclass
from itertools import chain
from numbers import Integral
from typing import Self

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state, get_tags
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from sktf._averages.telling import catching, tell_once
from sktf._cells.identifiability import CompletionWarning
from sktf._docs import documented
from sktf._models.base import BaseCompletion
from sktf._models.cp import CPCompletion
from sktf._models.pickles import VersionedPickle
from sktf._models.sklearn_types import (
    BaseEstimator,
    MetaEstimatorMixin,
    RegressorMixin,
    checks_parameters,
)

# Members whose share of unexplained variance on held-out cells exceeds that of the median member
# by this factor are left out of the mean.
_FAILED = 3
# The rank is not identified where the upper quartile of the members' is so many times the lower
# one, and by so much larger: ranks of 1 and 2 are near, and so are those of 9 and 12.
_FACTOR, _DIFFERENCE = 2, 2


@documented(BaseCompletion)
@dataclass(eq=False, repr=False)
class CompletionEnsemble(VersionedPickle, MetaEstimatorMixin, RegressorMixin, BaseEstimator):
    """Average of fits that differ in their starts and in the cells they hold out.

    One start may end in a spurious solution, one split may stop too early; the mean of several
    fits has less error than each, and their spread says where they disagree.

    Parameters
    ----------
    estimator : estimator object, default=None
        A completion estimator with a ``random_state``. None: ``CPCompletion()``.
    n_estimators : int, default=8
        Number of fits, the members.
    n_average : int, default=None
        How many of them are averaged, those with the best ``validation_score_``. None: all but
        those that failed, that is, whose unexplained share of the variance of the held-out cells
        is more than three times that of the median member.
    n_jobs : int, default=None
        Fits at a time, as in joblib. None: one after another; the starts of a ``CPCompletion``
        descend side by side on all cores by themselves.
    random_state : int, RandomState instance or None, default=None
        Draws the ``random_state`` of every member.

    Attributes
    ----------
    estimators_ : list of estimators
        The members, best first: by ``validation_scores_``, or by training loss without.
    validation_scores_ : ndarray of shape (n_estimators,)
        Their R^2 on the cells that each held out (NaN where an estimator holds none out).
    n_average_ : int
        How many of them, from the first, are averaged.
    best_estimator_ : estimator
        The first of them.
    rank_ : int
        The most frequent rank of the averaged members, the smallest if there are several.
    rank_agreement_ : float
        Share of the averaged members that found this rank.
    {shape_ ... feature_names_in_}

    See Also
    --------
    CPCompletion : Itself the pruned mean of several descents from one set of held-out cells.

    Notes
    -----
    Members hold out different cells, each of its own share, so that every cell trains most of
    them (bagging, Breiman 1996, without replacement).

    Examples
    --------
    >>> from sktf import CompletionEnsemble
    >>> from sktf.datasets import make_low_rank, sample_entries
    >>> tensor, _ = make_low_rank((12, 12, 12), 2, random_state=0)
    >>> X, y = sample_entries(tensor, 0.3, random_state=0)
    >>> model = CompletionEnsemble(n_estimators=3, random_state=0).fit(X, y)
    >>> mean, std = model.predict(X[:2], return_std=True)
    >>> model.rank_, model.rank_agreement_
    (2, 1.0)
    """

    __module__ = "sktf"

    estimator: BaseEstimator | None = None
    _: KW_ONLY
    n_estimators: int = 8
    n_average: int | None = None
    n_jobs: int | None = None
    random_state: int | np.random.RandomState | None = None

    _parameter_constraints = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "n_average": [Interval(Integral, 1, None, closed="left"), None],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }
    _doc_link_module = "sktf"
    _doc_link_template = BaseCompletion._doc_link_template

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = get_tags(self._member())
        tags.input_tags = inner.input_tags
        tags.regressor_tags = inner.regressor_tags
        return tags

    __dask_tokenize__ = BaseCompletion.__dask_tokenize__

    def __sklearn_is_fitted__(self):
        return hasattr(self, "estimators_")

    def _member(self):
        return CPCompletion() if self.estimator is None else self.estimator

    @checks_parameters(skip_nested=False)
    def fit(self, X, y=None, sample_weight=None, *, X_val=None, y_val=None) -> Self:
        """Fit the members to the observed cells.

        Parameters
        ----------
        X : array-like of shape (n_observed, n_modes)
            Whole-number indices; a row names one cell. Cells absent from X are missing.
        y : array-like of shape (n_observed,)
            Their values.
        sample_weight : array-like of shape (n_observed,), default=None
            Weights of the rows.
        X_val, y_val : array-like, default=None
            Held-out cells for all members, in place of a share of X for each.

        Returns
        -------
        self : object
            The fitted ensemble.

        Raises
        ------
        KeyboardInterrupt
            On Ctrl-C. The ensemble then consists of the members fitted so far; one that was
            interrupted in this process counts with the best state it had.
        ValueError
            When ``n_average`` exceeds ``n_estimators``, when the estimator has no
            ``random_state``, or for what the estimator raises.
        TypeError
            When the estimator is a class.
        """
        data = {"X": X, "y": y, "sample_weight": sample_weight, "X_val": X_val, "y_val": y_val}
        members = self._members()
        told = [()] * len(members)
        fits = [delayed(_fit)(number, member, data) for number, member in enumerate(members)]
        try:
            with catching() as caught:
                for number, member, messages in _in_any_order(self.n_jobs)(fits):
                    members[number], told[number] = member, messages
        except KeyboardInterrupt:
            reached = [member for member in members if hasattr(member, "rank_")]
            if reached:
                self._set_fitted(reached)
            raise
        tell_once(chain((warning.message for warning in caught), *told), 3)  # the caller of fit
        self._warn_of_ranks(self._set_fitted(members))
        return self

    def _members(self):
        if self.n_average is not None and self.n_average > self.n_estimators:
            raise ValueError(
                f"n_average={self.n_average} exceeds n_estimators={self.n_estimators}."
            )
        member, rng = self._member(), check_random_state(self.random_state)
        if isinstance(member, type):
            raise TypeError(f"estimator is the class {member.__name__}; pass an instance of it.")
        if "random_state" not in member.get_params():
            raise ValueError(
                f"estimator={member!r} has no random_state: all its fits would be the same."
            )
        seeds = rng.randint(np.iinfo(np.int32).max, size=self.n_estimators)
        return [clone(member).set_params(random_state=int(seed)) for seed in seeds]

    def _set_fitted(self, members):
        """Order the members and set all fitted attributes at once; return the averaged ranks."""
        scores = np.array([getattr(m, "validation_score_", None) for m in members], dtype=float)
        losses = np.array([getattr(m, "loss_", 0.0) for m in members], dtype=float)
        # A member that held nothing out has no score; those are told apart by training loss.
        order = np.lexsort((losses, np.nan_to_num(-scores, nan=np.inf)))
        members, scores = [members[i] for i in order], scores[order]
        # An interrupted fit may have fewer members than are asked for.
        n_average = min(self.n_average or _n_good(scores), len(members))
        best = members[0]
        ranks, counts = np.unique([m.rank_ for m in members[:n_average]], return_counts=True)
        seen = ("shape_", "n_features_in_", "feature_names_in_")
        vars(self).update(
            {name: value for name, value in vars(best).items() if name in seen},
            estimators_=members,
            validation_scores_=scores,
            n_average_=n_average,
            best_estimator_=best,
            rank_=int(ranks[counts.argmax()]),
            rank_agreement_=float(counts.max() / n_average),
        )
        return np.repeat(ranks, counts)

    def _warn_of_ranks(self, ranks):
        low, high = np.quantile(ranks, [0.25, 0.75], method="averaged_inverted_cdf")
        if high >= _FACTOR * low and high - low >= _DIFFERENCE:
            *others, largest = map(str, ranks)
            warnings.warn(
                f"Rank not identified: {len(ranks)} fits found ranks {', '.join(others)} and "
                f"{largest}. Their mean may still predict well; more cells or less noise would "
                "settle the rank.",
                CompletionWarning,
                4,  # the caller of fit
            )

    def _averaged(self):
        check_is_fitted(self)
        return self.estimators_[: self.n_average_]

    def predict(self, X, return_std=False):
        """Predict the value of each cell.

        Parameters
        ----------
        X : array-like of shape (n_cells, n_modes)
            Whole-number indices; a row names one cell.
        return_std : bool, default=False
            Whether to return the spread as well.

        Returns
        -------
        y : ndarray of shape (n_cells,)
            Mean of the predictions of the first ``n_average_`` members.
        y_std : ndarray of shape (n_cells,)
            Their standard deviation, with ``return_std``: of what differs between fits, and of
            what few cells of an index, or none, leave open of its row, as the rows of its mode
            differ. An error that all fits share, such as noise in y or a tensor that is not of
            low rank, does not show.
        """
        members = self._averaged()
        predictions = np.array([member.predict(X) for member in members])
        mean = predictions.mean(axis=0)
        if not return_std:
            return mean
        completions = [member for member in members if isinstance(member, BaseCompletion)]
        within = [member._variance_of_rows(X) for member in completions] or [0.0]
        return mean, np.sqrt(predictions.var(axis=0) + np.mean(within, axis=0))

    def extend(self, X, y, *, mode) -> Self:
        """Learn rows for indices of one mode that have no cells yet, in every member.

        Parameters
        ----------
        {X ... mode}

        Returns
        -------
        self : object
            The ensemble, its members grown.

        Raises
        ------
        ValueError
            For what a member raises; the ensemble then is as it was.
        """
        check_is_fitted(self)
        members = [deepcopy(member).extend(X, y, mode=mode) for member in self.estimators_]
        best = members[0]
        vars(self).update(estimators_=members, best_estimator_=best, shape_=best.shape_)
        return self

    def to_dense(self) -> np.ndarray:
        """Return the completed tensor, the mean of those of the averaged members.

        Returns
        -------
        tensor : ndarray of shape ``shape_``
            The predictions of all cells.
        """
        return sum(member.to_dense() for member in self._averaged()) / self.n_average_


def _in_any_order(n_jobs):
    """Return a Parallel that yields results as they come, or all at the end where it cannot."""
    try:
        return Parallel(n_jobs=n_jobs, return_as="generator_unordered")
    except ValueError:  # joblib's "multiprocessing", for one
        return Parallel(n_jobs=n_jobs)


def _fit(number, member, data):
    """Fit a member; return it and its warnings, if this is the main thread of a process."""
    with catching() as caught:
        return number, member.fit(**data), [warning.message for warning in caught]


def _n_good(scores):
    """Return how many members, of scores in descending order, did not fail."""
    unexplained = 1 - scores
    if np.isnan(unexplained).any():
        return len(scores)
    return int((unexplained <= _FAILED * np.median(unexplained)).sum())
