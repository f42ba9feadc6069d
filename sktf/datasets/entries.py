"""Cells as rows of indices, from dense arrays and sparse matrices, and back."""

from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse

from sktf._cells.complaints import about_array, as_floats, explained
from sktf._cells.sorting import lexicographic
from sktf._cells.validation import check_dense, check_rows


class Entries(NamedTuple):
    """Observed cells of a tensor: ``X, y, shape = load_il2()``.

    Attributes
    ----------
    X, y : ndarray of shape (n_observed, n_modes) and (n_observed,)
        Indices of the cells, int64, and their values, float64. The loaders list them in C order:
        shuffle before making folds. Those of `open_entries` lie in files.
    shape : tuple of int
        The size of each mode.

    Examples
    --------
    >>> from sktf.datasets import load_il2
    >>> X, y, shape = load_il2()
    >>> X.shape, y.shape, shape
    ((4800, 4), (4800,), (13, 4, 12, 8))
    """

    X: np.ndarray
    y: np.ndarray
    shape: tuple


# Where pickles look for it.
Entries.__module__ = "sktf.datasets"


def entries_from_dense(array):
    """List the known cells of a dense array, a wide table or a sparse matrix.

    Parameters
    ----------
    array : array-like, DataFrame or SciPy sparse array, of shape (n_1, ..., n_N)
        Two modes or more. Of a dense array, also a wide table of pandas or polars, NaN and other
        blanks are missing, as is what a masked array masks; zero is a value. Of a sparse one what
        is stored is a value, zeros too, and what is not stored is missing.

    Returns
    -------
    X, y : ndarray of shape (n_observed, n_modes) and (n_observed,)
        Indices and values of the known cells, in C order.

    Raises
    ------
    ValueError or TypeError
        When there are fewer than two modes, when a value is infinite or no number, when a sparse
        array stores a cell twice (SciPy means their sum, ratings seldom do), or when its format
        is "bsr" or "dia", which fill blocks and diagonals with zeros.

    Examples
    --------
    >>> import numpy as np
    >>> from sktf.datasets import entries_from_dense
    >>> X, y = entries_from_dense([[1.0, np.nan], [0.0, 2.0]])
    >>> X.tolist(), y.tolist()
    ([[0, 0], [1, 0], [1, 1]], [1.0, 0.0, 2.0])

    Two ratings, one of zero stars:

    >>> from scipy.sparse import coo_array
    >>> X, y = entries_from_dense(coo_array(([5.0, 0.0], ([0, 2], [1, 0])), shape=(3, 2)))
    >>> X.tolist(), y.tolist()
    ([[0, 1], [2, 0]], [5.0, 0.0])
    """
    with explained(about_array, array):
        X, y = _stored(array) if issparse(array) else _known(array)
    if np.isinf(y).any():
        cell = tuple(X[np.argmax(np.isinf(y))].tolist())
        raise ValueError(
            f"array has infinite values; write NaN where a cell is missing, first in {cell}."
        )
    return X, y


def _known(array):
    """List the cells of a dense array that are neither blank nor masked."""
    masked = np.ma.array(array)
    values = as_floats(masked.data)
    _check_modes(values.shape)
    known = ~(np.ma.getmaskarray(masked) | np.isnan(values))
    return np.argwhere(known), values[known]


def _stored(matrix):
    """List the cells that a sparse array stores."""
    _check_modes(matrix.shape)
    if matrix.format in ("bsr", "dia"):
        raise ValueError(
            f"array has the sparse format {matrix.format!r}, which stores zeros in cells that "
            "nobody gave; build it as 'coo' or 'csr'."
        )
    stored = matrix.tocoo()
    sequence = lexicographic(list(stored.coords))
    X = np.column_stack(stored.coords).astype(np.int64)[sequence]
    y = as_floats(stored.data)[sequence]
    again = (X[1:] == X[:-1]).all(axis=1)
    if again.any():
        raise ValueError(
            f"array stores cell {tuple(X[np.argmax(again)].tolist())} more than once. Add such "
            "values up with array.sum_duplicates(), or give fit the rows: it takes their mean."
        )
    return X[~np.isnan(y)], y[~np.isnan(y)]


def _check_modes(shape):
    if len(shape) < 2:
        raise ValueError(f"array has shape {shape}; pass two modes or more.")


def dense_from_entries(X, y, shape, *, fill_value=np.nan):
    """Put entries into a dense array.

    Parameters
    ----------
    X, y : array-like of shape (n_entries, n_modes) and (n_entries,)
        Indices and values; a cell named by several rows gets the mean of theirs.
    shape : tuple of int
    fill_value : float, default=nan
        What the other cells get.

    Returns
    -------
    ndarray of shape `shape`
        The array, float64.

    Raises
    ------
    ValueError
        When an index does not fit `shape`, or for what the estimators refuse, or when the array
        would have more than 2**30 cells.

    Examples
    --------
    >>> from sktf.datasets import dense_from_entries
    >>> X, y = [[0, 1], [1, 0], [1, 0]], [5.0, 1.0, 2.0]
    >>> dense_from_entries(X, y, (2, 2), fill_value=0.0)
    array([[0. , 5. ],
           [1.5, 0. ]])
    """
    X, y = check_rows("dense_from_entries", X, y)
    check_dense(shape, "keep the rows, which every estimator takes, or the part that you need")
    if X.shape[1] != len(shape) or (shape <= X).any():
        raise ValueError(
            f"X has {X.shape[1]} columns with largest indices {X.max(axis=0).tolist()}, which do "
            f"not fit shape={tuple(shape)}; pass one size, larger than the indices, per column."
        )
    cells = np.ravel_multi_index(tuple(X.T), shape)
    counts = np.bincount(cells, minlength=np.prod(shape))
    sums = np.bincount(cells, weights=y, minlength=np.prod(shape))
    dense = np.full(sums.shape, fill_value, dtype=np.float64)
    return np.divide(sums, counts, out=dense, where=counts > 0).reshape(shape)
