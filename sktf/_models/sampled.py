"""One call of fit on many cells: look first, descend on a sample, polish on all."""

from functools import partial
from itertools import pairwise
from math import prod, sqrt

import numpy as np

from sktf._cells.subspaces import leading_subspaces
from sktf._descent.blockwise_polish import BlockwisePolish
from sktf._descent.growth import WIDTHS, GrowingRun, Growth, agree, best_grown
from sktf._descent.polish import Model, Polish
from sktf._descent.progress import Progress
from sktf._descent.run import Problem
from sktf._descent.steps import Adaptive
from sktf._models.fitting import COPIES, MAX_NUMBERS, Fitting
from sktf._objective.cpu import n_threads
from sktf._objective.factorization import default_components

# Of m cells a component stands out that holds about 2 sum(sizes) / m of the variance, and in a
# tensor sqrt(prod(sizes)) / m. Of so many times these cells, what does not stand out hardly counts;
# real data always have more to show, so that a sample has at least so many.
_PER_ROW, _PER_ROW_OF_MATRIX, _PER_ROOT, _ENOUGH = 50, 500, 12, 100_000
# Held-out cells that are looked at while components grow.
_LOOKED_AT = 20_000
# A model that leaves no more than this share of the squares is clear: one of a sample will do, or
# two that agree.
_CLEAR = 0.1
# Cells for each additive term that a first look takes, and the least.
_PER_TERM, _ROUGH = 20, 20_000
# Sweeps on all cells.
_LAST_SWEEPS = 2
# Steps of a run at which its progress counts as whole.
_MANY_STEPS = 1000


