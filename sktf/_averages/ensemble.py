"""Several fits of one estimator, averaged; their disagreement is the uncertainty."""

from copy import deepcopy
from dataclasses import KW_ONLY, dataclass
from numbers import Integral
from typing import Self

import numpy as np
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.utils import check_random_state, get_tags
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import check_is_fitted

from sktf._averages.jobs import prepared, reading_numbers, refuse_checkpoint
from sktf._averages.members import fit_all, n_good, variance_within
from sktf._averages.stacking import Composition, folds, labels_of, shape_of, stacked_weights
from sktf._averages.summaries import summary_of_members
from sktf._cells.identifiability import CompletionWarning
from sktf._cells.record import current_record, holding_back, note, outside, tell_once, warn
from sktf._cells.validation import check_held_out, check_observations
from sktf._docs import documented
from sktf._models.base import BaseCompletion
from sktf._models.cp import CPCompletion
from sktf._models.labeled import PredictsFrames
from sktf._models.links import ScoresDeviance
from sktf._models.pickles import VersionedPickle
from sktf._models.ranks import refuse_ranks
from sktf._models.restoring import restoring_features
from sktf._models.sklearn_types import (
    BaseEstimator,
    MetaEstimatorMixin,
    checks_parameters,
)
from sktf._models.summarized import Summarized

# The rank is not identified where the upper quartile of the members' is so many times the lower
# one, and by so much larger: ranks of 1 and 2 are near, and so are those of 9 and 12.
_FACTOR, _DIFFERENCE = 2, 2


