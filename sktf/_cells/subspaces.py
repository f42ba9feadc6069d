"""Leading subspaces of the observed cells, in which the truth stands out from noise."""

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from sktf._cells.sorting import row_numbers

# Up to this many rows, or this many times the width, all eigenvectors are computed.
_FEW, _NARROW = 64, 3
# Relative accuracy of the eigenvalues. Where few cells are seen vectors hardly stand out: at 0.03
# half of the tensors at the edge of what is found are lost.
_TOL = 1e-3
# Restarts of the Lanczos iteration, each of about twice the width of products.
_RESTARTS = 20


def leading_subspaces(observations, width, rng):
    """Return for each mode an orthonormal basis of ``width`` columns, or of all that there are.

    They are the leading eigenvectors of ``A A^T`` without its diagonal, ``A`` the unfolding of the
    mode with zeros where nothing is observed. The diagonal sums squares, noise and single large
    cells included, and says nothing of how rows agree; what is off it has the truth as its mean
    (A. Montanari and N. Sun, "Spectral algorithms for tensor completion", CPAM 71, 2018; C. Cai,
    G. Li, H. V. Poor and Y. Chen, "Nonconvex low-rank tensor completion from noisy data",
    arXiv:1911.04436). A product with the matrix takes O(n_observed).
    """
    coords, values, weights, shape = observations
    entries = values * (weights / weights.mean())
    bases = []
    for mode, size in enumerate(shape):
        unfolding = _unfold(coords, entries, mode, size)
        bases.append(_leading(unfolding, min(width, size), rng))
    return bases


def _unfold(coords, entries, mode, size):
    """Return the sparse unfolding, without the columns in which rows have nothing to agree on."""
    columns = row_numbers(np.delete(coords, mode, axis=1))
    shared = np.bincount(columns)[columns] > 1
    columns = np.unique(columns[shared], return_inverse=True)[1]
    n_columns = int(columns.max(initial=-1)) + 1
    cells = entries[shared], (coords[shared, mode], columns)
    return csr_array(cells, shape=(size, max(1, n_columns)))


def _leading(unfolding, width, rng):
    """Return the leading eigenvectors of ``A A^T`` without its diagonal."""
    size, transposed = unfolding.shape[0], unfolding.T.tocsr()
    diagonal = unfolding.power(2).sum(axis=1)
    if size <= max(_FEW, _NARROW * width):
        gram = (unfolding @ transposed).toarray() - np.diag(diagonal)
        return np.linalg.eigh(gram)[1][:, ::-1][:, :width]

    def multiply(vectors):
        return unfolding @ (transposed @ vectors) - diagonal * vectors

    gram = LinearOperator((size, size), multiply, dtype=np.float64)
    drawn = rng.standard_normal((size, width))
    how = {"which": "LA", "v0": drawn[:, 0], "tol": _TOL, "maxiter": _RESTARTS}
    try:
        found = eigsh(gram, k=width, **how)[1][:, ::-1]
    except ArpackError as error:  # a matrix of zeros, or vectors that hardly stand out
        found = getattr(error, "eigenvectors", drawn[:, :0])
    # Beside those that do, any others are as good.
    return np.linalg.qr(np.hstack([found, drawn])[:, :width])[0]
