"""One call of fit by gradient descent: starts, runs and their reports, on data made ready."""

from itertools import cycle, islice
from threading import Event

import numpy as np

from sktf._cells.unfolding import to_cells
from sktf._descent.compiled_walk import n_descents
from sktf._descent.held_out import CHECK_EVERY
from sktf._descent.pruning import Pruning
from sktf._descent.race import best_run, refit
from sktf._descent.recording import Measures, Recorder
from sktf._descent.run import Problem, Run
from sktf._descent.steps import make_step
from sktf._descent.threads import one_blas_thread
from sktf._models.rows import choose_strength
from sktf._models.starts import KINDS, Start
from sktf._models.verdict import judge
from sktf._objective.components import sum_of_products
from sktf._objective.devices import make_objective

# Starts that init="auto" makes where cells are held out.
_N_AUTO_STARTS = 12
# Most numbers that the parameters of all starts may take, twice, with copies to work on: 16 GiB.
_MAX_NUMBERS, _COPIES = 2**31, 8


class Fitting:
    """One call of fit: the estimator's parameters bound to its data and factorization.

    Parameters
    ----------
    estimator : GradientDescentCompletion
        The estimator; nothing is written to it.
    frame : Frame
        From the user's units and cells to those of the factorization.
    training, held_out : objects that ``make`` reads
        What to fit, and what to stop on or None, as the user sees them.
    bounds : tuple or None
        Those of what is predicted.
    data : dict
        What the callbacks are told of the data.
    make : callable
        ``(factorization, training, loss, *, device, dtype) -> objective``.
    """

    def __init__(self, estimator, frame, training, held_out, *, bounds, data, make=make_objective):
        self.estimator, self.frame, self._data, self._make = estimator, frame, data, make
        self._bounds = bounds
        self.training, self.held_out = training, held_out
        training = training.seen_by(frame)
        self.n_cells = estimator._n_cells if estimator._goes_on() else training.n_distinct()
        self.factorization = estimator._factorization(frame.sizes, self.n_cells)
        self._check_size()
        self._asked = Measures(estimator.measures)
        self.counts, self.strength, self.verdict = self._row_counts(training), 0.0, None
        largest = float(np.abs(training.values).max())
        self.largest = frame.offset.scale * largest
        losses = estimator._losses()
        objective = self._objective(training, losses[0])
        prune = estimator._prunes(held_out is not None) and self._can_prune()
        step = make_step(estimator.step, estimator.learning_rate)
        told = estimator.verbose or hasattr(estimator, "_skl_callbacks")
        self._notify = self._tell if told else lambda *_: False
        self.problem = Problem(
            training=objective,
            held_out=held_out and self._objective(held_out.seen_by(frame), losses[0]),
            losses=losses,
            step=step,
            max_iter=estimator.max_iter,
            tol=estimator.tol,
            patience=estimator.n_iter_no_change,
            pruning=Pruning(self.factorization, objective, largest) if prune else None,
            # Whoever watches sees one start after another.
            n_threads=1 if told or estimator.measures else n_descents(objective, step),
            halt=Event(),
        )

    def _row_counts(self, cells):
        """Return how many cells each row has, with those of the fits that this one goes on from."""
        counts = cells.row_counts(self.frame.sizes)
        before = self.estimator._counts if self.estimator._goes_on() else [0] * len(counts)
        return [now + earlier for now, earlier in zip(counts, before, strict=True)]

    def _can_prune(self):
        can = self.factorization.most_components > 0
        if self.estimator.prune is True and not can:
            raise ValueError(
                f"prune=True: {type(self.estimator).__name__} with these parameters has no form "
                'for a mean of fits; set prune="auto".'
            )
        return can

    def _check_size(self):
        """Raise where the starts and what a descent works with would not fit into memory."""
        n_numbers = self.factorization.n_parameters * (2 * len(self._starts()) + _COPIES)
        if n_numbers > _MAX_NUMBERS:
            sizes = self.frame.sizes
            raise ValueError(
                f"The model would have {self.factorization.n_parameters:.2g} parameters for "
                f"sizes {sizes}, and a fit several copies of them; lower n_components, hidden, "
                f"depth or n_init, or encode mode {int(np.argmax(sizes))} of X if its indices "
                "have gaps."
            )

    def _objective(self, data, loss):
        estimator = self.estimator
        return self._make(
            self.factorization,
            data,
            loss,
            device=estimator.device,
            dtype=np.dtype(estimator.dtype).name,
        )

    def descend(self, rng):
        """Run every start through the schedule and return the best run."""
        # The bits of a matrix product depend on its threads, and small products lose by them.
        with one_blas_thread():
            self._root = self.estimator._init_callback_context(max_subtasks=None)
            self._root.call_on_fit_task_begin(estimator=self.estimator, **self._data)
            # A race is recorded where the held-out cells are looked at.
            first = 1 if len(self._starts()) == 1 else CHECK_EVERY
            run = best_run(self.problem, [self._run(*start, first) for start in self._thetas(rng)])
        self._check_not_diverged(run)
        if self.held_out is not None:
            self._look_at_held_out(run)
        return run

    def _look_at_held_out(self, run):
        """Choose how strongly rare rows are drawn to the mean row, and judge the run."""
        theta = self.problem.training.to_numpy(run.theta)
        factors = [f.astype(np.float64) for f in self.factorization.forward(theta)[0]]
        if self.estimator.draws_to_mean():
            held_out = self.problem.held_out.with_loss(self.problem.losses[-1])
            self.strength = choose_strength(factors, self.counts, held_out.terms)
        frame, coords = self.frame, self.held_out.coords
        cells = to_cells(coords, frame.shape, frame.groups, frame.stored)
        offset = frame.offset.at(coords)
        factors = self.estimator.drawn(frame.factors(factors), self.counts, self.strength)
        free, mean = self._mean_will_do(), _mean(self.training)
        predicted = offset + sum_of_products(factors, cells)
        doubts = self.estimator.draws_to_mean()
        self.verdict = judge(
            self.held_out, predicted, offset, mean, mean_will_do=free, doubts=doubts
        )
        if free and not self.verdict.learned:
            self.frame = frame.without_terms(mean)

    @property
    def learned(self):
        """Whether held-out cells, where there are any, say that components are of use."""
        return self.verdict is None or self.verdict.learned

    def with_frame(self, frame):
        """Return a fitting of the same data seen by another frame."""
        data = {"bounds": self._bounds, "data": self._data, "make": self._make}
        return Fitting(self.estimator, frame, self.training, self.held_out, **data)

    def offset_error(self):
        """Return the root mean squared error of the offset alone on the held-out cells."""
        left = self.held_out.values - self.frame.offset.at(self.held_out.coords)
        unit = np.abs(left).max() or 1.0
        return unit * float(np.sqrt(np.average((left / unit) ** 2, weights=self.held_out.weights)))

    def _thetas(self, rng):
        """Yield (number of the kind, theta) for each start."""
        estimator = self.estimator
        if estimator._goes_on():
            yield 0, self._check_theta(estimator._theta)
        elif isinstance(estimator.init, str):
            for kind, start in self._starts():
                yield kind, self.factorization.start(rng, *start)
        else:
            yield 0, self.factorization.given(estimator.init)

    def _check_theta(self, theta):
        """Return theta, the start of a warm start, if it fits the factorization."""
        if theta.size != self.factorization.n_parameters:
            raise ValueError(
                "warm_start=True: the model now has another size than the one fitted before; "
                "keep n_components, depth and hidden, or set warm_start=False."
            )
        return theta

    def _starts(self):
        """Return (number of the kind, ``Start``) for each start; one that is given is the first."""
        estimator = self.estimator
        n_init, drawn = estimator.n_init, isinstance(estimator.init, str)
        auto = drawn and estimator.init == "auto"
        if estimator._goes_on() or (not drawn and n_init in ("auto", 1)):
            return [(0, None)]
        if not drawn:
            raise ValueError(f"n_init={n_init}: arrays given as init are one start; set n_init=1.")
        if n_init == "auto":
            n_init = _N_AUTO_STARTS if auto and self.held_out is not None else 1
        chosen = Start(estimator.init, estimator.init_scale, estimator.init_mean)
        given = {k: v for k, v in chosen._asdict().items() if v not in (None, "auto")}
        order = len(self.frame.sizes)
        return [
            (int(kind == "positive"), estimator._default_start(kind, order)._replace(**given))
            for kind in islice(cycle(KINDS if auto else ("zero_mean",)), n_init)
        ]

    def _factors(self, theta):
        return self.frame.factors(self.factorization.forward(theta)[0])

    def attributes(self, theta):
        """Return the fitted attributes that follow from theta."""
        factors = self.estimator.drawn(self._factors(theta), self.counts, self.strength)
        if not self.learned:
            factors = [np.zeros_like(factor) for factor in factors]
        attributes = self.estimator._components(factors, self.frame, self.counts)
        attributes["_bounds"] = self._bounds
        return attributes | self.estimator._model_attributes(self.factorization, theta)

    def end(self, attributes):
        """Tell the callbacks that the fit has ended with these attributes."""
        self._root.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=attributes, **self._data
        )

    def _run(self, kind, theta, first):
        """Return a run that starts at theta and reports to the callbacks."""
        estimator, objective = self.estimator, self.problem.training

        def measure(theta):
            factors = self._factors(objective.to_numpy(theta))
            return estimator._measures(factors) | self._asked(factors)

        recorder = Recorder(measure, estimator.record_every, self._notify, first)
        return Run(kind, objective.from_numpy(theta), recorder)

    def _tell(self, iteration, loss, theta):
        """Print a record or tell the callbacks of it; return whether one asks to stop."""
        estimator, to_numpy = self.estimator, self.problem.training.to_numpy
        if estimator.verbose:
            print(f"Iteration {iteration}, loss = {loss:.8f}")
        task = self._root.subcontext(task_name="record")
        task.call_on_fit_task_begin(estimator=estimator, **self._data)
        return task.call_on_fit_task_end(
            estimator=estimator,
            reconstruction_attributes=lambda: self.attributes(to_numpy(theta)),
            **self._data,
        )

    def refit(self, everything, run):
        """Descend on all cells, from where the run is, to the training loss it had."""
        frame = self.frame
        if frame.offset.terms and not self.estimator._goes_on():
            frame = self.frame = frame.with_terms(everything, frame.offset.scale)
        if not self.learned:
            return self._end_at_offset(everything, run)
        cells = everything.seen_by(frame)
        self.counts = self._row_counts(cells)
        training = self._objective(cells, self.problem.losses[-1])
        with one_blas_thread():
            run = refit(self.problem._replace(training=training, held_out=None), run)
        self._check_not_diverged(run)
        return run

    def _end_at_offset(self, everything, run):
        """Leave the descent where it is: the components will not be used."""
        if self._mean_will_do():
            self.frame = self.frame.without_terms(_mean(everything))
        return run

    def _mean_will_do(self):
        return self.estimator.chooses_offset() and not self.frame.offset.terms

    def _check_not_diverged(self, run):
        if run.status == "diverged":
            estimator = self.estimator
            raise ValueError(
                f"Gradient descent diverged at iteration {run.recorder.iteration} with "
                f"step={estimator.step!r}, learning_rate={estimator.learning_rate}; lower "
                "learning_rate or use step='adaptive'."
            )


def _mean(observations):
    return float(np.average(observations.values, weights=observations.weights))
