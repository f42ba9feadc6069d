"""Rows of every draw for indices of one mode that had no cells: normal draws given their cells."""

from copy import deepcopy
from typing import Self

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sktf._averages.gibbs import State
from sktf._averages.predictive import Predictive
from sktf._cells.observations import Observations
from sktf._cells.record import with_extension
from sktf._cells.threads import one_blas_thread
from sktf._cells.validation import check_extension, check_mode
from sktf._docs import documented
from sktf._models.base import BaseCompletion
from sktf._objective.row_draws import draw_rows
from sktf._objective.row_equations import CellsByRow, others_of, solve_rows


@documented(BaseCompletion)
class Extending(Predictive):
    """Learns new rows in every draw, and in the descent beside them."""

    random_state: int | np.random.RandomState | None
    _record: dict

    @one_blas_thread()
    def extend(self, X, y, *, mode) -> Self:
        """Learn rows for indices of one mode that have no cells yet, everything else fixed.

        In every draw each gets a row drawn from its normal distribution: that of the rows of its
        mode, given its cells. So ``predict(return_std=True)`` knows how little few cells tell.

        Parameters
        ----------
        {X ... mode}

        Returns
        -------
        self : object
            The estimator, with ``estimator_`` and, where an index is outside, ``shape_`` and
            ``categories_`` grown. With ``warm_start`` the next fit begins anew.

        Raises
        ------
        ValueError
            When an index of ``mode`` had cells before, or another index is outside ``shape_`` or
            another label new; nothing has grown then.
        """
        check_is_fitted(self)
        space, mode = self._space, check_mode(self, mode, len(self.shape_))
        had = space.frame.stored[mode]
        had = np.arange(space.frame.sizes[mode]) if had is None else had
        coords, values, size, named = check_extension(self, X, y, mode, self.shape_, had)
        new, which = np.unique(coords[:, mode], return_inverse=True)
        cells = cells_of_new(space, coords, values, mode, which)
        frame, places = space.frame.with_rows_for(mode, new, size)
        rng = check_random_state(self.random_state)
        vars(self).update(
            estimator_=deepcopy(self.estimator_).extend(X, y, mode=mode),
            _draws=extended_draws(self._draws, cells, mode, places, rng),
            _space=space._replace(frame=frame),
            shape_=frame.shape,
            _begun=None,
            _record=with_extension(self._record, coords, frame.shape, mode),
            **named,
        )
        return self


def extended_draws(draws, cells, mode, places, rng):
    """Return the draws with more rows in one mode, all that a draw holds before kept.

    Parameters
    ----------
    draws : Draws
        What chains have kept.
    cells : Observations
        Cells of the new rows, by their numbers in ``mode`` and by the rows of the other modes,
        their values in units of the chains.
    mode : int
        The mode of the new rows.
    places : ndarray of int
        The order of rows old and new, as ``Frame.with_rows_for`` gives it.
    rng : RandomState
        Draws the rows.
    """
    by_row = CellsByRow.of(cells, mode)
    grown = [_grown(draw, _drawn(draw, by_row, mode, rng), mode, places) for draw in draws.draws]
    return draws._replace(draws=grown)


def cells_of_new(space, coords, values, mode, which):
    """Return cells as ``extended_draws`` reads them; ``which`` are the numbers of the new rows."""
    rows = space.rows(coords, known=np.arange(coords.shape[1]) != mode)
    rows[:, mode] = which
    sizes = [size + 1 for size in space.frame.sizes]  # the last row is that of no cells
    sizes[mode] = which.max() + 1
    weights = np.broadcast_to(1.0, len(rows))
    return Observations(rows, space.standardized(values), weights, tuple(sizes))


def _drawn(draw, by_row, mode, rng):
    """Return new rows of a draw, the term last: each normal, given its cells and all else."""
    factors, terms = ([a.astype(np.float64) for a in part] for part in draw.state[:2])
    mean = np.append(factors[mode][-1], terms[mode][-1])
    precision = np.linalg.inv(draw.covariances[mode].astype(np.float64))
    noise = rng.standard_normal((len(by_row.edges) - 1, len(mean)))

    def solve(grams, moments, noise):
        drawn = np.empty_like(noise)
        prior = draw.state.precision, precision, precision @ mean
        draw_rows(grams, moments, noise, *prior, drawn)
        return drawn

    return solve_rows(by_row, others_of(factors, terms, mode), solve, [noise])


def _grown(draw, rows, mode, places):
    """Return the draw with these rows among those it has; that of no cells stays the last."""
    factors, terms, precision, _, _ = draw.state
    new, places = rows.astype(np.float32), np.append(places, -1)

    def grown(before, more):
        return np.concatenate([before[:-1], more, before[-1:]])[places]

    factors, terms = [*factors], [*terms]
    factors[mode] = grown(factors[mode], new[:, :-1])
    terms[mode] = grown(terms[mode], new[:, -1])
    return draw._replace(state=State(factors, terms, precision, None))
