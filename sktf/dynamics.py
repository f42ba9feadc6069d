"""Laws of descent on factorizations as functions of plain arrays: what stays, what grows how fast.

They hold for gradient flow, ``dp/dt = -dl/dp`` for every parameter p, and any differentiable loss
l, of which they see only G, its gradient at the dense matrix or tensor; gradient descent follows
up to an error proportional to its step. CP has ``vectors``, one (n_m, R) array per mode; deep CP
also ``matrices``, one (k, R, n_m, n_m) array per mode, the first matrix next to the vectors. The
``layers`` of a product ``W = W_N ... W_1`` start with ``W_1``. Named in brackets below: Arora,
Cohen, Hu and Luo 2019 (arXiv:1905.13655); Razin and Cohen 2020 (arXiv:2005.06398); Razin, Maman
and Cohen 2021 (arXiv:2102.09972); Hariz et al. 2022 (arXiv:2207.08942); the rest is derived.
"""

from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
from scipy.integrate import solve_ivp
from sklearn.utils import check_random_state

from sktf._deep_cp import DeepCPFactorization
from sktf._deep_matrix import MatrixFactorization
from sktf._factorization import pack
from sktf._rank import component_norms
from sktf.metrics import _finite


class Rates(NamedTuple):
    """Quantities, how fast they move along the flow, and how fast a law says they do.

    Attributes
    ----------
    value : ndarray
        The quantities: one per component or singular value, or a matrix.
    measured : ndarray
        Their time derivatives, by the chain rule from the gradients at all blocks.
    predicted : ndarray
        The right-hand side of the law.
    """

    value: np.ndarray
    measured: np.ndarray
    predicted: np.ndarray

    @property
    def error(self):
        """Largest deviation from the law, relative to the largest predicted rate."""
        deviation = np.abs(self.measured - self.predicted).max()
        return float(deviation / max(np.abs(self.predicted).max(), np.finfo(float).tiny))


def cp_invariants(vectors, matrices=None):
    """Return what the flow conserves of CP or deep CP: ``|a_r|^2 - |b_r|^2`` of any two blocks.

    Parameters
    ----------
    vectors : list of N ndarrays of shape (n_m, R)
        Vectors ``w_r^m``: CP factors, where there are no matrices.
    matrices : list of N ndarrays of shape (k, R, n_m, n_m), default=None
        Matrices of deep CP. Within a mode ``matrix_invariants([w_r, A_1, ..., A_k])`` stay too.

    Returns
    -------
    ndarray of shape (n_pairs, R)
        For the pairs of the N (k + 1) blocks: the vectors, then the matrices mode by mode.

    Examples
    --------
    >>> from sktf.dynamics import cp_invariants
    >>> cp_invariants([[[1.0], [2.0]], [[3.0], [0.0]]])
    array([[-4.]])
    """
    squares = _block_norms(*_check_blocks(vectors, matrices)) ** 2
    return np.array([one - other for one, other in combinations(squares, 2)])


def matrix_invariants(layers):
    """Return what the flow conserves of a product: ``W_{j+1}^T W_{j+1} - W_j W_j^T``.

    Parameters
    ----------
    layers : list of N ndarrays
        ``W_1, ..., W_N``, as in ``DeepMatrixCompletion.layers_``.

    Returns
    -------
    list of N - 1 ndarrays
        One for every two neighbours (Arora et al., 2019).

    Examples
    --------
    >>> from sktf.dynamics import matrix_invariants
    >>> matrix_invariants([[[1.0, 0.0]], [[0.0], [2.0]]])
    [array([[3.]])]
    """
    return [after.T @ after - before @ before.T for before, after in pairwise(_layers(layers))]


def unbalancedness(invariants):
    """Return the size of the largest invariant; 0 is balanced.

    Parameters
    ----------
    invariants : list of ndarray
        `cp_invariants` or `matrix_invariants`.

    Returns
    -------
    float
        Largest absolute difference of squared norms, or largest Frobenius norm of a matrix.

    Examples
    --------
    >>> from sktf.dynamics import matrix_invariants, unbalancedness
    >>> unbalancedness(matrix_invariants([[[1.0, 0.0]], [[0.0], [2.0]]]))
    3.0
    """
    sizes = [np.linalg.norm(q, np.inf if q.ndim == 1 else "fro") for q in invariants]
    return float(max(sizes, default=0.0))


