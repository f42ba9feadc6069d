"""Metrics against numpy, scipy, scikit-learn, tensorly and closed forms."""

from unittest.mock import Mock

import numpy as np
import pytest
import scipy.stats
import tensorly as tl
from sklearn.dummy import DummyRegressor
from sklearn.metrics import make_scorer, r2_score

from sktf.metrics import (
    _first_fitting,
    als_tensor_rank,
    component_norms,
    effective_rank,
    normalized_rmse,
    nuclear_norm,
    relative_error,
    schatten_norm,
    spectrum_effective_rank,
    unfolding,
    unfolding_effective_ranks,
)

# Rounding in an SVD of a small matrix.
CLOSE = dict(rtol=1e-10, atol=1e-12)


def low_rank(shape, rank, seed=0):
    """Return a random CP tensor made by numpy alone."""
    rng = np.random.RandomState(seed)
    columns = zip(*(rng.standard_normal((rank, n)) for n in shape), strict=True)
    return sum(tl.tenalg.outer(list(vectors)) for vectors in columns)


def test_effective_rank_is_the_exponential_of_scipys_entropy():
    """The definition, with the entropy computed by scipy."""
    matrix = np.random.RandomState(0).standard_normal((6, 4))
    entropy = scipy.stats.entropy(np.linalg.svd(matrix, compute_uv=False))
    np.testing.assert_allclose(effective_rank(matrix), np.exp(entropy), **CLOSE)


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_effective_rank_of_equal_singular_values_is_the_rank(rank):
    """Equal singular values count fully, whatever their scale."""
    columns = np.linalg.qr(np.random.RandomState(0).standard_normal((7, rank)))[0]
    np.testing.assert_allclose(effective_rank(1e-9 * columns), rank, **CLOSE)


def test_effective_rank_of_zeros_is_zero():
    """A matrix without singular values has no rank."""
    assert effective_rank(np.zeros((3, 2))) == 0.0


def test_effective_ranks_of_spectra_are_those_of_their_matrices():
    """Along the last axis, whatever stands before it; a spectrum of zeros has none."""
    matrices = np.random.RandomState(0).standard_normal((2, 3, 6, 4))
    matrices[1, 2] = 0.0
    expected = [[effective_rank(matrix) for matrix in row] for row in matrices]
    found = spectrum_effective_rank(np.linalg.svd(matrices, compute_uv=False))
    np.testing.assert_allclose(found, expected, **CLOSE)
    assert spectrum_effective_rank([3.0, 3.0, 0.0]) == pytest.approx(2.0)


@pytest.mark.parametrize(("p", "order"), [(1, "nuc"), (2, "fro"), (np.inf, 2)])
def test_schatten_norm_contains_the_norms_of_numpy(p, order):
    """Orders 1, 2 and infinity are the nuclear, the Frobenius and the spectral norm."""
    matrix = np.random.RandomState(0).standard_normal((5, 8))
    np.testing.assert_allclose(schatten_norm(matrix, p), np.linalg.norm(matrix, order), **CLOSE)


def test_nuclear_norm_is_numpys():
    """The nuclear norm is the one of numpy."""
    matrix = np.random.RandomState(0).standard_normal((5, 8))
    np.testing.assert_allclose(nuclear_norm(matrix), np.linalg.norm(matrix, "nuc"), **CLOSE)


@pytest.mark.parametrize("p", [0.1, 0.5, 2 / 3])
def test_schatten_quasi_norm_has_its_root(p):
    """For p < 1: (2^p + 3^p)^(1/p), and homogeneous of degree one."""
    matrix = np.diag([2.0, -3.0])
    expected = (2**p + 3**p) ** (1 / p)
    np.testing.assert_allclose(schatten_norm(matrix, p), expected, **CLOSE)
    np.testing.assert_allclose(schatten_norm(1e-200 * matrix, p), 1e-200 * expected, rtol=1e-10)


def test_schatten_norm_of_zeros_is_zero():
    """No division by the largest singular value when it is zero."""
    assert schatten_norm(np.zeros((2, 3)), 0.5) == 0.0


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_unfolding_is_tensorlys(mode):
    """The same order of columns as `tensorly.unfold`."""
    tensor = np.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    np.testing.assert_array_equal(unfolding(tensor, mode), tl.unfold(tensor, mode))


def test_unfolding_effective_ranks_are_those_of_tensorlys_unfoldings():
    """One for each mode; a tensor of one component has 1 everywhere."""
    tensor = low_rank((4, 5, 6), rank=3)
    expected = [effective_rank(tl.unfold(tensor, mode)) for mode in range(3)]
    np.testing.assert_allclose(unfolding_effective_ranks(tensor), expected, **CLOSE)
    # Rounding leaves singular values near 1e-16, each with an entropy near 4e-15.
    np.testing.assert_allclose(unfolding_effective_ranks(low_rank((4, 5, 6), 1)), 1, rtol=1e-12)


