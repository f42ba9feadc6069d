"""CP completion by alternating least squares at a rank that is told or searched: the baseline.

The least-squares problem is solved by tensorly where its dense tensor fits into memory, and by
sweeps over the observed cells alone elsewhere.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from math import prod
from numbers import Integral, Real
from typing import NamedTuple, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from sktf._baselines.sparse_als import (
    check_products,
    distinct_cells,
    mean_squared_error,
    sparse_als,
)
from sktf._baselines.tensorly import cells_cp_als
from sktf._cells.clipping import check_clip
from sktf._cells.frame import fit_frame
from sktf._cells.identifiability import warn_empty_fibers, warn_of_cells
from sktf._cells.record import current_record, note, note_cells, warn
from sktf._cells.validation import check_held_out, check_readable
from sktf._docs import documented
from sktf._models.base import BaseCompletion
from sktf._models.restoring import restoring_features
from sktf._models.sklearn_types import checks_parameters

# Ranks that are tried when none is told.
_RANKS = (1, 2, 3, 4, 6, 8, 10, 15, 20)
# Stop after so many in a row that are no better.
_PATIENCE = 3
# Up to this many cells the dense tensor costs little, however few are observed.
_SMALL = 100_000
# Most numbers that tensorly may hold at once: 4 GiB.
_MAX_NUMBERS = 2**29


class _Run(NamedTuple):
    """The end of one start; ``score`` is what runs are compared by."""

    factors: list
    n_iter: int
    converged: bool
    score: float


class _Runs:
    """The runs of one fit as they come, so that an interrupt leaves what they have reached.

    ``best`` holds the best run of each number of components so far, ``last`` the one that goes on
    with all cells, or None. ``solve`` is a solver ``(cells, rank, start, keep=keep)``.
    """

    def __init__(self, solve):
        self._solve, self.best, self.last = solve, [], None

    @property
    def final(self):
        """The run that the fit ends with."""
        return self.last or min(self.best, key=lambda run: run.score)

    def start(self, n_init, rank, training, scored):
        """Run from random starts; the best of them joins ``best``."""
        number = len(self.best)

        def add(run):
            self.best[number:] = [min([*self.best[number:], run], key=lambda run: run.score)]

        for _ in range(n_init):
            self._run(add, training, scored, rank)

    def go_on(self, cells):
        """Run from the best of ``best``."""
        factors = self.final.factors
        self._run(partial(setattr, self, "last"), cells, cells, factors[0].shape[1], factors)

    def _run(self, add, training, scored, rank, start=None):
        reached = None

        def keep(factors, n_iter):
            nonlocal reached
            reached = factors, n_iter, False

        try:
            reached = self._solve(training, rank, start, keep=keep)
        finally:
            if reached:
                score = mean_squared_error(reached[0], scored)
                add(_Run(*reached, score if np.isfinite(score) else np.inf))


@documented()
@dataclass(eq=False, repr=False)
class CPALSCompletion(BaseCompletion):
    """CP completion by alternating least squares: the explicit baseline.

    Minimizes ``sum_e w_e (y_e - sum_r prod_n factors[n][i_n, r])^2`` over the observed cells,
    one mode at a time, from random starts. The rank is told, or searched for on held-out cells.

    Parameters
    ----------
    n_components : int or sequence of int, default=None
        Number R of components. A sequence: the one with the least error on held-out cells. None:
        1, 2, 3, 4, 6, 8, 10, 15 and 20 in turn, until three in a row are no better or the factors
        would hold more numbers than there are distinct observed cells.
    {shape ... encode}
    solver : {"auto", "tensorly", "sparse"}, default="auto"
        "tensorly": ``tensorly.decomposition.parafac`` with a mask, which imputes the missing
        cells after each sweep; it holds ``2 R + 7`` dense tensors and weighs all cells alike:
        ``fit`` raises a ValueError where they take more than 4 GiB or weights differ.
        "sparse": sweeps over the observed cells alone; exact least squares, any weights.
        "auto": tensorly where all cells weigh alike and the dense tensor has at most 100,000 cells,
        or at most ten times those observed and takes no more than 4 GiB; else sparse.
    n_init : int, default=10
        Random starts for each number of components; the best on held-out cells, or without any on
        the training loss, is kept.
    offset : {"auto", "mean", "additive"} or None, default="auto"
        What is taken off the values first: nothing (None), their mean, or the mean plus one term
        per index of each mode (ridge regression). "auto": the mean where it exceeds ten standard
        deviations, else nothing; additive terms are not tried.
    {scale}
    max_iter : int, default=300
        Largest number of sweeps over the modes from one start.
    tol : float, default=1e-5
        A start has converged when a sweep changes the relative error on its cells by less.
    validation_fraction : float, default=0.1
        Share of the distinct observed cells that is held out to compare numbers of components.
        The best run then goes on with all cells.
    {handle_unknown ... rank_tol}
    verbose : int, default=0
        Print the held-out loss of each number of components.
    random_state : int, RandomState instance or None, default=None
        Draws the starts and the held-out cells.

    Attributes
    ----------
    {rank_ ... categories_}
    n_components_ : int
        Number R of components that was told or chosen.
    validation_scores_ : dict of ndarray or None
        ``n_components`` and ``loss``, the mean squared error on held-out cells of the scaled data;
        None when nothing was held out.
    solver_ : str
        The solver that ran.
    n_iter_ : int
        Sweeps of the last run.
    loss_ : float
        Mean squared error on the observed cells, on the scaled data.
    converged_ : bool
        Whether the last run ended before ``max_iter``, and the fit was not interrupted.

    Notes
    -----
    Several rows of one cell count as one, their mean, of their total weight.

    Examples
    --------
    >>> from sktf import CPALSCompletion, datasets
    >>> tensor, _ = datasets.make_low_rank((15, 15, 15), 2, random_state=0)
    >>> X, y = datasets.sample_entries(tensor, 0.2, random_state=0)
    >>> CPALSCompletion(n_init=2, random_state=0).fit(X, y).n_components_
    2
    """

    __module__ = "sktf"

    n_components: int | Sequence[int] | None = None
    _: KW_ONLY
    shape: Sequence[int] | None = None
    encode: bool = False
    solver: str = "auto"
    n_init: int = 10
    offset: str | None = "auto"
    scale: bool = True
    max_iter: int = 300
    tol: float = 1e-5
    validation_fraction: float = 0.1
    handle_unknown: str = "auto"
    clip: str | Sequence[float] | None = None
    rank_tol: float = 0.1
    verbose: int = 0
    random_state: int | np.random.RandomState | None = None

    _parameter_constraints = {
        **BaseCompletion._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left"), "array-like", None],
        "solver": [StrOptions({"auto", "tensorly", "sparse"})],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "verbose": ["verbose"],
    }

    @checks_parameters()
    def fit(self, X, y=None, sample_weight=None, *, X_val=None, y_val=None) -> Self:
        with restoring_features(self):
            observations = self._read(X, y, sample_weight)
            note_cells(observations)
            observations = distinct_cells(observations)
            given = check_held_out(self, X_val, y_val, observations.shape)
            check_clip(self.clip)
            rng = check_random_state(self.random_state)
            groups = self._mode_groups(len(observations.shape))
            frame = fit_frame(observations, groups, self.offset, self.scale)
            cells = frame.apply(observations)
            warn_of_cells(observations, frame, 3)
            ranks = self._ranks(cells)
            solver = self._solver(cells, max(ranks))
            check_products(cells.values, solver)
            if given is not None:
                check_readable(frame, given)
                given = frame.read(given).seen_by(frame)
            training, held_out = self._hold_out(cells, given, ranks, rng)
            settings = {"rng": rng, "max_iter": self.max_iter, "tol": self.tol}
            runs = _Runs(partial(_SOLVERS[solver], **settings))
            if held_out is not None:
                note(n_held_out=len(held_out.values))
            told = solver, held_out and ranks, observations.bounds()
            try:
                self._search(runs, ranks, training, held_out)
                if held_out is not None and given is None:
                    runs.go_on(cells)
            except KeyboardInterrupt:
                if runs.best:
                    note(ended="interrupted")
                    self._set_fitted(frame, cells, runs, *told)
                    self.converged_ = False
                raise
            self._set_fitted(frame, cells, runs, *told)
            if held_out is not None and given is None:
                warn_empty_fibers(observations, 3)
            self._warn(observations)
            return self

    def _ranks(self, cells):
        if self.n_components is None:
            most = max(1, len(cells.values) // sum(cells.shape))
            return [rank for rank in _RANKS if rank <= most]
        ranks = np.atleast_1d(self.n_components).tolist()
        if not ranks or not all(isinstance(R, int) and R >= 1 for R in ranks):
            raise ValueError(f"n_components={self.n_components!r}: expected positive ints.")
        return ranks

    def _solver(self, cells, rank):
        """Return the name of the solver; raise where tensorly was asked for but cannot be used."""
        used = [len(np.unique(column)) for column in cells.coords.T]
        n_numbers = (2 * rank + 7) * prod(used)
        alike = np.ptp(cells.weights) <= 1e-9 * cells.weights.max()
        if self.solver != "tensorly":
            small = prod(used) <= max(_SMALL, 10 * len(cells.values)) and n_numbers <= _MAX_NUMBERS
            dense = self.solver == "auto" and small and alike and len(used) > 1
            return "tensorly" if dense else "sparse"
        if len(used) < 2:
            raise ValueError("solver='tensorly' needs at least two modes; set solver='sparse'.")
        if n_numbers > _MAX_NUMBERS:
            raise ValueError(
                f"A dense tensor of shape {tuple(used)} with {rank} components takes tensorly "
                f"{n_numbers / 2**27:.3g} GiB, more than {_MAX_NUMBERS / 2**27:.3g}. Set "
                "solver='sparse', use CPCompletion, or lower n_components."
            )
        if not alike:
            raise ValueError(
                "solver='tensorly' weighs all cells alike, but sample_weight or repeated rows give "
                "some cells more weight than others; set solver='sparse'."
            )
        return "tensorly"

    def _hold_out(self, cells, given, ranks, rng):
        """Split off held-out cells: those given, a random share to search on, or None."""
        if given is not None or len(ranks) == 1:
            return cells, given
        n_cells = len(cells.values)
        n_held_out = int(np.ceil(self.validation_fraction * n_cells))
        if n_held_out >= n_cells:
            raise ValueError(
                f"validation_fraction={self.validation_fraction} leaves no cell to train on, of "
                f"{n_cells} observed; set n_components to one int."
            )
        drawn = rng.permutation(n_cells)
        return cells.take(drawn[n_held_out:]), cells.take(drawn[:n_held_out])

    def _search(self, runs, ranks, training, held_out):
        """Try one number of components after another."""
        for rank in ranks:
            runs.start(self.n_init, rank, training, training if held_out is None else held_out)
            scores = [run.score for run in runs.best]
            if self.verbose:
                where = "training" if held_out is None else "held-out"
                print(f"{rank} components, {where} loss = {scores[-1]:.8f}")
            if self.n_components is None and len(scores) > _PATIENCE + np.argmin(scores):
                break

    def _set_fitted(self, frame, cells, runs, solver, searched, seen):
        """Set all fitted attributes at once; ``searched`` are the ranks compared, or None."""
        run, scores = runs.final, None
        factors = frame.factors(run.factors)
        if searched:
            loss = np.array([run.score for run in runs.best])
            scores = {"n_components": np.array(searched[: len(loss)]), "loss": loss}
        vars(self).update(
            self._components(factors, frame, cells.row_counts(frame.sizes)),
            n_components_=run.factors[0].shape[1],
            validation_scores_=scores,
            solver_=solver,
            n_iter_=max(1, run.n_iter),
            loss_=mean_squared_error(run.factors, cells),
            converged_=run.converged,
            _range=seen,
            _record=current_record(),
            _error=frame.offset.scale * np.sqrt(mean_squared_error(run.factors, cells)),
        )

    def _warn(self, observations):
        if not self.converged_:
            warn(
                f"Alternating least squares did not converge in max_iter={self.max_iter} sweeps; "
                "increase max_iter or tol.",
                ConvergenceWarning,
                4,
            )
        self._warn_of_predictions(observations, self._error, 5)


_SOLVERS = {"tensorly": cells_cp_als, "sparse": sparse_als}
