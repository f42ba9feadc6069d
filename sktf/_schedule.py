"""From starts to one descent: kinds of start, stages of loss, held-out cells, the last fit.

A start goes through the stages of a schedule, each a plain gradient descent that takes over
where the stage before it ended. Several starts race: all are screened on the held-out cells
by a short descent, and the best few run on to the end, the best of each kind among them.
"""

from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from math import inf
from typing import Any, NamedTuple

import numpy as np

from ._descent import gradient_descent
from ._trace import HeldOut

# Share of max_iter that a start gets before it is compared with the others, and that a finalist
# gets in each stage where descent goes on from the mean of the finalists.
_SCREENING, _FINAL = 0.1, 0.75
# A finalist of no new kind is not this many times worse than the best when they are compared.
_HOPELESS = 10
# Runs whose scores are below this many times ``tol`` fit equally well.
_EQUALLY_WELL = 10
# Steps after which a descent looks around in any case, so that Ctrl-C takes effect at once.
_AT_ONCE = 100
# Two losses whose values differ by no more than this factor are one.
_SAME = 1.01
# Finalists of a race whose mean is taken, and how much worse than the best they may score.
_FINALISTS, _COMPARABLE = 6, 1.5
# Numbers of components tried beyond the best one so far, and how much worse than the best run
# the mean may be before descent goes on from it.
_BEYOND, _WITHIN_REACH = 5, 1.5


class Start(NamedTuple):
    """A kind of start: the name of an init, and its scale and mean."""

    init: str
    scale: float
    mean: float


class Problem(NamedTuple):
    """What all starts share. ``held_out`` is None when no cells are held out.

    ``pruning`` writes the mean of several thetas with few components (``Pruning``); None where
    nothing is to be pruned. ``n_threads`` descents may go on at once; setting ``halt`` ends them.
    """

    training: Any
    held_out: Any
    losses: tuple
    step: Any
    max_iter: int
    tol: float
    patience: int
    pruning: Any = None
    n_threads: int = 1
    halt: Any = None


class Observer:
    """Who looks at a descent: the recorder, and what watches the held-out cells or None."""

    def __init__(self, recorder, held_out, halt):
        self._recorder, self._held_out, self._halt = recorder, held_out, halt

    def __call__(self, iteration, time, loss, theta):
        """Return the status that ends the descent, or None."""
        if self._halt is not None and self._halt.is_set():
            return "interrupted"
        held, status, extra = self._held_out, None, {}
        if held is not None:
            status = held.observe(iteration, loss, theta)
            extra = {"validation_loss": held.latest}
        return self._recorder.observe(iteration, time, loss, theta, **extra) or status

    def due(self, iteration):
        """Return the iteration at which to look next."""
        due = min(self._recorder.due(iteration), iteration + _AT_ONCE)
        return due if self._held_out is None else min(due, self._held_out.due(iteration))


class Run:
    """One start on its way through the stages; ``score`` is what starts are compared by.

    ``kind`` is the number of the kind of start; the lowest wins where runs fit equally well.
    """

    def __init__(self, kind, theta, recorder):
        self.kind, self.theta, self.recorder = kind, theta, recorder
        self.first_loss, self.loss, self.score, self.status = None, inf, inf, None
        self.turned, self.n_iter = True, 0

    @property
    def stopped(self):
        """Whether the user, not the descent, ended it."""
        return self.status in ("callback", "interrupted")

    @property
    def can_go_on(self):
        """Whether another stage may follow."""
        return not self.stopped and self.status != "diverged"

    def descend(self, problem, loss, max_iter, *, until=None, progress=0.3):
        """Descend on one loss for at most ``max_iter`` iterations; move to the best theta."""
        objective = problem.training.with_loss(loss)
        if self.first_loss is None:
            self.first_loss = problem.training.with_loss(problem.losses[-1]).loss(self.theta)
        held = problem.held_out and HeldOut(
            problem.held_out.with_loss(loss), problem.patience, progress
        )
        observer = Observer(self.recorder, held, problem.halt)
        tol = problem.tol if until is None else max(until, problem.tol)
        # Overflow is how a descent diverges, and its status says so.
        with np.errstate(over="ignore", invalid="ignore"):
            try:
                result = gradient_descent(
                    objective, self.theta, problem.step, max_iter=max_iter, tol=tol,
                    observe=observer, due=observer.due,
                )  # fmt: skip
            except KeyboardInterrupt:  # in the first gradient: there is nothing new to keep
                if self.status is None:
                    raise
                self.status = "interrupted"
                return self
        if result.status == "diverged":
            self.recorder.iteration += result.n_iter
        else:
            self.recorder.end_stage(result, **({"validation_loss": held.latest} if held else {}))
            result = held.best(result) if held else result
        self.turned, self.n_iter = held is None or held.turned, result.n_iter
        self.theta, self.loss, self.status = result.theta, result.loss, result.status
        self.score = inf if self.status == "diverged" else held.loss if held else result.loss
        return self

    def go_through(self, problem):
        """Descend on one loss after another."""
        max_iter = max(1, int(problem.max_iter * (_FINAL if problem.pruning else 1)))
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


