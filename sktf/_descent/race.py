"""From several starts to one descent: a race on held-out cells, a mean, and the last fit.

All starts are screened on the held-out cells by a short descent, and the best few run on to the
end, the best of each kind among them.
"""

from concurrent.futures import FIRST_EXCEPTION, wait

import numpy as np

from sktf._descent.run import final_iterations
from sktf._objective.pools import pool_of

# Share of max_iter that a start gets before it is compared with the others.
_SCREENING = 0.1
# Seconds between two looks of the thread that waits for descents at what there is to tell.
_GLANCE = 0.05
# A finalist of no new kind is not this many times worse than the best when they are compared.
_HOPELESS = 10
# Runs whose scores are below this many times ``tol`` fit equally well.
_EQUALLY_WELL = 10
# Finalists of a race whose mean is taken, and how much worse than the best they may score.
_FINALISTS, _COMPARABLE = 6, 1.5
# Numbers of components tried beyond the best one so far, and how much worse than the best run
# the mean may be before descent goes on from it.
_BEYOND, _WITHIN_REACH = 5, 1.5


def best_run(problem, runs):
    """Race the runs through the schedule and return the one with the best score.

    A KeyboardInterrupt ends the race; it goes on to the caller where nothing is reached yet.
    """
    try:
        return _race(problem, runs)
    except KeyboardInterrupt:  # outside the steps of a descent
        return _best_of_stopped(problem, runs, "interrupted")


def _race(problem, runs):
    finalists = _screen(problem, runs)
    finished = each_run(problem, "finalists", finalists, lambda run: run.go_through(problem))
    stopped = [run for run in finished if run.stopped]
    # Whoever stops one run stops the race: its status is how the winner ended.
    if stopped:
        return _best_of_stopped(problem, finished, stopped[0].status)
    if problem.pruning:
        for run in finished:
            run.distrust(problem)
    best = min(finished, key=lambda run: _level(problem, run))
    if problem.pruning and best.can_go_on:
        _prune(problem, finished, best)
    return best


def budget(problem, runs, refits):
    """Return for each stage of a fit the number of runs and the most iterations of each."""
    n_finalists = min(len(runs), _n_finalists(problem, runs))
    stages = {
        "screening": (len(runs) if len(runs) > n_finalists else 0, _screening_iterations(problem)),
        "finalists": (n_finalists, len(problem.losses) * final_iterations(problem)),
        "mean": (int(problem.pruning is not None), problem.max_iter),
        "refit": (int(refits), problem.max_iter),
    }
    return {stage: size for stage, size in stages.items() if size[0]}


def _best_of_stopped(problem, runs, status):
    """Return the best of runs that ended in different stages."""
    reached = [run for run in runs if run.reached]
    if not reached:
        raise KeyboardInterrupt
    for run in reached:
        run.measure(problem)
    best = min(reached, key=lambda run: _level(problem, run))
    best.status = status
    return best


def each_run(problem, stage, runs, descend):
    """Let every run descend, as many at once as may; return those that did.

    Whoever stops one stops the rest.
    """
    progress = problem.progress
    progress.begin(stage, runs)
    if min(problem.n_threads, len(runs)) == 1:
        for number, run in enumerate(runs):
            descend(run)
            progress.ended(run)
            if run.stopped:
                return runs[: number + 1]
        return runs
    waiting, workers = iter(runs), []

    def work():
        for run in waiting:
            descend(run)
            progress.ended(run)

    with pool_of(problem.n_threads) as pool:
        try:
            _start(pool, problem.n_threads, work, workers)
            _attend(workers, progress)
        except KeyboardInterrupt:
            progress.stop("interrupted")
        except BaseException:
            progress.stop("interrupted")
            raise
    for worker in workers:
        worker.result()
    return runs


def _start(pool, n_workers, work, workers):
    """Add workers that have started; where no more threads may start, this one works as well."""
    try:
        for _ in range(n_workers):
            workers.append(pool.submit(work))
    except RuntimeError:
        work()


def _attend(workers, progress):
    """Tell what there is to tell until all have ended, or one has failed and so stops all."""
    running = workers
    while running:
        done, running = wait(workers, timeout=_GLANCE, return_when=FIRST_EXCEPTION)
        progress.tell()
        if running and any(worker.exception() for worker in done):
            progress.stop("interrupted")
            break


def _level(problem, run):
    return max(run.score, _EQUALLY_WELL * problem.tol)


def _n_finalists(problem, runs):
    return _FINALISTS if problem.pruning else 1 + len({run.kind for run in runs})


def _screening_iterations(problem):
    return max(1, int(_SCREENING * problem.max_iter))


def _screen(problem, runs):
    """Descend a little from every start; return the best of each kind and the next best."""
    n_finalists = _n_finalists(problem, runs)
    if len(runs) <= n_finalists:
        return runs
    loss, max_iter = problem.losses[0], _screening_iterations(problem)
    screened = each_run(
        problem, "screening", runs, lambda run: run.descend(problem, loss, max_iter)
    )
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
    before = problem.pruning.factors(best.theta)
    problem.progress.begin("mean", [best], before=before, after=factors)
    if factors is not None:
        best.theta = problem.pruning.theta(factors)
    progress = 0.3 if factors is None else 0.0
    best.descend(problem, problem.losses[-1], problem.max_iter, progress=progress)
    problem.progress.ended(best)


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
    return next(f for terms, f in tried if terms.sum() < enough or as_good(terms, least))


def as_good(terms, least):
    excess = terms - least
    return excess.sum() <= np.sqrt(len(excess)) * excess.std()


def refit(problem, run):
    """Descend on all cells (``problem.training``) as far as the held-out cells allowed.

    That is down to the training loss of the run if the held-out error rose after it, else as
    many iterations again.
    """
    ended = run.status
    problem.progress.begin("refit", [run])
    until, max_iter = (run.loss, problem.max_iter) if run.turned else (None, max(1, run.n_iter))
    run.descend(problem, problem.losses[-1], max_iter, until=until)
    # Reaching a loss that max_iter had ended at is no convergence, nor is the reverse.
    if run.can_go_on:
        run.status = ended
    return run
