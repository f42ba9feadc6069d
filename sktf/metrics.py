"""Complexity and error measures of matrices and tensors: numpy arrays in, plain numbers out."""

from bisect import bisect_left
from math import isfinite, prod, sqrt

import numpy as np
from sklearn.utils import check_random_state

from sktf._baselines.tensorly import masked_cp_als
from sktf._cells.validation import finite_array
from sktf._objective.components import component_norms as norms_of_components
from sktf._objective.components import entropy_rank
from sktf.datasets.low_rank import dense_from_factors

__all__ = [
    "als_tensor_rank", "component_norms", "effective_rank", "normalized_rmse", "nuclear_norm",
    "relative_error", "schatten_norm", "spectrum_effective_rank", "unfolding",
    "unfolding_effective_ranks",
]  # fmt: skip


def __dir__():
    return __all__


def effective_rank(matrix):
    r"""Return the effective rank, the exponential of the entropy of the singular values.

    Parameters
    ----------
    matrix : array-like of shape (n_rows, n_columns)

    Returns
    -------
    float
        Between 1 and the rank, whatever the scale; 0.0 for a matrix of zeros.

    Notes
    -----
    .. math:: \operatorname{erank}(A) = \exp\Bigl(-\sum_i p_i \ln p_i\Bigr),
        \qquad p_i = \sigma_i / \sum_j \sigma_j .

    References
    ----------
    .. [1] O. Roy, M. Vetterli, "The effective rank: a measure of effective dimensionality",
       EUSIPCO 2007.

    Examples
    --------
    >>> from sktf.metrics import effective_rank
    >>> print(f"{effective_rank([[2.0, 0.0], [0.0, -2.0]]):.2f}")
    2.00
    """
    return entropy_rank(_singular_values(matrix))


def spectrum_effective_rank(values):
    """Return the `effective_rank` of matrices whose singular values are known.

    Parameters
    ----------
    values : array-like of shape (..., n_values)
        Singular values along the last axis, as in ``trace_["singular_values"]``.

    Returns
    -------
    float or ndarray of shape (...)
        One effective rank for each spectrum.

    Examples
    --------
    >>> from sktf.metrics import spectrum_effective_rank
    >>> spectrum_effective_rank([[2.0, 2.0], [1.0, 0.0]]).round(2)
    array([2., 1.])
    """
    values = finite_array(values, "values")
    if values.ndim == 0 or (values < 0).any():
        raise ValueError("values is a number or has negative ones; pass arrays of singular values.")
    return np.apply_along_axis(entropy_rank, -1, values)[()]


def nuclear_norm(matrix):
    """Return the sum of the singular values, the `schatten_norm` of order 1.

    Parameters
    ----------
    matrix : array-like of shape (n_rows, n_columns)

    Returns
    -------
    float
        The nuclear norm.

    Examples
    --------
    >>> from sktf.metrics import nuclear_norm
    >>> print(f"{nuclear_norm([[3.0, 0.0], [0.0, -4.0]]):.2f}")
    7.00
    """
    return schatten_norm(matrix, 1)


def schatten_norm(matrix, p):
    r"""Return the Schatten norm of order p, a quasi-norm when p < 1.

    Parameters
    ----------
    matrix : array-like of shape (n_rows, n_columns)
    p : float
        Order, positive. 2 is the Frobenius norm, infinity the spectral norm.

    Returns
    -------
    float
        :math:`\bigl(\sum_i \sigma_i^p\bigr)^{1/p}`. Some papers log the sum without the root.

    Examples
    --------
    >>> from sktf.metrics import schatten_norm
    >>> print(f"{schatten_norm([[1.0, 0.0], [0.0, 4.0]], 0.5):.2f}")
    9.00
    """
    if not p > 0:
        raise ValueError(f"p is {p!r}; the order of a Schatten norm is a positive number.")
    sigma = _singular_values(matrix)
    # Dividing by the largest keeps the powers within range for any p.
    largest = sigma.max()
    return float(largest * np.linalg.norm(sigma / largest, ord=p)) if largest > 0 else 0.0


def unfolding(tensor, mode):
    """Return the matrix whose rows are the slices of a tensor along one mode.

    Parameters
    ----------
    tensor : array-like of shape (n_1, ..., n_N)
    mode : int
        The mode that becomes the rows; the others keep their order.

    Returns
    -------
    ndarray of shape (n_mode, product of the other sizes)
        A view where numpy can give one.

    Examples
    --------
    >>> import numpy as np
    >>> from sktf.metrics import unfolding
    >>> unfolding(np.zeros((2, 3, 4)), 1).shape
    (3, 8)
    """
    tensor = _tensor(tensor)
    if not -tensor.ndim <= mode < tensor.ndim:
        raise ValueError(f"mode is {mode}, but the tensor has modes 0 to {tensor.ndim - 1}.")
    return np.moveaxis(tensor, mode, 0).reshape(tensor.shape[mode], -1)


