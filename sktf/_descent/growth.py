"""From an empty model to one with as many components as held-out cells want, a few at a time.

Beside large components new ones leave zero late, for a step is as short as the large ones ask for.
On what these leave, descent starts anew, with steps as long as small components allow; a sample of
the cells is enough to find them, and what has been found is polished.
"""

from functools import partial
from math import sqrt
from typing import Any, NamedTuple

import numpy as np

from sktf._descent.held_out import CHECK_EVERY
from sktf._descent.loop import Result
from sktf._descent.polish import Model, Penalty, Polish, mean_of
from sktf._descent.progress import Progress
from sktf._descent.pruning import Pruning
from sktf._descent.race import each_run
from sktf._descent.recording import Recorder
from sktf._descent.run import Problem, Run

# Widths of the leading subspaces that components start in, in the order in which they are tried.
WIDTHS = (10, 6, 15, 8, 12, 20, 10, 6)
# Components that grow at once, and steps of each loss: for the first ones, and for more.
_FRESH, _FIRST_STEPS, _STEPS = 16, 200, 100
# Iterations without progress on held-out cells that end a descent. The first components may lie
# behind a plateau: with them it begins once the training loss has moved; others stand out at once.
_PATIENCE, _PLATEAU = 30, 0.3
# The first descent ends where it leaves no more than this share of the loss: what it has found
# reaches its size in a few sweeps, and what it has not stands out the more.
_LEFT = 0.3
# Samples are doubled up to so many cells where nothing is found.
_LARGEST = 2**22
# A sample that would take nearly all cells takes all; of fewer than so many times its cells each is
# drawn or not, of more some are drawn.
_NEARLY, _FEW_TIMES = 0.75, 16
# Cells that tell the training loss.
_TOLD = 20_000
# Standard errors by which held-out cells must prefer components to none, and by which they reject
# what grows beside others: nothing that has lost so much has ever been wanted in the end.
_SIGNIFICANT, _REJECTED = 2, 4
# A model is better that leaves less than this share of the error before it.
_BETTER = 1 - 1e-3
# Of a runner-up this much worse than the best, the mean of both is tried.
_COMPARABLE = 1.5
# Two runs agree where the error of one is at most so many times that of the other.
_AGREE = 1.1


class Growth(NamedTuple):
    """What all runs of a growth share.

    ``cells`` and ``looked_at`` are the observations to fit and those held out; ``empty`` is the
    ``Model`` without components, ``most`` how many there may be, and ``capped`` whether the user
    says so. A sample of ``enough`` cells shows all that counts, if it shows anything. ``widest``
    components start at once from positive mean; ``start(kind, n_components, cells, rng)`` returns a
    factorization and a small theta, and ``make(factorization, cells)`` an objective of the first
    of the ``losses``.
    """

    cells: Any
    looked_at: Any
    empty: Model
    most: int
    capped: bool
    enough: int
    widest: int
    make: Any
    start: Any
    losses: tuple
    step: Any
    max_iter: int
    tol: float
    patience: int
    polish: Any = Polish

    def descent(self, factorization, training, held_out, progress, *, first):
        """Return the problem of one descent."""
        objective = self.make(factorization, training)
        return Problem(
            training=objective,
            held_out=self.make(factorization, held_out),
            losses=self.losses,
            step=self.step,
            max_iter=min(self.max_iter, _FIRST_STEPS if first else _STEPS),
            tol=0.0,
            patience=min(self.patience, _PATIENCE),
            progress=progress,
            pruning=Pruning(factorization, objective, self.losses[-1].reach(training)),
        )


