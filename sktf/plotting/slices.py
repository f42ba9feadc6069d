"""A slice of a tensor beside what a model predicts for it."""

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import ArrayLike

from sktf._cells.labels import number_of, text_of
from sktf._cells.sorting import row_numbers
from sktf._cells.validation import check_cells, check_rows
from sktf._docs import documented
from sktf.datasets.entries import dense_from_entries
from sktf.plotting.base import GRAY, Display, check_fitted, label_axis, make_axes, nameless

# Most cells of a slice that is drawn.
_MAX_CELLS = 2**22


@documented()
@dataclass(kw_only=True, eq=False, repr=False)
class SliceDisplay(Display):
    """A slice of a tensor as observed, as predicted, and the residual; missing cells are gray.

    Observed and predicted values share one color scale, that of the observed; the residual,
    observed minus predicted, has one about zero.

    Parameters
    ----------
    observed, predicted : array-like of shape (n_rows, n_columns)
        Observed values, NaN where missing, and predictions of all cells.
    mode_names : tuple of str, default=("mode 0", "mode 1")
        Names of the modes that run down and across.
    title : str, default=None
        What the slice is.
    labels : pair of (sequence or None), default=(None, None)
        Labels of the rows and of the columns; None numbers them.

    Attributes
    ----------
    axes_ : ndarray of shape (3,) of matplotlib Axes
    figure_ : matplotlib Figure
    images_ : list of matplotlib AxesImage
        Observed values, predicted values, residual.

    Examples
    --------
    {Examples}
    >>> display = plotting.SliceDisplay.from_estimator(model, X, y, at=(3,))
    >>> [ax.get_title() for ax in display.axes_]
    ['Observed', 'Predicted', 'Residual']
    """

    __module__ = "sktf.plotting"

    observed: ArrayLike
    predicted: ArrayLike
    mode_names: tuple = ("mode 0", "mode 1")
    title: str | None = None
    labels: tuple = (None, None)

    @classmethod
    def from_estimator(cls, estimator, X, y, *, modes=(0, 1), at=None, ax=None):
        """Draw a slice of the data and of the tensor that a fitted estimator completed.

        Parameters
        ----------
        estimator : estimator instance
            A fitted completion estimator.
        X, y : array-like of shape (n_observed, n_modes) and (n_observed,)
            Observed cells and their values; repeated cells are averaged. Give held-out cells to
            see the errors that count.
        modes : tuple of 2 int, default=(0, 1)
            The modes that run down and across, of at most 2**22 cells.
        at : sequence of int, default=None
            The indices of the other modes, in order; their labels where ``fit`` has read labels.
            None: the slice with most rows of X.
        {ax}

        Returns
        -------
        {Returns}

        Raises
        ------
        {Raises}
        """
        check_fitted(estimator, "shape_")
        shape, known = estimator.shape_, getattr(estimator, "categories_", None)
        X = X if known is None else check_cells(estimator, X, shape, "error")[0]
        X, y = check_rows("SliceDisplay", X, y)
        names = getattr(estimator, "feature_names_in_", [f"mode {m}" for m in range(len(shape))])
        modes, others = list(modes), _other_modes(modes, shape)
        if at is None:
            numbers = row_numbers(X[:, others])
            at = X[np.argmax(numbers == np.bincount(numbers).argmax()), others]
        elif known is not None and len(at) == len(others):
            at = [number_of(label, m, known) for label, m in zip(at, others, strict=True)]
        at = _check_at(at, others, shape)
        here, sizes = (X[:, others] == at).all(axis=1), [shape[m] for m in modes]
        cells = np.empty((prod(sizes), len(shape)), np.int64)
        cells[:, modes], cells[:, others] = np.indices(sizes).reshape(2, -1).T, at
        labels = [None] * len(shape) if known is None else known
        told = [
            (m, i if known is None else text_of(known[m][i]))
            for m, i in zip(others, at, strict=True)
        ]
        title = ", ".join(f"{names[m]} = {name}" for m, name in told)
        return cls(
            observed=dense_from_entries(X[here][:, modes], y[here], sizes),
            predicted=nameless(estimator, labels=False).predict(cells).reshape(sizes),
            mode_names=tuple(names[m] for m in modes),
            title=title or None,
            labels=tuple(labels[m] for m in modes),
        ).plot(ax)

    @classmethod
    def from_predictions(cls, observed, predicted, *, ax=None, **options):
        """Draw two matrices and their difference.

        Parameters
        ----------
        observed, predicted, **options
            The parameters of the display.
        {ax}

        Returns
        -------
        {Returns}

        Raises
        ------
        {Raises}
        """
        return cls(observed=observed, predicted=predicted, **options).plot(ax)

    def plot(self, ax=None):
        observed, predicted = (np.asarray(a, float) for a in (self.observed, self.predicted))
        if observed.ndim != 2 or observed.shape != predicted.shape:
            raise ValueError(
                f"observed has shape {observed.shape} and predicted {predicted.shape}; pass two "
                "matrices of the same shape."
            )
        residual = observed - predicted
        scale = _limits(observed if np.isfinite(observed).any() else predicted)
        bound = max(map(abs, _limits(residual)))
        grid, self.figure_ = make_axes(ax, (1, 3), (9.6, 3.4))
        axes = self.axes_ = grid[0]
        self.images_ = [
            _draw_image(axes[0], observed, "Observed", "viridis", scale),
            _draw_image(axes[1], predicted, "Predicted", "viridis", scale),
            _draw_image(axes[2], residual, "Residual", "RdBu_r", (-bound, bound)),
        ]
        beyond = np.nanmax(predicted) > scale[1], np.nanmin(predicted) < scale[0]
        extend = {(1, 1): "both", (1, 0): "max", (0, 1): "min", (0, 0): "neither"}[beyond]
        self.figure_.colorbar(self.images_[1], ax=list(axes[:2]), extend=extend, shrink=0.8)
        self.figure_.colorbar(self.images_[2], ax=axes[2], shrink=0.8)
        axes[0].set_ylabel(self.mode_names[0])
        for axis in axes:
            axis.set_xlabel(self.mode_names[1])
            for side, labels in zip((axis.yaxis, axis.xaxis), self.labels, strict=True):
                if labels is not None:
                    label_axis(side, labels)
        if self.title is not None:
            self.figure_.suptitle(self.title, fontsize="medium")
        return self