def unfolding_effective_ranks(tensor):
    """Return the effective rank of each unfolding of a tensor.

    Parameters
    ----------
    tensor : array-like of shape (n_1, ..., n_N)

    Returns
    -------
    ndarray of shape (N,)
        One for each mode; all equal for a matrix.

    Examples
    --------
    >>> import numpy as np
    >>> from sktf.metrics import unfolding_effective_ranks
    >>> unfolding_effective_ranks(np.ones((2, 3, 4))).round(6)
    array([1., 1., 1.])
    """
    return np.array([effective_rank(unfolding(tensor, m)) for m in range(np.ndim(tensor))])


def relative_error(estimate, truth, *, where=None):
    r"""Return the Frobenius error relative to the truth.

    Parameters
    ----------
    estimate, truth : array-like
        Values of one shape; NaN is allowed where the mask is False.
    where : array-like of bool, default=None
        True at the cells that count, observed or held-out ones for example. None: all.

    Returns
    -------
    float
        :math:`\lVert \hat T - T \rVert_F / \lVert T \rVert_F`: 1 for an estimate of zeros.

    Examples
    --------
    >>> from sktf.metrics import relative_error
    >>> relative_error([[3.0, 0.0]], [[3.0, 4.0]])
    0.8
    >>> relative_error([[3.0, 0.0]], [[3.0, 4.0]], where=[[True, False]])
    0.0
    """
    estimate, truth = np.asarray(estimate), np.asarray(truth)
    where = np.ones(truth.shape, dtype=bool) if where is None else np.asarray(where)
    if where.dtype != bool:
        raise ValueError(f"where has dtype {where.dtype}; pass booleans, True at cells to compare.")
    _check_same_shape(truth=truth, estimate=estimate, where=where)
    truth = finite_array(truth[where], "truth", "leave missing cells out: where=~np.isnan(truth)")
    estimate = finite_array(estimate[where], "estimate", "leave such cells out with where")
    if not truth.any():
        raise ValueError("truth is zero at all compared cells: a relative error is not defined.")
    return float(np.linalg.norm(estimate - truth) / np.linalg.norm(truth))


def normalized_rmse(y_true, y_pred, *, sample_weight=None):
    r"""Return the root mean squared error over the standard deviation of the truth.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
    sample_weight : array-like of shape (n_samples,), default=None
        Non-negative weights of the squared errors and of the standard deviation.

    Returns
    -------
    float
        0 for perfect predictions, 1 for predicting the mean of the truth.

    Notes
    -----
    .. math:: \sqrt{\sum_i w_i (\hat y_i - y_i)^2 / \sum_i w_i (y_i - \bar y)^2}
        = \sqrt{1 - R^2} .

    Examples
    --------
    >>> from sktf.metrics import normalized_rmse
    >>> normalized_rmse([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
    1.0
    """
    y_true, y_pred = finite_array(y_true, "y_true"), finite_array(y_pred, "y_pred")
    weights = np.ones(y_true.shape) if sample_weight is None else sample_weight
    weights = finite_array(weights, "sample_weight")
    _check_same_shape(y_true=y_true, y_pred=y_pred, sample_weight=weights)
    if (weights < 0).any():
        raise ValueError("sample_weight has negative values; weights must be zero or more.")
    counted = y_true[weights > 0]
    if counted.size == 0 or np.ptp(counted) == 0:
        raise ValueError(
            f"y_true has {np.unique(counted).size} distinct value(s) of positive weight, so no "
            "spread to divide by; pass more samples, or use an error that is not normalized."
        )
    spread = np.average((y_true - np.average(y_true, weights=weights)) ** 2, weights=weights)
    return float(np.sqrt(np.average((y_pred - y_true) ** 2, weights=weights) / spread))


def component_norms(factors):
    r"""Return the norm of each rank-one component of a CP decomposition.

    Parameters
    ----------
    factors : sequence of N array-likes of shape (n_m, R)

    Returns
    -------
    ndarray of shape (R,)
        :math:`\prod_n \lVert w_r^n \rVert`, in the order of the columns.

    Examples
    --------
    >>> from sktf.metrics import component_norms
    >>> component_norms([[[3.0, 1.0], [4.0, 0.0]], [[2.0, 5.0]]])
    array([10.,  5.])
    """
    factors = [finite_array(factor, "factors") for factor in factors]
    shapes = [factor.shape for factor in factors]
    if any(len(shape) != 2 for shape in shapes) or len({shape[1] for shape in shapes}) != 1:
        raise ValueError(
            f"factors has shapes {shapes}; pass matrices with one column for each component."
        )
    return norms_of_components(factors)


