"""Matrix completion of least nuclear norm, a convex problem: the only module that imports cvxpy."""

import warnings
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from numbers import Integral, Real
from typing import Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Interval

from sktf._baselines.sparse_als import distinct_cells
from sktf._cells.clipping import check_clip
from sktf._cells.frame import fit_frame
from sktf._cells.identifiability import warn_of_cells
from sktf._cells.record import current_record, note_cells, warn
from sktf._cells.unfolding import matrix_groups
from sktf._cells.validation import check_held_out
from sktf._docs import documented
from sktf._models.base import BaseCompletion
from sktf._models.restoring import restoring_features
from sktf._models.sklearn_types import checks_parameters
from sktf._objective.components import entropy_rank, sum_of_products

# What SCS returns when it has caught a Ctrl-C, which Python then never sees.
_CAUGHT_INTERRUPT = -5
# Most rows plus columns. The solver decomposes a square matrix of this order a few thousand times,
# at 1000 in half a second each.
_MAX_ORDER = 1000


@documented()
@dataclass(eq=False, repr=False)
class NuclearNormCompletion(BaseCompletion):
    """Matrix completion of least nuclear norm: the convex baseline.

    Minimizes the sum of the singular values of the matrix such that
    ``|W_ij - y_ij| <= epsilon * RMS(y)`` at the observed cells. Tensors of any order are unfolded
    by ``row_modes``. Needs cvxpy, without which ``fit`` raises an ImportError:
    ``pip install "sktf[nuclear]"``.

    Parameters
    ----------
    row_modes : tuple of int, default=(0,)
        The modes that index rows; the others index columns.
    {shape ... encode}
    epsilon : float, default=1e-3
        Largest deviation from an observed value, relative to the RMS of them all, as in [1]_.
    max_iter : int, default=5000
        Largest number of iterations of the solver, SCS.
    tol : float, default=1e-5
        Bound of the residuals and the duality gap of the solver, absolute plus relative.
    {handle_unknown ... rank_tol}

    Attributes
    ----------
    singular_values_ : ndarray of shape (R,)
        Singular values of the completed matrix in the units of y, without those that are zero to
        the accuracy of the solver.
    nuclear_norm_ : float
        Their sum.
    effective_rank_ : float
        Exponential of the entropy of the normalized singular values.
    {rank_ ... categories_}
    n_iter_ : int
        Iterations of the solver.
    loss_ : float
        Mean squared error on the observed cells, on the scaled data.
    converged_ : bool
        Whether the solver met ``tol``.

    Notes
    -----
    Several rows of one cell count as one, their mean weighted by ``sample_weight``; beyond that,
    and beyond zero for absent, weights have no meaning in a problem with constraints. Nothing is
    chosen on held-out cells: ``fit`` checks ``X_val`` and ``y_val`` but does not use them. It
    raises a ValueError when more than 1000 rows and columns are observed, which take the solver
    too long.

    References
    ----------
    .. [1] S. Arora, N. Cohen, W. Hu and Y. Luo, "Implicit regularization in deep matrix
       factorization", NeurIPS 2019, arXiv:1905.13655.

    Examples
    --------
    >>> from sktf import NuclearNormCompletion, datasets
    >>> matrix, _ = datasets.make_low_rank((15, 15), 1, random_state=0)
    >>> X, y = datasets.sample_entries(matrix, 0.6, random_state=0)
    >>> NuclearNormCompletion().fit(X, y).rank_
    1
    """

    __module__ = "sktf"

    row_modes: Sequence[int] = (0,)
    _: KW_ONLY
    shape: Sequence[int] | None = None
    encode: bool = False
    epsilon: float = 1e-3
    max_iter: int = 5000
    tol: float = 1e-5
    handle_unknown: str = "auto"
    clip: str | Sequence[float] | None = None
    rank_tol: float = 0.1

    _parameter_constraints = {
        "row_modes": ["array-like"],
        "shape": ["array-like", None],
        "encode": BaseCompletion._parameter_constraints["encode"],
        "epsilon": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "handle_unknown": BaseCompletion._parameter_constraints["handle_unknown"],
        "clip": BaseCompletion._parameter_constraints["clip"],
        "rank_tol": BaseCompletion._parameter_constraints["rank_tol"],
    }

    def _mode_groups(self, order):
        return matrix_groups(self.row_modes, order)

    @checks_parameters()
    def fit(self, X, y=None, sample_weight=None, *, X_val=None, y_val=None) -> Self:
        with restoring_features(self):
            observations = self._read(X, y, sample_weight)
            note_cells(observations)
            observations = distinct_cells(observations)
            check_held_out(self, X_val, y_val, observations.shape)
            observations = observations._replace(weights=np.ones(len(observations.values)))
            groups = self._mode_groups(len(observations.shape))
            frame = fit_frame(observations, groups, offset=None, scale=True)
            cells = frame.apply(observations)
            warn_of_cells(observations, frame, 3)
            check_clip(self.clip)
            matrix, n_iter, converged = self._solve(cells)
            self._set_fitted(frame, cells, matrix, n_iter, converged, observations.bounds())
            return self

    def _components(self, factors, frame, counts):
        attributes = super()._components(factors, frame, counts)
        values = attributes["component_norms_"]
        return attributes | {
            "singular_values_": values,
            "nuclear_norm_": float(values.sum()),
            "effective_rank_": entropy_rank(values),
        }

    def _solve(self, cells):
        """Return the minimizer over the rows and columns that were observed."""
        if sum(cells.shape) > _MAX_ORDER:
            raise ValueError(
                f"The observed part of the matrix has shape {cells.shape}; the convex solver "
                f"takes at most {_MAX_ORDER} rows plus columns. Choose other row_modes, or use "
                "DeepMatrixCompletion."
            )
        settings = self.epsilon, self.tol, self.max_iter
        return least_nuclear_norm(cells.shape, *cells.coords.T, cells.values, *settings)

    def _set_fitted(self, frame, cells, matrix, n_iter, converged, seen):
        """Set all fitted attributes at once, then warn if the solver did not converge."""
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        # The solver leaves noise of the size of tol in singular values that should be zero.
        kept = values > 10 * self.tol * values.max(initial=0.0)
        kept[0] = True
        roots = np.sqrt(values[kept])
        factors = [side[:, kept] * roots for side in (left, right.T)]
        loss = float(np.mean((sum_of_products(factors, cells.coords) - cells.values) ** 2))
        factors = frame.factors(factors)
        attributes = self._components(factors, frame, cells.row_counts(frame.sizes))
        ended = {"n_iter_": n_iter, "loss_": loss, "converged_": converged}
        error = frame.offset.scale * np.sqrt(loss)
        vars(self).update(attributes, **ended, _range=seen, _error=error, _record=current_record())
        if not converged:
            warn(
                f"The solver did not converge in max_iter={self.max_iter} iterations; increase "
                "max_iter or tol.",
                ConvergenceWarning,
                4,
            )