def test_relative_error_is_a_ratio_of_norms():
    """Over all cells, it is the ratio of Frobenius norms."""
    rng = np.random.RandomState(0)
    estimate, truth = rng.standard_normal((2, 3, 4, 5))
    expected = np.linalg.norm(estimate - truth) / np.linalg.norm(truth)
    np.testing.assert_allclose(relative_error(estimate, truth), expected, **CLOSE)
    assert relative_error(truth, truth) == 0.0
    assert relative_error(np.zeros_like(truth), truth) == 1.0


def test_relative_error_where_ignores_the_other_cells():
    """NaN and wrong values outside the mask don't matter; complementary masks add up."""
    rng = np.random.RandomState(1)
    estimate, truth = rng.standard_normal((2, 4, 5))
    where = rng.random_sample((4, 5)) < 0.5
    squares = [
        relative_error(estimate, truth, where=part) ** 2 * np.sum(truth[part] ** 2)
        for part in (where, ~where)
    ]
    np.testing.assert_allclose(sum(squares), np.sum((estimate - truth) ** 2), **CLOSE)
    holed = np.where(where, truth, np.nan)
    assert relative_error(estimate, holed, where=where) == relative_error(
        estimate, truth, where=where
    )


@pytest.mark.parametrize("weighted", [False, True])
def test_normalized_rmse_is_the_root_of_one_minus_r2(weighted):
    """NRMSE^2 = 1 - R^2, with scikit-learn's R^2 and weights."""
    rng = np.random.RandomState(0)
    y_true, y_pred = rng.standard_normal((2, 30))
    weight = rng.random_sample(30) if weighted else None
    expected = np.sqrt(1 - r2_score(y_true, y_pred, sample_weight=weight))
    found = normalized_rmse(y_true, y_pred, sample_weight=weight)
    np.testing.assert_allclose(found, expected, **CLOSE)


def test_normalized_rmse_weight_two_is_a_repeated_sample():
    """Integer weights are repetitions, weight zero leaves a sample out."""
    y_true, y_pred = np.array([1.0, 2.0, 4.0, 9.0]), np.array([1.5, 2.0, 3.0, 0.0])
    weight = np.array([2, 1, 3, 0])
    expected = normalized_rmse(np.repeat(y_true, weight), np.repeat(y_pred, weight))
    found = normalized_rmse(y_true, y_pred, sample_weight=weight)
    np.testing.assert_allclose(found, expected, **CLOSE)


def test_normalized_rmse_can_be_a_scorer():
    """In scikit-learn's scorer a prediction of the mean gets minus one."""
    X, y = np.zeros((5, 1)), np.arange(5.0)
    scorer = make_scorer(normalized_rmse, greater_is_better=False)
    np.testing.assert_allclose(scorer(DummyRegressor().fit(X, y), X, y), -1)


def test_component_norms_are_norms_of_outer_products():
    """The Frobenius norm of each rank-one term, in the order of the columns."""
    rng = np.random.RandomState(0)
    factors = [rng.standard_normal((n, 3)) for n in (4, 5, 6)]
    terms = [tl.tenalg.outer([factor[:, r] for factor in factors]) for r in range(3)]
    expected = [np.linalg.norm(term) for term in terms]
    np.testing.assert_allclose(component_norms(factors), expected, **CLOSE)


@pytest.mark.parametrize(
    ("shape", "rank"), [((5, 6, 7), 1), ((5, 6, 7), 4), ((4, 4, 4, 4), 3), ((5, 5, 5), 6)]
)
def test_als_tensor_rank_finds_the_rank_of_random_tensors(shape, rank):
    """Generic tensors of low rank have that CP rank, above the mode sizes as well."""
    tensor = low_rank(shape, rank, seed=1)
    assert als_tensor_rank(tensor, random_state=0) == rank


def test_als_tensor_rank_of_a_matrix_is_its_numerical_rank():
    """By Eckart and Young; the tolerance is relative, so the scale is of no account."""
    matrix = np.diag([1.0, 0.5, 1e-3, 1e-6])
    for scale in (1e-12, 1.0, 1e12):
        assert als_tensor_rank(scale * matrix, tol=1e-2) == 2
        assert als_tensor_rank(scale * matrix, tol=1e-4) == 3
        assert als_tensor_rank(scale * matrix, tol=1e-7) == 4


def test_als_tensor_rank_of_a_known_rank_above_all_unfolding_ranks():
    """The 2 x 2 x 2 tensor of a rotation has real CP rank 3 while its unfoldings have rank 2."""
    tensor = np.stack([np.eye(2), [[0.0, 1.0], [-1.0, 0.0]]])
    assert [np.linalg.matrix_rank(unfolding(tensor, mode)) for mode in range(3)] == [2, 2, 2]
    assert als_tensor_rank(tensor, tol=1e-2, random_state=0) == 3


