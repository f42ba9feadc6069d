"""Components and loss over the course of a fit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from sklearn.isotonic import isotonic_regression

from sktf._docs import documented
from sktf.plotting.base import DASHED, FEW, GRAY, INK, ORANGE, Display, check_fitted, make_axes

_X_LABELS = {"iteration": "Iteration", "time": "Gradient-flow time (sum of step sizes)"}
_Y_LABELS = {"component_norms": "Component norm", "singular_values": "Singular value"}
_HEADINGS = {"component_norms": "component", "singular_values": "index"}
# A component earns a color when its peak passes this share of the largest peak.
_VISIBLE = 0.05


@documented()
@dataclass(kw_only=True, eq=False, repr=False)
class TrajectoryDisplay(Display):
    """Components and loss over the course of a fit.

    The upper panel has one line per component or singular value; those that grow are colored
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
    {Examples}
    >>> display = plotting.TrajectoryDisplay.from_estimator(model, x_scale="log")
    >>> display.axes_[1].get_xlabel()
    'Iteration'
    """

    __module__ = "sktf.plotting"

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

        Returns
        -------
        {Returns}

        Raises
        ------
        {Raises}
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
            At most this many components are colored: those of the highest peaks, above 5 % of
            the highest of all.

        Returns
        -------
        {Returns}

        Raises
        ------
        {Raises}
        """
        quantity = _check_trace(self.trace, against, x_scale)
        x = np.asarray(self.trace[against], dtype=float)
        style = {"marker": "o", "markersize": 3} if x.size <= FEW else {}
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
        colors = colormaps["viridis"](np.linspace(0, 0.78, shown.size))
        for index, color in zip(shown, colors, strict=True):
            self.lines_[index].set(color=color, linewidth=1.8, zorder=3)
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
            name: ax.plot(x, np.asarray(self.trace[key], dtype=float), color=color, **style)[0]
            for (key, name), color in zip(names.items(), (INK, ORANGE), strict=True)
            if key in self.trace
        }
        self.loss_lines_ = list(lines.values())
        if any((line.get_ydata() > 0).any() for line in self.loss_lines_):
            ax.set_yscale("log", nonpositive="mask")
        ax.set_ylabel("Loss" if len(lines) > 1 else "Training loss")
        if len(lines) > 1:
            _label_ends(ax, lines)


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
