"""From starts to one descent: kinds of start, stages of loss, held-out cells, the last fit.

A start goes through the stages of a schedule, each a plain gradient descent that takes over
where the stage before it ended. Several starts race: all are screened on the held-out cells
by a short descent, and the best few run on to the end, the best of each kind among them.
"""

from math import inf
from typing import Any, NamedTuple

import numpy as np

from ._descent import gradient_descent
from ._trace import HeldOut

# Share of max_iter that a start gets before it is compared with the others.
_SCREENING = 0.1
# Runs whose scores are below this many times ``tol`` fit equally well.
_EQUALLY_WELL = 10


class Start(NamedTuple):
    """A kind of start: the name of an init, and its scale and mean."""

    init: str
    scale: float
    mean: float


class Problem(NamedTuple):
    """What all starts share. ``held_out`` is None when no cells are held out."""

    training: Any
    held_out: Any
    losses: tuple
    step: Any
    max_iter: int
    tol: float
    patience: int


class Run:
    """One start on its way through the stages; ``score`` is what starts are compared by.

    ``kind`` is the number of the kind of start; the lowest wins where runs fit equally well.
    """

    def __init__(self, kind, theta, recorder):
        self.kind, self.theta, self.recorder = kind, theta, recorder
        self.first_loss, self.loss, self.score, self.status = None, inf, inf, None

    @property
    def stopped(self):
        """Whether the user, not the descent, ended it."""
        return self.status in ("callback", "interrupted")

    @property
    def can_go_on(self):
        """Whether another stage may follow."""
        return not self.stopped and self.status != "diverged"

    def descend(self, problem, loss, max_iter, *, until=None):
        """Descend on one loss for at most ``max_iter`` iterations; move to the best theta."""
        objective = problem.training.with_loss(loss)
        if self.first_loss is None:
            self.first_loss = problem.training.with_loss(problem.losses[-1]).loss(self.theta)
        held = problem.held_out and HeldOut(problem.held_out.with_loss(loss), problem.patience)

        def observe(iteration, time, loss, theta):
            status = held.observe(iteration, loss, theta) if held else None
            extra = {"validation_loss": held.latest} if held else {}
            return self.recorder.observe(iteration, time, loss, theta, **extra) or status

        tol = problem.tol if until is None else max(until, problem.tol)
        # Overflow is how a descent diverges, and its status says so.
        with np.errstate(over="ignore", invalid="ignore"):
            result = gradient_descent(
                objective, self.theta, problem.step, max_iter=max_iter, tol=tol, observe=observe
            )
        if result.status == "diverged":
            self.recorder.iteration += result.n_iter
        else:
            self.recorder.end_stage(result, **({"validation_loss": held.latest} if held else {}))
            result = held.best(result) if held else result
        self.theta, self.loss, self.status = result.theta, result.loss, result.status
        self.score = inf if self.status == "diverged" else held.loss if held else result.loss
        return self

    def measure(self, problem):
        """Measure the run by the last loss, which the others were scored by."""
        last = problem.losses[-1]
        self.loss = problem.training.with_loss(last).loss(self.theta)
        held = problem.held_out
        self.score = held.with_loss(last).loss(self.theta) if held else self.loss


def best_run(problem, runs):
    """Race the runs through the schedule and return the one with the best score."""
    finished = []
    for run in _screen(problem, runs):
        for loss in problem.losses:
            if run.can_go_on:
                run.descend(problem, loss, problem.max_iter)
        finished.append(run)
        if run.stopped:
            run.measure(problem)
            break
    best = min(finished, key=lambda run: max(run.score, _EQUALLY_WELL * problem.tol))
    # Whoever stops one run stops the race: its status is how the winner ended.
    if finished[-1].stopped:
        best.status = finished[-1].status
    return best


def _screen(problem, runs):
    """Descend a little from every start; return the best of each kind and the next best."""
    n_finalists = 1 + len({run.kind for run in runs})
    if len(runs) <= n_finalists:
        return runs
    for number, run in enumerate(runs):
        run.descend(problem, problem.losses[0], max(1, int(_SCREENING * problem.max_iter)))
        if run.stopped:
            best = min(runs[: number + 1], key=lambda run: run.score)
            best.status = run.status
            best.measure(problem)
            return [best]
    runs = sorted(runs, key=lambda run: run.score)
    first = list({run.kind: run for run in reversed(runs)}.values())
    others = [run for run in runs if run not in first]
    return sorted([*first, others[0]], key=lambda run: run.kind)


def refit(problem, run):
    """Descend on all cells (``problem.training``) down to the training loss of the run."""
    ended = run.status
    run.descend(problem, problem.losses[-1], problem.max_iter, until=run.loss)
    # Reaching a loss that max_iter had ended at is no convergence.
    if ended == "max_iter" and run.status == "converged":
        run.status = ended
    return run
