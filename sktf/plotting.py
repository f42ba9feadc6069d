"""Displays in scikit-learn's manner; matplotlib is imported only to draw.

For observed against predicted values scikit-learn's own display is re-exported:
``PredictionErrorDisplay.from_estimator(model, X, y, kind="actual_vs_predicted")``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.isotonic import isotonic_regression
from sklearn.metrics import PredictionErrorDisplay

from ._agreement import AgreementDisplay
from ._docs import shared
from ._plotting import BLUE, DASHED, GRAY, INK, ORANGE, Display, check_fitted, make_axes
from ._rank import component_norms, unit_columns
from ._rank_curve import RankCurveDisplay
from ._slice_display import SliceDisplay

__all__ = [
    "AgreementDisplay",
    "FactorsDisplay",
    "PredictionErrorDisplay",
    "RankCurveDisplay",
    "SliceDisplay",
    "TrajectoryDisplay",
]

_X_LABELS = {"iteration": "Iteration", "time": "Gradient-flow time (sum of step sizes)"}
_Y_LABELS = {"component_norms": "Component norm", "singular_values": "Singular value"}
_HEADINGS = {"component_norms": "component", "singular_values": "index"}
# A component earns a colour when its peak passes this share of the largest peak.
_VISIBLE = 0.05
# Up to this many records or indices, each is drawn as a mark of its own.
_FEW = 15


@shared()
@dataclass(kw_only=True, eq=False, repr=False)
class TrajectoryDisplay(Display):
    """Components and loss over the course of a fit.

    The upper panel has one line per component or singular value; those that grow are coloured
    and numbered from 0, as the columns of ``factors_``, and the others are gray. The lower panel
    has the loss on a log scale.

    Parameters
    ----------
    trace : dict of ndarray
        The ``trace_`` of a fitted estimator, first axis the record: ``"loss"``, ``"iteration"``
        or ``"time"``, ``"component_norms"`` or ``"singular_values"``, maybe ``"validation_loss"``.
    truth : array-like of shape (n_true,), default=None
        True norms or singular values, drawn as dashed horizontal lines.

    Attributes
    ----------
    axes_ : ndarray of shape (2,) of matplotlib Axes
    figure_ : matplotlib Figure
    lines_, truth_lines_ : list of matplotlib Line2D
        One per component, in the order of the trace's columns, and one per true value.
    loss_lines_ : list of matplotlib Line2D
        The training loss and, where there is one, the validation loss.

    Examples
    --------
    {model}
    >>> display = plotting.TrajectoryDisplay.from_estimator(model, x_scale="log")
    >>> display.axes_[1].get_xlabel()
    'Iteration'
    """

    trace: dict
    truth: ArrayLike | None = None

    @classmethod
    def from_estimator(cls, estimator, *, truth=None, **options):
        """Draw the trajectory that a fitted estimator recorded.

        Parameters
        ----------
        estimator : estimator instance
            A fitted estimator with a ``trace_``.
        truth, **options
            As for the display, and for :meth:`plot`.

        {drawn}
        """
        check_fitted(estimator, "trace_")
        return cls(trace=estimator.trace_, truth=truth).plot(**options)

    def plot(self, ax=None, *, against="iteration", x_scale="linear", n_highlighted=10):
        """Draw the two panels.

        Parameters
        ----------
        {ax}
        against : {"iteration", "time"}, default="iteration"
            The horizontal axis; time is that of gradient flow, the sum of the step sizes.
        x_scale : {"linear", "log"}, default="linear"
            Scale of the horizontal axis. The log scale is linear below the first positive
            record, so that a record at zero stays visible.
        n_highlighted : int, default=10
            At most this many components are coloured: those of the highest peaks, above 5 % of
            the highest of all.

        {drawn}
        """
        quantity = _check_trace(self.trace, against, x_scale)
        x = np.asarray(self.trace[against], dtype=float)
        style = {"marker": "o", "markersize": 3} if x.size <= _FEW else {}
        heights = {"height_ratios": (3, 2), "sharex": True}
        grid, self.figure_ = make_axes(ax, (2, 1), (6.4, 5.2), **heights)
        self.axes_ = grid[:, 0]
        self._plot_components(x, quantity, n_highlighted, style)
        self._plot_loss(x, style)
        positive = x[x > 0]
        for axis in self.axes_:
            axis.margins(x=0.01)
            axis.spines[["top", "right"]].set_visible(False)
            if x_scale == "log" and positive.size > 1:
                log = {"linthresh": positive.min(), "linscale": 0.5, "subs": range(2, 10)}
                axis.set_xscale("symlog", **log)
        self.axes_[1].set_xlabel(_X_LABELS[against])
        return self

    def _plot_components(self, x, quantity, n_highlighted, style):
        from matplotlib import colormaps

        ax, norms = self.axes_[0], np.asarray(self.trace[quantity], dtype=float)
        self.lines_ = ax.plot(x, norms, color=GRAY, linewidth=0.8, zorder=1, **style)
        peaks = np.nan_to_num(norms, posinf=0.0).max(axis=0)
        largest = np.argsort(-peaks, kind="stable")[:n_highlighted]
        shown = np.sort(largest[peaks[largest] > _VISIBLE * peaks.max()])
        colours = colormaps["viridis"](np.linspace(0, 0.78, shown.size))
        for index, colour in zip(shown, colours, strict=True):
            self.lines_[index].set(color=colour, linewidth=1.8, zorder=3)
        truth = np.ravel([] if self.truth is None else self.truth)
        self.truth_lines_ = [ax.axhline(value, zorder=2, **DASHED) for value in truth]
        # A little room below zero keeps the components that never grew in sight.
        ax.set(ylabel=_Y_LABELS[quantity], ylim=(-0.02 * ax.get_ylim()[1], None))
        if shown.size:
            _label_ends(ax, {index: self.lines_[index] for index in shown})
            ax.text(1.04, 1.05, _HEADINGS[quantity], transform=ax.transAxes, fontsize="small")
        others = np.delete(self.lines_, shown).tolist()
        word = "in all" if not shown.size else "other" if len(others) == 1 else "others"
        named = {"true value": self.truth_lines_, f"{len(others)} {word}": others}
        named = {name: lines[0] for name, lines in named.items() if lines}
        corner = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
        style = {"ncols": 2, "frameon": False, "fontsize": "small"}
        ax.legend(named.values(), named.keys(), **style, **corner)

    def _plot_loss(self, x, style):
        ax, names = self.axes_[1], {"loss": "training", "validation_loss": "validation"}
        lines = {
            name: ax.plot(x, np.asarray(self.trace[key], dtype=float), color=colour, **style)[0]
            for (key, name), colour in zip(names.items(), (INK, ORANGE), strict=True)
            if key in self.trace
        }
        self.loss_lines_ = list(lines.values())
        if any((line.get_ydata() > 0).any() for line in self.loss_lines_):
            ax.set_yscale("log", nonpositive="mask")
        ax.set_ylabel("Loss" if len(lines) > 1 else "Training loss")
        if len(lines) > 1:
            _label_ends(ax, lines)


@shared()
@dataclass(kw_only=True, eq=False, repr=False)
class FactorsDisplay(Display):
    """Factors of a CP model: one row per component, one column per mode.

    Each factor has unit norm and the norm of the component stands at its row. In all modes but
    the last the entry of largest magnitude is positive; the last carries the sign. Short modes
    are drawn as bars, long ones as lines, and a column of panels has one vertical scale.
    Components and modes are numbered from 0, as in ``factors_``.

    Parameters
    ----------
    factors : list of ndarray of shape (shape[n], n_components)
        One factor matrix per mode, the components in descending order.
    component_norms : array-like of shape (n_components,), default=None
        Norms of the components; None takes the product of the norms of their columns.
    mode_names : sequence of str, default=None
        Names of the modes; None numbers them.
    labels : sequence of (sequence or None), default=None
        For each mode the labels of its indices, or None to number them.

    Attributes
    ----------
    axes_ : ndarray of shape (n_drawn, n_modes) of matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    {model}
    >>> display = plotting.FactorsDisplay.from_estimator(model, mode_names=["user", "item", "day"])
    >>> [ax.get_xlabel() for ax in display.axes_[-1]]
    ['user', 'item', 'day']
    """

    factors: list
    component_norms: ArrayLike | None = None
    mode_names: Sequence | None = None
    labels: Sequence | None = None

    @classmethod
    def from_estimator(cls, estimator, *, mode_names=None, labels=None, n_components=None, ax=None):
        """Draw the factors of a fitted estimator.

        Parameters
        ----------
        estimator : estimator instance
            A fitted estimator with ``factors_``, ``component_norms_`` and ``rank_``.
        mode_names, labels
            As for the display; None takes the names of ``feature_names_in_``, if any.
        n_components : int, default=None
            Number of components to draw, the largest first; None for ``rank_``.
        {ax}

        {drawn}
        """
        check_fitted(estimator, "factors_")
        names = getattr(estimator, "feature_names_in_", None) if mode_names is None else mode_names
        options = {"component_norms": estimator.component_norms_, "labels": labels}
        n_components = estimator.rank_ if n_components is None else n_components
        display = cls(factors=estimator.factors_, mode_names=names, **options)
        return display.plot(ax, n_components=n_components)

    def plot(self, ax=None, *, n_components=None):
        """Draw the factors.

        Parameters
        ----------
        {ax}
        n_components : int, default=None
            Number of components to draw, from the first; None for all of them.

        {drawn}
        """
        units, norms = _normalise(self.factors, n_components)
        if self.component_norms is not None:
            norms = np.asarray(self.component_norms)[: norms.size]
        names, labels = _check_names([len(unit) for unit in units], self.mode_names, self.labels)
        grid = norms.size, len(units)
        figsize = 1.3 + 2.0 * grid[1], 0.8 + 1.1 * grid[0]
        self.axes_, self.figure_ = make_axes(ax, grid, figsize, sharex="col", sharey="col")
        for column, unit, name, label in zip(self.axes_.T, units, names, labels, strict=True):
            _plot_mode(column, unit, name, label)
        for row, norm in enumerate(norms):
            text = f"component {row}\nnorm {norm:.3g}"
            self.axes_[row, 0].set_ylabel(text, rotation=0, ha="right", va="center")
        self.figure_.align_xlabels(self.axes_[-1])
        return self


def _check_trace(trace, against, x_scale):
    """Return the name of the quantity that the trace holds, or say what is wrong with it."""
    if against not in _X_LABELS or x_scale not in ("linear", "log"):
        raise ValueError(
            "against must be 'iteration' or 'time' and x_scale 'linear' or 'log'; "
            f"got against={against!r}, x_scale={x_scale!r}."
        )
    quantity = next((name for name in _Y_LABELS if name in trace), None)
    n_records = len(trace.get("loss", ()))
    if quantity is None or against not in trace or n_records < 2:
        raise ValueError(
            f"A trajectory needs {against!r}, 'loss' and 'component_norms' or 'singular_values' of "
            f"at least 2 records; the trace has {n_records} record(s) of {sorted(trace)}. Fit "
            "again, with a smaller record_every where records are few."
        )
    return quantity


def _check_names(sizes, names, labels):
    """Return a name and labels (or None) for each mode."""
    names = [f"mode {n}" for n in range(len(sizes))] if names is None else list(names)
    labels = [None] * len(sizes) if labels is None else labels
    labels = [None if label is None else list(label) for label in labels]
    counts = [n if label is None else len(label) for label, n in zip(labels, sizes, strict=False)]
    if len(names) != len(sizes) or len(labels) != len(sizes) or counts != sizes:
        raise ValueError(
            f"The modes have sizes {sizes}; got {len(names)} mode names and labels for {counts}."
        )
    return names, labels


def _normalise(factors, n_components):
    """Return copies of the factors with unit columns and settled signs, and the norms."""
    available = factors[0].shape[1]
    n_components = available if n_components is None else n_components
    if not 1 <= n_components <= available:
        raise ValueError(
            f"n_components must be between 1 and {available}; got {n_components}. "
            "Where rank_ is 0, pass n_components to draw the uncounted components."
        )
    factors = [np.asarray(factor[:, :n_components], dtype=float) for factor in factors]
    units = [unit_columns(factor) for factor in factors]
    for unit in units[:-1]:
        peaks = unit[np.abs(unit).argmax(axis=0), np.arange(n_components)]
        signs = np.where(peaks < 0, -1.0, 1.0)
        unit *= signs
        units[-1] *= signs
    return units, component_norms(factors)


def _plot_mode(axes, unit, name, labels):
    """Draw one mode down its column of axes."""
    indices = np.arange(len(unit))
    margin = 0.06 * (np.ptp(unit) or 1.0)
    limits = min(unit.min(), 0.0) - margin, max(unit.max(), 0.0) + margin
    for axis, values in zip(axes, unit.T, strict=True):
        axis.axhline(0, color=GRAY, linewidth=0.8, zorder=0)
        if indices.size <= _FEW:
            axis.bar(indices, values, color=BLUE)
        else:
            axis.plot(indices, values, color=BLUE, linewidth=1.2)
        axis.set_ylim(limits)
        axis.tick_params(labelsize="small")
        axis.locator_params(axis="y", nbins=3)
        axis.locator_params(axis="x", nbins=6, integer=True)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel(name)
    if labels is not None:
        ticks = indices[:: -(-indices.size // 12)]
        texts = [str(labels[tick]) for tick in ticks]
        axes[-1].set_xticks(ticks, texts, rotation=90 if len("".join(texts)) > 16 else 0)


def _label_ends(ax, lines):
    """Write the names of the lines beside the axes where they end, clear of each other."""
    low, high = ax.get_ylim()
    ends = [np.r_[low, line.get_ydata()] for line in lines.values()]
    ends = [np.clip(end[np.isfinite(end)][-1], low, high) for end in ends]
    order = np.argsort(-np.array(ends), kind="stable")
    to_axes = ax.transData + ax.transAxes.inverted()
    heights = to_axes.transform([(1, ends[index]) for index in order])[:, 1]
    # The nearest heights that are a line of text apart, by isotonic regression.
    gap = 12 / (72 * ax.get_window_extent().height / ax.figure.dpi)
    shifts = min(gap, 1 / len(ends)) * np.arange(len(ends))
    texts = isotonic_regression(heights + shifts, y_min=shifts[-1], y_max=1, increasing=False)
    for index, end, height in zip(order, heights, texts - shifts, strict=True):
        name, line = list(lines.items())[index]
        style = {"color": line.get_color(), "fontsize": "small", "va": "center"}
        leader = {"arrowstyle": "-", "color": line.get_color(), "linewidth": 0.6}
        leader |= {"relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 0}
        ends = (1, end), (1.04, height), "axes fraction"
        ax.annotate(str(name), *ends, arrowprops=leader, **style)