class GrowingRun(Run):
    """A model on its way from no components to many; ``theta`` is the ``Model``.

    Parameters
    ----------
    growth : Growth
        What it shares with others.
    kind : int or None
        Width of the leading subspaces in which the first components start; None: these are all
        that there may be at once, of positive mean.
    seed : int
        Draws samples and starts.
    measure : callable
        Model -> dict of what is recorded of it.

    Attributes
    ----------
    binds : bool
        Whether held-out cells want more components than the user allows.
    """

    def __init__(self, growth, kind, seed, measure):
        super().__init__(kind, None, Recorder(measure, None))
        self._growth, self._rng = growth, np.random.RandomState(seed)
        self._sample, self.status, self.binds = None, "held_out", False
        self._take(growth.empty)
        self.penalty = Penalty.natural(self.theta, self.score)
        self.first_loss = self.score

    @property
    def state(self):
        rng = self._rng.get_state(legacy=False)
        model = self.theta._replace(loss=None)  # that is no number
        return model, self.penalty, rng, self.status, self.loss, self.score

    @state.setter
    def state(self, state):
        model, penalty, rng, self.status, self.loss, self.score = state
        self.theta = Model(*model)._replace(loss=self.theta.loss)
        self.penalty = Penalty(*penalty)
        self._rng.set_state(rng)

    def grow(self, progress):
        """Let components grow until held-out cells want no more; samples, until they want any."""
        within = _Within(progress, self)
        self._add_all(within)
        if progress.stopped:
            self.status = progress.stopped
        elif self.theta.n_components:
            self._go_on_from(self.theta, within, thorough=True)

    def take_mean(self, runs, progress):
        """Go on from the mean of comparable runs, polished, where that is better."""
        near = [run.theta for run in runs if run.score < _COMPARABLE * self.score]
        if len(near) > 1 and self.theta.n_components:
            self._go_on_from(mean_of(near), progress, thorough=True, near=self.penalty)

    def _add_all(self, progress):
        kind, cells = self.kind, self._growth.cells
        size = self._growth.enough
        largest = min(len(cells.values), max(size, _LARGEST))
        while self.score > self._growth.tol:
            self._draw(size)
            if self.theta.n_components == self._growth.most:
                self.binds = self._growth.capped and self._wants_more(progress)
                return
            fresh = self._fresh(kind, progress)
            if progress.stopped:
                return
            if fresh is not None:
                model = self.theta.beside(fresh)
                if not self._go_on_from(model, progress, thorough=False):
                    return
                progress.grown(self, len(self._sample.values))
                kind = WIDTHS[0]
            elif self.theta.n_components or size == largest:
                return
            size = min(2 * size, largest) if fresh is None else size
        self.status = "converged"

    def release(self):
        """Let go of all cells, once grown."""
        self._growth = self._sample = None

    def sweep(self, polish, progress):
        """Take a last sweep."""
        self.page.piece(self, progress, partial(self._sweep, polish))

    def _sweep(self, polish):
        self.theta = polish.sweep(self.theta, self.penalty)

    def end(self, cells, n_sweeps):
        """Record the loss on cells after last sweeps, each an iteration."""
        self.loss = self.theta.error(_thinned(cells))
        self.recorder.end_stage(Result(self.theta, self.loss, n_sweeps, 0.0, ""))

    def _draw(self, size):
        """Draw a sample of about so many cells, unless there is one already."""
        cells = self._growth.cells
        n_cells = len(cells.values)
        if self._sample is not None and len(self._sample.values) > _NEARLY * size:
            return
        if size > _NEARLY * n_cells:
            self._sample = cells.whole()
        elif _FEW_TIMES * size > n_cells:
            self._sample = cells.take(self._rng.random_sample(n_cells) < size / n_cells)
        else:
            self._sample = cells.take(np.unique(self._rng.randint(n_cells, size=size)))

    def _take(self, model, n_iter=0, time=0.0):
        """Go on from a model, and record it, so many steps and so much time on."""
        error = model.error(self._growth.looked_at)
        self.theta, self.loss, self.score = model, error, error
        if self._sample is not None:
            self.loss = model.error(_thinned(self._sample))
        result = Result(model, self.loss, n_iter, time, "")
        self.recorder.end_stage(result, validation_loss=error)

    def _polished(self, model, progress, *, thorough, near=None):
        """Return a model polished and pruned, and its penalty.

        A thorough polish searches that, nearby where it is known.
        """
        shared = self._growth
        n_last = len(shared.cells.values)
        polish = shared.polish(self._sample, shared.looked_at, progress, n_last=n_last)
        model, penalty = polish.search(model, near) if thorough else polish.rough(model)
        few = polish.prune(model, penalty).at_most(shared.most)
        if few.n_components == model.n_components:
            return few, penalty
        if thorough:
            return polish.search(few, penalty)
        return polish.settle(few, penalty)[0], penalty

    def _go_on_from(self, model, progress, **how):
        """Go on from a model, polished, and return so, if it is better."""
        return self.page.piece(self, progress, partial(self._take_polished, model, progress, **how))

    def _take_polished(self, model, progress, **how):
        model, penalty = self._polished(model, progress, **how)
        if not model.error(self._growth.looked_at) < _BETTER * self.score:
            return False
        self.penalty = penalty
        self._take(model, n_iter=1)
        return True

    def _wants_more(self, progress):
        """Whether components that the user does not allow would be wanted.

        Two of three tries must find some: one may by chance.
        """
        tried = [self._fresh(width, progress) for width in WIDTHS[:3]]
        return sum(fresh is not None for fresh in tried) > 1

    def _left(self):
        """Return what the model leaves of sample and held-out cells, and its scale, divided out."""
        both = self._sample, self._growth.looked_at
        left = [cells._replace(values=cells.values - self.theta.at(cells.coords)) for cells in both]
        scale = sqrt(np.average(left[0].values ** 2, weights=left[0].weights))
        if not scale > 0:
            return *left, 0.0
        return *(cells._replace(values=cells.values / scale) for cells in left), scale

    def _fresh(self, kind, progress):
        """Return the factors of components that have grown on what the model leaves, or None."""
        return self.page.piece(self, progress, partial(self._grown, kind, progress))

    def _grown(self, kind, progress):
        shared, first = self._growth, not self.theta.n_components
        training, held_out, scale = self._left()
        if not scale > 0:
            return None
        n_components = shared.widest if kind is None else _FRESH
        model, theta = shared.start(kind, n_components, training, self._rng)
        problem = shared.descent(model, training, held_out, progress, first=first)
        if kind is not None:
            problem = problem._replace(losses=problem.losses[:1])
        recorder = Recorder(lambda _: {}, None, CHECK_EVERY)
        run = Run(0, problem.training.from_numpy(theta), recorder, self.page.inner())
        _descend(problem, run, first=first)
        self._take(self.theta, run.recorder.iteration, run.recorder.time)
        if run.stopped or (run.status == "max_iter" and problem.max_iter == shared.max_iter):
            self.status = run.status
        if not run.can_go_on or not _wants(problem, problem.losses[-1], run):
            return None
        share = scale ** (1 / len(training.shape))
        return [share * factor for factor in problem.pruning.factors(run.theta)]


