"""One call of fit whose start is a fit of CP components to the same cells, and who borrows."""

from copy import deepcopy

import numpy as np

from sktf._descent.journal import current_journal
from sktf._descent.progress import Progress
from sktf._descent.race import as_good
from sktf._descent.run import Run
from sktf._models.fitting import COPIES, Fitting
from sktf._models.growth_choice import asks_for_nothing, kind_of_fitting
from sktf._models.rows import with_mean_row
from sktf._models.sampled import SampledFitting

# Steps from a start that is lent, which lies near where descent ends.
_STEPS = 400
# Cells times components of which a step takes too long.
_LONG = 2**24
# Held-out cells that tell how few parameters will do, and how many models they look at.
_LOOKED_AT, _MOST_TRIED = 20_000, 24


class BorrowedFitting(Fitting):
    """What ``Fitting`` is, where a fit of components to the same cells lends the start.

    Held-out cells choose how few parameters the components are written with, and how far descent
    goes on from there.
    """

    _lender = None

    def _first_factorization(self):
        *_, smallest = self.estimator._models_of(
            self.frame.sizes, [np.ones((size, 1)) for size in self.frame.sizes]
        )
        return smallest

    def _check_size(self):
        self._check_parameters(self.factorization.n_parameters, COPIES)

    def descend(self, rng, told=True):
        if told:
            self._begin([Run(0, None, None)])
        self._lender = self._make_lender()
        self._lent = self._lender.descend(rng, told=False)
        self.frame = self.frame.filled()._replace(offset=self._lender.frame.offset)
        runs = [(self._descended(model), model) for model in self._chosen_models()]
        run, model = min(runs, key=lambda pair: pair[0].score)
        self._use(model)
        self.counts = self._row_counts(self.training.seen_by(self.frame))
        self.grown = None if self.estimator._most_components() else model.width
        self._look_at_held_out(run)
        return run

    def _make_lender(self):
        frame = self.frame.by_modes(self.training, self.held_out)
        cells = self.estimator._lender(), frame, self.training, self.held_out
        told = {"seen": self._seen, "data": self._data, "make": self._make}
        return kind_of_fitting(*cells)(*cells, **told)

    def _lent_factors(self):
        """Return the components that are lent, as factors of the sides of the model."""
        factors, seen = self._lender.standard(self._lent), self._lender.frame
        if seen.groups == self.frame.groups:
            return factors
        tables = [*map(with_mean_row, factors, self._lender.counts)]
        return [np.prod(side, axis=0) for side in self.frame.sides(seen, tables)]

    def _row_counts(self, cells):
        """Of a side of several modes, the cells of the mode that has fewest: all tell of the row.

        Each of its modes has lent a row.
        """
        if self._lender is None or self._lender.frame.groups == self.frame.groups:
            return super()._row_counts(cells)
        tables = [np.append(count, 0) for count in self._lender.counts]
        sides = self.frame.sides(self._lender.frame, tables)
        return [np.min(side, axis=0) for side in sides]

    def _chosen_models(self):
        """Return the model of least held-out error, and the smallest that is about as good."""
        factors, loss = self._lent_factors(), self.problem.losses[-1]
        drawn = np.random.RandomState(0).permutation(len(self.held_out.values))[:_LOOKED_AT]
        cells = self.frame.read(self.held_out.take(np.sort(drawn))).seen_by(self.frame)
        models = [*self.estimator._models_of(self.frame.sizes, factors)]
        models = models[:: -(-len(models) // _MOST_TRIED)]
        terms = [
            self._objective(model, cells, loss).terms(model.forward(model.near(factors))[0])
            for model in models
        ]
        best = min(range(len(models)), key=lambda number: terms[number].sum())
        few = max(n for n, its in enumerate(terms) if as_good(its, terms[best]))
        return [models[number] for number in sorted({best, few})]

    def _descended(self, model):
        """Return the run that starts from the components written as a model."""
        self._use(model)
        if self._lent.stopped:
            current_journal().freeze()
        run = self._run(0, model.near(self._lent_factors()), first=1)
        quiet = self.problem._replace(progress=Progress())
        run.descend(quiet, self.problem.losses[-1], quiet.max_iter, progress=0.0)
        if self._lent.stopped:
            run.status = self._lent.status
        elif run.status == "max_iter" and quiet.max_iter < self.estimator.max_iter:
            run.status = "held_out"  # the components had converged
        return run

    def _use(self, model):
        """Go on with a model, and as many steps as are worth their time."""
        self.factorization = model
        problem = self._new_problem(self.training.seen_by(self.frame))
        is_long = len(self.training.values) * model.n_components > _LONG
        steps = 1 if is_long or self._lent.stopped else min(_STEPS, problem.max_iter)
        self.problem = problem._replace(progress=self.problem.progress, max_iter=steps)

    def _refit(self, everything, run):
        if not self.learned:
            return super()._refit(everything, run)
        self._lent = self._lender.refit(everything, self._lent)
        if self._lent.stopped:
            run.status = self._lent.status
            return run
        self.frame = self.frame._replace(offset=self._lender.frame.offset)
        self.training = everything
        run.theta = self.problem.training.from_numpy(self.factorization.near(self._lent_factors()))
        return self._descend_again(everything, run)


def make_fitting(estimator, frame, training, held_out, told):
    """Return the call of fit that suits the cells.

    Where components of CP would grow, but not those of the model, it has no starts of its own.
    """
    kind = kind_of_fitting(estimator, frame, training, held_out)
    if kind is Fitting and _borrows(estimator, frame, held_out):
        seen = frame.by_modes(training, held_out)
        lender = kind_of_fitting(estimator._lender(), seen, training, held_out)
        kind = BorrowedFitting if lender is SampledFitting else kind
    return kind(estimator, frame, training, held_out, **told)


def best_start(fitting, rng):
    """Return the fitting and its best run, or those of a start that is lent if as good.

    That is, of held-out error within one standard error: components have fewer parameters.
    """
    # Components draw what they would draw in a fit of their own.
    drawn, run = deepcopy(rng), fitting.descend(rng)
    borrows = _borrows(fitting.estimator, fitting.frame, fitting.held_out)
    if not borrows or isinstance(fitting, BorrowedFitting) or run.stopped:
        return fitting, run
    try:
        borrowed, beside = fitting.beside(drawn, fitting.frame, BorrowedFitting)
    except KeyboardInterrupt:  # before it has reached anything
        run.status = "interrupted"
        return fitting, run
    own, its = fitting.verdict, borrowed.verdict
    chosen = not beside.stopped and as_good(its.squares, own.squares)
    fitting.problem.progress.say(
        f"Start from CP components: held-out RMSE {its.error:.3g} instead of {own.error:.3g}, "
        + ("chosen" if chosen else "not chosen")
    )
    if chosen:
        return borrowed, beside
    run.status = beside.status if beside.stopped else run.status
    return fitting, run


def _borrows(estimator, frame, held_out):
    """Whether components lend a start: to the default, of a tensor, where cells are held out."""
    is_tensor = len(frame.shape) > 2 and all(frame.groups)
    lends = held_out is not None and is_tensor and estimator._lender() is not None
    return lends and asks_for_nothing(estimator, held_out)
