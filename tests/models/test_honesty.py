"""What a fit says of itself is true: rank of a matrix, spectra, divergence, threads, stops."""

import threading
import time

import numpy as np
import pytest
from conftest import low_rank_entries
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from threadpoolctl import threadpool_info

from sktf import (
    CompletionWarning,
    CPALSCompletion,
    CPCompletion,
    DeepCPCompletion,
    DeepMatrixCompletion,
    NuclearNormCompletion,
)
from sktf._models.honesty import warn_far_predictions, warn_wild_predictions
from sktf.datasets import entries_from_dense, make_low_rank, sample_entries


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_rank_of_a_matrix_is_that_of_its_singular_values(rank):
    """Columns of a two-mode CP are arbitrary mixtures; the singular triplets are not."""
    matrix, _ = make_low_rank((30, 30), rank, random_state=0)
    X, y = sample_entries(matrix, 0.5, random_state=0)
    for model in (
        CPCompletion(shape=(30, 30), random_state=0),
        CPALSCompletion(5, shape=(30, 30), n_init=3, solver="sparse", random_state=0),
    ):
        model.fit(X, y)
        values = np.linalg.svd(model.to_dense(), compute_uv=False)
        assert model.rank_ == np.sum(values > 0.1 * values[0])
        np.testing.assert_allclose(model.component_norms_[:rank], values[:rank], rtol=1e-9)
        if isinstance(model, CPCompletion):  # five told components may be more than it takes
            assert model.rank_ == rank


@pytest.mark.parametrize(
    "estimator", [DeepMatrixCompletion(random_state=0), NuclearNormCompletion()]
)
def test_extend_updates_the_spectrum(estimator):
    """After new rows the singular values are those of the grown matrix, by numpy."""
    matrix, _ = make_low_rank((30, 20), 2, random_state=0)
    X, y = sample_entries(matrix[:20], 0.6, random_state=0)
    model = estimator.set_params(shape=(20, 20)).fit(X, y)
    X_new, y_new = entries_from_dense(matrix[20:])
    model.extend(X_new + np.array([20, 0]), y_new, mode=0)
    values = np.linalg.svd(model.to_dense(), compute_uv=False)
    np.testing.assert_allclose(model.singular_values_[:2], values[:2], rtol=1e-6)
    assert not hasattr(model, "_theta")


def test_a_last_fit_that_diverges_is_an_error():
    """Four heavy rows raise the curvature once held-out cells join the others."""
    matrix, _ = make_low_rank((12, 12), 2, random_state=2)
    X, y = sample_entries(matrix, 0.8, random_state=2)
    weights = np.ones(len(y))
    weights[np.random.default_rng(2).permutation(len(y))[:4]] = 200.0
    model = CPCompletion(
        3, shape=matrix.shape, init="gaussian", init_scale=0.1, step="constant", learning_rate=2,
        loss="squared", max_iter=300, n_iter_no_change=20, early_stopping=True, random_state=2,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"diverged.*lower learning_rate"):
        model.fit(X, y, weights)
    assert not hasattr(model, "factors_")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_descent_that_diverges_after_pruning_is_an_error():
    """The race ends well, the balanced mean of its finalists is too steep for this rate.

    A model that was fitted before stays as it was.
    """
    tensor, _ = make_low_rank((10, 9, 8), 2, random_state=0)
    X, y = sample_entries(tensor, 0.5, random_state=0)
    model = DeepCPCompletion(
        depth=1, shape=tensor.shape, n_init=4, max_iter=300, prune=False, step="constant",
        learning_rate=1.5, random_state=0,
    ).fit(X, y)  # fmt: skip
    before, fresh = model.to_dense(), clone(model).set_params(prune="auto")
    for pruned in (fresh, model.set_params(prune="auto")):
        with pytest.raises(ValueError, match=r"diverged.*lower learning_rate or use step='adapti"):
            pruned.fit(X, y)
    np.testing.assert_array_equal(model.to_dense(), before)
    with pytest.raises(NotFittedError):
        fresh.predict(X)


def test_a_start_that_is_too_large_is_told_to_be_so():
    """No step can be too long that is adapted: what is too large is where it begins."""
    tensor, _ = make_low_rank((10, 9, 8), 2, random_state=0)
    X, y = sample_entries(tensor, 0.5, random_state=0)
    model = CPCompletion(3, loss="poisson", init="gaussian", init_scale=100, random_state=0)
    with pytest.raises(ValueError, match=r"diverged.*; lower init_scale"):
        model.fit(X, np.round(np.exp(y / y.std())))


