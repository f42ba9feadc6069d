"""What the displays share: their base, axes, colors, and the check for something to draw."""

from abc import ABC, abstractmethod
from copy import copy

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import check_is_fitted

from sktf._cells.labels import text_of

BLUE, ORANGE, INK, GRAY = "#0072B2", "#D55E00", "#333333", "#BDBDBD"
# How true values and the rank found are marked.
DASHED = {"color": INK, "linewidth": 1.0, "linestyle": (0, (4, 3))}


class Display(ABC):
    """A picture that is drawn by `plot`.

    Examples
    --------
    >>> from sktf import CPCompletion, datasets, plotting
    >>> tensor, _ = datasets.make_low_rank((8, 8, 8), 2, random_state=0)
    >>> X, y = datasets.sample_entries(tensor, 0.5, random_state=0)
    >>> model = CPCompletion(shape=tensor.shape, random_state=0).fit(X, y)
    """

    @abstractmethod
    def plot(self, ax=None):
        """Draw the display.

        Parameters
        ----------
        ax : matplotlib Axes or array of them, default=None
            One for each panel; None draws on a new figure.

        Returns
        -------
        display : object
            The display, drawn.

        Raises
        ------
        ValueError
            If the estimator is not fitted or lacks what is drawn, if arrays or options do not fit
            together, or if ``ax`` does not hold one matplotlib Axes for each panel.
        """


def check_fitted(estimator, attribute):
    """Raise an error unless the estimator is fitted and has the attribute."""
    check_is_fitted(estimator)
    if not hasattr(estimator, attribute):
        raise ValueError(f"{type(estimator).__name__} has no {attribute} to draw.")


def make_axes(ax, grid, figsize, **options):
    """Return a grid of axes, the given ones or those of a new figure, and their figure."""
    check_matplotlib_support("sktf.plotting")
    import matplotlib.pyplot as plt

    if ax is None:
        figure = plt.figure(figsize=figsize, layout="constrained")
        return figure.subplots(*grid, squeeze=False, **options), figure
    axes = np.asarray(ax, dtype=object)
    if axes.size != grid[0] * grid[1]:
        raise ValueError(f"ax must hold {grid[0]} x {grid[1]} axes; got {axes.size}.")
    return axes.reshape(grid), axes.flat[0].figure


def nameless(estimator, *, labels=True):
    """Return a shallow copy that predicts from arrays, also if fitted on a DataFrame.

    Without ``labels`` it reads numbers, also if it was fitted on labels.
    """
    bare = copy(estimator)
    vars(bare).pop("feature_names_in_", None)
    if not labels:
        vars(bare).pop("categories_", None)
    if hasattr(bare, "estimators_"):
        bare.estimators_ = [nameless(member, labels=labels) for member in bare.estimators_]
    return bare


def label_axis(axis, labels):
    """Write labels at about a dozen ticks of an ``Axis``, one for each whole number from 0."""
    ticks = np.arange(len(labels))[:: -(-len(labels) // 12)]
    texts = [text_of(labels[tick]) for tick in ticks]
    rotated = axis.axis_name == "x" and len("".join(texts)) > 16
    axis.set_ticks(ticks, texts, rotation=90 if rotated else 0)


# Up to this many records or indices, each is drawn as a mark of its own.
FEW = 15
