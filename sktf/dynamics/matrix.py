"""Products of matrices: what the flow conserves, how they grow, balanced starts."""

from itertools import pairwise

import numpy as np
from sklearn.utils import check_random_state

from sktf._cells.validation import finite_array
from sktf._models.deep_matrix import MatrixFactorization
from sktf.dynamics.rates import Rates, pull_back, push


def matrix_invariants(layers):
    """Return what the flow conserves of a product: ``W_{j+1}^T W_{j+1} - W_j W_j^T``.

    Parameters
    ----------
    layers : list of N ndarrays
        ``W_1, ..., W_N``, as in ``DeepMatrixCompletion.layers_``.

    Returns
    -------
    list of N - 1 ndarrays
        One for every two neighbors (Arora et al., 2019).

    Examples
    --------
    >>> from sktf.dynamics import matrix_invariants
    >>> matrix_invariants([[[1.0, 0.0]], [[0.0], [2.0]]])
    [array([[3.]])]
    """
    return [after.T @ after - before @ before.T for before, after in pairwise(_layers(layers))]


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
    return pull_back(MatrixFactorization(shape, widths), layers, gradient)


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
    >>> import numpy as np
    >>> from sktf.dynamics import balanced_layers, matrix_growth
    >>> layers = balanced_layers((3, 3), 3, 0.5, random_state=0)
    >>> matrix_growth(layers, np.eye(3)).error < 1e-12
    True
    """
    velocities = [-pulled for pulled in matrix_gradients(layers, gradient)]
    (matrix, velocity), depth = push(_layers(layers), velocities), len(layers)
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
    >>> import numpy as np
    >>> from sktf.dynamics import singular_value_growth
    >>> singular_value_growth([np.diag([2.0, 1.0])] * 3, -np.eye(2)).predicted
    array([48.,  3.])
    """
    matrix, *rates = matrix_growth(layers, gradient)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    return Rates(values, *(np.einsum("ir,ij,rj->r", left, rate, right) for rate in rates))


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


def _layers(layers):
    """Return layers that can be multiplied."""
    layers = [finite_array(layer, "layers") for layer in layers]
    shapes = [layer.shape for layer in layers]
    if {len(shape) for shape in shapes} != {2} or any(a[0] != b[1] for a, b in pairwise(shapes)):
        raise ValueError(f"layers have shapes {shapes}; pass W_1, ..., W_N of W_N ... W_1.")
    return layers
