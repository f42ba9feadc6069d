"""Factors of a CP model, one row per component, one column per mode."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sktf._docs import documented
from sktf._objective.components import component_norms, unit_columns
from sktf.plotting.base import BLUE, FEW, GRAY, Display, check_fitted, label_axis, make_axes


@documented()
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
    {Examples}
    >>> names = ["user", "item", "day"]
    >>> display = plotting.FactorsDisplay.from_estimator(model, mode_names=names)
    >>> [ax.get_xlabel() for ax in display.axes_[-1]]
    ['user', 'item', 'day']
    """

    __module__ = "sktf.plotting"

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
            As for the display; None takes ``feature_names_in_`` and ``categories_``, if any.
        n_components : int, default=None
            Number of components to draw, the largest first; None for ``rank_``.
        {ax}

        Returns
        -------
        {Returns}

        Raises
        ------
        {Raises}
        """
        check_fitted(estimator, "factors_")
        names = getattr(estimator, "feature_names_in_", None) if mode_names is None else mode_names
        factors, known = estimator.factors_, getattr(estimator, "categories_", None)
        if labels is None and known is not None and [*map(len, known)] == [*map(len, factors)]:
            labels = known
        options = {"component_norms": estimator.component_norms_, "labels": labels}
        n_components = estimator.rank_ if n_components is None else n_components
        display = cls(factors=factors, mode_names=names, **options)
        return display.plot(ax, n_components=n_components)

    def plot(self, ax=None, *, n_components=None):
        """Draw the factors.

        Parameters
        ----------
        {ax}
        n_components : int, default=None
            Number of components to draw, from the first; None for all of them.

        Returns
        -------
        {Returns}

        Raises
        ------
        {Raises}
        """
        units, norms = _normalize(self.factors, n_components)
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


def _normalize(factors, n_components):
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
        if indices.size <= FEW:
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
        label_axis(axes[-1].xaxis, labels)