def least_nuclear_norm(sizes, rows, columns, values, epsilon, tol, max_iter):
    """Return the matrix of least nuclear norm, the iterations, and whether SCS met ``tol``."""
    try:
        import cvxpy
    except ImportError as error:
        raise ImportError(
            'NuclearNormCompletion needs cvxpy with SCS: pip install "sktf[nuclear]".'
        ) from error
    matrix = cvxpy.Variable(sizes)
    near = cvxpy.abs(matrix[rows, columns] - values) <= epsilon
    problem = cvxpy.Problem(cvxpy.Minimize(cvxpy.normNuc(matrix)), [near])
    with warnings.catch_warnings():
        # The status says the same, and the estimator warns.
        warnings.filterwarnings("ignore", "Solution may be inaccurate", UserWarning)
        data, chain, inverse = problem.get_problem_data(cvxpy.SCS)
        settings = {"eps_abs": tol, "eps_rel": tol, "max_iters": max_iter}
        solution = chain.solve_via_data(problem, data, solver_opts=settings)
        if solution["info"]["status_val"] == _CAUGHT_INTERRUPT:
            raise KeyboardInterrupt
        problem.unpack_results(solution, chain, inverse)
    if matrix.value is None:
        raise ValueError(f"SCS found no matrix: {problem.status}; increase max_iter or epsilon.")
    return matrix.value, problem.solver_stats.num_iters, problem.status == cvxpy.OPTIMAL
