"""Rows of one factor drawn from their normal distributions, given all others: compiled, and a twin.

A row of precision matrix ``A = L L^T`` and mean ``A^-1 h`` is ``L^-T (L^-1 h + z)`` with z standard
normal: one Cholesky factor a row.
"""

from math import sqrt

import numpy as np
from scipy.linalg import solve_triangular

from sktf._compile import compiled

# Share of a diagonal entry below which what elimination leaves of it is rounding.
_ROUNDING = 1e-15


@compiled()
def draw_rows(grams, moments, noise, weight, precision, shift, drawn):
    """Write a draw of each row of a block, of the conditional distribution given its cells.

    Parameters
    ----------
    grams : ndarray of shape (n_rows, width, width)
        For each row ``sum_e d_e d_e^T`` over its cells. The first R columns are drawn, those
        after them are multiplied by 1.
    moments : ndarray of shape (n_rows, width)
        ``sum_e y_e d_e``.
    noise : ndarray of shape (n_rows, R)
        Standard normal numbers.
    weight : float
        Precision of a value.
    precision : ndarray of shape (R, R)
        That of the rows before any cell is seen.
    shift : ndarray of shape (R,)
        ``precision`` times the mean of the rows.
    drawn : ndarray of shape (n_rows, R)
        What is written.
    """
    n, width = noise.shape[1], moments.shape[1]
    root, row = np.empty((n, n)), np.empty(n)
    for i in range(len(drawn)):
        for r in range(n):
            told = moments[i, r]
            for c in range(n, width):
                told -= grams[i, r, c]
            row[r] = weight * told + shift[r]
            for c in range(r + 1):
                left = weight * grams[i, r, c] + precision[r, c]
                least = _ROUNDING * left
                for k in range(c):
                    left -= root[r, k] * root[c, k]
                root[r, c] = sqrt(max(left, least)) if r == c else left / root[c, c]
            for k in range(r):
                row[r] -= root[r, k] * row[k]
            row[r] /= root[r, r]
        for r in range(n - 1, -1, -1):
            row[r] += noise[i, r]
            for k in range(r + 1, n):
                row[r] -= root[k, r] * row[k]
            row[r] /= root[r, r]
            drawn[i, r] = row[r]


def draw_rows_numpy(grams, moments, noise, weight, precision, shift, drawn):
    """Do as ``draw_rows`` does, in NumPy."""
    n = noise.shape[1]
    told = moments[:, :n] - grams[:, :n, n:].sum(axis=2)
    for i, gram in enumerate(grams):
        root = np.linalg.cholesky(weight * gram[:n, :n] + precision)
        row = solve_triangular(root, weight * told[i] + shift, lower=True) + noise[i]
        drawn[i] = solve_triangular(root, row, lower=True, trans=1)
