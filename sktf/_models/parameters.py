"""Parameters that several models have: documented, declared and checked here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from os import PathLike
from typing import Protocol, runtime_checkable

import numpy as np
from sklearn.utils._param_validation import Interval, Options, StrOptions

from sktf._descent.steps import STEPS
from sktf._docs import documented
from sktf._models.base import BaseCompletion
from sktf._objective.links import LINKS
from sktf._objective.losses import LOSSES

_FLOATS = {np.float32, np.float64}


@runtime_checkable
class TorchDevice(Protocol):
    """What a ``torch.device`` is known by, for one is not worth an import of PyTorch."""

    @property
    def type(self) -> str: ...

    @property
    def index(self) -> int | None: ...


# As errors name it.
TorchDevice.__module__, TorchDevice.__qualname__ = "torch", "device"


@documented()
@dataclass(kw_only=True, eq=False, repr=False)
class DescentParameters(BaseCompletion):
    """What estimators fitted by gradient descent are told.

    A model adds parameters of its own, of which the first may be positional, and says what
    ``init``, ``init_scale`` and ``init_mean`` are.

    Parameters
    ----------
    {shape ... rank_tol}
    n_init : int or "auto", default="auto"
        Number of starts; the best on held-out cells, or else on the training loss, is kept.
        Many starts race: each descends a little, the best of each kind and the next best go on,
        but none ten times worse than the best: with ``prune`` up to six of them, for three
        quarters of ``max_iter`` a stage, else one more than there are kinds, to the end. "auto":
        12 when ``init="auto"`` and cells are held out, otherwise 1. Where components grow (see the
        notes of the estimator) it is the most starts of growth, "auto" up to 9, and fewer where
        these agree. An ``init`` of arrays is
        one start, on the scaled data (those of the user with ``scale=False, offset=None``), and
        makes nothing of ``init_scale`` and ``init_mean``.
    verbose : int, default=0
        1: print about ten lines, on how the starts of a fit compare and what becomes of them, or
        where a single start is. 2: print the loss at every record as well, or where components
        grow a line after each growth.
    random_state : int, RandomState instance or None, default=None
        Draws the starts and the held-out cells.

    Other Parameters
    ----------------
    max_iter : int, default=2000
        Largest number of iterations of each stage of the descent; where components grow, each of
        these descents ends after 200 at most.
    tol : float, default=1e-6
        The descent has converged when the training loss on the scaled data (with
        ``scale=False``: in units of y squared; of counts or yes and no beside the deviance of
        their mean) is below ``tol``, or when a step no longer changes the parameters. A flat
        stretch is not convergence.
    early_stopping : bool or "auto", default="auto"
        Whether ``fit`` holds cells out and stops on them. "auto": from 100 distinct observed
        cells on. With False a weight w equals w repeated rows.
    validation_fraction : float, default=0.1
        Share of the distinct observed cells that is held out; 200,000 cells at most.
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
    warm_start : bool, default=False
        Go on from the previous fit, keeping its offset and scale; ``init`` and ``n_init`` then
        do nothing, components that were pruned stay zero, and held-out cells are drawn
        afresh, also from cells it was trained on.
    checkpoint : str, path or None, default=None
        File that ``fit`` keeps its state in, every few seconds and at its end, at less than 2 % of
        the time. Where there is one of the same fit (data, parameters, version of sktf), ``fit``
        goes on from it to the same bits; any other file is a ValueError that tells what differs,
        and one that cannot be written an OSError. Delete it to fit anew. See :ref:`checkpoints`.
    distributed : bool, default=False
        Whether ``fit`` is called by all processes of an initialized group of torch.distributed,
        each with rows of its own: see :doc:`/guide/distributed`. All get the same estimator.
    device : str or torch.device, default="cpu"
        "cpu" runs compiled kernels; any other name is a PyTorch device, such as "cuda".
    dtype : {"float64", "float32"} or NumPy dtype, default="float64"
        Precision of the descent.
    loss : {"auto", "squared", "huber", "poisson", "poisson_sum", "logistic"}, default="auto"
        Mean loss over the observed cells. "squared": ``r^2``; "huber": ``r^2`` up to
        ``huber_delta``, its tangent beyond. "auto": first Huber, whose bounded pull keeps single
        large cells from capturing the descent, then squared from where that ended. For every user,
        the deviance of counts, or of rates with exposures as ``sample_weight``, of mean
        ``exp(eta)`` ("poisson"); of counts of mean ``eta`` ("poisson_sum", of
        ``NonNegativeCPCompletion`` alone); of 0 and 1, or shares with their number as
        ``sample_weight``, of mean ``1 / (1 + exp(-eta))`` ("logistic"). Components and offset add
        up to ``eta``, ``predict`` is the mean and ``scale_`` 1 ("poisson_sum": the mean of y).
    huber_delta : float, default=0.3
        Where the Huber loss turns linear, on the scaled data.
    step : {"adaptive", "grouprmsprop", "constant"}, default="adaptive"
        Step size, one number for all parameters. "adaptive": ``learning_rate`` over the local
        curvature (Malitsky and Mishchenko, 2020). "grouprmsprop": ``learning_rate`` over the
        running RMS of the gradient norm (Razin and Cohen, 2020). "constant": ``learning_rate``.
    learning_rate : float, default=None
        None: 0.3 for "adaptive", 0.01 for the others.
    record_every : int or "log", default=None
        Iterations between two records of ``trace_``. None: chosen to keep at most 200. "log":
        every iteration below 32, then 16 evenly spaced ones of each doubling, which makes 271
        in a million.
    measures : dict, default=None
        What else ``trace_`` holds: name to function of the list of factors, arrays (d_n, R) in
        the units of y whose products make the tensor without its offset, components in the
        order of the start. A function returns a number, or an array that keeps its shape.

    Attributes
    ----------
    {rank_ ... categories_}
    n_iter_ : int
        Iterations of the start that was kept, over all stages; where components grow, each time
        that a model is polished counts as one, and each sweep over all cells.
    loss_ : float
        Training loss at the end, on the scaled data; where components grow, by 40,000
        of the cells at most.
    validation_score_ : float or None
        R^2, or D^2, of y on the held-out cells, before the last fit on all of them; None without.
        It flatters, since the same cells chose start, components and end.
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
        Whether the descent met ``tol`` or stopped on held-out cells.
    """

    shape: Sequence[int] | None = None
    encode: bool = False
    offset: str | None = "auto"
    scale: bool = True
    handle_unknown: str = "auto"
    clip: str | Sequence[float] | None = None
    rank_tol: float = 0.1
    n_init: int | str = "auto"
    verbose: int = 0
    random_state: int | np.random.RandomState | None = None
    # The descent.
    max_iter: int = 2000
    tol: float = 1e-6
    early_stopping: bool | str = "auto"
    validation_fraction: float = 0.1
    n_iter_no_change: int = 100
    prune: bool | str = "auto"
    refit: bool = True
    warm_start: bool = False
    checkpoint: str | PathLike | None = None
    distributed: bool = False
    device: str | TorchDevice = "cpu"
    dtype: str | type | np.dtype = "float64"
    # For researchers.
    init: str | Sequence[np.ndarray] = "auto"
    init_scale: float | None = None
    init_mean: float | None = None
    loss: str = "auto"
    huber_delta: float = 0.3
    step: str = "adaptive"
    learning_rate: float | None = None
    record_every: int | str | None = None
    measures: dict[str, Callable] | None = None

    _parameter_constraints = {
        **BaseCompletion._parameter_constraints,
        "init": [StrOptions({"auto", "gaussian", "balanced"}), list, tuple],
        "init_scale": [Interval(Real, 0, None, closed="neither"), None],
        "init_mean": [Interval(Real, None, None, closed="neither"), None],
        "n_init": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "loss": [StrOptions({"auto", *LOSSES, *LINKS})],
        "huber_delta": [Interval(Real, 0, None, closed="neither")],
        "step": [StrOptions(set(STEPS))],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "early_stopping": ["boolean", StrOptions({"auto"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "prune": ["boolean", StrOptions({"auto"})],
        "refit": ["boolean"],
        "record_every": [Interval(Integral, 1, None, closed="left"), StrOptions({"log"}), None],
        "measures": [dict, None],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "checkpoint": [str, PathLike, None],
        "distributed": ["boolean"],
        "device": [str, TorchDevice],
        "dtype": [
            StrOptions({"float32", "float64"}),
            Options(type, _FLOATS),
            Options(np.dtype, set(map(np.dtype, _FLOATS))),
        ],
    }


def one_for_each(given, n, name, what):
    """Return n positive ints of a user, or n times the only one."""
    numbers = [given] * n if isinstance(given, Integral) else list(given)
    if len(numbers) != n or not all(isinstance(m, Integral) and m >= 1 for m in numbers):
        raise ValueError(f"{name}={given!r}: expected {n} positive {what}, or one int.")
    return [int(m) for m in numbers]