def _blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_overlapping_fits_leave_the_threads_of_blas_alone():
    """Two fits that overlap without nesting restore what was there before the first."""
    tensor, _ = make_low_rank((20, 20, 20), 2, random_state=0)
    X, y = sample_entries(tensor, 0.2, random_state=0)
    before = _blas_threads()

    def fit(delay, max_iter):
        time.sleep(delay)
        CPCompletion(
            shape=tensor.shape, max_iter=max_iter, tol=0, early_stopping=False, loss="squared",
            random_state=0,
        ).fit(X, y)  # fmt: skip

    threads = [threading.Thread(target=fit, args=a) for a in ((0, 1500), (0.1, 3000))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _blas_threads() == before


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_numpy_false_stops_no_earlier_than_false():
    """``np.array([True, False])`` in a grid means what it says."""
    tensor, _ = make_low_rank((10, 10, 10), 2, random_state=0)
    X, y = sample_entries(tensor, 0.5, random_state=0)
    model = CPCompletion(early_stopping=np.False_, max_iter=20, random_state=0).fit(X, y)
    assert "validation_loss" not in model.trace_


def test_held_out_cells_without_a_row_are_refused():
    """A matrix side of 4e6 index combinations stores those observed; others say nothing."""
    rng = np.random.default_rng(0)
    X = np.column_stack([np.arange(10), rng.integers(0, 1000, (10, 2))])
    X_val = np.column_stack([np.arange(10), rng.integers(1000, 2000, (10, 2))])
    model = DeepMatrixCompletion(shape=(20, 2000, 2000), random_state=0)
    with pytest.raises(ValueError, match="No cell of X_val"):
        model.fit(X, np.ones(10), X_val=X_val, y_val=np.ones(10))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_encoders_minus_one_is_an_unknown_index():
    """With ``handle_unknown="mean"`` a label never seen predicts the mean of the others."""
    X = np.array([["a", "x"], ["a", "y"], ["b", "x"], ["b", "y"]], dtype=object)
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    model = make_pipeline(
        encoder, CPCompletion(offset="mean", handle_unknown="mean", max_iter=50, random_state=0)
    )
    model.fit(X, [1.0, 2.0, 3.0, 6.0])
    others = model.predict(np.array([["a", "x"], ["b", "x"]], dtype=object))
    unknown = model.predict(np.array([["c", "x"]], dtype=object))
    np.testing.assert_allclose(unknown, others.mean())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_warm_start_takes_more_cells_at_the_default_size():
    """The number of components stays that of the first fit when cells are added."""
    matrix, _ = make_low_rank((20, 20, 20), 2, random_state=0)
    model = CPCompletion(shape=matrix.shape, warm_start=True, max_iter=50, random_state=0)
    model.fit(*sample_entries(matrix, 0.1, random_state=0))
    before = model.factors_[0].shape
    assert model.fit(*sample_entries(matrix, 0.3, random_state=0)).factors_[0].shape == before


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_tiny_start_in_single_precision_is_no_convergence():
    """Squares of a gradient of 1e-25 underflow in float32, the gradient does not."""
    tensor, _ = make_low_rank((4,) * 6, 2, random_state=0)
    X, y = sample_entries(tensor, 0.3, random_state=0)
    model = CPCompletion(dtype="float32", init="gaussian", init_scale=1e-5, random_state=0)
    assert model.fit(X, y).n_iter_ > 100


def test_als_takes_weights_of_any_size():
    """Weights of 1e300 on values of 1e10 change nothing."""
    tensor, _ = make_low_rank((8, 8, 8), 1, random_state=0)
    X, y = sample_entries(tensor, 200, random_state=0)
    model = CPALSCompletion(1, shape=tensor.shape, n_init=1, random_state=0)
    assert model.fit(X, 1e10 * y, np.full(200, 1e300)).score(X, 1e10 * y) > 0.999


def test_held_out_values_of_another_unit_are_refused():
    """Squares of values 1e200 times as large as y are infinite."""
    X, y = low_rank_entries((6, 5, 4), 2, 0.9)
    with pytest.raises(ValueError, match="y_val is more than 1e100 times"):
        CPCompletion(early_stopping=True).fit(X, y, X_val=X[:5], y_val=1e200 * y[:5])


def test_a_float32_index_beyond_the_largest_is_named():
    """2^31 is a number of float32; 2^31 - 1, the largest index, is not."""
    with pytest.raises(ValueError, match="Row 0 of X holds index 2147483648"):
        CPCompletion(2).fit(np.full((9, 2), 2**31, np.float32), np.arange(9.0))


@pytest.mark.parametrize("order", [2, 3, 4])
def test_a_spike_between_the_cells_is_found(order):
    """One component a hundred times too large at one cell of a million: its peak is looked at."""
    rng = np.random.RandomState(0)
    sizes = (10 ** (6 // order) + 1,) * order
    factors = [rng.uniform(0, 1e-3, (size, 2)) for size in sizes]
    for factor in factors:
        factor[7, 1] = 100 ** (1 / order)
    place = ", ".join("7" * order)
    with pytest.warns(CompletionWarning, match=rf"rows \({place}\) .* add up to 100,.* than 1\b"):
        warn_far_predictions(factors, 1.0, 1)


def test_large_components_that_cancel_everywhere_are_no_cause():
    """Predictions count, not norms: a pair of opposite components predicts nothing."""
    column = np.random.RandomState(0).standard_normal((20, 1))
    factors = [np.hstack([1e3 * column, -1e3 * column]), np.hstack([column, column])]
    warn_far_predictions(factors, 1.0, 1)


def test_predictions_near_the_data_are_no_cause():
    """A complete low-rank tensor in any units predicts what was observed; zeros are well too."""
    X, y = low_rank_entries((7, 6, 5), 2, 1.0)
    rng = np.random.RandomState(0)
    factors = [rng.standard_normal((size, 2)) for size in (7, 6, 5)]
    for unit in (1e-9, 1.0, 1e9):
        warn_far_predictions([unit * factors[0], *factors[1:]], unit * np.abs(y).max(), 1)
    warn_far_predictions([0 * factor for factor in factors], 0.0, 1)


@pytest.mark.parametrize("size", [5e-324, 1.0, 1e300])
def test_wild_predictions_are_told_in_any_unit(size):
    """Where values are the smallest that there are, a quotient of the two overflows."""
    far = max(1e8 * size, 1e-10)
    with pytest.warns(CompletionWarning, match="Some cells are predicted from"):
        warn_wild_predictions(lambda X: far * (X[:, 0] - 1.0), (3, 4), (-size, size), 0.0, 2)
