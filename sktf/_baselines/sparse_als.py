"""Alternating least squares on the observed cells alone."""

from math import prod

import numpy as np

from sktf._cells.sorting import cell_numbers
from sktf._objective.components import sum_of_products

# Relative to the sum of squares in a least-squares problem; keeps its matrix invertible.
_RIDGE = 1e-10


def distinct_cells(observations):
    """Return one observation per cell, in order: the mean of its rows. Weights have mean 1."""
    numbers = cell_numbers(observations)
    first = np.unique(numbers, return_index=True)[1]
    share = observations.weights / observations.weights.max()
    totals = np.bincount(numbers, share)
    values = np.bincount(numbers, share * observations.values) / totals
    coords, weights = observations.coords[first], totals / totals.mean()
    return observations._replace(coords=coords, values=values, weights=weights)


def mean_squared_error(factors, cells):
    """Return the weighted mean squared error over cells."""
    with np.errstate(all="ignore"):
        residual = sum_of_products(factors, cells.coords) - cells.values
        return float(np.average(residual**2, weights=cells.weights))


def sparse_als(cells, rank, start, rng, max_iter, tol, keep):
    """Return factors, the number of sweeps, and whether the relative error settled to ``tol``.

    ``keep(factors, n_sweeps)`` is called after every sweep.
    """
    factors = start or [rng.random_sample((size, rank)) for size in cells.shape]
    modes = [_by_row(cells, mode) for mode in range(len(cells.shape))]
    norm = np.sqrt(np.average(cells.values**2, weights=cells.weights))
    if norm == 0:
        return [np.zeros_like(factor) for factor in factors], 0, True
    errors = []
    for sweep in range(max_iter):
        before, factors = factors, list(factors)
        for mode, by_row in enumerate(modes):
            factors[mode] = _solve_rows(factors, mode, *by_row)
        errors.append(np.sqrt(mean_squared_error(factors, cells)) / norm)
        if sweep > 5:
            # A longer step in the direction of the sweep, if it pays: ALS creeps in swamps.
            pairs = zip(before, factors, strict=True)
            jump = [old + np.sqrt(sweep) * (new - old) for old, new in pairs]
            error = np.sqrt(mean_squared_error(jump, cells)) / norm
            if error < errors[-1]:
                factors, errors[-1] = jump, error
        keep(factors, sweep + 1)
        if sweep > 0 and abs(errors[-2] - errors[-1]) < tol:
            return factors, sweep + 1, True
    return factors, max_iter, False


def _by_row(cells, mode):
    """Return the cells ordered by their index in a mode, and where each index starts."""
    cells = cells.take(np.argsort(cells.coords[:, mode], kind="stable"))
    rows, starts = np.unique(cells.coords[:, mode], return_index=True)
    return cells, rows, starts


def _solve_rows(factors, mode, cells, rows, starts):
    """Return the factor of a mode that fits the cells best, the other factors fixed."""
    rank = factors[0].shape[1]
    others = [n for n in range(len(factors)) if n != mode]
    design = prod((factors[n][cells.coords[:, n]] for n in others), start=np.ones((1, rank)))
    design = np.broadcast_to(design, (len(cells.values), rank))
    weighted = cells.weights[:, None] * design
    moments = np.add.reduceat(weighted * cells.values[:, None], starts, axis=0)
    parts = zip(np.split(weighted, starts[1:]), np.split(design, starts[1:]), strict=True)
    grams = np.stack([left.T @ right for left, right in parts])
    ridge = _RIDGE * np.maximum(np.trace(grams, axis1=1, axis2=2), 1)
    grams += ridge[:, None, None] * np.eye(rank)
    solved = np.zeros_like(factors[mode])
    solved[rows] = np.linalg.solve(grams, moments[..., None])[..., 0]
    return solved
