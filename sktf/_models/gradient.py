"""The estimators fitted by gradient descent: ``fit``, ``fit_measurements`` and what they leave."""

from abc import abstractmethod
from typing import Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from sktf._cells.clipping import check_clip
from sktf._cells.frame import fit_frame
from sktf._cells.identifiability import warn_empty_fibers, warn_of_cells
from sktf._cells.offset import Offset
from sktf._cells.record import current_record, note, note_cells, recorded, warn
from sktf._cells.validation import check_held_out
from sktf._descent.recording import to_frame
from sktf._docs import documented
from sktf._models.borrowed import best_start, make_fitting
from sktf._models.checkpoint import Checkpoint
from sktf._models.files import FilesCompletion
from sktf._models.fitting import Fitting
from sktf._models.holding_out import hold_out
from sktf._models.honesty import warn_cap_binds, warn_nothing_learned
from sktf._models.links import Linked
from sktf._models.offset_choice import best_offset
from sktf._models.ranks import fit_on_ranks, refuse_ranks
from sktf._models.restoring import restoring_features
from sktf._models.rows import drawn_to_mean
from sktf._models.sklearn_types import CallbackSupportMixin, checks_parameters
from sktf._models.verdict import check_given, held_out_facts
from sktf._objective.components import component_norms, product_singular_values
from sktf._objective.devices import check_device
from sktf._objective.links import LINKS
from sktf._objective.losses import LOSSES
from sktf._objective.measurements import SensingObjective, check_measurements, fit_sensing_frame

_NOT_MOVED = (
    "the loss has hardly moved from its start, so increase init_scale or max_iter (deep models "
    "leave a small start late)."
)


