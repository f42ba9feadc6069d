"""Cross-validation over cells, fibers and blocks: scikit-learn splitters on rows of indices.

All three deal whole groups of ``datasets.entry_groups`` to the folds, so that no held-out cell is
seen in training. A column of X holds indices, or labels, which are numbered as with
``encode=True``.
"""

import numpy as np
from sklearn.model_selection import BaseCrossValidator, KFold
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils import check_random_state

from sktf.datasets.sampling import entry_groups, number_rows

__all__ = ["BlockKFold", "CellKFold", "FiberKFold"]


def __dir__():
    return __all__


class _GroupedKFold(BaseCrossValidator):
    """K folds of whole groups of cells, those that ``entry_groups`` makes of the attributes."""

    _pattern, mode, block_shape = "cells", None, None

    def __init__(self, n_splits, random_state):
        if not isinstance(n_splits, int | np.integer) or n_splits < 2:
            raise ValueError(f"n_splits is {n_splits!r}; pass a whole number of folds, 2 or more.")
        self.n_splits, self.random_state = int(n_splits), random_state

    get_n_splits = KFold.get_n_splits

    def split(self, X, y=None, groups=None):
        """Deal the rows of X to the folds.

        Parameters
        ----------
        X : array-like of shape (n_observed, n_modes)
            Whole-number indices, or labels.
        y, groups : object
            Not used.

        Yields
        ------
        train, test : ndarray
            Row numbers of each fold.
        """
        return super().split(number_rows("split", X)[0], y, groups)

    def _iter_test_indices(self, X=None, y=None, groups=None):
        grouping = {"mode": self.mode, "block_shape": self.block_shape}
        labels = entry_groups(X, pattern=self._pattern, **grouping)
        n_groups = int(labels.max(initial=-1)) + 1
        if n_groups < self.n_splits:
            raise ValueError(
                f"n_splits={self.n_splits}, but the {len(X)} rows of X make only {n_groups} "
                "group(s) that are held out whole; lower n_splits, or choose smaller groups."
            )
        folds = _deal(labels, self.n_splits, check_random_state(self.random_state))
        folds = _spread(folds, _membership(X, labels), self.n_splits)[labels]
        for fold in range(self.n_splits):
            yield np.flatnonzero(folds == fold)