class SampledFitting(Fitting):
    """What ``Fitting`` is, where components grow on samples of the cells (``GrowingRun``)."""

    # What grows, what polishes it, and what takes the last sweeps.
    _run_kind, _polish_kind = GrowingRun, Polish
    _last_polish: type[Polish] = BlockwisePolish
    # Inside leading subspaces steps need not feel their way to the length that curvature allows. At
    # half of that, the bound that is proven, they make of a rounding a billionth: several processes
    # would no longer have the answer of one.
    _step = Adaptive(0.4, growth=2.0, first_move=0.1)

    def _count_cells(self, training):
        # Few rows are of one cell; to number them all would take a sort.
        return len(training.values)

    def rough_training(self):
        """Return enough cells to look up by whether additive terms are worth a race."""
        n_cells, n_drawn = len(self.training.values), self._n_rough()
        if n_drawn >= n_cells:
            return self.training
        drawn = np.random.RandomState(0).randint(n_cells, size=n_drawn)
        return self.training.take(np.unique(drawn))

    def _n_rough(self):
        return max(_PER_TERM * sum(self.frame.sizes), _ROUGH)

    def _check_size(self):
        self._check_parameters(self.factorization.narrowed(1).n_parameters, COPIES)

    def _new_problem(self, training):
        estimator, frame = self.estimator, self.frame
        # Additive terms are fitted jointly, and the values contain them; those of modes that are
        # read together stay as they are.
        self._joint = frame.offset.terms if all(len(group) == 1 for group in frame.groups) else ()
        terms = () if self._joint else frame.offset.terms
        self._plain = self._without(frame, terms)
        self._cells = training if self._plain is frame else self.training.seen_by(self._plain)
        drawn = np.random.RandomState(0).permutation(len(self.held_out.values))[:_LOOKED_AT]
        self._looked_at = frame.read(self.held_out.take(np.sort(drawn))).seen_by(self._plain)
        return Problem(
            training=None,  # each growth has its own, of samples and of cells that are looked at
            held_out=None,
            losses=estimator._losses(),
            step=self._step,
            max_iter=estimator.max_iter,
            tol=estimator.tol,
            patience=estimator.n_iter_no_change,
            progress=Progress(),
            n_threads=n_threads(),
        )

    def _without(self, frame, terms):
        """Return the frame with these terms, and without what is fitted jointly."""
        if not self._joint:
            return frame
        return frame._replace(offset=frame.offset._replace(terms=terms))

    def _budget(self, runs):
        return {"finalists": (2, _MANY_STEPS)}

    def descend(self, rng, told=True):
        growth, kinds = self._growth(), self._kinds()
        seeds = rng.randint(2**31, size=len(kinds))
        pairs = zip(kinds, seeds, strict=True)
        runs = [self._run_kind(growth, *start, self._measure) for start in pairs]
        if told:
            self._begin(runs)
        run = best_grown(self.problem, self._groups(runs), self._are_enough)
        run.release()
        self.binds = any(run.binds for run in runs)
        self._take_terms(run.theta)
        self._look_at_held_out(run)
        return run

    def _growth(self):
        estimator, problem, n_cells = self.estimator, self.problem, len(self._cells.values)
        most = max(n_cells // sum(self.frame.sizes), self._widest())
        per_component = COPIES * self.factorization.narrowed(1).n_parameters
        return Growth(
            cells=self._cells,
            looked_at=self._looked_at,
            empty=self._empty(),
            most=min(estimator._most_components() or most, MAX_NUMBERS // per_component),
            capped=estimator._most_components() is not None,
            enough=self._enough(),
            widest=self._widest(),
            make=partial(self._objective, loss=problem.losses[0]),
            start=self._start,
            losses=problem.losses,
            step=problem.step,
            max_iter=problem.max_iter,
            tol=problem.tol,
            patience=problem.patience,
            polish=self._polish_kind,
        )

    def _enough(self):
        """Return how many cells a sample needs."""
        return min(sample_size(self.frame.sizes), len(self._cells.values))

    def _kinds(self):
        """Return the kinds of start that may be needed, in their order."""
        kinds, n_init = list(WIDTHS), self.estimator.n_init
        model = self.factorization
        if (model.theta_is_factors or model.nonnegative) and len(self.frame.sizes) > 2:
            kinds.insert(1, None)
        return kinds if n_init == "auto" else kinds[:n_init]

    def _are_enough(self, runs):
        """Whether no other start is needed."""
        best = min(runs, key=lambda run: run.score)
        if len(self.frame.sizes) == 2:
            return best.theta.n_components > 0
        return best.score < _CLEAR * best.first_loss and (self._is_sampled() or agree(runs))

    def _is_sampled(self):
        return self._enough() < len(self._cells.values)

    def _groups(self, runs):
        """Return the runs in groups that grow side by side: one alone, if it may do."""
        first = 1 if self._is_sampled() or len(self.frame.sizes) == 2 else 2
        starts = [0, *range(first, len(runs), 2), len(runs)]
        return [runs[start:stop] for start, stop in pairwise(starts)]

    def _start(self, kind, n_components, cells, rng):
        """Return a factorization and a small theta, in subspaces or of positive mean.

        What grows without signs always has one; leading subspaces do.
        """
        model, name = self.factorization, "positive" if kind is None else "within"
        start = self.estimator._default_start(name, len(self.frame.sizes))
        if kind is None or model.nonnegative:
            model = model.narrowed(n_components)
            return model, model.start(rng, *start)
        bases = leading_subspaces(cells, kind, rng, n_threads())
        return model.grown_within(bases, n_components, rng, start)

    def _widest(self):
        return default_components(self.frame.sizes, len(self._cells.values))

    def _empty(self):
        """Return the model without components, its terms those of the offset."""
        offset, stored = self.frame.offset, self.frame.stored
        rows = [slice(None) if seen is None else seen for seen in stored]
        scale = offset.scale or 1.0
        terms = tuple(term[at] / scale for term, at in zip(self._joint, rows, strict=False))
        factors = [np.zeros((size, 0)) for size in self.frame.sizes]
        return Model(factors, terms, self.factorization.nonnegative)

    def _measure(self, model):
        return self.estimator._measures(self.frame.factors(_at_least_one(model.factors)))

    def _take_terms(self, model):
        """Take the additive terms of a model as those of the offset, if they are fitted jointly."""
        if not self._joint:
            return
        offset, stored = self.frame.offset, self.frame.stored
        terms = [term.copy() for term in offset.terms]
        for term, seen, fitted in zip(terms, stored, model.terms, strict=False):
            term[slice(None) if seen is None else seen] = (offset.scale or 1.0) * fitted
        self.frame = self.frame._replace(offset=offset._replace(terms=tuple(terms)))

    def theta(self, run):
        theta = self._settled(run.theta)
        if self.estimator._most_components() is None:
            self.grown = self.factorization.width
        return theta

    def _settled(self, model):
        """Return what is kept of a model; the factorization is as wide, unless the user says."""
        if self.estimator._most_components() is None:
            self.factorization = self.factorization.narrowed(max(1, model.n_components))
        return self.factorization.settled(_at_least_one(model.factors))

    def _factors(self, theta):
        return self.frame.factors(theta) if isinstance(theta, list) else super()._factors(theta)

    def trace(self, run):
        return run.recorder.trace()

    def _attributes_at(self, theta):
        frame = self.frame
        self._take_terms(theta)
        attributes, self.frame = self.attributes(self._settled(theta)), frame
        return attributes

    def standard(self, run):
        return _at_least_one(run.theta.factors)

    def last_fit(self, run):
        """Polish on all cells that may be trained on, if only a sample of them has been."""
        if self._is_sampled() and self.learned and run.theta.n_components:
            try:
                self._polish(self._cells, run)
            except KeyboardInterrupt:
                run.status = "interrupted"
            self.verdict = self._judged(run, doubts=False)
        return run

    def _refit(self, everything, run):
        self.training, self._cells = everything, None
        if self.learned and (run.theta.n_components or run.theta.terms):
            cells = everything.seen_by(self._plain)
            self.counts = self._row_counts(cells)
            self._polish(cells, run)
        elif self.frame.offset.terms and not self.learned:
            self.frame = self.frame.with_terms(everything, self.frame.offset.scale)
        return run

    def _polish(self, cells, run):
        """Take some last sweeps on cells."""
        dtype = np.dtype(self.estimator.dtype)
        polish = self._last_polish(cells, self._looked_at, self.problem.progress, dtype)
        for _ in range(_LAST_SWEEPS):
            run.sweep(polish, self.problem.progress)
            self._take_terms(run.theta)
        run.end(cells, _LAST_SWEEPS)


def sample_size(sizes):
    """Return of how many cells of modes of these sizes all shows that counts."""
    per_row = _PER_ROW_OF_MATRIX if len(sizes) == 2 else _PER_ROW
    return max(_ENOUGH, per_row * sum(sizes), int(_PER_ROOT * sqrt(prod(sizes))))


def _at_least_one(factors):
    """Return factors, or a component of zeros if they have none."""
    return factors if factors[0].shape[1] else [np.zeros((len(f), 1)) for f in factors]