def als_tensor_rank(tensor, *, tol=1e-3, mse_tol=None, n_init=5, n_sweeps=1000, random_state=None):
    r"""Return the smallest rank at which CP-ALS fits a complete tensor within a tolerance.

    Parameters
    ----------
    tensor : array-like of shape (n_1, ..., n_N)
        No cell missing.
    tol : float, default=1e-3
        Largest relative error :math:`\lVert \hat T - T \rVert / \lVert T \rVert` of a fit; below
        about 1e-7 rounding decides.
    mse_tol : float, default=None
        Largest mean squared error of a fit, in place of `tol`. Papers use 1e-6, which depends on
        the scale: on tensors of norm 1 it is a relative error of 2.3 % for 8 x 8 x 8 and of 6.4 %
        for 8 x 8 x 8 x 8.
    n_init : int, default=5
        Number of random starts at each rank; the first that fits is the last.
    n_sweeps : int, default=1000
        Maximum number of sweeps of one start.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    int
        The rank; 0 when the tensor is zero within the tolerance. It is too high where ALS misses
        the fit, mostly for a rank above the sizes of the modes: rank 6 on 5 x 5 x 5 was reached
        from two starts of ten.

    Notes
    -----
    By Eckart and Young the rank is no less than the number of singular values that any unfolding
    needs for the tolerance (for a matrix it is that number), and the product of all sizes but the
    largest suffices. From the lower bound the search doubles its stride until a rank fits, then
    bisects, trusting that ranks above one that fits are fitted too: likely, not certain.

    Examples
    --------
    >>> from sktf.datasets import make_low_rank
    >>> from sktf.metrics import als_tensor_rank
    >>> tensor, factors = make_low_rank((5, 6, 7), rank=3, random_state=0)
    >>> als_tensor_rank(tensor, random_state=0)
    3
    """
    tensor = _tensor(tensor)
    norm = np.linalg.norm(tensor)
    target = _relative_target(tol, mse_tol, norm, tensor.size)
    if norm == 0 or target >= 1:
        return 0
    low = max(_tail_rank(unfolding(tensor, m), target) for m in range(tensor.ndim))
    high = low if tensor.ndim == 2 else prod(tensor.shape) // max(tensor.shape)
    rng = check_random_state(random_state)
    settings = {"n_sweeps": n_sweeps, "tol": 1e-4 * target, "target": target, "init": "gaussian"}

    def error(rank):
        factors, *_ = masked_cp_als(tensor, None, rank, rng_seed=rng, **settings)
        return relative_error(dense_from_factors(factors), tensor)

    return _first_fitting(lambda rank: any(error(rank) <= target for _ in range(n_init)), low, high)


def _first_fitting(fits, low, high):
    """Return the smallest rank that fits, taking it for granted that higher ones do, and `high`."""
    rank, stride = low, 1
    while rank < high and not fits(rank):
        low, rank, stride = rank + 1, min(rank + stride, high), 2 * stride
    return low + bisect_left(range(low, rank), True, key=fits)


def _relative_target(tol, mse_tol, norm, size):
    """Return the largest relative error that counts as a fit."""
    name, value = ("tol", tol) if mse_tol is None else ("mse_tol", mse_tol)
    if not (value > 0 and isfinite(value)):
        raise ValueError(f"{name} is {value!r}; pass a positive number.")
    return tol if mse_tol is None or norm == 0 else sqrt(mse_tol * size) / norm


def _tail_rank(matrix, target):
    """Return how many singular values a matrix needs for a relative error of `target`."""
    tails = np.sqrt(np.cumsum(_singular_values(matrix)[::-1] ** 2))
    return int(np.sum(tails > target * tails[-1]))


def _singular_values(matrix):
    """Return the singular values of a finite matrix, largest first."""
    matrix = finite_array(matrix, "matrix")
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(
            f"matrix has shape {matrix.shape}; pass rows and columns, at least one of each. "
            "`unfolding` turns a tensor into a matrix."
        )
    return np.linalg.svd(matrix, compute_uv=False)


def _tensor(tensor):
    """Return a finite, non-empty tensor of order two or more."""
    tensor = finite_array(tensor, "tensor")
    if tensor.ndim < 2 or tensor.size == 0:
        raise ValueError(f"tensor has shape {tensor.shape}; pass two modes or more, none empty.")
    return tensor


def _check_same_shape(**arrays):
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"shapes differ: {shapes}; pass arrays of one shape.")
