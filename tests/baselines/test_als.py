"""CP-ALS: recovery, the search for the rank, agreement with tensorly, weights, guards."""

import tracemalloc

import numpy as np
import pytest
import tensorly as tl
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from tensorly.decomposition import parafac

from sktf import CPALSCompletion
from sktf._baselines.tensorly import masked_cp_als
from sktf.datasets import (
    dense_from_factors,
    entries_from_dense,
    make_low_rank,
    sample_entries,
    split_entries,
)

SOLVERS = ("tensorly", "sparse")


def problem(shape=(12, 11, 10), rank=2, size=0.4, seed=0, **settings):
    """Return a low-rank tensor and some of its cells."""
    tensor, _ = make_low_rank(shape, rank, random_state=seed)
    return tensor, *sample_entries(tensor, size, random_state=seed, **settings)


def relative_error(model, tensor):
    """Return the error over all cells, relative to the norm of the tensor."""
    return np.linalg.norm(model.to_dense() - tensor) / np.linalg.norm(tensor)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("shape", [(9, 8), (12, 11, 10), (6, 5, 5, 4)])
def test_low_rank_is_recovered_at_the_true_rank(solver, shape):
    """70 % of noise-free cells give the others; ten thousandths is what tol leaves."""
    tensor, X, y = problem(shape, size=0.7)
    settings = dict(shape=shape, n_init=5, tol=1e-8, max_iter=1000, random_state=0)
    model = CPALSCompletion(2, solver=solver, **settings).fit(X, y)
    assert relative_error(model, tensor) < 1e-4
    assert model.rank_ == model.n_components_ == 2
    assert model.converged_ and model.loss_ < 1e-8
    assert model.solver_ == solver and model.validation_scores_ is None


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("rank", [1, 3])
def test_the_search_finds_the_true_rank(solver, rank):
    """With 10 % noise the held-out error has its minimum at the rank the data have."""
    tensor, X, y = problem((14, 13, 12), rank=rank, size=0.4, noise=0.1)
    model = CPALSCompletion((1, 2, 3, 4), solver=solver, n_init=3, random_state=0).fit(X, y)
    scores = model.validation_scores_
    assert model.n_components_ == model.rank_ == rank
    np.testing.assert_array_equal(scores["n_components"], [1, 2, 3, 4])
    assert scores["n_components"][scores["loss"].argmin()] == rank
    # The fit averages the noise of many cells, so it is nearer to the truth than the cells.
    assert relative_error(model, tensor) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_ten_percent_of_a_cube_give_the_rest(seed):
    """30 x 30 x 30 of rank 3 with 10 % seen and 10 % noise, nothing told, defaults."""
    tensor, X, y = problem((30, 30, 30), rank=3, size=0.1, seed=seed, noise=0.1)
    model = CPALSCompletion(shape=tensor.shape, random_state=seed).fit(X, y)
    assert model.n_components_ == 3
    assert relative_error(model, tensor) < 0.05


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_complete_tensor_is_fitted_as_by_tensorly(solver):
    """At rank one the best approximation is unique, and tensorly's plain parafac finds it."""
    noisy = np.random.RandomState(0).random_sample((6, 5, 4)) + 0.5
    expected = parafac(
        tl.tensor(noisy), 1, init="random", random_state=0, n_iter_max=500, tol=1e-12
    )
    X, y = entries_from_dense(noisy)
    model = CPALSCompletion(1, solver=solver, n_init=1, tol=1e-12, random_state=0).fit(X, y)
    np.testing.assert_allclose(model.to_dense(), tl.cp_to_tensor(expected), rtol=1e-5)


def test_a_matrix_is_fitted_as_by_the_svd():
    """Of a complete matrix least squares keep the leading singular values."""
    matrix = np.random.RandomState(1).standard_normal((8, 6))
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    expected = (left[:, :2] * values[:2]) @ right[:2]
    for solver in SOLVERS:
        model = CPALSCompletion(2, solver=solver, tol=1e-13, max_iter=5000, random_state=0)
        model.fit(*entries_from_dense(matrix))
        np.testing.assert_allclose(model.to_dense(), expected, atol=1e-4)


