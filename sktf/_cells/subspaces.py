"""Leading subspaces of the observed cells, in which the truth stands out from noise."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from sktf._cells.sorting import lexicographic
from sktf._cells.threads import limit_this_thread
from sktf._compile import compiled

# Up to this many rows, or this many times the width, all eigenvectors are computed.
_FEW, _NARROW = 64, 3
# Relative accuracy of the eigenvalues. Where few cells are seen vectors hardly stand out: at 0.03
# half of the tensors at the edge of what is found are lost.
_TOL = 1e-3
# Where pairs of cells in one column are at most so many times the cells, the matrix is formed: a
# product with it is then cheaper than two with the unfolding. It is an array where the pairs are
# more than this share of its entries.
_PAIRS, _DENSE = 6, 0.2
# Restarts of the Lanczos iteration, each of about twice the width of products.
_RESTARTS = 20


def leading_subspaces(observations, width, rng, n_threads=1):
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
    # In the order of the modes, whatever thread takes them.
    drawn = [rng.standard_normal((size, width)) if size > _most(width) else None for size in shape]

    def basis(mode):
        gram = _gram(*_unfold(coords, entries, mode), shape[mode])
        return _all_leading(gram, width) if drawn[mode] is None else _leading(gram, drawn[mode])

    with ThreadPoolExecutor(n_threads, initializer=limit_this_thread) as pool:
        return list(pool.map(basis, range(len(shape))))


def _most(width):
    """Return of how many rows at most all eigenvectors are computed."""
    return max(_FEW, _NARROW * width)


def _unfold(coords, entries, mode):
    """Return edges of the columns, rows and entries, column by column, of the sparse unfolding.

    Columns in which rows have nothing to agree on are left out.
    """
    others = [column for n, column in enumerate(coords.T) if n != mode]
    sequence = lexicographic(others)
    new = np.zeros(len(sequence), bool)
    for column in others:
        column = column[sequence]
        new[1:] |= column[1:] != column[:-1]
    lengths = np.diff(np.flatnonzero(new), prepend=0, append=len(new))
    sequence = sequence[np.repeat(lengths > 1, lengths)]
    edges = np.cumsum(np.append(0, lengths[lengths > 1]))
    return edges, coords[sequence, mode], entries[sequence]


def _gram(edges, rows, entries, size):
    """Return ``A A^T`` without its diagonal: as an array, as a sparse one, or by its products."""
    lengths = np.diff(edges)
    n_pairs = int((lengths * (lengths - 1)).sum())
    if n_pairs <= _PAIRS * len(rows):
        starts, others = np.zeros(size + 1, np.int32), np.empty(n_pairs, np.int32)
        products = np.empty(n_pairs)
        _write_pairs(edges, rows, entries, starts, others, products)
        some = slice(starts[-1])
        gram = csr_array((products[some], others[some], starts), shape=(size, size))
        return gram.toarray() if n_pairs > _DENSE * size**2 else gram
    columns = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    unfolding = csr_array((entries, (rows, columns)), shape=(size, max(1, len(lengths))))
    transposed, diagonal = unfolding.T.tocsr(), unfolding.power(2).sum(axis=1)
    if size <= _FEW:
        return unfolding @ transposed - diags_array(diagonal)

    def multiply(vectors):
        return unfolding @ (transposed @ vectors) - (diagonal * vectors.T).T

    return LinearOperator((size, size), multiply, matmat=multiply, dtype=np.float64)


@compiled()
def _write_pairs(edges, rows, entries, starts, others, products):
    """Write the products of cells of one column but of different rows, as a sparse array by rows.

    The entries of row ``r`` are those from ``starts[r]`` to ``starts[r + 1]``; ``starts`` is zero.
    """
    for column in range(len(edges) - 1):
        for e in range(edges[column], edges[column + 1]):
            for other in range(edges[column], edges[column + 1]):
                starts[rows[e] + 1] += rows[e] != rows[other]
    for row in range(len(starts) - 1):
        starts[row + 1] += starts[row]
    ends = starts.copy()
    for column in range(len(edges) - 1):
        for e in range(edges[column], edges[column + 1]):
            for other in range(edges[column], edges[column + 1]):
                if rows[e] != rows[other]:
                    at = ends[rows[e]]
                    others[at], products[at] = rows[other], entries[e] * entries[other]
                    ends[rows[e]] += 1


def _all_leading(gram, width):
    """Return the leading eigenvectors of a small matrix."""
    dense = gram.toarray() if hasattr(gram, "toarray") else gram @ np.eye(gram.shape[0])
    return np.linalg.eigh(dense)[1][:, ::-1][:, :width]


def _leading(gram, drawn):
    """Return the leading eigenvectors of a matrix, or random ones beside those that stand out."""
    width = drawn.shape[1]
    how = {"which": "LA", "v0": drawn[:, 0], "tol": _TOL, "maxiter": _RESTARTS}
    try:
        found = eigsh(gram, k=width, **how)[1][:, ::-1]
    except ArpackError as error:  # a matrix of zeros, or vectors that hardly stand out
        found = getattr(error, "eigenvectors", drawn[:, :0])
    # Beside those that do, any others are as good.
    return np.linalg.qr(np.hstack([found, drawn])[:, :width])[0]