@documented()
class GradientDescentCompletion(CallbackSupportMixin, Linked, FilesCompletion):
    """A completion estimator whose parameters are found by gradient descent."""

    n_iter_: int
    loss_: float
    validation_score_: float | None
    loss_curve_: np.ndarray
    trace_: dict[str, np.ndarray]
    converged_: bool

    # Whether components may grow a few at a time, and so from starts of positive mean.
    _grows, _starts_positive = False, False

    @abstractmethod
    def _factorization(self, sizes, n_cells):
        """Return the factorization of a tensor of these sizes, seen at ``n_cells`` cells."""

    @abstractmethod
    def _default_start(self, kind, order):
        """Return the ``Start`` of a kind for data of RMS 1: "zero_mean", "within" or "positive"."""

    def _most_components(self):
        """Return how many components the user allows, None without a bound."""
        return None

    def _lender(self):
        """Return an estimator whose components, of the same cells, are a start; None without."""
        return None

    def _models_of(self, sizes, factors):
        """Yield factorizations to write components as, of fewer and fewer parameters."""
        raise NotImplementedError

    def _measures(self, factors):
        """Return what every trace holds of the factors (data units) at one record."""
        if self._tells_triplets(factors):
            return {"component_norms": product_singular_values(*factors)}
        return {"component_norms": component_norms(factors)}

    def _model_attributes(self, factorization, theta):
        """Return the fitted attributes that only this model has."""
        return {}

    @checks_parameters()
    def fit(self, X, y=None, sample_weight=None, *, X_val=None, y_val=None) -> Self:
        with restoring_features(self):
            if self.distributed:
                return fit_on_ranks(self, self._fit_cells, X, y, sample_weight, X_val, y_val)
            self._check_parameters()
            observations = self._read(X, y, sample_weight)
            given = check_held_out(self, X_val, y_val, observations.shape)
            return self._fit_cells(observations, given, {"X": X, "y": y})

    def _check_parameters(self):
        """Raise where parameters cannot be used here."""
        check_device(self.device)
        check_clip(self.clip)
        if self.distributed and self.checkpoint is not None:
            raise ValueError(
                f"checkpoint={self.checkpoint!r} is the file of a fit in one process; set "
                "checkpoint=None or distributed=False."
            )

    def _fit_cells(self, observations, given, data):
        """Fit the model to observations, and those held out or None; callbacks get ``data``."""
        read, observations = observations, self._in_blocks(observations, given)
        with Checkpoint(self) as checkpoint:
            self._check_values(observations)
            frame = self._kept_to_read(observations) or self._new_frame(observations)
            if given is not None:
                check_given(given, frame, self.early_stopping)
                self._check_values(given, "y_val")
            rng = checkpoint.begin("X", read, given)
            training, held_out = hold_out(self, observations, given, frame, rng)
            told = {"seen": observations.bounds(), "data": data}
            frame = self._judged(frame, training, held_out)
            fitting = make_fitting(self, frame, training, held_out, told)
            del training  # the refit needs the room
            note_cells(observations)
            warn_of_cells(observations, frame, 4)
            refits = self.refit and held_out is not None and given is None
            fitting, run = self._descend(fitting, rng, observations if refits else None)
            self._set_fitted(fitting, run, 6)
            self._warn_of_fit(fitting, observations, single_cells=given is None)
            return self

    @recorded
    def _fit_read(self, observations, held_out):
        """Fit to observations that are read already, for an average."""
        self._validate_params()
        self.n_features_in_ = len(observations.shape)
        return self._fit_cells(observations, held_out, {})

    def _descend(self, fitting, rng, everything=None):
        """Return the fitting of the best offset and its best run, after a descent on everything."""
        fitting, run = best_start(fitting, rng)
        if fitting.held_out is not None and self._chooses_offset():
            fitting, run = best_offset(fitting, run, rng)
        if run.can_go_on:
            run = fitting.last_fit(run) if everything is None else fitting.refit(everything, run)
        fitting.finish(run)
        return fitting, run

    @checks_parameters()
    def fit_measurements(self, A, y, sample_weight=None) -> Self:
        """Fit the model to linear measurements ``y_j = <A_j, T>`` of the unknown tensor T.

        Observed cells are the special case of arrays with a single one. The loss is the mean
        over the measurements of ``loss(<A_j, T(theta)> - y_j)``.

        Parameters
        ----------
        A : array-like of shape (n_measurements, n_1, ..., n_N)
            The arrays that T is multiplied with, cell by cell, and summed. T and its gradient
            are dense here, so this is for tensors of moderate size.
        y : array-like of shape (n_measurements,)
            The measured sums.
        sample_weight : array-like of shape (n_measurements,), default=None
            Weights of the measurements; one of weight zero counts as absent.

        Returns
        -------
        self : object
            The fitted estimator. ``scale_`` is the RMS of y over the RMS Frobenius norm of
            the ``A_j``, or 1 with ``scale=False``.

        Raises
        ------
        ValueError
            When ``offset`` is "mean" or "additive", ``device`` not "cpu" or ``shape`` that of
            another tensor, when A or y are not finite or A has more than 2**30 entries, or when
            the descent diverges.

        Notes
        -----
        Nothing is held out: the descent ends at ``tol`` or ``max_iter``. From a small
        multiple of the identity and symmetric commuting ``A_j`` that a positive semidefinite
        matrix fits, a product of matrices finds the least nuclear norm [1]_.

        References
        ----------
        .. [1] S. Arora, N. Cohen, W. Hu and Y. Luo, "Implicit regularization in deep matrix
           factorization", NeurIPS 2019, arXiv:1905.13655.

        Examples
        --------
        >>> import numpy as np
        >>> from sktf import DeepMatrixCompletion
        >>> rng = np.random.default_rng(0)
        >>> matrix = np.outer(rng.standard_normal(8), rng.standard_normal(8))
        >>> A = rng.standard_normal((40, 8, 8))
        >>> y = (A * matrix).sum(axis=(1, 2))
        >>> model = DeepMatrixCompletion(depth=3, random_state=0).fit_measurements(A, y)
        >>> model.rank_
        1
        """
        with restoring_features(self), Checkpoint(self) as checkpoint:
            refuse_ranks(self, "fit_measurements")
            measurements = check_measurements(self, A, y, sample_weight)
            note(n_measurements=len(measurements.values))
            groups = self._mode_groups(measurements.arrays.ndim - 1)
            frame = fit_sensing_frame(measurements, groups, self.scale)
            frame = self._kept(frame.shape, lambda kept: kept.sizes == frame.sizes) or frame
            told = {"seen": measurements.bounds(), "data": {}}
            fitting = Fitting(self, frame, measurements, None, **told, make=SensingObjective)
            rng = checkpoint.begin("A", measurements)
            fitting, run = self._descend(fitting, rng)
            return self._set_fitted(fitting, run, 5)

    def trace_frame(self):
        """Return ``trace_`` as a table.

        Returns
        -------
        frame : pandas.DataFrame
            Index ``iteration``, one row per record. An array has one column per entry, named
            ``component_norms_0``, ``component_norms_1`` and so on.

        Raises
        ------
        ImportError
            When pandas is not installed.

        Examples
        --------
        >>> import numpy as np
        >>> from sktf import CPCompletion
        >>> X = np.argwhere(np.ones((4, 4, 4)))
        >>> y = (X + 1.0).prod(axis=1)
        >>> list(CPCompletion(2, random_state=0).fit(X, y).trace_frame())
        ['time', 'loss', 'component_norms_0', 'component_norms_1']
        """
        check_is_fitted(self)
        return to_frame(self.trace_)

    def _new_frame(self, observations):
        """Return the frame fitted to observations."""
        groups = self._mode_groups(len(observations.shape))
        how = {"whole": self._keeps_rows(), "loss": LINKS.get(self.loss)}
        return fit_frame(observations, groups, self.offset, self.scale, **how)

    def _judged(self, frame, training, held_out):
        """Return the frame to race in: held-out cells judge additive terms they were no part of."""
        judged = self.offset == "additive" and held_out is not None and not self._goes_on()
        return frame.with_terms(training, bool(self.scale)) if judged else frame

    def _keeps_rows(self):
        """Whether indices without cells have parameters: as in the papers, and to go on from."""
        return self.warm_start or not self._is_auto()

    def _is_auto(self):
        return isinstance(self.init, str) and self.init == "auto"

    def _chooses_offset(self):
        """Whether held-out cells choose the offset."""
        return self.offset == "auto" and self._draws_to_mean()

    def _draws_to_mean(self):
        """Whether rows that few cells tell of are drawn to the mean row of their mode."""
        return self._is_auto() and not self._goes_on()

    def _drawn(self, factors, counts, strength):
        """Return the factors as the fit leaves them; from a start that is named, as they are."""
        return drawn_to_mean(factors, counts, strength) if self._is_auto() else factors

    def _kept_to_read(self, observations):
        """Return the frame of the fit to go on from, None without, if it has rows for all cells."""
        n_rows = len(observations.values)
        return self._kept(observations.shape, lambda kept: observations.n_read(kept) == n_rows)

    def _kept(self, shape, suffices):
        """Return the frame of the fit to go on from, None without; raise unless it suffices."""
        if not self._goes_on():
            return None
        if shape != self.shape_:
            raise ValueError(
                f"warm_start=True goes on from a fit of shape {self.shape_}, but the data have "
                f"shape {shape}; give the parameter shape, or set warm_start=False."
            )
        kept = self._frame()._replace(offset=Offset(*self._theta_offset))
        if kept.loss is not LINKS.get(self.loss):
            raise ValueError("warm_start=True goes on with the loss of the fit before; keep it.")
        if not suffices(kept):
            raise ValueError(
                "warm_start=True goes on from a fit without rows for some of these indices: keep "
                "row_modes, and set warm_start=True before the first fit, or learn rows for new "
                "indices with extend."
            )
        return kept

    def _known_labels(self):
        return vars(self).get("categories_", ()) if self._goes_on() else ()

    def _goes_on(self):
        # A fit that had nothing left to descend on has no scale to keep.
        return self.warm_start and hasattr(self, "_theta") and self.scale_ > 0

    def _prunes(self, holds_out):
        """Return whether fits are averaged and pruned on held-out cells."""
        if self.prune == "auto":
            prune = self._is_auto() and holds_out
        elif self.prune and not holds_out:
            raise ValueError(
                "prune=True chooses components on held-out cells, of which there are none: set "
                "early_stopping=True in fit, prune='auto' in fit_measurements."
            )
        else:
            prune = self.prune
        return prune and not self._goes_on()

    def _losses(self):
        if self.loss in LINKS:
            return (LINKS[self.loss],)
        names = {"auto": ("huber", "squared")}.get(self.loss, (self.loss,))
        return tuple(LOSSES[name](self.huber_delta) for name in names)

    def _set_fitted(self, fitting, run, stacklevel):
        """Set all fitted attributes at once, then tell how the descent ended."""
        theta, trace = fitting.theta(run), fitting.trace(run)
        attributes = fitting.attributes(theta)
        note(ended=run.status, **held_out_facts(fitting.verdict))
        attributes.update(
            trace_=trace,
            loss_curve_=trace["loss"],
            loss_=run.loss,
            n_iter_=max(1, run.recorder.iteration),
            validation_score_=fitting.verdict and fitting.verdict.score,
            converged_=run.status in ("converged", "held_out"),
            _error=fitting.error(run),
            _link=fitting.frame.loss and fitting.frame.loss.name,
            _theta=theta,
            _theta_offset=tuple(fitting.frame.offset),
            _n_cells=fitting.n_cells,
            _grown=fitting.grown,
            _record=current_record(),
        )
        vars(self).update(attributes)
        fitting.end(attributes)
        if run.status == "interrupted":
            raise KeyboardInterrupt("The model keeps the best state it has reached.")
        self._warn(run, stacklevel)
        return self

    def _warn_of_fit(self, fitting, observations, single_cells):
        """Warn of what the fit cannot be trusted in."""
        if fitting.verdict and single_cells:
            warn_empty_fibers(observations, 5)
        if fitting.binds:
            warn_cap_binds(self._most_components(), 5)
        chosen = self._chooses_offset() and bool(self.offset_terms_)
        if self.converged_ or not fitting.learned:  # else that is the reason
            warn_nothing_learned(fitting.verdict, self.offset_terms_, chosen, 5)
        if self.converged_:
            self._warn_of_predictions(observations, self._error, 6)

    def _warn(self, run, stacklevel):
        if run.status == "max_iter":
            moved = run.loss < 0.999 * run.first_loss
            warn(
                f"The descent did not converge in max_iter={self.max_iter} iterations; "
                + ("increase max_iter or tol." if moved else _NOT_MOVED),
                ConvergenceWarning,
                stacklevel,
            )
