"""Truths of known rank."""

import numpy as np
from sklearn.utils import check_random_state


def make_low_rank(
    shape, rank, *, distribution="gaussian", component_weights=None, norm=None, random_state=None
):
    r"""Make a matrix or tensor of known CP rank, without noise.

    Parameters
    ----------
    shape : tuple of int
        Sizes of two modes or more.
    rank : int
        Number R of components.
    distribution : {"gaussian", "uniform", "heavy_tailed", "orthonormal"}, default="gaussian"
        Entries of the factors: standard normal, uniform on [0, 1), Student's t with 3 degrees of
        freedom; or factors with orthonormal columns, for which no mode is shorter than `rank`.
    component_weights : array-like of shape (R,), default=None
        Relative norms of the components. None: as drawn.
    norm : float, default=None
        Frobenius norm of the tensor. None: such that the cells have RMS 1.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    tensor : ndarray of shape `shape`
        The truth. For two modes it is :math:`U V^\top`.
    factors : list of ndarray of shape (n_m, R)
        Its factors; the weights and the scale are shared out evenly among them.

    Examples
    --------
    >>> from sktf.datasets import make_low_rank
    >>> tensor, factors = make_low_rank((6, 5, 4), rank=2, norm=1.0, random_state=0)
    >>> tensor.shape, [factor.shape for factor in factors]
    ((6, 5, 4), [(6, 2), (5, 2), (4, 2)])
    """
    if len(shape) < 2 or min(shape) < 1 or rank < 1:
        raise ValueError(
            f"shape is {shape} and rank is {rank}; pass two positive sizes or more, and rank >= 1."
        )
    rng = check_random_state(random_state)
    factors = [_draw_factor(distribution, n, rank, rng) for n in shape]
    if component_weights is not None:
        weights = np.asarray(component_weights, dtype=np.float64)
        if weights.shape != (rank,) or not (weights > 0).all():
            raise ValueError(
                f"component_weights is {component_weights}; pass one positive number for each of "
                f"the {rank} components."
            )
        share = weights ** (1 / len(shape))
        factors = [share * factor / np.linalg.norm(factor, axis=0) for factor in factors]
    tensor = dense_from_factors(factors)
    norm = np.sqrt(tensor.size) if norm is None else norm
    if not norm > 0:
        raise ValueError(f"norm is {norm!r}; pass a positive number, or None.")
    scale = norm / np.linalg.norm(tensor)
    return tensor * scale, [factor * scale ** (1 / len(shape)) for factor in factors]


def _draw_factor(distribution, n, rank, rng):
    draws = {
        "gaussian": rng.standard_normal,
        "uniform": rng.random_sample,
        "heavy_tailed": lambda size: rng.standard_t(3, size),
        "orthonormal": lambda size: np.linalg.qr(rng.standard_normal(size))[0],
    }
    if distribution not in draws:
        raise ValueError(f"distribution is {distribution!r}; pass one of {[*draws]}")
    if distribution == "orthonormal" and n < rank:
        raise ValueError(
            f"rank is {rank}, but a mode has size {n}: orthonormal columns need every size to "
            "be at least the rank. Lower rank, or choose another distribution."
        )
    return draws[distribution]((n, rank))


def dense_from_factors(factors):
    r"""Return the tensor of a CP decomposition.

    Parameters
    ----------
    factors : list of N ndarrays of shape (n_m, R)

    Returns
    -------
    ndarray of shape (n_1, ..., n_N)
        :math:`\sum_r w_r^1 \otimes \dots \otimes w_r^N`.

    Examples
    --------
    >>> import numpy as np
    >>> from sktf.datasets import dense_from_factors
    >>> dense_from_factors([np.array([[1.0], [2.0]]), np.array([[3.0], [4.0]])])
    array([[3., 4.],
           [6., 8.]])
    """
    columns = factors[-1]
    for factor in factors[-2:0:-1]:
        columns = (factor[:, None] * columns).reshape(-1, factor.shape[1])
    return (factors[0] @ columns.T).reshape([len(factor) for factor in factors])