def test_weights_solve_the_weighted_problem():
    """One index per row and rank one: the closed form is a weighted mean per row."""
    rng = np.random.RandomState(2)
    y, weights = rng.standard_normal(30), rng.random_sample(30)
    X = np.column_stack([np.arange(30) // 6])
    model = CPALSCompletion(1, random_state=0).fit(X, y, weights)
    expected = [np.average(y[X[:, 0] == i], weights=weights[X[:, 0] == i]) for i in range(5)]
    # The weight of a row is its cell's, and the cell's mean is fitted exactly.
    np.testing.assert_allclose(model.predict(np.arange(5)[:, None]), expected, rtol=1e-6)


def test_weighted_least_squares_are_stationary():
    """At the end the gradient of the weighted loss vanishes in every factor."""
    _, X, y = problem(size=0.5, noise=0.3)
    weights = np.random.RandomState(3).random_sample(len(y)) + 0.1
    model = CPALSCompletion(2, tol=1e-13, max_iter=5000, n_init=1, random_state=0)
    model.fit(X, y, weights)
    assert model.solver_ == "sparse"
    residual = weights * (model.predict(X) - y)
    for mode in range(3):
        others = np.prod([model.factors_[n][X[:, n]] for n in range(3) if n != mode], axis=0)
        gradient = np.zeros_like(model.factors_[mode])
        np.add.at(gradient, X[:, mode], residual[:, None] * others)
        size = np.zeros_like(gradient)
        np.add.at(size, X[:, mode], np.abs(residual[:, None] * others))
        assert np.abs(gradient).max() < 1e-4 * size.max()


def test_a_weight_is_a_number_of_rows():
    """Weights 1, 2, 3 and 0 equal so many repeated rows, in the search as well."""
    _, X, y = problem(noise=0.1)
    repeats = np.random.RandomState(4).randint(0, 4, len(y))
    model = CPALSCompletion((1, 2, 3), shape=(12, 11, 10), n_init=2, random_state=0)
    weighted = clone(model).fit(X, y, repeats)
    repeated = clone(model).fit(np.repeat(X, repeats, axis=0), np.repeat(y, repeats))
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-7, atol=1e-9)


def test_equal_weights_and_the_order_of_rows_change_nothing():
    """Neither changes what tensorly is given; means of one row are exact."""
    _, X, y = problem(noise=0.1)
    order = np.random.RandomState(5).permutation(len(y))
    model = CPALSCompletion((1, 2), n_init=1, random_state=0)
    plain = clone(model).fit(X, y)
    assert plain.solver_ == "tensorly"
    for other in (
        clone(model).fit(X, y, np.full(len(y), 0.5)),
        clone(model).fit(X[order], y[order]),
    ):
        assert other.solver_ == "tensorly"
        np.testing.assert_allclose(other.predict(X), plain.predict(X), rtol=1e-9, atol=1e-12)


def test_given_held_out_cells_choose():
    """X_val takes the place of a share of X, and all of X is fitted."""
    _, X, y = problem(noise=0.1)
    X, X_val, y, y_val = split_entries(X, y, 0.2, random_state=0)
    model = CPALSCompletion((1, 2, 4), n_init=2, scale=False, shape=(12, 11, 10), random_state=0)
    model.fit(X, y, X_val=X_val, y_val=y_val)
    assert model.n_components_ == 2
    held_out = np.mean((model.predict(X_val) - y_val) ** 2)
    assert held_out == pytest.approx(model.validation_scores_["loss"][1])
    assert model.loss_ == pytest.approx(np.mean((model.predict(X) - y) ** 2))


def test_a_run_goes_on_from_factors():
    """Masked ALS started at the truth stays there: missing cells are filled by the model."""
    truth = [np.random.RandomState(n).standard_normal((n, 2)) for n in (7, 8, 9)]
    tensor = dense_from_factors(truth)
    mask = np.random.RandomState(0).random_sample(tensor.shape) < 0.3
    garbage = np.where(mask, tensor, np.nan)
    factors, n_done, converged = masked_cp_als(
        garbage, mask, 2, n_sweeps=50, tol=1e-9, rng_seed=0, init=truth
    )
    np.testing.assert_allclose(dense_from_factors(factors), tensor, atol=1e-7)
    assert converged and n_done <= 3


def test_the_best_start_is_kept():
    """The training loss of several starts is the least of theirs, one by one."""
    _, X, y = problem((8, 8, 8), rank=3, size=0.25, noise=0.1)
    rng, losses = np.random.RandomState(6), []
    settings = dict(shape=(8, 8, 8), max_iter=2000)
    for _ in range(4):
        losses.append(CPALSCompletion(3, n_init=1, random_state=rng, **settings).fit(X, y).loss_)
    best = CPALSCompletion(3, n_init=4, random_state=np.random.RandomState(6), **settings)
    assert best.fit(X, y).loss_ == pytest.approx(min(losses), rel=1e-9)


@pytest.mark.filterwarnings("ignore:No cell tells of:sktf.CompletionWarning")
@pytest.mark.parametrize("solver", SOLVERS)
def test_unseen_indices_predict_the_mean_of_the_others(solver):
    """An index inside shape that no cell has: what the others of its mode predict on average."""
    _, X, y = problem()
    model = CPALSCompletion(2, solver=solver, shape=(15, 11, 10), offset="mean", random_state=0)
    dense = model.fit(X, y + 3).to_dense()
    np.testing.assert_allclose(dense[12:], [dense[:12].mean(axis=0)] * 3, rtol=1e-9)


def test_the_default_search_is_bounded_by_the_data():
    """No more numbers in the factors than cells: 20 cells, sizes that add up to 9, allow 2."""
    X, y = entries_from_dense(np.ones((5, 4)))
    model = CPALSCompletion(random_state=0).fit(X, y)
    assert model.validation_scores_["n_components"].tolist() == [1, 2]
    model = CPALSCompletion(random_state=0).fit([[0, 0]], [2.0])
    assert model.predict([[0, 0]]) == pytest.approx(2)


def test_the_default_search_ends_after_three_that_are_no_better():
    """528 cells would allow 15 components; a tensor of rank two with noise needs no such number."""
    _, X, y = problem(noise=0.1)
    model = CPALSCompletion(n_init=3, shape=(12, 11, 10), random_state=0).fit(X, y)
    tried, loss = model.validation_scores_.values()
    assert tried.tolist() == [1, 2, 3, 4, 6, 8, 10, 15][: len(tried)]
    assert len(tried) < 8 and len(tried) - 1 - loss.argmin() == 3


@pytest.mark.filterwarnings("ignore:No cell tells of:sktf.CompletionWarning")
def test_a_tensor_too_large_to_be_dense_goes_to_the_sparse_solver():
    """300^4 cells are not made; indices in steps of 1000 are."""
    rng = np.random.RandomState(7)
    factors = [1 + rng.random_sample((300, 1)) for _ in range(4)]
    X = np.concatenate([rng.randint(0, 300, (8000, 4)), np.arange(300)[:, None].repeat(4, axis=1)])
    y = np.prod([f[X[:, n], 0] for n, f in enumerate(factors)], axis=0)
    model = CPALSCompletion(1, n_init=1, random_state=0).fit(X, y)
    assert model.solver_ == "sparse" and model.score(X, y) > 0.999
    with pytest.raises(ValueError, match=r"\(300, 300, 300, 300\).*GiB.*CPCompletion"):
        CPALSCompletion(1, solver="tensorly").fit(X, y)
    _, X, y = problem()
    assert CPALSCompletion(1, random_state=0).fit(1000 * X, y).solver_ == "tensorly"


def test_the_guard_knows_what_tensorly_allocates():
    """The stated 2 R + 7 dense tensors are the peak of the solver, to within a tenth."""
    tensor = np.random.RandomState(8).standard_normal((40, 40, 40))
    mask = np.random.RandomState(9).random_sample(tensor.shape) < 0.1
    masked_cp_als(tensor, mask, 1, n_sweeps=1, tol=0.0, rng_seed=0)
    for rank in (2, 8, 20):
        tracemalloc.start()
        masked_cp_als(tensor, mask, rank, n_sweeps=10, tol=0.0, rng_seed=0)
        peak = tracemalloc.get_traced_memory()[1] / tensor.nbytes
        tracemalloc.stop()
        assert peak == pytest.approx(2 * rank + 7, rel=0.1)


def test_tensorly_refuses_unequal_weights():
    """Its mask knows seen and unseen only."""
    _, X, y = problem()
    weights = np.linspace(1, 2, len(y))
    with pytest.raises(ValueError, match="sample_weight.*solver='sparse'"):
        CPALSCompletion(2, solver="tensorly").fit(X, y, weights)
    with pytest.raises(ValueError, match="repeated rows"):
        CPALSCompletion(2, solver="tensorly").fit([*X, X[0]], [*y, 0.0])


def test_tensorly_refuses_one_mode():
    """A vector has no CP decomposition to speak of."""
    with pytest.raises(ValueError, match="two modes"):
        CPALSCompletion(1, solver="tensorly").fit([[0], [1]], [1.0, 2.0])


def test_constant_and_zero_data():
    """Nothing to fit is no failure: zeros stay zeros, a constant is its offset."""
    X, _ = entries_from_dense(np.zeros((4, 3, 2)))
    for solver in SOLVERS:
        model = CPALSCompletion(2, solver=solver, random_state=0).fit(X, np.zeros(len(X)))
        assert model.rank_ == 0 and model.n_iter_ == 1 and not model.predict(X).any()
        model = CPALSCompletion(1, solver=solver, offset="mean", random_state=0)
        np.testing.assert_allclose(model.fit(X, np.full(len(X), 5.0)).predict(X), 5)


@pytest.mark.parametrize("solver", SOLVERS)
def test_too_few_sweeps_warn_once(solver):
    """A search over many runs gives one warning, about the last."""
    _, X, y = problem(noise=0.1)
    model = CPALSCompletion((1, 2), solver=solver, n_init=2, max_iter=1, random_state=0)
    with pytest.warns(ConvergenceWarning, match="max_iter=1") as caught:
        model.fit(X, y)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert not model.converged_ and model.n_iter_ == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_components": 0}, "n_components"),
        ({"n_components": []}, "n_components"),
        ({"n_components": [1, 0]}, "n_components"),
        ({"n_components": [1.5, 2]}, "n_components"),
        ({"n_components": [1, 2], "validation_fraction": 0.9999}, "validation_fraction"),
        ({"solver": "other"}, "solver"),
        ({"n_init": 0}, "n_init"),
        ({"tol": -1}, "tol"),
        ({"shape": (2, 2, 2)}, "shape"),
    ],
)
def test_bad_parameters_are_named(settings, message):
    """The error names the parameter."""
    _, X, y = problem()
    with pytest.raises(ValueError, match=message):
        CPALSCompletion(**settings).fit(X, y)


def test_verbose_prints_one_line_per_number_of_components(capsys):
    """Number and held-out loss."""
    _, X, y = problem()
    CPALSCompletion((1, 2), n_init=1, verbose=1, random_state=0).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:12] for line in lines] == ["1 components", "2 components"]


def test_factors_are_the_prediction():
    """factors_ alone give the dense tensor when there is no offset."""
    _, X, y = problem()
    model = CPALSCompletion(2, shape=(12, 11, 10), random_state=0).fit(X, y)
    np.testing.assert_allclose(dense_from_factors(model.factors_), model.to_dense(), atol=1e-10)