class _Within(Progress):
    """Passes on what a descent tells, as told of the run that it is a part of."""

    def __init__(self, outer, run):
        self._outer, self._run = outer, run

    @property
    def stopped(self):
        return self._outer.stopped

    def stop(self, status):
        self._outer.stop(status)

    def observe(self, run, iteration, loss, theta, is_record):
        self._outer.observe(self._run, iteration, loss, self._run.theta, False)

    def descended(self, run, max_iter, is_record):
        self._outer.descended(self._run, run.n_iter, False)

    def grown(self, run, n_cells):
        self._outer.grown(run, n_cells)


def best_grown(problem, groups, are_enough):
    """Let groups of runs grow until they are enough; return the best, or their mean if better.

    Parameters
    ----------
    problem : Problem
        Tells the progress, and how many may grow at once.
    groups : list of list of GrowingRun
        Those that may be needed, in their order; the runs of a group grow side by side.
    are_enough : callable
        ``runs -> bool``, of those that have grown.
    """
    done, progress = [], problem.progress
    try:
        for group in groups:
            done += group
            each_run(problem, "finalists", group, lambda run: run.grow(progress))
            if progress.stopped or are_enough(done):
                break
        best = min(done, key=lambda run: run.score)
        if not progress.stopped:
            best.take_mean(done, progress)
    except KeyboardInterrupt:  # outside the steps of a descent
        progress.stop("interrupted")
    best = min(done, key=lambda run: run.score)
    if progress.stopped:
        best.status = progress.stopped
        if best.status == "interrupted" and not best.theta.n_components:
            raise KeyboardInterrupt
    return best


def agree(runs):
    """Whether the two best runs have found components and are about as good."""
    if len(runs) < 2:
        return False
    best, second = sorted(runs, key=lambda run: run.score)[:2]
    return best.theta.n_components > 0 and second.score <= _AGREE * best.score


def _thinned(cells):
    """Return some of the cells, in even steps, to tell the training loss by."""
    return cells.take(slice(None, None, max(1, len(cells.values) // _TOLD)))


def _descend(problem, run, *, first):
    """Descend on one loss after another, as long as held-out cells want what has grown.

    What grows beside components that there are already ends where held-out cells reject it.
    """
    for number, loss in enumerate(problem.losses):
        if number and not (run.can_go_on and _wants(problem, problem.losses[number - 1], run)):
            return
        ends = {"progress": _PLATEAU}
        if not first:
            ends = {"progress": 0.0, "rejects": partial(_rejects, problem, loss)}
        elif not number:
            ends["until"] = _LEFT * problem.training.with_loss(loss).loss(run.theta)
        run.descend(problem, loss, problem.max_iter, **ends)


def _wants(problem, loss, run):
    """Whether held-out cells prefer the components of a run to none."""
    gain = _gain(problem, loss, run.theta)
    return gain.sum() > _SIGNIFICANT * np.sqrt(len(gain)) * gain.std()


def _rejects(problem, loss, theta):
    """Whether held-out cells clearly prefer no components to those of theta; few never do."""
    gain = _gain(problem, loss, theta)
    return gain.sum() < -_REJECTED * np.linalg.norm(gain)


def _gain(problem, loss, theta):
    """Return what the components of theta take from the loss of each held-out cell."""
    held_out, factors = problem.held_out.with_loss(loss), problem.pruning.factors(theta)
    nothing = [np.zeros((len(factor), 1)) for factor in factors]
    return held_out.terms(nothing) - held_out.terms(factors) * problem.pruning.distrust(factors)