def _deal(labels, n_folds, rng):
    """Return a fold for each group: of every ``n_folds`` in order of size each fold gets one."""
    sizes = np.bincount(labels)
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    rounds = rng.random_sample((len(sizes) // n_folds + 1, n_folds)).argsort(axis=1)
    folds = np.empty(len(sizes), np.int64)
    folds[order] = rounds.ravel()[: len(sizes)]
    return folds


def _membership(table, labels):
    """Return a 0-1 matrix, groups by indices: which groups have a cell at an index of a mode."""
    one_hot = OneHotEncoder(dtype=np.int64).fit_transform
    matrix = (one_hot(labels[:, None]).T @ one_hot(table)).tocsr()
    matrix.sort_indices()
    matrix.data[:] = 1
    return matrix


def _spread(folds, membership, n_folds):
    """Move groups so that each index of two groups or more is trained on in every fold.

    An index whose groups all share a fold would be unknown when that fold is held out. One of
    its groups moves, to where it brings fewest other indices into that state, and these come
    next; where no arrangement exists a bounded number of moves ends the search.
    """
    sizes = np.bincount(folds, minlength=n_folds)
    of_index = membership.T.tocsr()
    counts = of_index @ np.eye(n_folds, dtype=np.int64)[folds]
    totals = counts.sum(axis=1)
    together = list(np.flatnonzero((totals > 1) & (counts.max(axis=1) == totals)))
    last = None
    for _ in range(100 + 10 * len(together)):
        if not together:
            break
        index = together.pop()
        if counts[index].max() < totals[index]:
            continue  # an earlier move has spread it
        moves = []
        for group in _row(of_index, index):
            touched = _row(membership, group)
            harm = (counts[touched] == totals[touched, None] - 1) & (totals[touched, None] > 1)
            elsewhere = set(range(n_folds)) - {folds[group]}
            to = min(elsewhere, key=lambda f: (harm[:, f].sum(), sizes[f]))
            moves.append((group == last, harm[:, to].sum(), group, to, touched[harm[:, to]]))
        _, _, last, to, harmed = min(moves, key=lambda move: move[:4])
        together.extend(harmed)
        for change, fold in ((-1, folds[last]), (1, to)):
            counts[_row(membership, last), fold] += change
            sizes[fold] += change
        folds[last] = to
    return folds


def _row(matrix, number):
    """Return the columns of the ones in a row of a sparse matrix."""
    return matrix.indices[matrix.indptr[number] : matrix.indptr[number + 1]]


class CellKFold(_GroupedKFold):
    """K folds of cells; all rows of one cell stay together.

    Cells are shuffled and dealt evenly. Where an index of a mode has two cells or more, they do
    not all share a fold if that can be, so that it is trained on in every fold.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, 2 or more and no more than there are cells.
    random_state : int, RandomState instance or None, default=None

    See Also
    --------
    sktf.datasets.split_entries : One split.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> from sktf import CPALSCompletion, datasets
    >>> from sktf.model_selection import CellKFold
    >>> tensor, _ = datasets.make_low_rank((9, 8, 7), rank=1, random_state=0)
    >>> X, y = datasets.sample_entries(tensor, 0.4, random_state=0)
    >>> model = CPALSCompletion(1, shape=tensor.shape, random_state=0)
    >>> cross_val_score(model, X, y, cv=CellKFold(3, random_state=0)).round(3).tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(self, n_splits=5, *, random_state=None):
        super().__init__(n_splits, random_state)


class FiberKFold(_GroupedKFold):
    """K folds of fibers: cells that differ in the index of one mode only are held out together.

    What remains is learned from other fibers: the forecast of whole series, or of all doses of
    an assay, is harder than that of scattered cells. Fibers are shuffled and dealt, the longest
    first, so that folds have about equally many rows.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, 2 or more and no more than there are fibers.
    mode : int
        The mode along which fibers run, from 0.
    random_state : int, RandomState instance or None, default=None

    Examples
    --------
    >>> import numpy as np
    >>> from sktf.model_selection import FiberKFold
    >>> X = np.argwhere(np.ones((3, 4)))
    >>> train, test = next(FiberKFold(3, mode=1, random_state=0).split(X))
    >>> X[test].tolist()
    [[0, 0], [0, 1], [0, 2], [0, 3]]
    """

    _pattern = "fibers"

    def __init__(self, n_splits=5, *, mode, random_state=None):
        super().__init__(n_splits, random_state)
        self.mode = mode


class BlockKFold(_GroupedKFold):
    """K folds of boxes of a regular grid, held out whole as a gap in the data would be.

    Neighbors of a held-out cell are held out too, so that the score doesn't profit from
    interpolation between them. Boxes are shuffled and dealt, the fullest first.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, 2 or more and no more than there are boxes.
    block_shape : tuple of int or None
        Sides of the boxes, one for each mode; None for a side that spans the whole mode.
    random_state : int, RandomState instance or None, default=None

    Examples
    --------
    Three days in a row, for all sensors:

    >>> import numpy as np
    >>> from sktf.model_selection import BlockKFold
    >>> X = np.argwhere(np.ones((2, 9)))
    >>> train, test = next(BlockKFold(3, block_shape=(None, 3), random_state=0).split(X))
    >>> np.unique(X[test, 1]).tolist()
    [0, 1, 2]
    """

    _pattern = "blocks"

    def __init__(self, n_splits=5, *, block_shape, random_state=None):
        super().__init__(n_splits, random_state)
        self.block_shape = block_shape
