"""Docstring text that several classes share, written once."""

import re
from inspect import isfunction
from textwrap import indent

_TEXTS = {
    "shape": """\
shape : tuple of int, default=None
    Mode sizes. None: largest index plus one of this call, which breaks in cross-validation
    on the fold that lacks the largest index; give it there.""",
    "offset": """\
offset : {"auto", "mean", "additive"} or None, default="auto"
    What is taken off the values first: nothing (None), their mean, or the mean plus one term
    per index of each mode (ridge regression). "auto": the mean where it exceeds ten standard
    deviations, else nothing.
scale : bool, default=True
    Divide what is left by its RMS.""",
    "prediction": """\
handle_unknown : {"error", "offset"}, default="error"
    What ``predict`` does with an index outside ``shape_``: raise, or return the offset.
rank_tol : float, default=0.1
    A component counts for ``rank_`` when its norm exceeds ``rank_tol`` times the largest.""",
    "given": """\
on the scaled data, which are those of the user with ``scale=False, offset=None``; then
``n_init`` must be "auto" or 1, and ``init_scale`` and ``init_mean`` do nothing.""",
    "descent": """\
n_init : int or "auto", default="auto"
    Number of starts; the best on held-out cells, or else on the training loss, is kept.
    Many starts race: each descends a little, the best of each kind and the next best go on,
    but none ten times worse than the best: with ``prune`` up to six of them, for three
    quarters of ``max_iter`` a stage, else one more than there are kinds, to the end. "auto":
    12 when ``init="auto"`` and cells are held out, otherwise 1.
loss : {"auto", "squared", "huber"}, default="auto"
    Mean loss over the observed cells. "squared": ``r^2``; "huber": ``r^2`` up to
    ``huber_delta``, its tangent beyond. "auto": first Huber, whose bounded pull keeps single
    large cells from capturing the descent, then squared from where that ended.
huber_delta : float, default=0.3
    Where the Huber loss turns linear, on the scaled data.
step : {"adaptive", "grouprmsprop", "constant"}, default="adaptive"
    Step size, one number for all parameters. "adaptive": ``learning_rate`` over the local
    curvature (Malitsky and Mishchenko, 2020). "grouprmsprop": ``learning_rate`` over the
    running RMS of the gradient norm (Razin and Cohen, 2020).
learning_rate : float, default=None
    None: 0.3 for "adaptive", 0.01 for the others.
{offset}
max_iter : int, default=2000
    Largest number of iterations of each stage of the descent.
tol : float, default=1e-6
    The descent has converged when the training loss on the scaled data (with
    ``scale=False``: in units of y squared) is below ``tol``, or when a step no longer changes
    the parameters. A flat stretch is not convergence.
early_stopping : bool or "auto", default="auto"
    Whether ``fit`` holds cells out and stops on them. "auto": from 100 distinct observed
    cells on. With False a weight w equals w repeated rows.
validation_fraction : float, default=0.1
    Share of the distinct observed cells that is held out.
n_iter_no_change : int, default=100
    Stop when the held-out loss has not improved while the training loss moved on by 30 %
    and for so many iterations after: a plateau before the next component stops nothing.
prune : bool or "auto", default="auto"
    Whether the fits that score within one and a half times the best and agree with most of
    them (over the whole tensor, within twice the median distance) are averaged, and the mean
    written with the fewest components whose held-out error is within one standard error of
    the least; descent goes on from there and the other components stay zero. "auto": when
    ``init="auto"`` and cells are held out. Not after ``warm_start``.
refit : bool, default=True
    After stopping on held-out cells, descend on all cells: to the same training loss if the
    held-out error has risen since, otherwise for as many iterations as the last stage.
{prediction}
record_every : int or "log", default=None
    Iterations between two records of ``trace_``. None: chosen to keep at most 200. "log":
    every iteration below 32, then 16 evenly spaced ones of each doubling, which makes 271
    in a million.
measures : dict, default=None
    What else ``trace_`` holds: name to function of the list of factors, arrays (d_n, R) in
    the units of y whose products make the tensor without its offset, components in the
    order of the start. A function returns a number, or an array that keeps its shape.
verbose : int, default=0
    Print the loss at every record.
warm_start : bool, default=False
    Go on from the previous fit, keeping its offset and scale; ``init`` and ``n_init`` then
    do nothing, components that were pruned stay zero, and held-out cells are drawn
    afresh, also from cells it was trained on.
random_state : int, RandomState instance or None, default=None
    Draws the starts and the held-out cells.
device : str, default="cpu"
    "cpu" runs compiled kernels; any other name is a PyTorch device.
dtype : {"float64", "float32"}, default="float64"
    Precision of the descent.""",
    "fitted": """\
rank_ : int
    Number of components that count, parallel ones merged.
component_norms_ : ndarray of shape (R,)
    Norms of the components, descending.
factors_ : list of ndarray of shape (shape_[n], R)
    Factors of the completed tensor in the units of y, components in that order.
offset_ : float
    Mean taken off the values.
offset_terms_ : tuple of ndarray
    Additive terms, one array per mode; empty unless ``offset="additive"``.
scale_ : float
    RMS the values were divided by, 1 with ``scale=False``; 0 where the offset left nothing,
    and ``rank_`` is 0.
{seen}""",
    "seen": """\
shape_ : tuple of int
    Mode sizes.
n_features_in_ : int
    Number of modes.
feature_names_in_ : ndarray of shape (n_modes,)
    Column names of X, where it had some.""",
    "trace": """\
n_iter_ : int
    Iterations of the start that was kept, over all stages.
loss_ : float
    Training loss at the end, on the scaled data.
validation_score_ : float or None
    R^2 on the held-out cells, before the last fit on all of them; None without. It flatters,
    since the same cells chose start, components and end.
loss_curve_ : ndarray
    Training loss at each record.
trace_ : dict of ndarray
    First axis the record: ``iteration``, ``time``, ``loss``,
    {measured},
    what ``measures`` asks for, and ``validation_loss`` where cells were held out. ``time``,
    the sum of the step sizes, is that of the flow ``d theta/dt = -grad loss`` for the mean
    loss on the scaled data; times ``2 / m`` it is the time of half the sum of m squares.
    Stages of different loss follow one another; after pruning the components are others.
converged_ : bool
    Whether the descent met ``tol`` or stopped on held-out cells.""",
    "loaded": """\
Returns
-------
entries : Entries
    ``X, y, shape`` with {cells}.

Examples
--------
>>> from sktf.datasets import {name}
>>> {name}().shape
{size}""",
    "model": """\
>>> from sktf import CPCompletion, datasets, plotting
>>> tensor, _ = datasets.make_low_rank((8, 8, 8), 2, random_state=0)
>>> X, y = datasets.sample_entries(tensor, 0.5, random_state=0)
>>> model = CPCompletion(shape=tensor.shape, random_state=0).fit(X, y)""",
    "ax": """\
ax : matplotlib Axes or array of them, default=None
    One for each panel; None draws on a new figure.""",
    "drawn": """\
Returns
-------
display : object
    The display, drawn.

Raises
------
ValueError
    If the estimator is not fitted or lacks what is drawn, if arrays or options do not fit
    together, or if ``ax`` does not hold one matplotlib Axes for each panel.""",
}


def shared(**extra):
    """Return a decorator that fills ``{name}`` in docstrings with the texts here.

    In that of a function, or of a class and its public methods, of which one without a docstring
    first gets that of the method that it overrides.
    """
    texts = _TEXTS | extra
    place = re.compile(rf"( *)\{{({'|'.join(texts)})\}}")

    def text(match):
        return place.sub(text, indent(texts[match[2]], match[1]))

    def fill(item):
        item.__doc__ = place.sub(text, item.__doc__ or "")
        for name, value in vars(item).items():
            method = getattr(value, "__func__", value)  # of a classmethod
            if isfunction(method) and name[0] != "_":
                overridden = getattr(super(item, item), name, method)
                method.__doc__ = place.sub(text, method.__doc__ or overridden.__doc__ or "")
        return item

    return fill
