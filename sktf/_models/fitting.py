"""One call of fit by gradient descent: starts, runs and their reports, on data made ready."""

from itertools import cycle, islice
from threading import Event

import numpy as np
from sklearn.metrics import r2_score

from sktf._descent.compiled_walk import n_descents
from sktf._descent.held_out import CHECK_EVERY
from sktf._descent.pruning import Pruning
from sktf._descent.race import best_run, refit
from sktf._descent.recording import Measures, Recorder
from sktf._descent.run import Problem, Run
from sktf._descent.steps import make_step
from sktf._descent.threads import one_blas_thread
from sktf._models.starts import KINDS, Start
from sktf._objective.components import sum_of_products
from sktf._objective.devices import make_objective

# Starts that init="auto" makes where cells are held out.
_N_AUTO_STARTS = 12
# Largest number of parameters; one copy of them takes 4 GiB in float64.
_MAX_PARAMETERS = 2**29


class Fitting:
    """One call of fit: the estimator's parameters bound to its data and factorization.

    Parameters
    ----------
    estimator : GradientDescentCompletion
        The estimator; nothing is written to it.
    frame : Frame
        From the user's units and cells to those of the factorization.
    training, held_out : objects that ``make`` reads
        What to fit, and what to stop on or None.
    n_cells : int
        How many distinct cells or measurements ``training`` has.
    data : dict
        What the callbacks are told of the data.
    make : callable
        ``(factorization, training, loss, *, device, dtype) -> objective``.
    """

    def __init__(self, estimator, frame, training, held_out, n_cells, *, data, make=make_objective):
        self.estimator, self.frame, self._data, self._make = estimator, frame, data, make
        self.n_cells = estimator._n_cells if estimator._goes_on() else n_cells
        self.factorization = estimator._factorization(frame.sizes, self.n_cells)
        self._check_size()
        self._asked = Measures(estimator.measures)
        self._held_out, self.validation_score = held_out, None
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
            held_out=None if held_out is None else self._objective(held_out, losses[0]),
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

    def _can_prune(self):
        can = self.factorization.most_components > 0
        if self.estimator.prune is True and not can:
            raise ValueError(
                f"prune=True: {type(self.estimator).__name__} with these parameters has no form "
                'for a mean of fits; set prune="auto".'
            )
        return can

    def _check_size(self):
        if self.factorization.n_parameters > _MAX_PARAMETERS:
            sizes = self.frame.sizes
            raise ValueError(
                f"The model would have {self.factorization.n_parameters:.2g} parameters for "
                f"sizes {sizes}; lower n_components, hidden or depth, or encode mode "
                f"{int(np.argmax(sizes))} of X if its indices have gaps."
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

    def descend(self, rng, everything=None):
        """Run every start through the schedule and return the best run.

        Where cells are held out, it ends by a descent on ``everything``, unless that is None.
        """
        # The bits of a matrix product depend on its threads, and small products lose by them.
        with one_blas_thread():
            thetas = self._thetas(rng)
            self._root = self.estimator._init_callback_context(max_subtasks=None)
            self._root.call_on_fit_task_begin(estimator=self.estimator, **self._data)
            # A race is recorded where the held-out cells are looked at.
            first = 1 if len(thetas) == 1 else CHECK_EVERY
            run = best_run(self.problem, [self._run(*start, first) for start in thetas])
            if run.status != "diverged":
                self.validation_score = self._score(run)
            if everything is not None and self.problem.held_out is not None and run.can_go_on:
                run = self._refit(everything, run)
        self._check_not_diverged(run)
        return run

    def _score(self, run):
        """Return R^2 on the held-out cells, None where there are too few."""
        cells = self._held_out
        if cells is None or len(cells.values) < 2:
            return None
        theta = self.problem.training.to_numpy(run.theta)
        predicted = sum_of_products(self.factorization.forward(theta)[0], cells.coords)
        return float(r2_score(cells.values, predicted, sample_weight=cells.weights))

    def _thetas(self, rng):
        """Return (number of the kind, theta) for each start."""
        estimator = self.estimator
        if estimator._goes_on():
            return [(0, self._check_theta(estimator._theta))]
        if isinstance(estimator.init, str):
            return [(kind, self.factorization.start(rng, *start)) for kind, start in self._starts()]
        if estimator.n_init not in ("auto", 1):
            raise ValueError(
                f"n_init={estimator.n_init}: arrays given as init are one start; set n_init=1."
            )
        return [(0, self.factorization.given(estimator.init))]

    def _check_theta(self, theta):
        """Return theta, the start of a warm start, if it fits the factorization."""
        if theta.size != self.factorization.n_parameters:
            raise ValueError(
                "warm_start=True: the model now has another size than the one fitted before; "
                "keep n_components, depth and hidden, or set warm_start=False."
            )
        return theta

    def _starts(self):
        """Return (number of the kind, ``Start``) for each restart."""
        estimator = self.estimator
        n_init, auto = estimator.n_init, estimator.init == "auto"
        if n_init == "auto":
            n_init = _N_AUTO_STARTS if auto and self.problem.held_out is not None else 1
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
        factors, frame = self._factors(theta), self.frame
        attributes = self.estimator._components(factors, frame.shape, frame.stored, frame.offset)
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

    def _refit(self, everything, run):
        """Descend on all cells, from where the run is, to the training loss it had."""
        try:
            training = self._objective(everything, self.problem.losses[-1])
            return refit(self.problem._replace(training=training, held_out=None), run)
        except KeyboardInterrupt:  # outside the steps of the descent
            run.status = "interrupted"
            return run

    def _check_not_diverged(self, run):
        if run.status == "diverged":
            estimator = self.estimator
            raise ValueError(
                f"Gradient descent diverged at iteration {run.recorder.iteration} with "
                f"step={estimator.step!r}, learning_rate={estimator.learning_rate}; lower "
                "learning_rate or use step='adaptive'."
            )
