"""Draws of rows: their mean and covariance, and the twin in NumPy."""

import numpy as np
from numpy.testing import assert_allclose

from sktf._objective.row_draws import draw_rows, draw_rows_numpy


def _problem(n_rows, seed=0):
    """Return the arguments of a block whose rows have one set of equations, two columns fixed."""
    rng = np.random.RandomState(seed)
    design = rng.standard_normal((7, 5))
    values, half = rng.standard_normal(7), rng.standard_normal((3, 3))
    grams = np.broadcast_to(design.T @ design, (n_rows, 5, 5)).copy()
    moments = np.broadcast_to(values @ design, (n_rows, 5)).copy()
    precision = half @ half.T + np.eye(3)
    shift = precision @ rng.standard_normal(3)
    return (design, values), (
        grams,
        moments,
        rng.standard_normal((n_rows, 3)),
        2.5,
        precision,
        shift,
    )


def test_mean_and_covariance_are_those_of_bayesian_regression():
    """Of values less the columns that are fixed to one, against the closed form."""
    n_rows = 40_000
    (design, values), arguments = _problem(n_rows)
    drawn = np.empty((n_rows, 3))
    draw_rows(*arguments, drawn)
    *_, weight, precision, shift = arguments
    free, left = design[:, :3], values - design[:, 3:].sum(axis=1)
    covariance = np.linalg.inv(weight * free.T @ free + precision)
    mean = covariance @ (weight * left @ free + shift)
    # Five standard errors of the mean, and of a variance (relative error sqrt(2 / n)).
    errors = np.sqrt(np.diag(covariance) / n_rows)
    assert (np.abs(drawn.mean(axis=0) - mean) < 5 * errors).all()
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert (np.abs(np.cov(drawn.T) - covariance) < 5 * np.sqrt(2 / n_rows) * scale).all()


def test_without_noise_the_row_is_the_mean():
    """Then the solution of the normal equations."""
    (design, values), (grams, moments, noise, *prior) = _problem(2)
    drawn = np.empty((2, 3))
    draw_rows(grams, moments, np.zeros_like(noise), *prior, drawn)
    weight, precision, shift = prior
    free, left = design[:, :3], values - design[:, 3:].sum(axis=1)
    expected = np.linalg.solve(weight * free.T @ free + precision, weight * left @ free + shift)
    assert_allclose(drawn, [expected, expected], rtol=1e-12)


def test_the_twin_draws_the_same():
    """To rounding."""
    _, arguments = _problem(6, seed=1)
    arguments[0][...] *= np.arange(1, 7)[:, None, None]
    compiled, twin = np.empty((2, 6, 3))
    draw_rows(*arguments, compiled)
    draw_rows_numpy(*arguments, twin)
    assert_allclose(compiled, twin, rtol=1e-10)


def test_equations_singular_to_rounding_give_finite_rows():
    """Values without noise, read through two columns that are one."""
    grams = np.full((1, 2, 2), 1e16)
    drawn = np.empty((1, 2))
    draw_rows(grams, np.full((1, 2), 1e16), np.zeros((1, 2)), 1e8, np.eye(2), np.zeros(2), drawn)
    assert np.isfinite(drawn).all()
    assert_allclose(drawn.sum(), 1.0, rtol=1e-6)
