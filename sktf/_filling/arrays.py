"""Gaps of arrays and sparse matrices."""

import numpy as np
from scipy.sparse import issparse

from sktf._cells.validation import check_dense
from sktf.datasets.entries import entries_from_dense

TOO_LARGE = "fit an estimator to the rows of the known cells, and predict those you need"


def complete_array(array, filler, labels=None):
    """Fill a dense array, or the cells that a sparse one does not store."""
    if issparse(array):
        check_dense(array.shape, TOO_LARGE)
    X, y = entries_from_dense(array)
    dense = np.full(np.shape(array), np.nan)
    dense[tuple(X.T)] = y
    return filler.fill(X, y, dense, labels)