def cp_gradients(vectors, gradient, matrices=None):
    """Return the gradients at the blocks of CP or deep CP, pulled back from the dense tensor.

    Parameters
    ----------
    vectors, matrices
        As for `cp_invariants`.
    gradient : ndarray of shape (n_1, ..., n_N)
        G, the gradient of the loss at the dense tensor.

    Returns
    -------
    list of ndarray
        N gradients at the vectors, then N at the matrices where there are any.

    Examples
    --------
    >>> from sktf.dynamics import cp_gradients
    >>> cp_gradients([[[1.0]], [[2.0]]], [[3.0]])
    [array([[6.]]), array([[3.]])]
    """
    vectors, blocks = _check_blocks(vectors, matrices)
    shape, rank = tuple(map(len, vectors)), vectors[0].shape[1]
    factorization = DeepCPFactorization(shape, rank, len(blocks[0]))
    pulled = _pull_back(factorization, vectors + blocks, gradient)
    return pulled[: len(vectors)] if matrices is None else pulled


def matrix_gradients(layers, gradient):
    """Return the gradients at the layers, ``(W_N...W_{j+1})^T G (W_{j-1}...W_1)^T``.

    Parameters
    ----------
    layers : list of N ndarrays
    gradient : ndarray of shape (n_rows, n_columns)
        G, the gradient of the loss at the product.

    Returns
    -------
    list of N ndarrays
        One for each layer.

    Examples
    --------
    >>> from sktf.dynamics import matrix_gradients
    >>> matrix_gradients([[[2.0]], [[3.0]]], [[1.0]])
    [array([[3.]]), array([[2.]])]
    """
    layers = _layers(layers)
    shape, widths = (len(layers[-1]), layers[0].shape[1]), [len(layer) for layer in layers[:-1]]
    return _pull_back(MatrixFactorization(shape, widths), layers, gradient)


def cp_growth(vectors, gradient, matrices=None):
    """Return how fast components of CP or deep CP grow, and the law for balanced ones.

    Parameters
    ----------
    vectors, gradient, matrices
        As for `cp_gradients`; no component may be zero.

    Returns
    -------
    Rates
        Of the norms S of the components. Where the vectors of a component have equal norms, CP has
        ``dS/dt = N gamma S^(2 - 2/N)``, gamma = <-G, component / S> (Razin et al., 2021). Deep CP
        grows like CP of order N (k + 1) where all blocks have equal norms and the matrices are of
        rank one and aligned.

    Examples
    --------
    >>> from sktf.dynamics import cp_growth
    >>> rates = cp_growth([2 * np.eye(3, 1)] * 3, -np.ones((3, 3, 3)))
    >>> rates.value, rates.predicted, rates.error < 1e-12
    (array([8.]), array([48.]), True)
    """
    vectors, matrices, flow, slopes = _flow(vectors, matrices, gradient)
    order = len(vectors)
    ends = [
        _push([v.T[:, :, None], *m], [dv.T[:, :, None], *dm])
        for v, m, dv, dm in zip(vectors, matrices, flow[:order], flow[order:], strict=True)
    ]
    factors, moving = ([side[:, :, 0].T for side in sides] for sides in zip(*ends, strict=True))
    norms, measured = _product_rate(factors, moving)
    n = order * (1 + len(matrices[0]))
    return Rates(norms, measured, n * slopes * norms ** (1 - 2 / n))


def cp_growth_bounds(factors, gradient, epsilon=None):
    """Return bounds between which the norms of CP components grow, balanced or not.

    Parameters
    ----------
    factors, gradient
        As for `cp_gradients`; no component may be zero.
    epsilon : float, default=None
        e, the `unbalancedness`, which the flow conserves. None: that of `factors`.

    Returns
    -------
    lower, upper : ndarray of shape (R,)
        ``N gamma s^2 / (s^(2/N) + e)`` and ``N gamma (s^(2/N) + e)^(N-1)``, s and gamma as in
        `cp_growth`; the other way round where gamma is negative.

    Examples
    --------
    >>> from sktf.dynamics import cp_growth, cp_growth_bounds
    >>> factors, gradient = [np.ones((2, 1)), 2 * np.ones((2, 1))], -np.ones((2, 2))
    >>> lower, upper = cp_growth_bounds(factors, gradient)
    >>> lower < cp_growth(factors, gradient).measured < upper
    array([ True])
    """
    order, (norms, _, predicted) = len(factors), cp_growth(factors, gradient)
    square = norms ** (2 / order)
    wider = square + (unbalancedness(cp_invariants(factors)) if epsilon is None else epsilon)
    # predicted is N gamma square^(N-1), and norms^2 is square^N.
    bounds = predicted * square / wider, predicted * (wider / square) ** (order - 1)
    return np.minimum(*bounds), np.maximum(*bounds)


