"""One start on its way through the stages of a fit.

Each stage is a plain gradient descent on one loss that takes over where the one before it ended.
"""

from functools import partial
from math import inf, isfinite
from typing import Any, NamedTuple

import numpy as np

from sktf._descent.held_out import HeldOut
from sktf._descent.journal import current_journal
from sktf._descent.loop import gradient_descent
from sktf._objective.factorization import like

# Share of max_iter that a run gets in each stage where descent goes on from a mean of runs.
_FINAL = 0.75
# Steps after which a descent looks around in any case, so that Ctrl-C takes effect at once.
_AT_ONCE = 100
# Two losses whose values differ by no more than this factor are one.
_SAME = 1.01


class Problem(NamedTuple):
    """What all starts share. ``held_out`` is None when no cells are held out.

    ``pruning`` writes the mean of several thetas with few components (``Pruning``); None where
    nothing is to be pruned. ``n_threads`` descents may go on at once; ``progress`` is told of them
    and may stop them (``Progress``).
    """

    training: Any
    held_out: Any
    losses: tuple
    step: Any
    max_iter: int
    tol: float
    patience: int
    progress: Any
    pruning: Any = None
    n_threads: int = 1


def final_iterations(problem):
    """Return how many iterations a run gets on each loss, on its way to the end."""
    return max(1, int(problem.max_iter * (_FINAL if problem.pruning else 1)))


class Observer:
    """Who looks at a run: its recorder, what watches the held-out cells or None, the progress."""

    def __init__(self, run, held_out, progress):
        self._run, self._held_out, self._progress = run, held_out, progress

    def __call__(self, iteration, time, loss, theta):
        """Return the status that ends the descent, or None."""
        run, held, progress, status, extra = self._run, self._held_out, self._progress, None, {}
        if progress.stopped:
            return progress.stopped
        if held is not None:
            status = held.observe(iteration, loss, theta)
            extra = {"validation_loss": held.latest}
        is_record = run.recorder.observe(iteration, time, loss, theta, **extra)
        progress.observe(run, iteration, loss, theta, is_record)
        return progress.stopped or status

    def due(self, iteration):
        """Return the iteration at which to look next."""
        due = min(self._run.recorder.due(iteration), iteration + _AT_ONCE)
        return due if self._held_out is None else min(due, self._held_out.due(iteration))


class Run:
    """One start on its way through the stages; ``score`` is what starts are compared by.

    ``kind`` is the number of the kind of start; the lowest wins where runs fit equally well.
    ``label`` marks the losses that are printed before the last one; ``page`` is its page of the
    journal, None for a new one.
    """

    def __init__(self, kind, theta, recorder, page=None):
        self.kind, self.theta, self.recorder = kind, theta, recorder
        self.first_loss, self.loss, self.score, self.status = None, inf, inf, None
        self.turned, self.n_iter, self.label = True, 0, ""
        self.page = current_journal().new_page() if page is None else page

    @property
    def state(self):
        """What the journal keeps of it, beside its record."""
        told = self.loss, self.score, self.status, self.turned, self.n_iter, self.first_loss
        return self.theta, told

    @state.setter
    def state(self, state):
        theta, told = state
        self.theta = like(self.theta, theta)
        self.loss, self.score, self.status, self.turned, self.n_iter, self.first_loss = told

    @property
    def stopped(self):
        """Whether the user, not the descent, ended it."""
        return self.status in ("callback", "interrupted")

    @property
    def reached(self):
        """Whether there is a state to keep, with a record of how it came about."""
        return isfinite(self.loss) and self.recorder.latest is not None

    @property
    def can_go_on(self):
        """Whether another stage may follow."""
        return not self.stopped and self.status != "diverged"

    def descend(self, problem, loss, max_iter, *, until=None, **ends):
        """Descend on one loss for at most ``max_iter`` iterations; move to the best theta.

        It may end before, ``until`` a loss, or as ``HeldOut`` is told by ``ends``.
        """
        if self.first_loss is None:
            self.first_loss = problem.training.with_loss(problem.losses[-1]).loss(self.theta)
        self.label = "" if loss == problem.losses[-1] else f" ({loss})"
        descent = partial(self._descend, problem, loss, max_iter, until, ends)
        is_record = self.page.piece(self, problem.progress, descent)
        if self.stopped:
            problem.progress.stop(self.status)
        problem.progress.descended(self, max_iter, is_record)
        return self

    def _descend(self, problem, loss, max_iter, until, ends):
        """Descend, and return whether the end is one record more."""
        objective = problem.training.with_loss(loss)
        held = problem.held_out and HeldOut(
            problem.held_out.with_loss(loss), problem.patience, **ends
        )
        observer = Observer(self, held, problem.progress)
        tol = problem.tol if until is None else max(until, problem.tol)
        # Overflow is how a descent diverges, and its status says so.
        with np.errstate(over="ignore", invalid="ignore"):
            result = gradient_descent(
                objective, self.theta, problem.step, max_iter=max_iter, tol=tol,
                observe=observer, due=observer.due, keep=self.page.keeper(self, held),
            )  # fmt: skip
        return self._take(result, held)

    def _take(self, result, held):
        """Move to where a descent ended, or to the best theta on the held-out cells.

        Return whether that is one record more.
        """
        last, extra = result, {"validation_loss": held.latest} if held else {}
        diverged = result.status == "diverged"
        if held and not diverged:
            result = held.best(result)
        self.turned, self.n_iter = held is None or held.turned, result.n_iter
        self.theta, self.loss, self.status = result.theta, result.loss, result.status
        self.score = inf if diverged else held.loss if held else result.loss
        # Last, since whoever looks at the record may interrupt.
        if diverged:
            self.recorder.iteration += last.n_iter
            return False
        return self.recorder.end_stage(last, **extra)

    def go_through(self, problem):
        """Descend on one loss after another."""
        max_iter = final_iterations(problem)
        for loss in problem.losses:
            if self.can_go_on and not (loss in problem.losses[1:] and self._is_through(problem)):
                self.descend(problem, loss, max_iter)

    def _is_through(self, problem):
        """Whether the stage before, cut off by ``max_iter``, was a descent on the last loss too.

        Once no residual is clipped, Huber and squared loss are the same.
        """
        before, cut_off = self.loss, self.status == "max_iter"
        if cut_off:
            self.measure(problem)
        return cut_off and self.loss <= _SAME * before

    def measure(self, problem):
        """Measure the run by the last loss, which the others were scored by."""
        last = problem.losses[-1]
        self.loss = problem.training.with_loss(last).loss(self.theta)
        held = problem.held_out
        self.score = held.with_loss(last).loss(self.theta) if held else self.loss

    def distrust(self, problem):
        """Raise the score where predictions are far larger than what is seen."""
        if self.can_go_on:
            self.score *= problem.pruning.distrust(problem.pruning.factors(self.theta))
