"""Rows for indices of one mode that had no cells: least squares, everything else fixed."""

from functools import partial

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from sktf._cells.unfolding import to_cells
from sktf._models.rows import row_covariance

# Directions of a smaller share of the largest variance are rounding.
_NONE = 1e-12
# Newton steps of a row below a link, which end where they move it by less.
_STEPS, _STILL, _FLAT = 50, 1e-10, 1e-9
# Curvature below which chances are 0 or 1 but for rounding, and steps by it would overflow.
_SURE = 1e-12
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
    or the best among those whose row has no negative entry. Below the link of a loss it minimizes
    the sum of deviances plus ``|z|^2``.
    """
    known = np.broadcast_to(np.arange(len(frame.shape)) != mode, coords.shape)
    coords = np.where(known, coords, 0)
    cells = to_cells(coords, frame.shape, frame.groups, frame.stored, known)
    side = frame.groups.index((mode,))
    design = np.ones((len(coords), rows[0].shape[1]))
    for n, factor in enumerate(rows):
        if n != side:
            design *= factor[cells[:, n]]
    unit = 1.0 if frame.loss is not None else _unit(rows[side])
    its_rows, error = rows[side] / unit, error / unit
    mean, root = its_rows[-1], _root(row_covariance(its_rows, counts[side]))
    added = frame.offset.at(coords, known)
    if frame.loss is None:
        left = (values - added) / unit - design @ mean
    else:
        left = np.column_stack([values, added + design @ mean])
    design, spread = design @ root, 0.0
    if frame.offset.terms:
        size = _unit(frame.offset.terms[mode])
        spread = np.std(frame.offset.terms[mode] / size) * size or frame.offset.scale or 1.0
        spread /= unit
        design = np.column_stack([design, np.full(len(design), spread)])
    solve = partial(_nonnegative_ridge, mean, root) if nonnegative else _ridge
    if frame.loss is None:
        largest = _unit(design, left, error)
        design, left, error = design / largest, left / largest, error / largest
    else:
        solve = partial(_likeliest, frame.loss, solve)
    z = np.array([solve(design[at], left[at], error) for at in _parts(which)])
    n_directions = root.shape[1]
    found = mean + z[:, :n_directions] @ root.T
    found = np.maximum(found, 0.0) if nonnegative else found  # of which zeros are rounded
    return unit * found, unit * spread * z[:, n_directions:].sum(axis=1)


def _unit(*parts):
    """Return a power of two near the largest entry: in its units no square over- or underflows."""
    largest = max(np.abs(part).max(initial=0) for part in parts)
    return 2.0 ** (np.frexp(largest)[1] - 1)


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


def _likeliest(loss, ridge, design, left, error):
    """Return the z of least deviance plus ``|z|^2``; ``left`` are y and what is added to eta.

    Newton's method: each step solves least squares near where it is, as ``ridge`` does, and is
    halved until it goes down. The spread of a value is that of the loss.
    """
    (y, added), z = left.T, np.zeros(design.shape[1])

    def predictor(z):
        return np.maximum(added + design @ z, loss.lowest)

    def objective(z):
        return loss.cost(predictor(z), y).sum() + z @ z

    for _ in range(_STEPS):
        eta = predictor(z)
        half = loss.curvature(eta) / 2
        half = np.maximum(half, _FLAT * max(half.max(), _SURE))
        working, root = design @ z - loss.derivative(eta, y) / (2 * half), np.sqrt(half)
        step = ridge(root[:, None] * design, root * working, 1.0) - z
        with np.errstate(over="ignore"):
            while not objective(z + step) <= objective(z) and np.abs(step).max() > _STILL:
                step = step / 2
        z = z + step
        if np.abs(step).max(initial=0.0) <= _STILL:
            break
    return z


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
    if not unit > 0:
        return free
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
