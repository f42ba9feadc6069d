"""The spine of the models fitted by gradient descent: ``fit`` and what it is made of."""

import warnings
from abc import abstractmethod
from contextlib import nullcontext
from itertools import cycle, islice
from numbers import Integral, Real

import numpy as np
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from ._base import BaseCompletion
from ._callbacks import CallbackSupportMixin
from ._frame import cell_numbers, fit_frame
from ._losses import LOSSES
from ._objective import check_device, make_objective
from ._rank import component_norms, descending, product_singular_values
from ._schedule import Problem, Run, Start, best_run, refit
from ._steps import STEPS, make_step
from ._threads import one_blas_thread
from ._trace import Recorder
from ._validation import check_held_out, check_observations

# early_stopping="auto" holds cells out from this many distinct observed cells on.
_ENOUGH_TO_HOLD_OUT = 100
# The kinds of start that init="auto" goes through in turn, and how many starts it makes.
_KINDS = ("zero_mean", "positive", "zero_mean")
_N_AUTO_STARTS = 12
# From this many parameters on, matrix products gain from threads.
_MANY_PARAMETERS = 2**20
# Largest number of parameters; one copy of them takes 4 GiB in float64.
_MAX_PARAMETERS = 2**29


class GradientDescentCompletion(CallbackSupportMixin, BaseCompletion):
    """A completion estimator whose parameters are found by gradient descent."""

    _parameter_constraints: dict = {
        **BaseCompletion._parameter_constraints,
        "init": [StrOptions({"auto", "gaussian", "balanced"})],
        "init_scale": [Interval(Real, 0, None, closed="neither"), None],
        "init_mean": [Interval(Real, None, None, closed="neither"), None],
        "n_init": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "loss": [StrOptions({"auto", *LOSSES})],
        "huber_delta": [Interval(Real, 0, None, closed="neither")],
        "step": [StrOptions(set(STEPS))],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "early_stopping": ["boolean", StrOptions({"auto"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "refit": ["boolean"],
        "record_every": [Interval(Integral, 1, None, closed="left"), None],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "device": [str],
        "dtype": [StrOptions({"float32", "float64"})],
    }

    @abstractmethod
    def _factorization(self, sizes, n_cells):
        """Return the factorization of a tensor of these sizes, seen at ``n_cells`` cells."""

    @abstractmethod
    def _default_start(self, kind, order):
        """Return the ``Start`` of kind "zero_mean" or "positive" for data of RMS 1."""

    def _measures(self, factors):
        """Return what the trace holds of the factors (data units) at one record."""
        if len(factors) == 2:  # of a matrix, only the singular triplets are unique
            return {"component_norms": product_singular_values(*factors)}
        return {"component_norms": component_norms(factors)}

    def _model_attributes(self, factorization, theta):
        """Return the fitted attributes that only this model has."""
        return {}

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None):
        """Fit the model to the observed cells.

        Parameters
        ----------
        X : array-like of shape (n_observed, n_modes)
            Whole-number indices; a row names one cell. Cells absent from X are missing.
        y : array-like of shape (n_observed,)
            Their values. A cell may occur in several rows.
        sample_weight : array-like of shape (n_observed,), default=None
            Weights of the rows; a row of weight zero counts as absent.
        X_val, y_val : array-like, default=None
            Held-out cells to stop on, in place of a share of X.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            When an index is negative, fractional or outside ``shape``, when y is not finite,
            when the device is absent, or when the descent diverges.
        """
        check_device(self.device)
        observations = check_observations(self, X, y, sample_weight, self.shape)
        given = self._check_given(X_val, y_val, observations.shape)
        rng = check_random_state(self.random_state)
        frame = self._frame(observations)
        cells = frame.apply(observations)
        given = self._apply_given(frame, given)
        training, held_out = self._hold_out(cells, given, rng)
        fitting = _Fitting(self, frame, training, held_out, {"X": X, "y": y})
        with fitting.threads():
            run = self._descend(fitting, rng)
            if self.refit and given is None and held_out is not None and run.can_go_on:
                run = fitting.refit(cells, run)
        self._check_not_diverged(run)
        self._set_fitted(fitting, run)
        return self

    def _check_not_diverged(self, run):
        if run.status == "diverged":
            raise ValueError(
                f"Gradient descent diverged at iteration {run.recorder.iteration} with "
                f"step={self.step!r}, learning_rate={self.learning_rate}; lower learning_rate "
                "or use step='adaptive'."
            )

    def _check_given(self, X_val, y_val, shape):
        given = check_held_out(self, X_val, y_val, shape)
        if given is not None and not self.early_stopping:
            raise ValueError("X_val and y_val are held out to stop on: set early_stopping=True.")
        return given

    def _apply_given(self, frame, given):
        held_out = given and frame.apply(given)
        if held_out is not None and not len(held_out.values):
            raise ValueError("No cell of X_val lies on a row and a column that X observes.")
        return held_out

    def _frame(self, observations):
        """Fit offset and scale, or keep those of the fit to go on from."""
        groups = self._mode_groups(len(observations.shape))
        frame = fit_frame(observations, groups, self.offset, self.scale)
        if not self._goes_on():
            return frame
        if frame.shape != self.shape_:
            raise ValueError(
                f"warm_start=True goes on from a fit of shape {self.shape_}, but the data have "
                f"shape {frame.shape}; give the parameter shape, or set warm_start=False."
            )
        return frame._replace(offset=self._offset())

    def _goes_on(self):
        # A fit that had nothing left to descend on has no scale to keep.
        return self.warm_start and hasattr(self, "_theta") and self.scale_ > 0

    def _hold_out(self, cells, given, rng):
        """Split off held-out cells: those given, a random share, or None."""
        if given is not None or not self.early_stopping:
            return cells, given
        numbers = cell_numbers(cells)
        n_cells = int(numbers.max()) + 1
        if self.early_stopping == "auto" and n_cells < _ENOUGH_TO_HOLD_OUT:
            return cells, None
        n_held_out = int(np.ceil(self.validation_fraction * n_cells))
        if n_held_out >= n_cells:
            raise ValueError(
                f"early_stopping=True with validation_fraction={self.validation_fraction} leaves "
                f"no cell to train on, of {n_cells} observed; set early_stopping=False."
            )
        out = np.isin(numbers, rng.permutation(n_cells)[:n_held_out])
        return cells.take(~out), cells.take(out)

    def _starts(self, order, held_out):
        """Return (number of the kind, ``Start``) for each restart."""
        n_init = self.n_init
        if n_init == "auto":
            n_init = _N_AUTO_STARTS if self.init == "auto" and held_out is not None else 1
        kinds = _KINDS if self.init == "auto" else ("zero_mean",)
        chosen = Start(self.init, self.init_scale, self.init_mean)
        given = {k: v for k, v in chosen._asdict().items() if v not in (None, "auto")}
        return [
            (int(kind == "positive"), self._default_start(kind, order)._replace(**given))
            for kind in islice(cycle(kinds), n_init)
        ]

    def _losses(self):
        names = {"auto": ("huber", "squared")}.get(self.loss, (self.loss,))
        return tuple(LOSSES[name](self.huber_delta) for name in names)

    def _descend(self, fitting, rng):
        """Run every start through the schedule and return the best run."""
        fitting.begin()
        if self._goes_on():
            runs = [fitting.run(0, fitting.check_theta(self._theta))]
        else:
            starts = self._starts(len(fitting.frame.sizes), fitting.problem.held_out)
            runs = [
                fitting.run(kind, fitting.factorization.start(rng, *start))
                for kind, start in starts
            ]
        return best_run(fitting.problem, runs)

    def _set_fitted(self, fitting, run):
        """Set all fitted attributes at once, then warn about how the descent ended."""
        theta = fitting.problem.training.to_numpy(run.theta)
        attributes = fitting.attributes(theta)
        trace = run.recorder.trace()
        if len(fitting.frame.sizes) != 2:
            order = descending(fitting.factorization.forward(theta)[0])
            trace["component_norms"] = trace["component_norms"][:, order]
        attributes.update(
            trace_=trace,
            loss_curve_=trace["loss"],
            loss_=run.loss,
            n_iter_=max(1, run.recorder.iteration),
            converged_=run.status in ("converged", "held_out"),
            _theta=theta,
            _n_cells=fitting.n_cells,
        )
        vars(self).update(attributes)
        fitting.end(attributes)
        self._warn(run)

    def _warn(self, run):
        if run.status == "interrupted":
            warnings.warn("Interrupted: the best state so far is kept.", ConvergenceWarning, 5)
        elif run.status == "max_iter":
            moved = run.loss < 0.999 * run.first_loss
            warnings.warn(
                f"The descent did not converge in max_iter={self.max_iter} iterations; "
                + ("increase max_iter or tol." if moved else _NOT_MOVED),
                ConvergenceWarning,
                5,  # the caller of fit
            )


_NOT_MOVED = (
    "the loss has hardly moved from its start, so increase init_scale or max_iter (deep models "
    "leave a small start late)."
)


class _Fitting:
    """One call of fit: the estimator's parameters bound to its data and factorization."""

    def __init__(self, estimator, frame, training, held_out, data):
        self.estimator, self.frame, self.data = estimator, frame, data
        goes_on = estimator._goes_on()
        self.n_cells = estimator._n_cells if goes_on else int(cell_numbers(training).max()) + 1
        self.factorization = estimator._factorization(frame.sizes, self.n_cells)
        if self.factorization.n_parameters > _MAX_PARAMETERS:
            mode = int(np.argmax(frame.sizes))
            raise ValueError(
                f"The model would have {self.factorization.n_parameters:.2g} parameters for "
                f"sizes {frame.sizes}; lower n_components, hidden or depth, or encode mode "
                f"{mode} of X if its indices have gaps."
            )
        losses = estimator._losses()
        self.problem = Problem(
            training=self._objective(training, losses[0]),
            held_out=None if held_out is None else self._objective(held_out, losses[0]),
            losses=losses,
            step=make_step(estimator.step, estimator.learning_rate),
            max_iter=estimator.max_iter,
            tol=estimator.tol,
            patience=estimator.n_iter_no_change,
        )

    def _objective(self, cells, loss):
        estimator = self.estimator
        return make_objective(
            self.factorization, cells, loss, device=estimator.device, dtype=estimator.dtype
        )

    def threads(self):
        """Return a context in which products of small matrices stay on one thread."""
        small = self.factorization.n_parameters < _MANY_PARAMETERS
        return one_blas_thread() if small else nullcontext()

    def _factors(self, theta):
        return self.frame.factors(self.factorization.forward(theta)[0])

    def check_theta(self, theta):
        """Return theta, the start of a warm start, if it fits the factorization."""
        if theta.size != self.factorization.n_parameters:
            raise ValueError(
                "warm_start=True: the model now has another size than the one fitted before; "
                "keep n_components, depth and hidden, or set warm_start=False."
            )
        return theta

    def attributes(self, theta):
        """Return the fitted attributes that follow from theta."""
        factors, frame = self._factors(theta), self.frame
        attributes = self.estimator._components(factors, frame.shape, frame.stored, frame.offset)
        return attributes | self.estimator._model_attributes(self.factorization, theta)

    def begin(self):
        """Tell the callbacks that the fit begins."""
        self.root = self.estimator._init_callback_context(max_subtasks=None)
        self.root.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def end(self, attributes):
        """Tell the callbacks that the fit has ended with these attributes."""
        self.root.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=attributes, **self.data
        )

    def run(self, kind, theta):
        """Return a run that starts at theta and reports to the callbacks."""
        estimator, objective = self.estimator, self.problem.training

        def measure(theta):
            return estimator._measures(self._factors(objective.to_numpy(theta)))

        def notify(iteration, loss, theta):
            if estimator.verbose:
                print(f"Iteration {iteration}, loss = {loss:.8f}")
            task = self.root.subcontext(task_name="record")
            task.call_on_fit_task_begin(estimator=estimator, **self.data)
            return task.call_on_fit_task_end(
                estimator=estimator,
                reconstruction_attributes=lambda: self.attributes(objective.to_numpy(theta)),
                **self.data,
            )

        recorder = Recorder(measure, estimator.record_every, notify)
        return Run(kind, objective.from_numpy(theta), recorder)

    def refit(self, cells, run):
        """Descend on all cells, from where the run is, to the training loss it had."""
        everything = self._objective(cells, self.problem.losses[-1])
        return refit(self.problem._replace(training=everything, held_out=None), run)
