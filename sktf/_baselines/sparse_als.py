"""Alternating least squares on the observed cells alone."""

import numpy as np

from sktf._cells.sorting import cell_numbers
from sktf._objective.components import sum_of_products
from sktf._objective.row_equations import CellsByRow, solve_rows

# Relative to the sum of squares in a least-squares problem; keeps its matrix invertible.
_RIDGE = 1e-10
# Of larger values the normal equations would overflow.
_LARGEST = {"sparse": 1e100, "tensorly": 1e150}


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


def check_products(values, solver):
    """Raise where products of factors as large as values need, or their squares, would overflow."""
    largest = np.abs(values).max()
    if largest > _LARGEST[solver]:
        raise ValueError(
            f"y has values up to {largest:.1e}, of which products overflow; set scale=True."
        )


def sparse_als(cells, rank, start, rng, max_iter, tol, keep):
    """Return factors, the number of sweeps, and whether the relative error settled to ``tol``.

    ``keep(factors, n_sweeps)`` is called after every sweep.
    """
    factors = start or [rng.random_sample((size, rank)) for size in cells.shape]
    modes = [CellsByRow.of(cells, mode) for mode in range(len(cells.shape))]
    norm = np.sqrt(np.average(cells.values**2, weights=cells.weights))
    if norm == 0:
        return [np.zeros_like(factor) for factor in factors], 0, True
    errors = []
    for sweep in range(max_iter):
        before, factors = factors, list(factors)
        for mode, by_row in enumerate(modes):
            others = [factor for n, factor in enumerate(factors) if n != mode]
            factors[mode] = solve_rows(by_row, others or [np.ones((1, rank))], _least_squares)
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


def _least_squares(grams, moments):
    """Return the solutions of blocks of normal equations; a row without cells stays 0."""
    ridge = _RIDGE * np.maximum(np.trace(grams, axis1=1, axis2=2), 1)
    grams = grams + ridge[:, None, None] * np.eye(grams.shape[1])
    return np.linalg.solve(grams, moments[..., None])[..., 0]
