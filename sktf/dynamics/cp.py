"""CP and deep CP: what the flow conserves, and how components grow."""

from itertools import combinations

import numpy as np

from sktf._cells.validation import finite_array
from sktf._models.deep_cp import DeepCPFactorization
from sktf._objective.components import component_norms
from sktf.dynamics.rates import Rates, pull_back, push, unbalancedness


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
    pulled = pull_back(factorization, vectors + blocks, gradient)
    return pulled[: len(vectors)] if matrices is None else pulled


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
    >>> import numpy as np
    >>> from sktf.dynamics import cp_growth
    >>> rates = cp_growth([2 * np.eye(3, 1)] * 3, -np.ones((3, 3, 3)))
    >>> rates.value, rates.predicted, rates.error < 1e-12
    (array([8.]), array([48.]), True)
    """
    vectors, matrices, flow, slopes = _flow(vectors, matrices, gradient)
    order = len(vectors)
    ends = [
        push([v.T[:, :, None], *m], [dv.T[:, :, None], *dm])
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
    >>> import numpy as np
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
    >>> import numpy as np
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


def _check_blocks(vectors, matrices):
    """Return vectors and matrices that belong together; None stands for k = 0 of them."""
    vectors = [finite_array(array, "vectors") for array in vectors]
    shapes = [array.shape for array in vectors]
    if any(len(shape) != 2 or shape[1] != shapes[0][1] for shape in shapes):
        raise ValueError(f"vectors have shapes {shapes}; pass (n_m, R), R the same for all modes.")
    if matrices is None:
        return vectors, [np.empty((0, rank, size, size)) for size, rank in shapes]
    matrices = [finite_array(array, "matrices") for array in matrices]
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


def _flow(vectors, matrices, gradient):
    """Return the blocks, their velocities, and <-G, component>, linear in the first vector."""
    vectors, matrices = _check_blocks(vectors, matrices)
    flow = [-pulled for pulled in cp_gradients(vectors, gradient, matrices)]
    return vectors, matrices, flow, (vectors[0] * flow[0]).sum(axis=0)


def _product_rate(vectors, velocities):
    """Return the products of the norms of vectors, and their time derivatives."""
    size = component_norms(vectors)
    if not size.all():
        raise ValueError("A component is zero and has no direction to grow in; leave it out.")
    pairs = zip(vectors, velocities, strict=True)
    along = [(v * moving).sum(axis=0) / (v * v).sum(axis=0) for v, moving in pairs]
    return size, size * np.sum(along, axis=0)
