"""Cells that are sampled, or held out, together."""

from numbers import Integral

import numpy as np
from sklearn.utils import _safe_indexing, check_random_state

from sktf._cells.complaints import about_labels, explained
from sktf._cells.labels import LabelTable
from sktf._cells.sorting import row_numbers
from sktf._cells.validation import check_rows, refuse_masked
from sktf.datasets.entries import entries_from_dense


def entry_groups(X, *, pattern="cells", mode=None, block_shape=None):
    """Label the cells that are sampled, or held out, together.

    Parameters
    ----------
    X : array-like of shape (n_entries, n_modes)
        Whole-number indices, or labels; what `fit` takes.
    pattern : {"cells", "fibers", "blocks"}, default="cells"
        What is one group. "cells": each cell by itself. "fibers": the cells that differ in the
        index of `mode` only, a whole series over that mode. "blocks": the cells in one box of a
        regular grid that starts at index 0 and has the sides `block_shape`; boxes at the upper
        end may be smaller.
    mode : int, default=None
        The mode along which fibers run.
    block_shape : tuple of int or None, default=None
        Sides of the boxes, one for each mode; None for a side that spans the whole mode.
        ``(1, None, None)`` makes slices.

    Returns
    -------
    ndarray of shape (n_entries,)
        Labels 0, 1, ...; repeated rows of one cell share theirs.

    See Also
    --------
    sktf.model_selection.CellKFold : Folds of such groups; likewise FiberKFold and BlockKFold.

    Examples
    --------
    >>> from sktf.datasets import entry_groups
    >>> entry_groups([[0, 0], [2, 1], [0, 3]], pattern="fibers", mode=1).tolist()
    [0, 1, 0]
    """
    X, _ = number_rows("entry_groups", X)
    sides = _sides(X.shape[1], pattern, mode, block_shape)
    apart = [m for m, side in enumerate(sides) if side is not None]
    return row_numbers(X[:, apart] // [sides[m] for m in apart])


def number_rows(caller, X):
    """Return X as whole numbers, and whether it holds labels.

    These are numbered as with ``encode=True``; beside them columns of indices keep theirs.
    """
    if np.asarray(X).dtype.kind in "iu":
        return check_rows(caller, X), False
    refuse_masked(X, "X")
    with explained(about_labels, "X", X):
        table = LabelTable.read(X)
    whole = [labels.dtype.kind in "iuf" and not (labels % 1).any() for labels in table.labels]
    if all(whole):
        return check_rows(caller, X), False
    numbers = table.numbers
    for mode, labels in enumerate(table.labels):
        if whole[mode] and labels.min() >= 0 and labels.max() < np.iinfo(np.int64).max:
            numbers[:, mode] = labels[numbers[:, mode]]
    return check_rows(caller, numbers), True


def _sides(n_modes, pattern, mode, block_shape):
    """Return the sides of the boxes that a pattern groups; None for a whole mode."""
    if pattern == "cells":
        return [1] * n_modes
    if pattern == "fibers":
        if mode not in range(n_modes):
            raise ValueError(f"mode is {mode!r}; fibers need one of the modes 0 to {n_modes - 1}.")
        return [None if m == mode else 1 for m in range(n_modes)]
    if pattern == "blocks":
        sides = () if block_shape is None else tuple(block_shape)
        if len(sides) != n_modes or any(side is not None and side < 1 for side in sides):
            raise ValueError(
                f"block_shape is {block_shape!r}; blocks need a positive side, or None for the "
                f"whole mode, for each of the {n_modes} modes."
            )
        return sides
    raise ValueError(f"pattern is {pattern!r}; pass 'cells', 'fibers' or 'blocks'.")


def _draw(labels, size, name, rng):
    """Return row numbers, in random order, of groups drawn until they hold `size`; of the rest."""
    n = len(labels)
    is_share = not isinstance(size, Integral)
    n_wanted = round(size * n) if is_share else size
    if not 0 < n_wanted <= n or (is_share and size > 1):
        raise ValueError(
            f"{name} is {size!r} with {n} cells to draw from; pass an int from 1 to {n}, or a "
            "float up to 1.0, the share, that comes to one cell or more."
        )
    counts = np.bincount(labels)
    order = rng.permutation(counts.size)
    n_groups = np.searchsorted(np.cumsum(counts[order]), n_wanted) + 1
    is_drawn = np.isin(labels, order[:n_groups])
    return rng.permutation(np.flatnonzero(is_drawn)), rng.permutation(np.flatnonzero(~is_drawn))


def sample_entries(
    tensor, size, *, pattern="cells", mode=None, block_shape=None, noise=0.0, random_state=None
):
    """Observe some cells of a dense tensor, with noise if wanted.

    Parameters
    ----------
    tensor : array-like of shape (n_1, ..., n_N)
        The truth. Cells that are NaN, or masked in a masked array, are never drawn.
    size : int or float
        Number or, as a float, share of the known cells to draw; the last group may exceed it.
    pattern, mode, block_shape
        What is drawn as a whole, see `entry_groups`: by default single cells, uniformly.
    noise : float, default=0.0
        Standard deviation of the Gaussian noise, relative to the RMS of the known cells.
    random_state : int, RandomState instance or None, default=None
        Source of the draw. From one int, a larger `size` draws a superset of the cells.

    Returns
    -------
    X, y : ndarray of shape (n_observed, n_modes) and (n_observed,)
        Cells and values in random order, so that unshuffled folds do no harm.

    Examples
    --------
    >>> import numpy as np
    >>> from sktf.datasets import sample_entries
    >>> X, y = sample_entries(np.ones((10, 10, 10)), 0.2, noise=0.1, random_state=0)
    >>> X.shape, y.shape
    ((200, 3), (200,))
    """
    if not noise >= 0:
        raise ValueError(f"noise is {noise!r}; pass a standard deviation of zero or more.")
    X, y = entries_from_dense(tensor)
    rng = check_random_state(random_state)
    groups = entry_groups(X, pattern=pattern, mode=mode, block_shape=block_shape)
    drawn, _ = _draw(groups, size, "size", rng)
    sigma = noise * np.sqrt(np.mean(y**2))
    return X[drawn], y[drawn] + sigma * rng.standard_normal(len(drawn))


def split_entries(
    X, y, test_size=0.25, *, pattern="cells", mode=None, block_shape=None, random_state=None
):
    """Hold out some of the observed cells; all rows of one cell stay together.

    Parameters
    ----------
    X, y : array-like of shape (n_observed, n_modes) and (n_observed,)
        Indices of the observed cells, or labels, and their values; what `fit` takes.
    test_size : int or float, default=0.25
        Number or, as a float, share of the rows to hold out; the last group may exceed it.
    pattern, mode, block_shape
        What is held out as a whole, see `entry_groups`.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    X_train, X_test, y_train, y_test : ndarray
        Rows of X and y, in random order; arrays of int64 and float64 also where tables came in.
        Of labels, X_train and X_test are what X is, such as a table.

    Examples
    --------
    >>> from sktf.datasets import load_il2, split_entries
    >>> X, y, _ = load_il2()
    >>> parts = split_entries(X, y, 0.5, pattern="fibers", mode=2, random_state=0)
    >>> [len(part) for part in parts]
    [2400, 2400, 2400, 2400]
    """
    numbers, labeled = number_rows("split_entries", X)
    numbers, y = check_rows("split_entries", numbers, y)
    groups = entry_groups(numbers, pattern=pattern, mode=mode, block_shape=block_shape)
    test, train = _draw(groups, test_size, "test_size", check_random_state(random_state))
    if len(train) == 0:
        raise ValueError(
            f"test_size is {test_size!r}: all {groups.max() + 1} group(s) are held out and none is "
            "left to train on. Lower test_size, or choose smaller groups."
        )
    X_train, X_test = (_safe_indexing(X if labeled else numbers, part) for part in (train, test))
    return X_train, X_test, y[train], y[test]
