"""Predicting, exporting and extending a fitted model."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from cases.validation import SHAPE
from conftest import low_rank_entries
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sktf import CompletionWarning, CPALSCompletion, CPCompletion, DeepMatrixCompletion

# Short runs are the point here; test_sklearn.py holds the one warning to its word.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# Indices that were never seen ----------------------------------------------------------------


@pytest.mark.parametrize("offset", [None, "mean", "additive"])
def test_unknown_indices_get_what_the_others_predict_on_average(small_tensor, offset):
    """handle_unknown="mean": the mean over the indices of its mode, the known ones as they are."""
    X, y = small_tensor
    model = CPCompletion(2, offset=offset, max_iter=20, random_state=0).fit(X, y + 1)
    cells = np.array([[1, 2, 3], [7, 2, 3], [10**6, 2, 99], [8, 8, 8]])
    with pytest.raises(ValueError, match=r"Row 1 of X has index 7 in mode 0.*handle_unknown='mea"):
        model.predict(cells)
    known = model.predict(cells[:1])
    predicted = model.set_params(handle_unknown="mean").predict(cells)
    assert_array_equal(predicted[0], known[0])
    dense = model.to_dense()
    for mode, term in enumerate(model.offset_terms_):  # an unknown index has no term
        dense -= np.moveaxis(term.mean() * np.ones((1, 1, 1)), 0, mode)
    terms = [0.0] * 3 if offset != "additive" else [term.mean() for term in model.offset_terms_]
    expected = [dense[:, 2, 3].mean() + terms[1] + terms[2], dense[:, 2].mean() + terms[1]]
    assert_allclose(predicted[1:], [*expected, dense.mean()], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("model", [CPCompletion(4), CPALSCompletion(2, solver="sparse")])
@pytest.mark.parametrize("shape", [(9, 6, 5), (40, 6, 50)])
def test_an_index_without_cells_predicts_the_mean_of_the_others(small_tensor, model, shape):
    """Whatever the seed, with a word for every such mode; and norms are those of what is seen."""
    X, y = small_tensor
    fits = []
    for seed in (0, 1):
        with pytest.warns(CompletionWarning, match=f"{shape[0] - 7} of the {shape[0]} indices of"):
            fits.append(clone(model).set_params(shape=shape, random_state=seed).fit(X, y + 3))
        dense = fits[-1].to_dense()
        assert_allclose(dense[8], dense[:7].mean(axis=0), rtol=1e-10)
        seen = clone(model).set_params(shape=SHAPE, random_state=seed).fit(X, y + 3)
        assert_array_equal(fits[-1].component_norms_, seen.component_norms_)
        assert_array_equal(fits[-1].predict(X), seen.predict(X))


def test_a_named_start_keeps_rows_without_cells_as_the_papers_do(small_tensor):
    """Inside the shape but unseen: no gradient, so the row keeps its length of iteration 1."""
    X, y = small_tensor
    settings = dict(init="gaussian", loss="squared", early_stopping=False, random_state=0)
    model = CPCompletion(4, shape=(9, 6, 5), **settings)
    with pytest.warns(CompletionWarning, match="2 of the 9 indices of mode 0"):
        lengths = [
            np.linalg.norm(model.set_params(max_iter=n).fit(X, y).factors_[0], axis=1)
            for n in (1, 200)
        ]
    # Its length does not depend on the order of the components, and the scale is the same.
    assert_allclose(lengths[1][7:], lengths[0][7:], rtol=1e-12)
    assert (np.abs(lengths[1][:7] / lengths[0][:7] - 1) > 0.1).all()


def test_time_and_memory_follow_the_indices_that_occur(small_tensor):
    """Ids up to 40 million, for seven users: the factors of the fit hold seven rows."""
    X, y = small_tensor
    with pytest.warns(CompletionWarning, match="of the 39999961 indices of mode 0.*encode them"):
        model = CPCompletion(2, random_state=0).fit(X * [6_666_660, 1, 1], y)
    expected = CPCompletion(2, random_state=0).fit(X, y)
    assert_array_equal(model.predict(X * [6_666_660, 1, 1]), expected.predict(X))
    assert max(len(pickle.dumps(model)), 1) < 2 * len(pickle.dumps(expected))


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_a_warm_start_keeps_rows_that_only_an_earlier_fit_saw(small_tensor):
    """They are known, not the mean of the others."""
    X, y = small_tensor
    model = CPCompletion(2, shape=(9, 6, 5), warm_start=True, max_iter=50, random_state=0)
    before = model.fit(X, y).to_dense()
    seen = X[:, 0] != 3
    after = model.set_params(max_iter=1).fit(X[seen], y[seen]).to_dense()
    assert np.abs(after[3] - before[3]).max() < 0.2 * np.abs(before[3]).max()
    assert_allclose(after[8], after[:7].mean(axis=0), rtol=1e-9)


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_an_index_never_observed_has_no_additive_term(small_tensor):
    """Ridge regression gives an index without observations the term 0."""
    X, y = small_tensor
    model = CPCompletion(2, shape=(9, 6, 5), offset="additive", max_iter=5).fit(X, y)
    assert_array_equal(model.offset_terms_[0][7:], 0)
    assert (model.offset_terms_[0][:7] != 0).all()


@pytest.mark.parametrize(
    "clip, bounds", [("range", None), ((-1.5, 2), (-1.5, 2.0)), ([0, 0], (0.0, 0.0))]
)
def test_clip_bounds_what_is_predicted(estimator, small_tensor, clip, bounds):
    """As numpy clips; to_dense too; and nothing where it was not asked for."""
    X, y = small_tensor
    cells = np.argwhere(np.ones(SHAPE))
    free = estimator.fit(X, y).predict(cells)
    model = clone(estimator).set_params(clip=clip).fit(X, y)
    expected = np.clip(free, *(bounds or (y.min(), y.max())))
    assert_allclose(model.predict(cells), expected, rtol=1e-12, atol=1e-12)
    assert_allclose(model.to_dense().ravel(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("clip", [(2, 1), (1, 2, 3), ("a", "b"), (np.nan, 1)])
def test_bad_bounds_are_named(small_tensor, clip):
    """Two numbers, the least first."""
    with pytest.raises(ValueError, match="clip="):
        CPCompletion(2, clip=clip).fit(*small_tensor)


@pytest.mark.filterwarnings("ignore:(Nothing was|Some cells):sktf.CompletionWarning")
@pytest.mark.parametrize("offset", [None, "mean", "additive"])
@pytest.mark.parametrize("model", [CPCompletion(6), DeepMatrixCompletion(2, row_modes=(1, 0))])
def test_a_cp_tensor_is_what_is_predicted(small_tensor, model, offset):
    """Unit columns, norms as weights, no component of zeros; the offset on request."""
    X, y = small_tensor
    model = clone(model).set_params(offset=offset, random_state=0).fit(X, y + 2)
    exported = model.to_cp_tensor(offset=True)
    unfolded = np.einsum("r,ir,jr->ij", exported.weights, *exported.factors[:2])
    if len(exported.factors) == 3:
        unfolded = np.einsum("r,ir,jr,kr->ijk", exported.weights, *exported.factors)
    dense = model.to_dense()
    if len(exported.factors) == 2:
        dense = dense.transpose(1, 0, 2).reshape(unfolded.shape)
    assert_allclose(unfolded, dense, rtol=1e-9, atol=1e-9)
    assert (exported.weights != 0).all()
    assert all(np.allclose(np.linalg.norm(f, axis=0), 1) for f in exported.factors)
    if offset is None:
        first = model.to_cp_tensor(n_components=1)
        assert_allclose(first.weights, model.component_norms_[:1])
    else:
        with pytest.warns(CompletionWarning, match="offset=True"):
            model.to_cp_tensor()


def test_predict_wants_a_fitted_model(estimator, small_tensor):
    """Every method that needs a fit says NotFittedError before there is one."""
    X, y = small_tensor
    for call in (
        lambda: estimator.predict(X),
        lambda: estimator.to_dense(),
        lambda: estimator.to_cp_tensor(),
        lambda: estimator.extend(X, y, mode=0),
    ):
        with pytest.raises(NotFittedError):
            call()


def test_to_dense_refuses_what_memory_cannot_hold(small_tensor):
    """A dense tensor of more than 2**30 cells is refused with its size."""
    warnings.simplefilter("ignore", CompletionWarning)
    model = CPCompletion(1, shape=(2000, 2000, 2000), max_iter=2, n_init=1).fit(*small_tensor)
    with pytest.raises(ValueError, match=r"2000, 2000, 2000\) needs 59.6 GiB; predict the cells"):
        model.to_dense()


def test_to_dense_is_predict_everywhere(estimator, small_tensor):
    """Each cell of the dense tensor is its prediction."""
    estimator.fit(*small_tensor)
    cells = np.argwhere(np.ones(SHAPE))
    assert_allclose(estimator.to_dense().ravel(), estimator.predict(cells), rtol=1e-12, atol=1e-12)


# extend --------------------------------------------------------------------------------------


def fitted_on_all_but_one_row(shape, mode):
    """Return a CP model fitted without the last index of a mode, and that index's cells."""
    X, y = low_rank_entries(shape, 2, 1.0, seed=3)
    new = X[:, mode] == shape[mode] - 1
    model = CPCompletion(2, tol=1e-12, max_iter=5000, random_state=0)
    return model.fit(X[~new], y[~new]), X[new], y[new]


