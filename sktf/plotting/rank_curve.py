"""Held-out error against the number of components: what each of them is worth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sktf._docs import documented
from sktf._objective.components import merged_groups
from sktf.metrics import normalized_rmse
from sktf.plotting.base import BLUE, DASHED, Display, check_fitted, make_axes, nameless


@documented()
@dataclass(kw_only=True, eq=False, repr=False)
class RankCurveDisplay(Display):
    """Held-out error, or score, against the number of components.

    Parameters
    ----------
    n_components, scores : array-like of shape (n_points,)
        Numbers of components, and the error or score of each.
    scores_std : array-like of shape (n_points,), default=None
        Standard deviations over folds, drawn as a band.
    rank : int, default=None
        The rank found, drawn as a dashed vertical line.
    score_name : str, default="Score"
        What the scores are.
    param_name : str, default="Number of components"
        What varies, where it is another parameter.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    line_ : matplotlib Line2D
        The curve.
    rank_line_ : matplotlib Line2D or None
        The rank found.

    Examples
    --------
    {Examples}
    >>> X_all, y_all = datasets.entries_from_dense(tensor)
    >>> display = plotting.RankCurveDisplay.from_estimator(model, X_all, y_all)
    >>> display.ax_.get_ylabel()
    'NRMSE'
    """

    __module__ = "sktf.plotting"

    n_components: ArrayLike
    scores: ArrayLike
    scores_std: ArrayLike | None = None
    rank: int | None = None
    score_name: str = "Score"
    param_name: str = "Number of components"

    @classmethod
    def from_estimator(cls, estimator, X, y, *, ax=None):
        """Draw the NRMSE of a fitted estimator when only its 0, 1, ... largest components are kept.

        Parallel components are merged first, as for ``rank_``. A curve that is flat from
        ``rank_`` on says that what lies beyond neither helps nor harms.

        Parameters
        ----------
        estimator : estimator instance
            A fitted completion estimator.
        X, y : array-like of shape (n_cells, n_modes) and (n_cells,)
            Cells and their values, best those held out from the fit.
        {ax}

        Returns
        -------
        {Returns}

        Raises
        ------
        {Raises}
        """
        check_fitted(estimator, "factors_")
        groups, _ = merged_groups(estimator.factors_)
        kept, errors, X = nameless(estimator), [], np.asarray(X)
        for k in range(len(groups) + 1):
            columns = np.concatenate([np.empty(0, int), *groups[:k]])
            kept.factors_ = [factor[:, columns] for factor in estimator.factors_]
            errors.append(normalized_rmse(y, kept.predict(X)))
        options = {"rank": estimator.rank_, "score_name": "NRMSE"}
        return cls(n_components=np.arange(len(errors)), scores=errors, **options).plot(ax)

    @classmethod
    def from_cv_results(cls, cv_results, *, param="n_components", score_name="Score", ax=None):
        """Draw the mean test score of a search over the number of components.

        Parameters
        ----------
        cv_results : dict
            The ``cv_results_`` of a ``GridSearchCV``. Where other parameters vary too, the best
            mean score for each number of components is drawn.
        param : str, default="n_components"
            Name of a parameter that was searched over numbers, in a pipeline with the name of the
            step.
        score_name : str, default="Score"
            What the scores are.
        {ax}

        Returns
        -------
        {Returns}

        Raises
        ------
        {Raises}
        """
        values = np.ma.getdata(cv_results.get(f"param_{param}", [None]))
        if any(value is None for value in values):
            searched = [name[6:] for name in cv_results if name.startswith("param_")]
            raise ValueError(
                f"cv_results_ has no numbers param_{param}; pass the name of a parameter that "
                f"was searched over numbers, one of {searched}."
            )
        mean, std = (np.asarray(cv_results[f"{name}_test_score"]) for name in ("mean", "std"))
        numbers = np.unique(values.astype(float))
        best = [max(np.flatnonzero(values == n), key=lambda i: mean[i]) for n in numbers]
        name = cls.param_name if param.endswith("n_components") else param
        options = {"scores": mean[best], "scores_std": std[best], "score_name": score_name}
        return cls(n_components=numbers, param_name=name, **options).plot(ax)

    def plot(self, ax=None):
        x, scores = np.asarray(self.n_components), np.asarray(self.scores, dtype=float)
        if x.shape != scores.shape:
            raise ValueError(
                f"n_components has shape {x.shape} and scores {scores.shape}; pass one score for "
                "each number of components."
            )
        grid, self.figure_ = make_axes(ax, (1, 1), (5.0, 3.4))
        ax = self.ax_ = grid[0, 0]
        (self.line_,) = ax.plot(x, scores, color=BLUE, marker="o", markersize=4)
        if self.scores_std is not None:
            std = np.asarray(self.scores_std)
            ax.fill_between(x, scores - std, scores + std, color=BLUE, alpha=0.2, lw=0)
        self.rank_line_ = None
        if self.rank is not None:
            self.rank_line_ = ax.axvline(self.rank, label=f"rank_ = {self.rank}", **DASHED)
            ax.legend(handles=[self.rank_line_], frameon=False, fontsize="small")
        ax.set(xlabel=self.param_name, ylabel=self.score_name)
        ax.locator_params(axis="x", integer=True)
        ax.spines[["top", "right"]].set_visible(False)
        return self