@documented(BaseCompletion)
@dataclass(eq=False, repr=False)
class CompletionEnsemble(
    PredictsFrames, VersionedPickle, Composition, MetaEstimatorMixin, ScoresDeviance, Summarized
):
    """Average of fits that differ in their starts and held-out cells, or of different kinds.

    One start may end in a spurious solution, one split may stop too early; the mean of several
    fits has less error than each, and their spread says where they disagree. Different kinds of
    model err in different ways: their mean, by weights that are best on held-out cells, often has
    less error than that of many fits of one kind.

    Parameters
    ----------
    estimator : estimator object, default=None
        A completion estimator with a ``random_state``. None: ``CPCompletion()``.
    estimators : list of (str, estimator object), default=None
        Estimators of different kinds with their names, in place of fits of one. Each is fitted to
        a part of the cells, non-negative weights of sum 1 are chosen on the others, and what has
        a weight is fitted again, to all cells.
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
        The members, best first: by ``validation_scores_``, or by training loss without; those of
        different kinds that have a weight, by this.
    weights_ : ndarray of shape (n_averaged,)
        Weights of the averaged members, of sum 1.
    names_ : list of str or None
        Names of the members, in their order, of different kinds.
    validation_scores_ : ndarray of shape (n_estimators,)
        Their R^2 on the cells that each held out (NaN where an estimator holds none out); of
        different kinds, those of fits to a part of the cells on the others.
    n_average_ : int
        How many of them, from the first, are averaged; of different kinds, all.
    best_estimator_ : estimator
        The first of them.
    rank_ : int
        The most frequent rank of the averaged members, the smallest if there are several.
    rank_agreement_ : float
        Share of the averaged members that found this rank.
    {shape_ ... categories_}

    See Also
    --------
    CPCompletion : Itself the pruned mean of several descents from one set of held-out cells.

    Notes
    -----
    Members hold out different cells, each of its own share, so that every cell trains most of
    them (bagging, Breiman 1996, without replacement). Weights of different kinds are those of
    stacked regressions (Breiman 1996): least squares on a tenth of the cells, in up to five folds
    where these are fewer than 500.

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
    >>> from sktf import CPALSCompletion, CPCompletion
    >>> kinds = [("cp", CPCompletion()), ("als", CPALSCompletion(2))]
    >>> mixed = CompletionEnsemble(estimators=kinds, random_state=0).fit(X, y)
    >>> round(float(mixed.weights_.sum()), 6)
    1.0
    """

    __module__ = "sktf"

    estimator: BaseEstimator | None = None
    _: KW_ONLY
    estimators: list[tuple[str, BaseEstimator]] | None = None
    n_estimators: int = 8
    n_average: int | None = None
    n_jobs: int | None = None
    random_state: int | np.random.RandomState | None = None

    _parameter_constraints = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        "estimators": [list, None],
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
        if self.estimators:
            return self.estimators[0][1]
        return CPCompletion() if self.estimator is None else self.estimator

    _summary_parts = summary_of_members

    @checks_parameters(skip_nested=False)
    def fit(self, X, y=None, sample_weight=None, *, X_val=None, y_val=None) -> Self:
        """Fit the members to the observed cells.

        Parameters
        ----------
        {X ... y}
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
            interrupted in this process counts with the best state it had. One of different kinds
            is as before.
        ValueError
            When ``n_average`` exceeds ``n_estimators``, when the estimator has no
            ``random_state``, when names of ``estimators`` are not distinct, one of them is given
            beside ``estimator`` or they differ in ``encode``, or for what an estimator raises.
        TypeError
            When the estimator is a class.
        """
        data = {"X": X, "y": y, "sample_weight": sample_weight, "X_val": X_val, "y_val": y_val}
        if self.estimators is not None:
            with restoring_features(self):
                return self._fit_kinds(data)
        members, told = self._members(), list[Warning]()
        try:
            fit_all(members, data, told, self.n_jobs)
        except KeyboardInterrupt:
            reached = [member for member in members if hasattr(member, "rank_")]
            if reached:
                note(ended="interrupted")
                self._set_fitted(reached)
            raise
        tell_once(told, 3)  # the caller of fit
        self._warn_of_ranks(self._set_fitted(members))
        return self

    def _fit_kinds(self, data):
        """Fit estimators of different kinds: for their weights, then those of weight to all."""
        if self.estimator is not None:
            raise ValueError("Give either estimator or estimators, not both.")
        kinds, rng = self._named_kinds(), check_random_state(self.random_state)
        for kind in kinds:
            refuse_ranks(kind, "CompletionEnsemble")
        told_of = data["X"], data["y"], data["sample_weight"], shape_of(kinds), labels_of(kinds)
        observations = check_observations(self, *told_of)
        kinds = [prepared(kind, observations.shape, rng) for kind in kinds]
        given = check_held_out(self, data["X_val"], data["y_val"], observations.shape)
        told = list[Warning]()
        weights, scores = self._stacked(kinds, folds(observations, given, rng), told)
        chosen = np.argsort(-weights, kind="stable")[: (weights > 0).sum()]
        members = [kinds[number] for number in chosen]
        fit_all(members, data, told, self.n_jobs)
        names = [self.estimators[number][0] for number in chosen]
        self._set(members, scores[chosen], weights[chosen], names)
        tell_once(told, 4)  # the caller of fit
        return self

    def _stacked(self, kinds, pairs, told):
        """Return the weights of kinds that are best on held-out cells, and their R^2 there."""
        if not pairs:
            return np.full(len(kinds), 1 / len(kinds)), np.full(len(kinds), np.nan)
        found = []
        for some, held_out in pairs:
            members = [reading_numbers(kind) for kind in kinds]
            X, y, sample_weight, _ = some
            fit_all(members, {"X": X, "y": y, "sample_weight": sample_weight}, [], self.n_jobs)
            found.append(np.array([member.predict(held_out.coords) for member in members]))
        values, weights = (np.concatenate([out[n] for _, out in pairs]) for n in (1, 2))
        predictions = np.hstack(found)
        unit = np.abs(values).max() or 1.0  # whose square does not overflow
        how = {"sample_weight": weights}
        if len(values) > 1:
            scores = [r2_score(values / unit, row / unit, **how) for row in predictions]
        else:  # which has no R^2
            scores = [np.nan] * len(kinds)
        return stacked_weights(values, weights, predictions), np.array(scores)

    def _members(self):
        if self.n_average is not None and self.n_average > self.n_estimators:
            raise ValueError(
                f"n_average={self.n_average} exceeds n_estimators={self.n_estimators}; lower the "
                "one or raise the other."
            )
        member, rng = self._member(), check_random_state(self.random_state)
        if isinstance(member, type):
            raise TypeError(f"estimator is the class {member.__name__}; pass an instance of it.")
        if "random_state" not in member.get_params():
            raise ValueError(
                f"estimator={member!r} has no random_state: all its fits would be the same."
            )
        refuse_ranks(member, "CompletionEnsemble")
        refuse_checkpoint(member)
        seeds = rng.randint(np.iinfo(np.int32).max, size=int(self.n_estimators))
        return [clone(member).set_params(random_state=int(seed)) for seed in seeds]

    def _set_fitted(self, members):
        """Order the members and set all fitted attributes at once; return the averaged ranks."""
        scores = np.array([getattr(m, "validation_score_", None) for m in members], dtype=float)
        losses = np.array([getattr(m, "loss_", 0.0) for m in members], dtype=float)
        # A member that held nothing out has no score; those are told apart by training loss.
        order = np.lexsort((losses, np.nan_to_num(-scores, nan=np.inf)))
        members, scores = [members[i] for i in order], scores[order]
        # An interrupted fit may have fewer members than are asked for.
        n_average = int(min(self.n_average or n_good(scores), len(members)))
        return self._set(members, scores, np.full(n_average, 1 / n_average), None)

    def _set(self, members, scores, weights, names):
        best, n_average = members[0], len(weights)
        ranks, counts = np.unique([m.rank_ for m in members[:n_average]], return_counts=True)
        links = {vars(member).get("_link") for member in members}
        seen = ("shape_", "n_features_in_", "feature_names_in_", "categories_")
        for name in seen:
            vars(self).pop(name, None)
        vars(self).update(
            {name: value for name, value in vars(best).items() if name in seen},
            estimators_=members,
            validation_scores_=scores,
            n_average_=n_average,
            weights_=weights,
            names_=names,
            best_estimator_=best,
            rank_=int(ranks[counts.argmax()]),
            rank_agreement_=float(counts.max() / n_average),
            _record=current_record(),
            _link=links.pop() if len(links) == 1 else None,
        )
        return np.repeat(ranks, counts)

    def _warn_of_ranks(self, ranks):
        low, high = np.quantile(ranks, [0.25, 0.75], method="averaged_inverted_cdf")
        if high >= _FACTOR * low and high - low >= _DIFFERENCE:
            *others, largest = map(str, ranks)
            warn(
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
            Whole-number indices, or labels where the estimator has ``encode=True``; a row names
            one cell.
        return_std : bool, default=False
            Whether to return the spread as well.

        Returns
        -------
        y : ndarray of shape (n_cells,)
            Mean of the predictions of the first ``n_average_`` members, by their ``weights_``.
        y_std : ndarray of shape (n_cells,)
            Their standard deviation, with ``return_std``: of what differs between fits, and of
            what few cells of an index, or none, leave open of its row, as the rows of its mode
            differ. An error that all fits share, such as noise in y or a tensor that is not of
            low rank, does not show.
        """
        members = self._averaged()
        with holding_back() as held:  # all members say the same of new labels
            predictions = np.array([member.predict(X) for member in members])
            mean = self.weights_ @ predictions
            deviation = self._deviation(X, members, predictions, mean) if return_std else None
        tell_once(held, outside())
        return (mean, deviation) if return_std else mean

    def _deviation(self, X, members, predictions, mean):
        """Return the deviation of cells between and within members that predict these."""
        errors = [getattr(member, "_error", 0.0) for member in members]
        # In units of a power of two near the largest no square overflows.
        exponent = int(np.frexp(max(*errors, np.abs(predictions).max(initial=0)))[1])
        within = np.array([variance_within(member, X, exponent) for member in members])
        between = np.ldexp(predictions - mean, -exponent) ** 2
        return np.ldexp(np.sqrt(self.weights_ @ (between + within)), exponent)

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
        grown = {k: v for k, v in vars(best).items() if k in ("shape_", "categories_")}
        vars(self).update(estimators_=members, best_estimator_=best, **grown)
        return self

    def to_dense(self) -> np.ndarray:
        """Return the completed tensor, the mean of those of the averaged members.

        Returns
        -------
        tensor : ndarray of shape ``shape_``
            The predictions of all cells.
        """
        pairs = zip(self.weights_, self._averaged(), strict=True)
        return sum(weight * member.to_dense() for weight, member in pairs)
