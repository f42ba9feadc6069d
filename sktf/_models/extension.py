"""Rows for indices of one mode that had no cells: least squares, everything else fixed."""

from functools import partial

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from sktf._cells.unfolding import to_cells
from sktf._models.rows import row_covariance

# Directions of a smaller share of the largest variance are rounding.
_NONE = 1e-12
# Least standard deviation, as a share of the design, that keeps least squares regular.
_REGULAR = 1e-8


def solve_rows(rows, counts, frame, mode, coords, values, which, error, nonnegative):
    """Return a factor row and an additive term for each number in ``which``.

    Parameters
    ----------
    rows, counts : list of ndarray
        The factors, the mean row last, and how many cells their rows have.
    frame : Frame
        That of the fit.
    mode : int
        The mode of the new rows.
    coords, values : ndarray of shape (n_observed, n_modes) and (n_observed,)
        Cells and their values.
    which : ndarray of shape (n_observed,)
        The number of the new row that each cell tells of.
    error : float
        Standard deviation of a value about what a row predicts.
    nonnegative : bool
        Whether no entry of a row may be negative.

    Notes
    -----
    A row is ``mean + L z``, ``L L^T`` the covariance of the rows that have cells, and z minimizes
    ``|D L z - left|^2 + error^2 |z|^2`` (D what the other modes read): the best linear prediction,
    or the best among those whose row has no negative entry.
    """
    known = np.broadcast_to(np.arange(len(frame.shape)) != mode, coords.shape)
    coords = np.where(known, coords, 0)
    cells = to_cells(coords, frame.shape, frame.groups, frame.stored, known)
    side = frame.groups.index((mode,))
    design = np.ones((len(coords), rows[0].shape[1]))
    for n, factor in enumerate(rows):
        if n != side:
            design *= factor[cells[:, n]]
    # In units of a power of two near the largest entry no square over- or underflows.
    entries = [rows[side].ravel(), *frame.offset.terms[mode : mode + 1]]
    unit = 2.0 ** (np.frexp(max(np.abs(part).max(initial=0) for part in entries))[1] - 1)
    its_rows, error = rows[side] / unit, error / unit
    mean, root = its_rows[-1], _root(row_covariance(its_rows, counts[side]))
    left = (values - frame.offset.at(coords, known)) / unit - design @ mean
    design, spread = design @ root, 0.0
    if frame.offset.terms:
        spread = np.std(frame.offset.terms[mode] / unit) or (frame.offset.scale or 1.0) / unit
        design = np.column_stack([design, np.full(len(design), spread)])
    solve = partial(_nonnegative_ridge, mean, root) if nonnegative else _ridge
    z = np.array([solve(design[at], left[at], error) for at in _parts(which)])
    n_directions = root.shape[1]
    found = mean + z[:, :n_directions] @ root.T
    found = np.maximum(found, 0.0) if nonnegative else found  # of which zeros are rounded
    return unit * found, unit * spread * z[:, n_directions:].sum(axis=1)


def _parts(which):
    """Return for each number the places of its cells, in their order."""
    return np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1])


def _root(covariance):
    """Return L of ``L L^T``, without directions in which rows hardly differ."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > _NONE * values.max(initial=0.0)
    return vectors[:, kept] * np.sqrt(values[kept])


def _ridge(design, left, error):
    """Return the least-squares solution with a penalty of ``error^2``, the shortest without."""
    n = design.shape[1]
    stacked = np.vstack([design, error * np.eye(n)])
    return np.linalg.lstsq(stacked, np.append(left, np.zeros(n)), rcond=1e-10)[0]


def _nonnegative_ridge(mean, root, design, left, error):
    """Return what ``_ridge`` does among the z whose row ``mean + root z`` has no negative entry."""
    z, n = _ridge(design, left, error), design.shape[1]
    onto = np.pad(root, ((0, 0), (0, n - root.shape[1])))
    if (mean + onto @ z >= 0).all():
        return z
    error = max(error, _REGULAR * np.linalg.norm(design))
    stacked = np.vstack([design, error * np.eye(n)])
    return _least_squares_above(stacked, np.append(left, np.zeros(n)), onto, -mean)


def _least_squares_above(design, values, onto, least):
    """Return the z of least ``|design z - values|`` with ``onto z >= least``.

    It is the shortest move from the least squares, which non-negative least squares finds [1]_.

    References
    ----------
    .. [1] C. L. Lawson and R. J. Hanson, "Solving least squares problems", 1974, chapter 23.
    """
    basis, inner = np.linalg.qr(design)
    free = solve_triangular(inner, basis.T @ values)
    missing = least - onto @ free
    moves = solve_triangular(inner, onto.T, trans="T")
    # Units are divided out of both.
    unit, length = missing.max(), np.abs(moves).max()
    system = np.vstack([moves / length, missing / unit])
    goal = np.append(np.zeros(len(free)), 1.0)
    *away, last = system @ nnls(system, goal)[0] - goal
    return free - solve_triangular(inner, np.array(away) / last) * (unit / length)


def with_terms(offset, mode, new, terms, size):
    """Return the offset with additive terms for new indices of a mode, where it has any."""
    if not offset.terms:
        return offset
    grown = list(offset.terms)
    grown[mode] = np.pad(grown[mode], (0, size - len(grown[mode])))
    grown[mode][new] = terms
    return offset._replace(terms=tuple(grown))