def _other_modes(modes, shape):
    """Return the modes that are fixed while two are drawn."""
    if len(set(modes)) != 2 or not set(modes) <= set(range(len(shape))):
        raise ValueError(f"modes is {modes!r}; pass two of the modes 0 to {len(shape) - 1}.")
    if prod(shape[m] for m in modes) > _MAX_CELLS:
        raise ValueError(
            f"A slice over modes {tuple(modes)} of a tensor of shape {shape} is too large to "
            "draw; choose smaller modes, or pass a part of it to from_predictions."
        )
    return [m for m in range(len(shape)) if m not in modes]


def _check_at(at, others, shape):
    """Return the fixed indices as a tuple, if there is one inside each other mode."""
    at, sizes = tuple(np.asarray(at).tolist()), tuple(shape[m] for m in others)
    if len(at) != len(sizes) or any(i not in range(n) for i, n in zip(at, sizes, strict=True)):
        raise ValueError(
            f"at is {at}; pass one index for each of the modes {tuple(others)}, of sizes {sizes}."
        )
    return at


def _limits(matrix):
    """Return the least and the largest finite value."""
    finite = matrix[np.isfinite(matrix)]
    return (finite.min(), finite.max()) if finite.size else (0.0, 0.0)


def _draw_image(axis, matrix, title, colors, limits):
    """Draw a matrix whose missing cells are gray."""
    image = axis.imshow(matrix, colors, vmin=limits[0], vmax=limits[1], aspect="auto")
    image.set_cmap(image.get_cmap().with_extremes(bad=GRAY))
    axis.set_title(title, fontsize="medium")
    axis.locator_params(integer=True, nbins=6)
    return image
