"""One call of fit by gradient descent: starts, runs and their reports, on data made ready."""

from itertools import cycle, islice

import numpy as np

from sktf._cells.unfolding import to_cells
from sktf._descent.compiled_walk import n_descents
from sktf._descent.held_out import CHECK_EVERY
from sktf._descent.progress import N_TICKS, Progress, ToldProgress
from sktf._descent.pruning import Pruning
from sktf._descent.race import best_run, budget, refit
from sktf._descent.recording import Measures, Recorder
from sktf._descent.run import Problem, Run
from sktf._descent.steps import make_step
from sktf._models.honesty import raise_diverged
from sktf._models.rows import any_are_rare, choose_strength, with_mean_row
from sktf._models.starts import KINDS, Start
from sktf._models.verdict import judge
from sktf._objective.components import descending, sum_of_products
from sktf._objective.devices import make_objective

# Starts that init="auto" makes where cells are held out.
_N_AUTO_STARTS = 12
# Most numbers that the parameters of all starts may take, twice, with copies to work on: 16 GiB.
MAX_NUMBERS, COPIES = 2**31, 8


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
    seen : tuple of float
        The least and the largest value of y.
    data : dict
        What the callbacks are told of the data.
    make : callable
        ``(factorization, training, loss, *, device, dtype) -> objective``.
    """

    # Whether held-out cells want more components than the user allows, and how wide a model has
    # become that is not as wide as the parameters say (``Factorization.width``).
    binds, grown = False, None

    def __init__(self, estimator, frame, training, held_out, *, seen, data, make=make_objective):
        self.estimator, self.frame, self._data, self._make = estimator, frame, data, make
        self._seen = seen
        self.training, self.held_out = training, held_out
        training = training.seen_by(frame)
        self.n_cells = estimator._n_cells if estimator._goes_on() else self._count_cells(training)
        self.factorization = self._first_factorization()
        self._check_size()
        self._asked = Measures(estimator.measures)
        self.counts, self.strength, self.verdict = self._row_counts(training), 0.0, None
        self.problem = self._new_problem(training)

    def _first_factorization(self):
        """Return the factorization that the parameters ask for, or that has grown before."""
        estimator = self.estimator
        model = estimator._factorization(self.frame.sizes, self.n_cells)
        grown, cap = estimator._goes_on() and estimator._grown, estimator._most_components()
        if not grown or cap not in (None, grown):
            return model
        self.grown = grown
        return model.narrowed(grown)

    def _count_cells(self, training):
        return training.n_distinct()

    def rough_training(self):
        """Return cells to look up by whether additive terms are worth a race."""
        return self.training

    def _new_problem(self, training):
        """Return what all starts of a race share."""
        estimator, losses = self.estimator, self.estimator._losses()
        held_out, objective = (
            self.held_out,
            self._objective(self.factorization, training, losses[0]),
        )
        prune = estimator._prunes(held_out is not None) and self._can_prune()
        step = make_step(estimator.step, estimator.learning_rate)
        largest = losses[-1].reach(training)
        return Problem(
            training=objective,
            held_out=held_out and self._held_out_objective(losses[0]),
            losses=losses,
            step=step,
            max_iter=estimator.max_iter,
            tol=estimator.tol,
            patience=estimator.n_iter_no_change,
            progress=Progress(),
            pruning=Pruning(self.factorization, objective, largest) if prune else None,
            # Functions of the user are called for one start after another.
            n_threads=1 if estimator.measures else n_descents(objective, step),
        )

    def _held_out_objective(self, loss):
        cells = self.frame.read(self.held_out).seen_by(self.frame)
        return self._objective(self.factorization, cells, loss)

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
        self._check_parameters(self.factorization.n_parameters, 2 * len(self._starts()) + COPIES)

    def _check_parameters(self, n_parameters, n_copies):
        if n_parameters * n_copies > MAX_NUMBERS:
            sizes = self.frame.sizes
            raise ValueError(
                f"The model would have {n_parameters:.2g} parameters for "
                f"sizes {sizes}, and a fit several copies of them; lower n_components, hidden, "
                f"depth or n_init, or encode mode {int(np.argmax(sizes))} of X if its indices "
                "have gaps."
            )

    def _objective(self, factorization, data, loss):
        how = {"device": self.estimator.device, "dtype": np.dtype(self.estimator.dtype).name}
        return self._make(factorization, data, loss, **how)

    def descend(self, rng, told=True):
        """Run every start through the schedule and return the best run."""
        # A race is recorded where the held-out cells are looked at.
        first = 1 if len(self._starts()) == 1 else CHECK_EVERY
        runs = [self._run(*start, first) for start in self._thetas(rng)]
        if told:
            self._begin(runs)
        run = best_run(self.problem, runs)
        self._check_not_diverged(run)
        if self.held_out is not None:
            self._look_at_held_out(run)
        return run

    def _begin(self, runs):
        """Tell the callbacks that the fit begins, and the runs whom to tell how it goes."""
        estimator = self.estimator
        self._root = estimator._init_callback_context(max_subtasks=N_TICKS)
        self._root.call_on_fit_task_begin(estimator=estimator, **self._data)
        watched = hasattr(estimator, "_skl_callbacks")
        if watched or estimator.verbose:
            progress = ToldProgress(
                self._budget(runs),
                runs,
                self._title(len(runs)),
                verbose=estimator.verbose,
                score=self._score,
                tick=self._tick if watched else lambda theta: False,
            )
            self.problem = self.problem._replace(progress=progress)

    def _budget(self, runs):
        refits = self.estimator.refit and self.held_out is not None
        return budget(self.problem, runs, refits)

    def _title(self, n_starts):
        return f"{self._to_fit()}, {n_starts} start{'s' if n_starts > 1 else ''}"

    def _to_fit(self):
        n_trained, held_out = self.training.n_distinct(), self.held_out
        n_held_out = 0 if held_out is None else held_out.n_distinct()
        what = "cells" if self._data else "measurements"
        return f"{n_trained} {what} to fit, {n_held_out} held out"

    def beside(self, rng, frame, kind=None):
        """Return a fitting of the same data seen by another frame, and its best run.

        ``kind`` is the class of the fitting, None for that of this one.

        Nobody is told how this race goes; the rest of its fit is told as that of this one.
        """
        told = {"seen": self._seen, "data": self._data, "make": self._make}
        other = (kind or type(self))(self.estimator, frame, self.training, self.held_out, **told)
        run = other.descend(rng, told=False)
        other._root = self._root
        other.problem = other.problem._replace(progress=self.problem.progress)
        return other, run

    def _look_at_held_out(self, run):
        """Choose how strongly rare rows are drawn to the mean row, and judge the run."""
        draws = self.estimator._draws_to_mean()
        if draws and any_are_rare(self.counts):
            loss = self.problem.losses[-1]
            held_out = self.problem.held_out or self._held_out_objective(loss)
            terms = held_out.with_loss(loss).terms
            self.strength = choose_strength(self.standard(run), self.counts, terms)
        # What was cut short is not judged by what it has not reached.
        self.verdict = self._judged(run, draws and run.status in ("converged", "held_out"))

    def theta(self, run):
        """Return the theta of a run as a NumPy vector."""
        return self.problem.training.to_numpy(run.theta)

    def trace(self, run):
        """Return the trace of a run, its components in the order of those of ``factors_``."""
        trace = run.recorder.trace()
        factors = self.factorization.forward(self.theta(run))[0]
        if not self.estimator._tells_triplets(factors):
            order = descending(factors)
            trace["component_norms"] = trace["component_norms"][:, order]
        return trace

    def standard(self, run):
        """Return the factors of a run on the scaled data, in double precision."""
        factors, _ = self.factorization.forward(self.theta(run))
        return [factor.astype(np.float64) for factor in factors]

    def _judged(self, run, doubts):
        """Return the verdict of the held-out cells on a run."""
        offset, components = self._at_held_out(run)
        mean, mean_will_do = self.training.mean(), self._mean_will_do()
        nothing = mean_will_do and not components.any()
        predicted = np.full(len(offset), mean) if nothing else offset + components
        how = {"mean_will_do": mean_will_do, "doubts": doubts}
        return judge(self.held_out, predicted, offset, mean, **how)

    def _at_held_out(self, run):
        """Return the offset of the held-out cells, and what the components of a run add there."""
        frame, coords = self.frame, self.held_out.coords
        factors = frame.factors(self.standard(run))
        factors = self.estimator._drawn(factors, self.counts, self.strength)
        factors = [*map(with_mean_row, factors, self.counts)]
        cells = to_cells(coords, frame.shape, frame.groups, frame.stored)
        return frame.offset.at(coords), sum_of_products(factors, cells)

    def _score(self, run):
        """Return the score on the held-out cells as text, None without any."""
        verdict = None if self.held_out is None else self._judged(run, doubts=False)
        known = verdict is not None and verdict.score is not None
        return f"{verdict.measure} {verdict.score:.3f}" if known else None

    def error(self, run):
        """Return how far a cell is off in units of y: held-out ones, or those trained on."""
        if self.verdict is not None:
            return self.verdict.error
        return self.frame.offset.scale * float(np.sqrt(max(run.loss, 0.0)))

    def finish(self, run):
        """Tell whoever is told that the fit ends in this run."""
        self.problem.progress.finish(run)

    @property
    def learned(self):
        """Whether held-out cells, where there are any, say that components are of use."""
        return self.verdict is None or self.verdict.learned

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
        model, grown = self.factorization, isinstance(theta, list)
        size, fitting = (
            (theta[0].shape[1], model.n_components) if grown else (theta.size, model.n_parameters)
        )
        if size != fitting:
            raise ValueError(
                "warm_start=True: the model now has another size than the one fitted before; "
                "keep n_components, depth and hidden, or set warm_start=False."
            )
        return model.embed(theta) if grown else theta

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
        factors = self.estimator._drawn(self._factors(theta), self.counts, self.strength)
        if not self.learned:
            factors = [self.verdict.share ** (1 / len(factors)) * factor for factor in factors]
        attributes = self.estimator._components(factors, self._told_frame(), self.counts)
        attributes["_range"] = self._seen
        if not self.learned:
            attributes["rank_"] = 0
        return attributes | self.estimator._model_attributes(self.factorization, theta)

    def _told_frame(self):
        """Return the frame that predicts: its level has what is left of the mean, if it will do."""
        frame, offset = self.frame, self.frame.offset
        if self.learned or not self._mean_will_do():
            return frame
        share = self.verdict.share
        level = share * offset.level + (1 - share) * self.training.mean()
        return frame._replace(offset=offset._replace(level=level))

    def end(self, attributes):
        """Tell the callbacks that the fit has ended with these attributes."""
        self._root.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=attributes, **self._data
        )

    def _run(self, kind, theta, first):
        """Return a run that starts at theta."""
        estimator, objective = self.estimator, self.problem.training

        def measure(theta):
            factors = self._factors(objective.to_numpy(theta))
            return estimator._measures(factors) | self._asked(factors)

        recorder = Recorder(measure, estimator.record_every, first)
        return Run(kind, objective.from_numpy(theta), recorder)

    def _tick(self, theta):
        """Tell the callbacks of a tick, with a model if any; return whether one asks to stop."""
        estimator = self.estimator
        task = self._root.subcontext(task_name="tick")
        task.call_on_fit_task_begin(estimator=estimator, **self._data)
        model = None if theta is None else lambda: self._attributes_at(theta)
        return task.call_on_fit_task_end(
            estimator=estimator, reconstruction_attributes=model, **self._data
        )

    def _attributes_at(self, theta):
        return self.attributes(self.problem.training.to_numpy(theta))

    def last_fit(self, run):
        """Return the run, which has seen all cells it may see."""
        return run

    def refit(self, everything, run):
        """Descend on all cells, from where the run is, to the training loss it had."""
        try:
            return self._refit(everything, run)
        except KeyboardInterrupt:  # outside the steps of the descent
            run.status = "interrupted"
            return run

    def _refit(self, everything, run):
        frame = self.frame
        if frame.offset.terms and not self.estimator._goes_on():
            frame = self.frame = frame.with_terms(everything, frame.offset.scale)
        self.training = everything
        if not self.learned:
            return run  # the share was judged of components as they are
        return self._descend_again(everything, run)

    def _descend_again(self, everything, run):
        cells = everything.seen_by(self.frame)
        self.counts = self._row_counts(cells)
        training = self._objective(self.factorization, cells, self.problem.losses[-1])
        run = refit(self.problem._replace(training=training, held_out=None), run)
        self._check_not_diverged(run)
        return run

    def _mean_will_do(self):
        return self.estimator._chooses_offset() and not self.frame.offset.terms

    def _check_not_diverged(self, run):
        if run.status == "diverged":
            raise_diverged(self.estimator, run.recorder.iteration)
