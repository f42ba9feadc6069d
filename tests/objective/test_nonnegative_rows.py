"""Coordinate descent of rows without negative entries, against scipy's solver and its twin."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import lsq_linear, nnls

from sktf._objective.nonnegative_rows import descend_rows, descend_rows_numpy

MANY = 10_000


def problems(n_rows=20, n=6, n_cells=15, seed=0):
    """Designs and values of rows, about half of whose entries of least squares are negative."""
    rng = np.random.default_rng(seed)
    design, values = rng.random((n_rows, n_cells, n)), 1 + rng.standard_normal((n_rows, n_cells))
    grams = np.einsum("ier,ies->irs", design, design)
    return design, values, grams, np.einsum("ier,ie->ir", design, values)


def descended(grams, moments, n_passes=MANY, n_bounded=None, start=0.5, descend=descend_rows):
    rows = np.full(moments.shape, start)
    descend(grams, moments, moments.shape[1] if n_bounded is None else n_bounded, n_passes, rows)
    return rows


@pytest.mark.parametrize("start", [0.0, 0.5, 100.0])
def test_rows_are_non_negative_least_squares(start):
    """To 1e-4 of the entries, which are O(1): a pass that moves a row by 1e-6 is the last."""
    design, values, grams, moments = problems()
    found = descended(grams, moments, start=start)
    wanted = [nnls(matrix, row)[0] for matrix, row in zip(design, values, strict=True)]
    assert 0.2 < np.mean(np.array(wanted) == 0) < 0.8
    assert_allclose(found, wanted, atol=1e-4)
    assert (found >= 0).all()


def test_the_last_entries_may_have_signs():
    """Against scipy's bounded least squares, two of six entries without a bound."""
    design, values, grams, moments = problems(seed=1)
    bounds = np.r_[np.zeros(4), np.full(2, -np.inf)], np.inf
    wanted = [lsq_linear(*system, bounds).x for system in zip(design, values, strict=True)]
    assert np.min(wanted) < -0.1
    assert_allclose(descended(grams, moments, n_bounded=4), wanted, atol=1e-3)


@pytest.mark.parametrize("n_passes", [1, 3])
@pytest.mark.parametrize("shared", [False, True])
def test_the_kernel_does_what_its_twin_does(n_passes, shared):
    """To rounding, with one matrix for each row or one for all; an entry without cells stays."""
    *_, grams, moments = problems()
    grams[:, 2] = grams[:, :, 2] = moments[:, 2] = 0
    grams = grams[:1] if shared else grams
    how = {"n_passes": n_passes, "n_bounded": 5}
    found = descended(grams, moments, **how)
    assert_allclose(found, descended(grams, moments, **how, descend=descend_rows_numpy), atol=1e-12)
    assert_array_equal(found[:, 2], 0.5)


def test_no_pass_raises_the_objective():
    """``f G f / 2 - m f`` of every row; 1e-12: rounding."""
    *_, grams, moments = problems()
    before = np.inf
    for n_passes in range(8):
        rows = descended(grams, moments, n_passes)
        after = np.einsum("ir,irs,is->i", rows, grams, rows) / 2 - (moments * rows).sum(axis=1)
        assert (after <= before + 1e-12).all()
        before = after


def test_nothing_to_solve():
    """No rows, and rows without entries."""
    descend_rows(np.ones((0, 2, 2)), np.ones((0, 2)), 2, 5, np.ones((0, 2)))
    descend_rows(np.ones((3, 0, 0)), np.ones((3, 0)), 0, 5, np.ones((3, 0)))