def vector_part_growth(vectors, gradient, matrices):
    """Return how fast the vector parts of deep CP components grow, and the law of their depth.

    Parameters
    ----------
    vectors, gradient, matrices
        As for `cp_gradients`; no component may be zero.

    Returns
    -------
    Rates
        Of ``s = prod_m |w_r^m|``. Where all blocks of a component have equal Frobenius norms,
        ``ds/dt = N delta s^(2 - 2/N + k)``, delta = <-G, component> over the product of the norms
        of all its blocks (Hariz et al., 2022). The component itself is at most ``s^(1 + k)``.

    Examples
    --------
    >>> from sktf.dynamics import vector_part_growth
    >>> matrices = [2 * np.ones((1, 1, 1, 1))] * 3
    >>> rates = vector_part_growth([2 * np.ones((1, 1))] * 3, -np.ones((1, 1, 1)), matrices)
    >>> rates.value, rates.predicted, rates.error < 1e-12
    (array([8.]), array([384.]), True)
    """
    vectors, matrices, flow, slopes = _flow(vectors, matrices, gradient)
    order, depth = len(vectors), len(matrices[0])
    part, measured = _product_rate(vectors, flow[:order])
    delta = slopes / _block_norms(vectors, matrices).prod(axis=0)
    return Rates(part, measured, order * delta * part ** (2 - 2 / order + depth))


def matrix_growth(layers, gradient):
    """Return how fast a product of layers moves, and the law for balanced ones.

    Parameters
    ----------
    layers, gradient
        As for `matrix_gradients`.

    Returns
    -------
    Rates
        Of the matrix W. Where the `matrix_invariants` are zero, ``dW/dt`` is
        ``-sum_j [W W^T]^((j-1)/N) G [W^T W]^((N-j)/N)``, j = 1, ..., N (Arora et al., 2019).

    Examples
    --------
    >>> from sktf.dynamics import balanced_layers, matrix_growth
    >>> matrix_growth(balanced_layers((3, 3), 3, 0.5, random_state=0), np.eye(3)).error < 1e-12
    True
    """
    velocities = [-pulled for pulled in matrix_gradients(layers, gradient)]
    (matrix, velocity), depth = _push(_layers(layers), velocities), len(layers)
    left, values, right = np.linalg.svd(matrix)
    rows, columns = (np.pad(values, (0, n - len(values))) ** (2 / depth) for n in matrix.shape)
    weights = sum(np.outer(rows**j, columns ** (depth - 1 - j)) for j in range(depth))
    return Rates(matrix, velocity, -left @ (weights * (left.T @ gradient @ right.T)) @ right)


def singular_value_growth(layers, gradient):
    """Return how fast the singular values of a product grow, and the law for balanced layers.

    Parameters
    ----------
    layers, gradient
        As for `matrix_gradients`.

    Returns
    -------
    Rates
        Of the singular values s, descending. Where the `matrix_invariants` are zero, ``ds/dt`` is
        ``-N s^(2 - 2/N) <G, u v^T>``, u and v the singular vectors (Arora et al., 2019).

    Examples
    --------
    >>> from sktf.dynamics import singular_value_growth
    >>> singular_value_growth([np.diag([2.0, 1.0])] * 3, -np.eye(2)).predicted
    array([48.,  3.])
    """
    matrix, *rates = matrix_growth(layers, gradient)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    return Rates(values, *(np.einsum("ir,ij,rj->r", left, rate, right) for rate in rates))


def escape_time(start, stop, order, gamma=1.0):
    """Return the time in which a size grows by ``ds/dt = N gamma s^(2 - 2/N)``.

    Parameters
    ----------
    start, stop : float or ndarray
        Sizes, ``0 < start <= stop``.
    order : int
        N: the order of CP, the depth of a matrix product (s a singular value), N (k + 1) of deep
        CP with aligned matrices.
    gamma : float or ndarray, default=1.0
        Pull of the loss on the unit component, positive and constant.

    Returns
    -------
    float or ndarray
        ``(start^(2/N - 1) - stop^(2/N - 1)) / (gamma (N - 2))``, for N = 2
        ``log(stop / start) / (2 gamma)``. Balanced blocks of norm a start at ``a^N``: from N = 3
        on leaving zero takes a time proportional to ``a^-(N - 2)``.

    Examples
    --------
    >>> from sktf.dynamics import escape_time
    >>> print(round(escape_time(0.005**4, 0.5, 4) / escape_time(0.01**4, 0.5, 4), 3))
    4.0
    """
    start, stop, gamma = (np.asarray(x, float) for x in (start, stop, gamma))
    if not (np.all(start > 0) and np.all(stop >= start) and np.all(gamma > 0) and order >= 1):
        raise ValueError(
            f"start={start}, stop={stop}, order={order}, gamma={gamma}: pass 0 < start <= stop, "
            "order >= 1 and gamma > 0."
        )
    if order == 2:
        return np.log(stop / start) / (2 * gamma)
    return (start ** (2 / order - 1) - stop ** (2 / order - 1)) / (gamma * (order - 2))


