"""Does the uncertainty that is told hold? Nominal against observed coverage of intervals."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri
from scipy.stats import binom
from sklearn.utils.validation import check_is_fitted

from sktf._cells.validation import finite_array
from sktf._docs import documented
from sktf.plotting.base import BLUE, DASHED, GRAY, INK, ORANGE, Display, make_axes

# Coverages of the intervals that are asked for where none are given.
_LEVELS = (0.05, *np.arange(1, 10) / 10, 0.95)
# Cells are grouped by the training cells of their rarest index: from 0, from 1, from 4, from 11 on.
_FROM = (1, 4, 11)
_GROUPS = {"none": ORANGE, "1 to 3": "#E69F00", "4 to 10": "#56B4E9", "11 or more": BLUE}
# Groups of fewer cells are not drawn.
_FEWEST = 20


@documented()
@dataclass(kw_only=True, eq=False, repr=False)
class CalibrationDisplay(Display):
    r"""Coverage of central intervals: how often values lie inside, and how often they should.

    On the diagonal the uncertainty is as told. Below it intervals are too narrow, above too wide.
    The gray band holds 95 % of the points of all cells where the uncertainty is right and cells are
    independent; those of a group of n among N cells scatter :math:`\sqrt{N / n}` times as far.

    Parameters
    ----------
    nominal : array-like of shape (n_levels,)
        Probabilities that the intervals claim, ascending.
    observed : array-like of shape (n_groups, n_levels)
        Shares of the cells of each group whose values lie inside.
    labels : list of str
        What each group is; the band is that of the first, in general "all".
    n_cells : array-like of shape (n_groups,)
        Number of cells of each.
    left_out : dict, default=None
        Groups too small to be drawn, and their numbers of cells.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        One for each group.
    diagonal_ : matplotlib Line2D
    band_ : matplotlib PolyCollection
        Where chance may bring the points of the first group.

    See Also
    --------
    sktf.PosteriorCompletion : Tells the uncertainty of every prediction.

    Notes
    -----
    The central interval of coverage p goes from the quantile (1 - p) / 2 to the quantile
    (1 + p) / 2, ends included, and the observed coverage is

    .. math:: c(p) = \frac{1}{N} \sum_{e} \bigl[ q_{(1 - p) / 2}(e) \le y_e
        \le q_{(1 + p) / 2}(e) \bigr] .

    The band ends at the quantiles .025 and .975 of the binomial distribution of N draws of
    probability p. Cells that share indices err together, and so do more than it says. Values of
    which many are alike, such as whole stars or zeros, lie inside more often than continuous ones.

    Examples
    --------
    >>> from sktf import PosteriorCompletion, datasets, plotting
    >>> tensor, _ = datasets.make_low_rank((8, 8, 8), 2, random_state=0)
    >>> X, y = datasets.sample_entries(tensor, 1.0, noise=0.2, random_state=0)
    >>> X, X_hidden, y, y_hidden = datasets.split_entries(X, y, 0.5, random_state=0)
    >>> model = PosteriorCompletion(random_state=0).fit(X, y)
    >>> display = plotting.CalibrationDisplay.from_estimator(
    ...     model, X_hidden, y_hidden, X_train=X
    ... )
    >>> display.labels
    ['all', '11 or more']
    """

    __module__ = "sktf.plotting"

    nominal: ArrayLike
    observed: ArrayLike
    labels: list
    n_cells: ArrayLike
    left_out: dict | None = None

    @classmethod
    def from_estimator(cls, estimator, X, y, *, X_train=None, nominal=None, ax=None):
        """Draw the coverage of the intervals that a fitted estimator tells.

        Parameters
        ----------
        estimator : estimator instance
            A fitted estimator with ``predict_quantiles(X, quantiles)``, or with
            ``predict(X, return_std=True)``, whose intervals are normal.
        X, y : array-like of shape (n_cells, n_modes) and (n_cells,)
            Cells and their values, held out from the fit as they will be missing.
        X_train : array-like of shape (n_observed, n_modes), default=None
            The cells of the fit. The display then has a line more for each group of cells whose
            rarest index has no training cells, 1 to 3, 4 to 10, or more.
        nominal : array-like of shape (n_levels,), default=None
            Coverages to ask for, between 0 and 1; None: from 5 % to 95 %.
        {ax}

        Returns
        -------
        {Returns}

        Raises
        ------
        {Raises}
        """
        check_is_fitted(estimator)
        levels = _checked_levels(_LEVELS if nominal is None else nominal)
        low, high = _intervals(estimator, X, levels)
        options = {"nominal": levels, "X": X, "X_train": X_train, "ax": ax}
        return cls.from_predictions(y, low, high, **options)

    @classmethod
    def from_predictions(cls, y, low, high, *, nominal, X=None, X_train=None, ax=None):
        """Draw the coverage of given intervals.

        Parameters
        ----------
        y : array-like of shape (n_cells,)
            The values.
        low, high : array-like of shape (n_levels, n_cells)
            The ends of the intervals of each coverage.
        nominal : array-like of shape (n_levels,)
            Their coverages, between 0 and 1.
        X, X_train : array-like of shape (n_cells, n_modes) and (n_observed, n_modes), default=None
            The cells, and those of the fit: then there are groups by rarity, as in
            ``from_estimator``.
        {ax}

        Returns
        -------
        {Returns}

        Raises
        ------
        {Raises}
        """
        levels = _checked_levels(nominal)
        inside = _inside(y, low, high, len(levels))[np.argsort(levels)]
        groups = {"all": np.ones(inside.shape[1], bool)}
        if X_train is not None:
            groups |= _by_rarity(X, X_train, inside.shape[1])
        sizes = {label: int(group.sum()) for label, group in groups.items()}
        drawn = [label for label, size in sizes.items() if size >= _FEWEST or label == "all"]
        return cls(
            nominal=np.sort(levels),
            observed=np.array([inside[:, groups[label]].mean(axis=1) for label in drawn]),
            labels=drawn,
            n_cells=np.array([sizes[label] for label in drawn]),
            left_out={label: n for label, n in sizes.items() if n and label not in drawn},
        ).plot(ax)

    def plot(self, ax=None):
        nominal, observed = np.asarray(self.nominal), np.asarray(self.observed)
        n_cells = np.asarray(self.n_cells)
        if observed.shape != (len(self.labels), len(nominal)) or len(n_cells) != len(observed):
            raise ValueError(
                f"observed has shape {observed.shape}; pass a row for each of {len(self.labels)} "
                f"labels and {len(n_cells)} n_cells, with a share for each of {len(nominal)} "
                "nominal coverages."
            )
        grid, self.figure_ = make_axes(ax, (1, 1), (4.4, 4.2))
        ax = self.ax_ = grid[0, 0]
        self._plot_chance(nominal, n_cells[0])
        self.lines_ = [
            ax.plot(nominal, shares, label=f"{label} (n = {n:,})", **_style(label))[0]
            for label, shares, n in zip(self.labels, observed, n_cells, strict=True)
        ]
        for label, n in (self.left_out or {}).items():
            ax.plot([], [], " ", label=f"{label} (n = {n}): too few")
        ax.set(xlabel="Nominal coverage", ylabel="Observed coverage", xlim=(0, 1), ylim=(0, 1))
        ax.set_aspect("equal")
        groups = {*self.labels[1:], *(self.left_out or {})}
        title = "Training cells of the rarest index" if groups & _GROUPS.keys() else None
        ax.legend(title=title, frameon=False, fontsize="small", title_fontsize="small")
        ax.spines[["top", "right"]].set_visible(False)
        return self

    def _plot_chance(self, nominal, n):
        """Draw the diagonal, and where points of n independent cells lie beside it."""
        x = np.concatenate([[0.0], nominal, [1.0]])
        low, high = (binom.ppf(tail, n, x) / n for tail in (0.025, 0.975))
        band = {"color": GRAY, "alpha": 0.6, "lw": 0}
        self.band_ = self.ax_.fill_between(x, np.maximum(low, 0), high, **band)
        (self.diagonal_,) = self.ax_.plot([0, 1], [0, 1], **DASHED)


def _style(label):
    """Return how the line of a group looks; other labels take the colors of matplotlib."""
    marker = {"marker": "o", "markersize": 3.5}
    return {"color": INK if label == "all" else _GROUPS.get(label), **marker}


def _checked_levels(nominal):
    levels = finite_array(nominal, "nominal")
    if levels.ndim != 1 or not levels.size or not ((levels > 0) & (levels < 1)).all():
        raise ValueError(f"nominal={nominal!r}: expected coverages between 0 and 1.")
    return levels


def _intervals(estimator, X, levels):
    """Return the ends of the central intervals, two arrays of levels by cells."""
    tails = (1 - levels) / 2
    if hasattr(estimator, "predict_quantiles"):
        return np.split(np.asarray(estimator.predict_quantiles(X, [*tails, *(1 - tails)])), 2)
    try:
        mean, std = estimator.predict(X, return_std=True)
    except (AttributeError, TypeError) as error:
        if not any(name in str(error) for name in ("return_std", "'predict'")):
            raise
        raise ValueError(
            f"{type(estimator).__name__} has no predict_quantiles and no predict(X, "
            "return_std=True) to draw; pass a fitted PosteriorCompletion, or intervals to "
            "from_predictions."
        ) from error
    half = -ndtri(tails)[:, None] * std
    return mean - half, mean + half


def _inside(y, low, high, n_levels):
    """Return which values lie in which intervals, levels by cells."""
    y, low, high = finite_array(y, "y"), finite_array(low, "low"), finite_array(high, "high")
    if y.ndim != 1 or not y.size:
        raise ValueError(f"y has shape {y.shape}; pass the values of one cell or more.")
    if not low.shape == high.shape == (n_levels, len(y)):
        raise ValueError(
            f"low has shape {low.shape} and high {high.shape}; pass an interval for each of "
            f"{n_levels} nominal coverages and {len(y)} values of y."
        )
    if (low > high).any():
        raise ValueError("low exceeds high in some intervals; pass the lower ends first.")
    return (low <= y) & (y <= high)


def _by_rarity(X, X_train, n_cells):
    """Return masks of the cells, by how many training cells their rarest index has."""
    columns, seen = np.asarray(X).T, np.asarray(X_train).T
    if not columns.ndim == seen.ndim == 2 or columns.shape != (len(seen), n_cells):
        raise ValueError(
            f"X has shape {columns.T.shape} and X_train {seen.T.shape}; pass a row for each of "
            f"{n_cells} cells, and as many modes in both."
        )
    counts = [
        [counted[index] for index in column.tolist()]
        for column, counted in zip(columns, (Counter(c.tolist()) for c in seen), strict=True)
    ]
    group = np.digitize(np.min(counts, axis=0), _FROM)
    return {label: group == number for number, label in enumerate(_GROUPS)}