def test_als_tensor_rank_one_cell_removed():
    """A rank-one tensor with one cell set to zero has rank two."""
    tensor = low_rank((8, 8, 8), 1)
    tensor[3, 4, 5] = 0.0
    assert als_tensor_rank(tensor, random_state=0) == 2


def test_als_tensor_rank_of_zero_is_zero():
    """Zeros need no component, nor does what lies below an absolute tolerance."""
    assert als_tensor_rank(np.zeros((2, 3, 4))) == 0
    assert als_tensor_rank(np.zeros((2, 3, 4)), mse_tol=1e-6) == 0
    assert als_tensor_rank(np.full((2, 3, 4), 1e-4), mse_tol=1e-6) == 0
    assert als_tensor_rank(np.full((2, 3, 4), 1e-4)) == 1


def test_als_tensor_rank_mse_tolerance_is_absolute():
    """A component of mean square 1e-8 counts at `mse_tol` 1e-9 and not at 1e-6."""
    rng = np.random.RandomState(0)
    factors = [np.linalg.qr(rng.standard_normal((6, 2)))[0] for _ in range(3)]
    tensor = tl.cp_to_tensor(([6**1.5, 6**1.5 * 1e-4], factors))
    assert als_tensor_rank(tensor, mse_tol=1e-6, random_state=0) == 1
    assert als_tensor_rank(tensor, mse_tol=1e-9, random_state=0) == 2


def test_the_search_finds_every_answer():
    """All answers between all bounds are found, and no rank outside the bounds is tried."""
    for low, high in [(1, 1), (1, 2), (1, 40), (7, 31)]:
        for answer in range(low, high + 1):
            trial = Mock(side_effect=answer.__le__)
            assert _first_fitting(trial, low, high) == answer
            assert {call.args[0] for call in trial.call_args_list} <= set(range(low, high))


def test_als_tensor_rank_repeats_with_its_seed():
    """The same random_state gives the same rank of a tensor without low rank."""
    tensor = np.random.RandomState(0).standard_normal((4, 4, 4))
    ranks = {als_tensor_rank(tensor, n_sweeps=100, random_state=3) for _ in range(2)}
    assert len(ranks) == 1


@pytest.mark.slow
def test_als_tensor_rank_of_a_zero_filled_tensor():
    """Zero-filling 200 of 512 cells turns CP rank 1 into about 16, as in Razin and Cohen 2020."""
    tensor = low_rank((8, 8, 8), 1)
    tensor /= np.linalg.norm(tensor)
    hidden = np.random.RandomState(0).permutation(512)[200:]
    tensor.ravel()[hidden] = 0.0
    assert 14 <= als_tensor_rank(tensor, mse_tol=1e-6, random_state=0) <= 18


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: effective_rank([1.0, 2.0]), r"matrix has shape \(2,\).*`unfolding`"),
        (lambda: effective_rank([[np.nan, 1.0]]), "matrix has 1 NaN or infinite"),
        (lambda: spectrum_effective_rank([[1.0, -1.0]]), "negative.*singular values"),
        (lambda: spectrum_effective_rank(2.0), "is a number"),
        (lambda: schatten_norm(np.eye(2), 0), "p is 0.*positive"),
        (lambda: unfolding(np.ones((2, 3)), 2), "mode is 2.*modes 0 to 1"),
        (lambda: unfolding_effective_ranks(np.ones(3)), r"tensor has shape \(3,\).*two modes"),
        (lambda: relative_error(np.ones(2), np.ones(3)), "shapes differ.*truth.*estimate"),
        (lambda: relative_error(np.ones(2), np.zeros(2)), "truth is zero"),
        (lambda: relative_error([1.0, 1.0], [1.0, np.nan]), "truth has 1 NaN.*where="),
        (lambda: relative_error([1.0], [1.0], where=[1]), "where has dtype int64.*booleans"),
        (lambda: normalized_rmse([0.1] * 10, [0.1] * 10), "y_true has 1 distinct"),
        (lambda: normalized_rmse([], []), "y_true has 0 distinct"),
        (lambda: normalized_rmse([1.0, 2.0], [1.0]), "shapes differ"),
        (lambda: normalized_rmse([1, 2], [1, 2], sample_weight=[1, -1]), "negative"),
        (lambda: component_norms([np.ones((2, 3)), np.ones((2, 4))]), "factors has shapes"),
        (lambda: als_tensor_rank(np.full((2, 2), np.inf)), "tensor has 4 NaN or infinite"),
        (lambda: als_tensor_rank(np.ones((2, 2)), tol=0.0), "tol is 0.0.*positive"),
        (lambda: als_tensor_rank(np.ones((2, 2)), mse_tol=-1.0), "mse_tol is -1.0"),
    ],
)
def test_errors_say_what_arrived(call, message):
    """Each refusal names the argument and what to do."""
    with pytest.raises(ValueError, match=message):
        call()
