"""Rows for indices of one mode that had no cells: least squares, everything else fixed."""

import numpy as np

from sktf._cells.unfolding import to_cells
from sktf._models.rows import row_covariance

# Directions of a smaller share of the largest variance are rounding.
_NONE = 1e-12


def solve_rows(rows, counts, frame, mode, coords, values, which, error):
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

    Notes
    -----
    A row is ``mean + L z``, ``L L^T`` the covariance of the rows that have cells, and z minimizes
    ``|D L z - left|^2 + error^2 |z|^2`` (D what the other modes read): the best linear prediction.
    """
    known = np.broadcast_to(np.arange(len(frame.shape)) != mode, coords.shape)
    coords = np.where(known, coords, 0)
    cells = to_cells(coords, frame.shape, frame.groups, frame.stored, known)
    side = frame.groups.index((mode,))
    design = np.ones((len(coords), rows[0].shape[1]))
    for n, factor in enumerate(rows):
        if n != side:
            design *= factor[cells[:, n]]
    mean, root = rows[side][-1], _root(row_covariance(rows[side], counts[side]))
    left = values - frame.offset.at(coords, known) - design @ mean
    design, spread = design @ root, 0.0
    if frame.offset.terms:
        spread = np.std(frame.offset.terms[mode]) or frame.offset.scale or 1.0
        design = np.column_stack([design, np.full(len(design), spread)])
    z = np.array([_ridge(design[at], left[at], error) for at in _parts(which)])
    n_directions = root.shape[1]
    return mean + z[:, :n_directions] @ root.T, spread * z[:, n_directions:].sum(axis=1)


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


def with_terms(offset, mode, new, terms, size):
    """Return the offset with additive terms for new indices of a mode, where it has any."""
    if not offset.terms:
        return offset
    grown = list(offset.terms)
    grown[mode] = np.pad(grown[mode], (0, size - len(grown[mode])))
    grown[mode][new] = terms
    return offset._replace(terms=tuple(grown))
