"""Truths to recover, ways to observe them, and real tensors: numpy arrays in and out.

Cells are sampled and held out by one mechanism, the groups of `entry_groups`, drawn whole. Real
tensors come with tensorly, the digits with scikit-learn.
"""

from numbers import Integral
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_consistent_length, check_random_state

from sktf._docs import shared
from sktf._frame import row_numbers
from sktf._tensorly import load_bundled


class Entries(NamedTuple):
    """Observed cells of a tensor: ``X, y, shape = load_il2()``.

    Attributes
    ----------
    X, y : ndarray of shape (n_observed, n_modes) and (n_observed,)
        Indices of the cells, int64, and their values, float64. The loaders list them in C order:
        shuffle before making folds.
    shape : tuple of int
        The size of each mode.
    """

    X: np.ndarray
    y: np.ndarray
    shape: tuple


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
    >>> from sktf.datasets import dense_from_factors
    >>> dense_from_factors([np.array([[1.0], [2.0]]), np.array([[3.0], [4.0]])])
    array([[3., 4.],
           [6., 8.]])
    """
    columns = factors[-1]
    for factor in factors[-2:0:-1]:
        columns = (factor[:, None] * columns).reshape(-1, factor.shape[1])
    return (factors[0] @ columns.T).reshape([len(factor) for factor in factors])


def entry_groups(X, *, pattern="cells", mode=None, block_shape=None):
    """Label the cells that are sampled, or held out, together.

    Parameters
    ----------
    X : array-like of shape (n_entries, n_modes)
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
    X = _index_array(X)
    sides = _sides(X.shape[1], pattern, mode, block_shape)
    apart = [m for m, side in enumerate(sides) if side is not None]
    return row_numbers(X[:, apart] // [sides[m] for m in apart])


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
        Indices of the observed cells, and their values.
    test_size : int or float, default=0.25
        Number or, as a float, share of the rows to hold out; the last group may exceed it.
    pattern, mode, block_shape
        What is held out as a whole, see `entry_groups`.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    X_train, X_test, y_train, y_test : ndarray
        Rows of X and y, in random order.

    Examples
    --------
    >>> from sktf.datasets import load_il2, split_entries
    >>> X, y, _ = load_il2()
    >>> parts = split_entries(X, y, 0.5, pattern="fibers", mode=2, random_state=0)
    >>> [len(part) for part in parts]
    [2400, 2400, 2400, 2400]
    """
    X, y = _index_array(X), np.asarray(y)
    check_consistent_length(X, y)
    groups = entry_groups(X, pattern=pattern, mode=mode, block_shape=block_shape)
    test, train = _draw(groups, test_size, "test_size", check_random_state(random_state))
    if len(train) == 0:
        raise ValueError(
            f"test_size is {test_size!r}: all {groups.max() + 1} group(s) are held out and none is "
            "left to train on. Lower test_size, or choose smaller groups."
        )
    return X[train], X[test], y[train], y[test]


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
    X, y = _index_array(X), np.asarray(y, dtype=np.float64)
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


def _index_array(X):
    """Return the indices as int64, refusing what cannot index."""
    X = np.asarray(X)
    if X.ndim != 2 or not np.issubdtype(X.dtype, np.integer) or (X < 0).any():
        raise ValueError(
            f"X has shape {X.shape} and dtype {X.dtype}; pass a table of non-negative integers, "
            "one row for each cell and one column for each mode."
        )
    return X.astype(np.int64, copy=False)


def make_ratings(n_users=300, n_items=200, n_ratings=6000, *, rank=3, noise=0.5, random_state=None):
    r"""Make star ratings from 1 to 5 with active users and popular items.

    Parameters
    ----------
    n_users, n_items, n_ratings : int, default=300, 200 and 6000
        Sizes of the modes, and the number of distinct rated cells, at most a quarter of all.
    rank : int, default=3
        Number of latent tastes.
    noise : float, default=0.5
        Standard deviation of a rating about its expectation, in stars, before rounding.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    Entries
        ``X, y, shape``, in random order.

    Notes
    -----
    .. math:: y_{ui} = \operatorname{round}\bigl(3.5 + b_u + c_i + 0.6\, p_u^\top q_i / \sqrt{R}
        + \text{noise} \cdot \varepsilon_{ui}\bigr) \text{, clipped to } 1 \dots 5,

    with normal biases of standard deviation 0.4 (users) and 0.5 (items) and standard normal tastes.
    The k-th most active user, and likewise the k-th most popular item, is drawn with probability
    proportional to :math:`(k + 10)^{-0.8}`; a cell is rated once.

    Examples
    --------
    >>> from sktf.datasets import make_ratings
    >>> X, y, shape = make_ratings(100, 80, 1500, random_state=0)
    >>> X.shape, shape, sorted(set(y.tolist()))
    ((1500, 2), (100, 80), [1.0, 2.0, 3.0, 4.0, 5.0])
    """
    if not 0 < n_ratings <= n_users * n_items / 4:
        raise ValueError(
            f"n_ratings is {n_ratings}; pass at least 1 and at most a quarter of the "
            f"{n_users} x {n_items} cells: {n_users * n_items // 4}."
        )
    rng = check_random_state(random_state)
    X = _draw_rated_cells(n_users, n_items, n_ratings, rng)
    users, items = X.T
    stars = 3.5 + 0.4 * rng.standard_normal(n_users)[users]
    stars += 0.5 * rng.standard_normal(n_items)[items]
    tastes, traits = (rng.standard_normal((n, rank)) for n in (n_users, n_items))
    stars += 0.6 * np.sum(tastes[users] * traits[items], axis=1) / np.sqrt(rank)
    stars += noise * rng.standard_normal(n_ratings)
    return Entries(X, np.clip(np.rint(stars), 1, 5), (n_users, n_items))


def _draw_rated_cells(n_users, n_items, n_ratings, rng):
    """Return distinct cells, drawn one after the other with unequal probabilities."""
    user_shares, item_shares = _power_law(n_users, rng), _power_law(n_items, rng)
    codes = np.empty(0, dtype=np.int64)
    while codes.size < n_ratings:
        users = rng.choice(n_users, n_ratings, p=user_shares)
        items = rng.choice(n_items, n_ratings, p=item_shares)
        codes = np.concatenate([codes, users * n_items + items])
        # Repeats are ignored: the first time a cell turned up is what counts.
        codes = codes[np.sort(np.unique(codes, return_index=True)[1])]
    return np.column_stack(np.divmod(codes[:n_ratings], n_items))


def _power_law(n, rng):
    """Return unequal probabilities in random order."""
    shares = (np.arange(1, n + 1) + 10.0) ** -0.8
    return rng.permutation(shares / shares.sum())


@shared(name="load_il2", size="(13, 4, 12, 8)", cells="4,800 cells")
def load_il2():
    """Load the responses of immune cells to IL-2 muteins, 13 x 4 x 12 x 8, 3.8 % missing.

    Modes: ligand, time (4, 2, 1, 0.5), dose (from 84 to 0.000474, evenly on a log scale), cell
    type. Values are signals without unit, from 0 to 1; 828 are 0, which is data. The 192 missing
    cells are two whole blocks: ligands 3 and 4 (counted from 0) at the last time.

    {loaded}

    References
    ----------
    .. [1] B. Orcutt-Jahns et al., "Multivalency enhances the specificity of Fc-cytokine fusions",
       bioRxiv 2021. MIT licence, copyright 2021 The Regents of the University of California.
    """
    return _as_entries(load_bundled("load_IL2data"))


@shared(name="load_kinetic", size="(64, 12, 10, 60)", cells="459,046 cells")
def load_kinetic():
    """Load kinetic fluorescence measurements, 64 x 12 x 10 x 60, 0.4 % missing.

    Modes: measurement, emission wavelength (472 to 554.5 nm), excitation wavelength (362 to
    416 nm), time (1/3 to 20 minutes). Values are fluorescence intensities in the instrument's unit,
    from -36 to 2,773. 1,754 cells are missing. Measurements 34, 35, 44, 45 and 63 (counted from 0)
    are known outliers.

    {loaded}

    References
    ----------
    .. [1] R. P. H. Nikolajsen, K. S. Booksh, A. M. Hansen, R. Bro, "Quantifying catecholamines
       using multi-way kinetic modelling", Analytica Chimica Acta 475, 2003. For public use; its
       makers ask for this citation.
    """
    return _as_entries(load_bundled("load_kinetic"))


@shared(name="load_covid19_serology", size="(438, 6, 11)", cells="28,908 cells")
def load_covid19_serology():
    """Load antibody measurements of COVID-19 patients and controls, 438 x 6 x 11, complete.

    Modes: sample, antigen, receptor. Values are standardised binding signals, from -4.5 to 3.6, of
    mean 0. The data are noisy and only roughly of low CP rank.

    {loaded}

    References
    ----------
    .. [1] T. Zohar et al., "Compromised humoral functional evolution tracks with SARS-CoV-2
       mortality", Cell 183, 2020.
    .. [2] Z. C. Tan et al., "Tensor-structured decomposition improves systems serology analysis",
       Molecular Systems Biology 17, 2021. MIT licence, copyright 2022 The Regents of the
       University of California.
    """
    return _as_entries(load_bundled("load_covid19_serology"))


@shared(name="load_indian_pines", size="(145, 145, 200)", cells="4,205,000 cells (135 MB)")
def load_indian_pines():
    """Load a hyperspectral image of farmland in Indiana, 145 x 145 x 200, complete.

    Modes: pixel row, pixel column, spectral band (from 400 to 2,499 nm, without the bands that
    water absorbs). Values are sensor counts, from 955 to 9,604.

    {loaded}

    References
    ----------
    .. [1] M. F. Baumgardner, L. L. Biehl, D. A. Landgrebe, "220 Band AVIRIS Hyperspectral Image
       Data Set: June 12, 1992 Indian Pine Test Site 3", Purdue University Research Repository,
       2015, doi:10.4231/R7RX991C. CC BY 3.0.
    """
    return _as_entries(load_bundled("load_indian_pines"))


@shared(name="load_digits_tensor", size="(1797, 8, 8)", cells="115,008 cells")
def load_digits_tensor():
    """Load scikit-learn's images of handwritten digits, 1797 x 8 x 8, complete.

    Modes: image, pixel row, pixel column. Values are grey levels, integers from 0 (background) to
    16.

    {loaded}

    References
    ----------
    .. [1] E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", test set, UCI
       Machine Learning Repository, 1998.
    """
    from sklearn.datasets import load_digits

    return _as_entries(load_digits().images)


def _as_entries(tensor):
    return Entries(*entries_from_dense(tensor), tensor.shape)