def best_run(problem, runs):
    """Race the runs through the schedule and return the one with the best score."""
    finished = _each(problem, _screen(problem, runs), lambda run: run.go_through(problem))
    stopped = [run for run in finished if run.stopped]
    for run in stopped:
        run.measure(problem)
    if problem.pruning and not stopped:
        for run in finished:
            run.distrust(problem)
    best = min(finished, key=lambda run: _level(problem, run))
    # Whoever stops one run stops the race: its status is how the winner ended.
    if stopped:
        best.status = stopped[0].status
    elif problem.pruning and best.can_go_on:
        _prune(problem, finished, best)
    return best


def _each(problem, runs, descend):
    """Let every run descend, as many at once as may; return those that did.

    Where there is one at a time, whoever stops one stops the rest.
    """
    if problem.n_threads == 1:
        for number, run in enumerate(runs):
            descend(run)
            if run.stopped:
                return runs[: number + 1]
        return runs
    waiting, workers = iter(runs), []

    def work():
        for run in waiting:
            descend(run)

    with ThreadPoolExecutor(problem.n_threads) as pool:
        try:
            for _ in range(problem.n_threads):
                workers.append(pool.submit(work))
            if wait(workers, return_when=FIRST_EXCEPTION).not_done:
                problem.halt.set()
        except KeyboardInterrupt:
            problem.halt.set()
        except RuntimeError:  # no thread may start: this one does what is left
            work()
    for worker in workers:
        worker.result()
    return runs


def _level(problem, run):
    return max(run.score, _EQUALLY_WELL * problem.tol)


def _screen(problem, runs):
    """Descend a little from every start; return the best of each kind and the next best."""
    n_finalists = _FINALISTS if problem.pruning else 1 + len({run.kind for run in runs})
    if len(runs) <= n_finalists:
        return runs
    loss, max_iter = problem.losses[0], max(1, int(_SCREENING * problem.max_iter))
    screened = _each(problem, runs, lambda run: run.descend(problem, loss, max_iter))
    stopped = [run for run in screened if run.stopped]
    if stopped:
        best = min(screened, key=lambda run: run.score)
        best.status = stopped[0].status
        return [best]
    runs = sorted(runs, key=lambda run: run.score)
    first = list({run.kind: run for run in reversed(runs)}.values())
    bound = _HOPELESS * _level(problem, runs[0])
    others = [run for run in runs if run not in first and run.score <= bound]
    return sorted([*first, *others][:n_finalists], key=lambda run: run.kind)


def _prune(problem, runs, best):
    """Move the best run to the mean of the good ones, with as few components as it needs.

    Descent goes on from there, watched from the first iteration on: no plateau lies ahead. Where
    the mean is worse, it goes on from the best run.
    """
    bound = _COMPARABLE * _level(problem, best)
    models = [run.theta for run in runs if run.score <= bound]
    try:
        factors = _supported(problem, best, problem.pruning.candidates(models))
    except KeyboardInterrupt:
        best.status = "interrupted"
        return
    if factors is not None:
        best.theta = problem.pruning.theta(factors)
    progress = 0.3 if factors is None else 0.0
    best.descend(problem, problem.losses[-1], problem.max_iter, progress=progress)


def _supported(problem, best, candidates):
    """Return the first candidate whose held-out error is not significantly above the least.

    That is, above it by no more than one standard error of the difference, cell by cell. None
    when the best run is out of its reach.
    """
    held_out = problem.held_out.with_loss(problem.losses[-1])
    tried, since = [], 0
    for factors in candidates:
        terms = held_out.terms(factors) * problem.pruning.distrust(factors)
        since = since + 1 if tried and terms.sum() >= min(t.sum() for t, _ in tried) else 0
        tried.append((terms, factors))
        if since == _BEYOND:
            break
    if not tried:
        return None
    least = min((terms for terms, _ in tried), key=np.sum)
    if least.sum() > _WITHIN_REACH * _level(problem, best):
        return None
    enough = _EQUALLY_WELL * problem.tol
    return next(f for terms, f in tried if terms.sum() < enough or _as_good(terms, least))


def _as_good(terms, least):
    excess = terms - least
    return excess.sum() <= np.sqrt(len(excess)) * excess.std()


def refit(problem, run):
    """Descend on all cells (``problem.training``) as far as the held-out cells allowed.

    That is down to the training loss of the run if the held-out error rose after it, else as
    many iterations again.
    """
    ended = run.status
    until, max_iter = (run.loss, problem.max_iter) if run.turned else (None, max(1, run.n_iter))
    run.descend(problem, problem.losses[-1], max_iter, until=until)
    # Reaching a loss that max_iter had ended at is no convergence, nor is the reverse.
    if run.can_go_on:
        run.status = ended
    return run