@pytest.mark.parametrize("shape, mode", [((9, 8), 0), ((9, 8), 1), ((7, 6, 5), 0), ((7, 6, 5), 2)])
def test_extend_solves_least_squares(shape, mode):
    """The new row is the least-squares solution on its observations, the old rows stay."""
    model, X, y = fitted_on_all_but_one_row(shape, mode)
    before = [factor.copy() for factor in model.factors_]
    seen = np.arange(len(y)) % 2 == 0
    noisy = y[seen] + 0.1 * np.random.RandomState(0).standard_normal(seen.sum())
    design = np.ones((seen.sum(), 2))
    for other in set(range(len(shape))) - {mode}:
        design *= before[other][X[seen, other]]
    expected, _, rank, _ = np.linalg.lstsq(design, noisy, rcond=None)
    assert rank == 2
    model.extend(X[seen], noisy, mode=mode)
    assert model.shape_ == shape
    # The design is well conditioned, so both solutions agree to rounding errors; components
    # are sorted again, so predictions are compared and not the rows themselves.
    assert_allclose(model.predict(X[seen]), design @ expected, rtol=1e-9, atol=1e-9)
    old = np.argwhere(np.ones([n - (m == mode) for m, n in enumerate(shape)]))
    products = [factor[column] for factor, column in zip(before, old.T, strict=True)]
    assert_allclose(model.predict(old), np.prod(products, axis=0).sum(axis=1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape, mode", [((9, 8), 1), ((7, 6, 5), 0)])
def test_extend_completes_the_new_row(shape, mode):
    """Half of a new row gives the other half, when the tensor has the rank of the model."""
    model, X, y = fitted_on_all_but_one_row(shape, mode)
    seen = np.arange(len(y)) % 2 == 0
    model.extend(X[seen], y[seen], mode=mode)
    # The fit ends at a mean squared error of 1e-12 of the data's.
    assert_allclose(model.predict(X[~seen]), y[~seen], atol=1e-4)


def test_extend_learns_an_additive_term(small_tensor):
    """With an additive offset the new index gets a term, also where nothing else is left."""
    X, _ = small_tensor
    model = CPCompletion(2, offset="additive", random_state=0).fit(X, np.full(len(X), 2.0))
    model.extend([[7, 0, 0], [7, 1, 1]], [5.0, 5.0], mode=0)
    assert_allclose(model.predict([[7, 2, 2], [0, 0, 0]]), [5.0, 2.0], rtol=1e-9)
    assert model.offset_terms_[0].shape == (8,)


def test_extend_leaves_skipped_indices_at_the_mean(small_tensor):
    """An index that was skipped has no cells, so that it predicts the mean of the others."""
    X, y = small_tensor
    model = CPCompletion(2, offset="mean", max_iter=50, random_state=0).fit(X, y)
    model.extend([[9, 0, 0], [9, 1, 1], [9, 2, 3]], [1.0, 2.0, 3.0], mode=0)
    assert model.shape_ == (10, 6, 5)
    dense = model.to_dense()
    mean = dense[[0, 1, 2, 3, 4, 5, 6, 9]].mean(axis=0)
    assert_allclose(dense[7:9], [mean, mean], rtol=1e-10)


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_extend_learns_an_index_inside_the_shape_that_had_no_cells():
    """As it learns one outside; by the name of the mode, one after another."""
    X, y = low_rank_entries((9, 6, 5), 2, 1.0, seed=3)
    table = pd.DataFrame(X, columns=["user", "item", "day"])
    old = ~np.isin(X[:, 0], (4, 8))
    inside = CPCompletion(2, shape=(9, 6, 5), tol=1e-12, max_iter=5000, random_state=0)
    inside.fit(table[old], y[old])
    for user in (4, 8):
        shown = (X[:, 0] == user) & (np.arange(len(y)) % 2 == 0)
        inside.extend(table[shown], y[shown], mode="user")
    # The fit ends at a mean squared error of 1e-12 of the data's.
    assert_allclose(inside.predict(table), y, atol=1e-4)
    with pytest.raises(ValueError, match="index 4 in mode 0, which had cells"):
        inside.extend(table[X[:, 0] == 4], y[X[:, 0] == 4], mode=0)


def test_a_new_row_with_few_cells_is_near_the_mean_row(small_tensor):
    """The mean of a normal row of the others' mean and covariance, given one noisy cell."""
    X, y = small_tensor
    model = CPCompletion(3, random_state=0).fit(X, y + 3)
    rows = [factor.copy() for factor in model.factors_]
    mean, design = rows[0].mean(axis=0), rows[1][2] * rows[2][1]
    towards = np.cov(rows[0].T, bias=True) @ design
    left = 5.0 - design @ mean
    expected = mean + towards * left / (design @ towards + model._error**2)
    model.extend([[7, 2, 1]], [5.0], mode=0)
    others = [[7, item, day] for item in range(6) for day in range(5)]
    products = np.einsum("r,ir,jr->ij", expected, *rows[1:])
    assert_allclose(model.predict(others), products.ravel(), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("n_components", [-1, 0])
def test_fewer_components_than_one_are_refused(small_tensor, n_components):
    """A negative number would drop the last, as slices do."""
    model = CPCompletion(3, random_state=0).fit(*small_tensor)
    with pytest.raises(ValueError, match="n_components"):
        model.to_cp_tensor(n_components=n_components)


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_a_side_too_large_for_rows_is_exported_by_those_it_has():
    """An unfolding of 9 * 10^8 columns, 40 of them seen; constant components would need all."""
    rng = np.random.default_rng(0)
    columns = np.sort(rng.integers(0, 30_000, (40, 2)), axis=0)
    X = np.array([[row, *column] for row in range(10) for column in columns])
    y = np.outer(rng.uniform(1, 2, 10), rng.uniform(1, 2, 40)).ravel()
    shape = (10, 30_000, 30_000)
    model = DeepMatrixCompletion(row_modes=(0,), hidden=2, shape=shape, offset=None, random_state=0)
    exported = model.fit(X, y).to_cp_tensor()
    assert [len(factor) for factor in exported.factors] == [10, 40]
    with pytest.raises(ValueError, match=r"modes \(1, 2\) have 900000000 indices"):
        model.to_cp_tensor(offset=True)


BAD_EXTENSIONS = {
    "mode -1": (-1, [7, 0, 0], r"mode=-1: expected a mode number from 0 to 2"),
    "mode 3": (3, [7, 0, 0], r"mode=3: expected a mode number"),
    "mode True": (True, [0, 7, 0], r"mode=True: expected a mode number"),
    "mode 0.0": (0.0, [7, 0, 0], r"mode=0.0: expected a mode number"),
    "known index": (0, [6, 0, 0], r"Row 0 of X has index 6 in mode 0, which had cells in fit"),
    "other mode": (0, [7, 6, 0], r"Row 0 of X has index 6 in mode 1, which has size 6"),
    "negative": (0, [7, -1, 0], r"Negative values in data"),
    "fraction": (0, [7.5, 1, 0], r"row 0 has 7.5 in mode 0"),
    "huge": (0, [10**9, 1, 0], r"Mode 0 has size 1000000001, more rows than can be fitted"),
    "stray 1e15": (0, [10**15, 1, 0], r"Row 0 of X holds index 1000000000000000 in mode 0"),
    "NaN value": (0, [7, 0, 0], r"Input y contains NaN"),
}


@pytest.mark.parametrize("case", BAD_EXTENSIONS)
def test_bad_extension(small_tensor, case):
    """extend takes new indices of one mode only; a refusal changes nothing."""
    X, y = small_tensor
    mode, cell, message = BAD_EXTENSIONS[case]
    model = CPCompletion(2, max_iter=20, random_state=0).fit(X, y)
    expected = model.predict(X)
    with pytest.raises(ValueError, match=message):
        model.extend([cell], [np.nan if case == "NaN value" else 1.0], mode=mode)
    assert model.shape_ == SHAPE
    assert_array_equal(model.predict(X), expected)


def test_extend_of_an_unfolded_mode(small_tensor):
    """A matrix model grows along a mode that is a side of its own, and along no other."""
    X, y = small_tensor
    model = DeepMatrixCompletion(max_iter=50, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="mode=1 is read together with other modes"):
        model.extend([[0, 6, 0]], [1.0], mode=1)
    model.extend(np.column_stack([np.full(10, 7), X[:10, 1:]]), y[:10], mode=0)
    assert model.shape_ == (8, 6, 5) and np.isfinite(model.predict([[7, 0, 0]])).all()
