"""Cells as rows of indices, from dense arrays and back."""

from typing import NamedTuple

import numpy as np
from sklearn.utils import check_consistent_length


class Entries(NamedTuple):
    """Observed cells of a tensor: ``X, y, shape = load_il2()``.

    Attributes
    ----------
    X, y : ndarray of shape (n_observed, n_modes) and (n_observed,)
        Indices of the cells, int64, and their values, float64. The loaders list them in C order:
        shuffle before making folds.
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
    """List the known cells of a dense array.

    Parameters
    ----------
    array : array-like of shape (n_1, ..., n_N)
        Two modes or more. NaN is missing; so is what a masked array masks. Zero is a value.

    Returns
    -------
    X, y : ndarray of shape (n_observed, n_modes) and (n_observed,)
        Indices and values of the known cells, in C order.

    Examples
    --------
    >>> import numpy as np
    >>> from sktf.datasets import entries_from_dense
    >>> X, y = entries_from_dense([[1.0, np.nan], [0.0, 2.0]])
    >>> X.tolist(), y.tolist()
    ([[0, 0], [1, 0], [1, 1]], [1.0, 0.0, 2.0])
    """
    masked = np.ma.array(array, dtype=np.float64)
    if masked.ndim < 2:
        raise ValueError(f"array has shape {masked.shape}; pass two modes or more.")
    known = ~(np.ma.getmaskarray(masked) | np.isnan(masked.data))
    X, y = np.argwhere(known), masked.data[known]
    if np.isinf(y).any():
        raise ValueError("array has infinite values; write NaN where a cell is missing.")
    return X, y


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

    Examples
    --------
    >>> from sktf.datasets import dense_from_entries
    >>> dense_from_entries([[0, 1], [1, 0], [1, 0]], [5.0, 1.0, 2.0], (2, 2), fill_value=0.0)
    array([[0. , 5. ],
           [1.5, 0. ]])
    """
    X, y = index_array(X), np.asarray(y, dtype=np.float64)
    check_consistent_length(X, y)
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


def index_array(X):
    """Return the indices as int64, refusing what cannot index."""
    X = np.asarray(X)
    if X.ndim != 2 or not np.issubdtype(X.dtype, np.integer) or (X < 0).any():
        raise ValueError(
            f"X has shape {X.shape} and dtype {X.dtype}; pass a table of non-negative integers, "
            "one row for each cell and one column for each mode."
        )
    return X.astype(np.int64, copy=False)
