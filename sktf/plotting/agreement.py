"""Do restarts agree? Correlations of their predictions and norms of their components."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sktf._docs import documented
from sktf.plotting.base import Display, check_fitted, make_axes, nameless

# Up to so many members the numbers are written into the table of correlations.
_MAX_WRITTEN = 10
# Norms below this share of the largest are out of sight.
_VISIBLE = 0.01


@documented()
@dataclass(kw_only=True, eq=False, repr=False)
class AgreementDisplay(Display):
    """Agreement of restarts: correlation of their predictions, and their component norms.

    Members that predict alike and have norms alike found the same solution. Where they differ
    the rank, or the tensor itself, is not settled by the data.

    Parameters
    ----------
    predictions : array-like of shape (n_members, n_cells)
        What each member predicts for the same cells.
    component_norms : list of array-like, default=None
        For each member the norms of its components, descending.
    validation_scores : array-like of shape (n_members,), default=None
        The held-out R^2 of each member, written beside its number.

    Attributes
    ----------
    axes_ : ndarray of shape (2,) of matplotlib Axes
        Correlations, and norms.
    figure_ : matplotlib Figure
    image_ : matplotlib AxesImage
        The table of correlations; a member of constant predictions has correlation 0.
    lines_ : list of matplotlib Line2D
        The norms, one line per member.

    Examples
    --------
    >>> from sktf.plotting import AgreementDisplay
    >>> predictions = [[1.0, 2.0, 3.0], [1.1, 2.0, 2.9], [3.0, 2.0, 3.5]]
    >>> display = AgreementDisplay.from_predictions(predictions)
    >>> display.image_.get_array().round(1)[0].tolist()
    [1.0, 1.0, 0.3]
    """

    __module__ = "sktf.plotting"

    predictions: ArrayLike
    component_norms: list | None = None
    validation_scores: ArrayLike | None = None

    @classmethod
    def from_estimator(cls, estimator, X, *, ax=None):
        """Draw the agreement of the members of a fitted ensemble.

        Parameters
        ----------
        estimator : CompletionEnsemble
            A fitted ensemble.
        X : array-like of shape (n_cells, n_modes)
            The cells to predict, best those not observed.
        {ax}

        Returns
        -------
        {Returns}

        Raises
        ------
        {Raises}
        """
        check_fitted(estimator, "estimators_")
        X, members = np.asarray(X), estimator.estimators_
        norms = [getattr(member, "component_norms_", None) for member in members]
        return cls(
            predictions=[nameless(member).predict(X) for member in members],
            component_norms=None if any(its is None for its in norms) else norms,
            validation_scores=getattr(estimator, "validation_scores_", None),
        ).plot(ax)

    @classmethod
    def from_predictions(cls, predictions, *, ax=None, **options):
        """Draw the agreement of given predictions.

        Parameters
        ----------
        predictions, **options
            The parameters of the display.
        {ax}

        Returns
        -------
        {Returns}

        Raises
        ------
        {Raises}
        """
        return cls(predictions=predictions, **options).plot(ax)

    def plot(self, ax=None):
        correlations = _correlations(np.asarray(self.predictions, dtype=float))
        names = self._member_names(len(correlations))
        (self.axes_,), self.figure_ = make_axes(ax, (1, 2), (8.8, 3.8))
        self._plot_correlations(correlations, names)
        self._plot_norms()
        return self

    def _member_names(self, n_members):
        """Return what stands beside each row."""
        scores, norms = self.validation_scores, self.component_norms
        if any(given is not None and len(given) != n_members for given in (scores, norms)):
            raise ValueError(
                f"predictions has {n_members} members; pass as many component_norms and "
                "validation_scores, or None."
            )
        if scores is None:
            return list(range(n_members))
        return [f"{number}: {score:.3g}" for number, score in enumerate(scores)]

    def _plot_correlations(self, correlations, names):
        ax, ticks = self.axes_[0], np.arange(len(names))
        low = min(0.0, correlations.min())
        self.image_ = ax.imshow(correlations, cmap="viridis", vmin=low, vmax=1.0)
        ax.set_title("Correlation of predictions", fontsize="medium")
        ax.set_yticks(ticks, names)
        ax.set_xticks(ticks)
        scored = self.validation_scores is not None
        ax.set(xlabel="Member", ylabel="Member: held-out R$^2$" if scored else "Member")
        self.figure_.colorbar(self.image_, ax=ax, shrink=0.8)
        if len(names) <= _MAX_WRITTEN:
            style = {"ha": "center", "va": "center", "fontsize": "small"}
            for (row, column), value in np.ndenumerate(correlations):
                color = "black" if value > low + 0.6 * (1 - low) else "white"
                ax.text(column, row, f"{value:.2f}", color=color, **style)

    def _plot_norms(self):
        """Draw the norms of the components of each member, the first one on top."""
        ax, norms = self.axes_[1], [np.asarray(values) for values in self.component_norms or ()]
        colors = self.image_.get_cmap()(np.linspace(0, 0.85, len(norms)))
        self.lines_ = [
            ax.plot(values, color=color, marker="o", ms=3, lw=1.2, label=str(m), zorder=-m)[0]
            for m, (values, color) in enumerate(zip(norms, colors, strict=True))
        ]
        ax.set_title("Component norms", fontsize="medium")
        ax.set(xlabel="Component", ylim=(0, None))
        ax.locator_params(axis="x", integer=True)
        ax.spines[["top", "right"]].set_visible(False)
        if self.lines_:
            visible = _VISIBLE * max(values.max(initial=0) for values in norms)
            n_visible = max(int((values > visible).sum()) for values in norms)
            ax.set_xlim(-0.5, n_visible + 0.5)
            ax.legend(title="Member", frameon=False, fontsize="small", ncols=2)


def _correlations(predictions):
    """Return the correlations of the rows; those of a constant row are 0."""
    if predictions.ndim != 2:
        raise ValueError(
            f"predictions has shape {predictions.shape}; pass a table of members by cells."
        )
    left = predictions - predictions.mean(axis=1, keepdims=True)
    length = np.linalg.norm(left, axis=1, keepdims=True)
    unit = left / np.where(length > 0, length, 1.0)
    return unit @ unit.T