def unobserved_entry_bound(loss, observed=(1.0, 1.0, 0.0)):
    """Return a lower bound of the unobserved entry ``|W_11|`` of a 2 x 2 matrix.

    Parameters
    ----------
    loss : float or ndarray
        Half the sum of squares over the three observed entries.
    observed : (float, float, float), default=(1.0, 1.0, 0.0)
        ``b_12``, ``b_21``, neither of them zero, and ``b_22``.

    Returns
    -------
    float or ndarray
        ``(|b_12| - r)_+ (|b_21| - r)_+ / (|b_22| + r)``, ``r = sqrt(2 loss)``: for every W whose
        determinant has the sign of ``b_12 b_21``. It grows without limit as the loss falls where
        ``b_22`` is 0, as in (Razin and Cohen, 2020).

    Examples
    --------
    >>> from sktf.dynamics import unobserved_entry_bound
    >>> print(unobserved_entry_bound([0.005, 0.00005]).round(2))
    [ 8.1  98.01]
    """
    loss, (b12, b21, b22) = np.asarray(loss, float), np.abs(observed)
    if not (np.all(loss >= 0) and b12 > 0 and b21 > 0 and np.isfinite(b22)):
        raise ValueError(
            f"loss={loss}, observed={observed}: pass losses >= 0 and finite entries, the first "
            "two not zero."
        )
    radius = np.sqrt(2 * loss)
    with np.errstate(divide="ignore"):  # At loss 0 and b_22 = 0 the bound is infinite.
        return np.maximum(b12 - radius, 0) * np.maximum(b21 - radius, 0) / (b22 + radius)


def balanced_layers(shape, depth, scale, *, det_sign=None, random_state=None):
    """Draw layers of a Gaussian matrix with ``W_{j+1}^T W_{j+1} = W_j W_j^T``.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the product.
    depth : int
        Number of layers.
    scale : float
        RMS of the entries of the product, in expectation.
    det_sign : {1, -1}, default=None
        Sign of the determinant of a square product. None: as drawn.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    list of ndarray
        ``W_1, ..., W_N``, inner widths the smaller side; ``DeepMatrixCompletion`` takes them as
        its ``init``.

    Examples
    --------
    >>> from sktf.dynamics import balanced_layers, matrix_invariants, unbalancedness
    >>> layers = balanced_layers((2, 2), 3, 1e-5, det_sign=1, random_state=0)
    >>> unbalancedness(matrix_invariants(layers)) < 1e-12
    True
    """
    if len(shape) != 2 or min(shape) < 1 or depth < 1 or not scale > 0:
        raise ValueError(
            f"shape={shape}, depth={depth}, scale={scale}: pass two positive sizes, depth >= 1 "
            "and scale > 0."
        )
    if det_sign not in (None, 1, -1) or (det_sign is not None and shape[0] != shape[1]):
        raise ValueError(
            f"det_sign={det_sign!r} for shape {shape}: pass 1 or -1 with a square shape, or None."
        )
    factorization = MatrixFactorization(shape, [min(shape)] * (depth - 1))
    theta = factorization.start(check_random_state(random_state), "balanced", scale, 0.0)
    layers = factorization.unpack(theta)
    if det_sign is not None and np.prod([np.linalg.slogdet(w)[0] for w in layers]) != det_sign:
        # The mirror image is as likely as the draw, and as balanced.
        layers[-1][0] *= -1
    return layers


