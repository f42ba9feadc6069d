"""Rows for indices of one mode that had no cells: least squares, everything else fixed."""

import numpy as np

from sktf._cells.unfolding import to_cells


def solve_rows(rows, frame, mode, coords, values, which, rcond):
    """Return a factor row and an additive term for each number in ``which``.

    Parameters
    ----------
    rows : list of ndarray of shape (n_rows + 1, R)
        The factors, the mean row last.
    frame : Frame
        That of the fit.
    mode : int
        The mode of the new rows.
    coords, values : ndarray of shape (n_observed, n_modes) and (n_observed,)
        Cells and their values.
    which : ndarray of shape (n_observed,)
        The number of the new row that each cell tells of.
    rcond : float
        Directions weaker than this share of the strongest are left out.
    """
    known = np.broadcast_to(np.arange(len(frame.shape)) != mode, coords.shape)
    coords = np.where(known, coords, 0)
    cells = to_cells(coords, frame.shape, frame.groups, frame.stored, known)
    side, unit = frame.groups.index((mode,)), frame.offset.scale or 1.0
    design = np.ones((len(coords), rows[0].shape[1]))
    for n, factor in enumerate(rows):
        if n != side:
            design *= factor[cells[:, n]]
    mean = rows[side][-1]
    left = values - frame.offset.at(coords, known) - design @ mean
    if frame.offset.terms:
        design = np.column_stack([design, np.full(len(design), unit)])
    parts = [which == row for row in range(which.max() + 1)]
    solved = np.array([np.linalg.lstsq(design[at], left[at], rcond=rcond)[0] for at in parts])
    return mean + solved[:, : len(mean)], unit * solved[:, len(mean) :].sum(axis=1)


def with_terms(offset, mode, new, terms, size):
    """Return the offset with additive terms for new indices of a mode, where it has any."""
    if not offset.terms:
        return offset
    grown = list(offset.terms)
    grown[mode] = np.pad(grown[mode], (0, size - len(grown[mode])))
    grown[mode][new] = terms
    return offset._replace(terms=tuple(grown))