def gradient_flow(gradient, theta0, times):
    """Integrate gradient flow almost to rounding: what small steps of descent tend to.

    Parameters
    ----------
    gradient : callable
        ``theta -> gradient of the loss``, an array or a list of arrays.
    theta0 : array-like
        Where the flow is at time 0, of any shape: layers of one shape may be stacked.
    times : array-like of shape (n_times,)
        Increasing, not negative.

    Returns
    -------
    ndarray of shape (n_times, ...)
        theta at these times, by scipy's "DOP853" (tolerances 1e-10 relative, 1e-13 absolute).

    Examples
    --------
    >>> from sktf.dynamics import gradient_flow, matrix_gradients
    >>> target = np.diag([1.0, 0.5])
    >>> def gradient(layers):
    ...     return matrix_gradients(layers, layers[1] @ layers[0] - target)
    >>> first, second = gradient_flow(gradient, [0.1 * np.eye(2)] * 2, [5.0, 20.0])[-1]
    >>> np.linalg.svd(second @ first, compute_uv=False).round(4)
    array([1. , 0.5])
    """
    theta0, times = _finite(theta0, "theta0"), _finite(times, "times")
    if times.ndim != 1 or not times.size or times[0] < 0 or np.any(np.diff(times) <= 0):
        raise ValueError(f"times is {times}; pass increasing times, the first not negative.")
    if times[-1] == 0:
        return theta0[np.newaxis].copy()

    def velocity(time, theta):
        return -np.ravel(gradient(theta.reshape(theta0.shape)))

    settings = {"method": "DOP853", "t_eval": times, "rtol": 1e-10, "atol": 1e-13}
    solution = solve_ivp(velocity, (0.0, times[-1]), theta0.ravel(), **settings)
    if not solution.success:
        raise RuntimeError(f"The flow could not be followed: {solution.message}")
    return solution.y.T.reshape(-1, *theta0.shape)


def _layers(layers):
    """Return layers that can be multiplied."""
    layers = [_finite(layer, "layers") for layer in layers]
    shapes = [layer.shape for layer in layers]
    if {len(shape) for shape in shapes} != {2} or any(a[0] != b[1] for a, b in pairwise(shapes)):
        raise ValueError(f"layers have shapes {shapes}; pass W_1, ..., W_N of W_N ... W_1.")
    return layers


def _check_blocks(vectors, matrices):
    """Return vectors and matrices that belong together; None stands for k = 0 of them."""
    vectors = [_finite(array, "vectors") for array in vectors]
    shapes = [array.shape for array in vectors]
    if any(len(shape) != 2 or shape[1] != shapes[0][1] for shape in shapes):
        raise ValueError(f"vectors have shapes {shapes}; pass (n_m, R), R the same for all modes.")
    if matrices is None:
        return vectors, [np.empty((0, rank, size, size)) for size, rank in shapes]
    matrices = [_finite(array, "matrices") for array in matrices]
    found = [array.shape for array in matrices]
    if found != [(*found[0][:1], rank, size, size) for size, rank in shapes]:
        raise ValueError(
            f"matrices have shapes {found}, vectors {shapes}; pass (k, R, n_m, n_m) for each mode."
        )
    return vectors, matrices


def _block_norms(vectors, matrices):
    """Frobenius norms of all blocks, (N (k + 1), R), the vectors first."""
    norms = [np.linalg.norm(v, axis=0)[None] for v in vectors]
    return np.concatenate(norms + [np.linalg.norm(m, axis=(2, 3)) for m in matrices])


def _pull_back(factorization, blocks, gradient):
    """Return the gradients at the blocks from the one at the dense tensor."""
    shape, gradient = factorization.shape, _finite(gradient, "gradient")
    if gradient.shape != shape:
        raise ValueError(f"gradient has shape {gradient.shape}; the blocks describe {shape}.")
    theta, order, at_factors = pack(blocks), len(shape), []
    factors, memory = factorization.forward(theta)
    for mode in range(order):
        others = [part for m in range(order) if m != mode for part in (factors[m], [m, order])]
        contracted = np.einsum(gradient, range(order), *others, [mode, order], optimize=True)
        at_factors.append(contracted)
    return factorization.unpack(factorization.pullback(theta, memory, at_factors))


def _flow(vectors, matrices, gradient):
    """Return the blocks, their velocities, and <-G, component>, linear in the first vector."""
    vectors, matrices = _check_blocks(vectors, matrices)
    flow = [-pulled for pulled in cp_gradients(vectors, gradient, matrices)]
    return vectors, matrices, flow, (vectors[0] * flow[0]).sum(axis=0)


def _push(layers, velocities):
    """Return the product of layers, the first rightmost, and its velocity."""
    product, velocity = layers[0], velocities[0]
    for layer, moving in zip(layers[1:], velocities[1:], strict=True):
        product, velocity = layer @ product, moving @ product + layer @ velocity
    return product, velocity


def _product_rate(vectors, velocities):
    """Return the products of the norms of vectors, and their time derivatives."""
    size = component_norms(vectors)
    if not size.all():
        raise ValueError("A component is zero and has no direction to grow in; leave it out.")
    pairs = zip(vectors, velocities, strict=True)
    along = [(v * moving).sum(axis=0) / (v * v).sum(axis=0) for v, moving in pairs]
    return size, size * np.sum(along, axis=0)
