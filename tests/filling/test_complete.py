"""``complete`` on arrays: the gaps get what the estimator predicts, and nothing else changes."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sktf
from sktf import (
    CompletionEnsemble,
    CompletionWarning,
    CPALSCompletion,
    CPCompletion,
    DeepMatrixCompletion,
    PosteriorCompletion,
    complete,
)
from sktf.datasets import dense_from_entries, entries_from_dense, load_il2

# Short fits and a handful of cells are the point here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]

NAN = np.nan
GAPS = np.array([[1.0, NAN, 3.0], [2.0, 4.0, NAN], [-0.0, 5.0, 6.0], [4.0, 8.0, 12.0]])


def by_hand(estimator, array):
    """Return what an estimator predicts of the missing cells, and the array with it in them."""
    model = clone(estimator).set_params(shape=array.shape).fit(*entries_from_dense(array))
    missing = np.isnan(array)
    filled = array.copy()
    filled[missing] = model.predict(np.argwhere(missing))
    return filled


def test_an_assay_in_one_line():
    """Of IL-2 the default predicts the very numbers that it predicts by hand."""
    X, y, shape = load_il2()
    array = dense_from_entries(X, y, shape)
    array[np.random.RandomState(0).random_sample(shape) < 0.3] = NAN
    filled = complete(array, random_state=1)
    expected = by_hand(CPCompletion(random_state=1), array)
    assert_array_equal(filled, expected)
    truth = dense_from_entries(X, y, shape)
    hidden = np.isnan(array) & ~np.isnan(truth)
    left = filled[hidden] - truth[hidden]
    # The README says 0.97 of half the cells; of 70 % it is no worse.
    assert 1 - left.var() / truth[hidden].var() > 0.95


def test_a_tensor_of_low_rank_is_found(tensor):
    """To a hundredth of a standard deviation, as by every estimator of its rank."""
    truth, array = tensor
    assert np.abs(complete(array, random_state=0) - truth).max() < 0.01 * truth.std()


MASKED = np.ma.masked_invalid(np.where(np.isnan(GAPS), NAN, GAPS))
KINDS = {
    "list": (GAPS.tolist(), GAPS),
    "None in a list": ([[1, None], [2, 4], [3, 6]], [[1, NAN], [2, 4], [3, 6]]),
    "objects": (np.array([[1, None], [2.5, 4]], object), [[1, NAN], [2.5, 4]]),
    "float32": (GAPS.astype(np.float32), GAPS),
    "Fortran order": (np.asfortranarray(GAPS), GAPS),
    "reversed view": (GAPS[::-1], GAPS[::-1]),
    "masked": (MASKED, GAPS),
    "masked integers": (
        np.ma.masked_equal([[1, 9], [2, 4], [3, 6]], 9),
        [[1, NAN], [2, 4], [3, 6]],
    ),
    "truth values": ([[True, None], [False, True]], [[1, NAN], [0, 1]]),
    "csr": (sparse.csr_array([[4.0, 0.0], [1.0, 2.0]]), [[4, NAN], [1, 2]]),
    "stored zero": (
        sparse.coo_array(([0.0, 1.0, 2.0], ([0, 1, 1], [0, 0, 1])), shape=(2, 2)),
        [[0, NAN], [1, 2]],
    ),
    "whole row": ([[NAN, NAN], [1, 2], [3, 6], [4, 8]], [[NAN, NAN], [1, 2], [3, 6], [4, 8]]),
    "one column": ([[1.0], [NAN], [3.0]], [[1.0], [NAN], [3.0]]),
}


@pytest.mark.parametrize("case", KINDS)
def test_kinds_of_arrays(case, quick):
    """All come back as a new float64 array: known cells bit for bit, the others as predicted."""
    given, known = KINDS[case]
    known = np.array(known, float)
    filled = complete(given, quick)
    assert type(filled) is np.ndarray and filled.dtype == np.float64
    assert_array_equal(filled, by_hand(quick, known), strict=True)
    seen = ~np.isnan(known)
    assert_array_equal(np.signbit(filled[seen]), np.signbit(known[seen]))
    assert np.isfinite(filled).all()


def test_the_data_are_not_changed(quick, tensor):
    """Nor the estimator."""
    array = tensor[1].copy()
    array.setflags(write=False)
    before = quick.get_params()
    complete(array, quick, clip="range", random_state=3)
    assert quick.get_params() == before and not hasattr(quick, "shape_")


def test_without_gaps_nothing_is_fitted(monkeypatch):
    """A copy comes back, unless a model is asked for."""
    whole = np.arange(6.0).reshape(2, 3)
    monkeypatch.setattr(CPCompletion, "fit", lambda *_: pytest.fail("fitted"))
    filled = complete(whole)
    assert_array_equal(filled, whole)
    assert not np.shares_memory(filled, whole)
    filled, std = complete(whole, return_std=True)
    assert_array_equal(std, np.zeros((2, 3)))
    monkeypatch.undo()
    filled, model = complete(whole, CPALSCompletion(1, random_state=0), return_model=True)
    assert_array_equal(filled, whole)
    assert model.shape_ == (2, 3)


@pytest.mark.parametrize("estimator", [PosteriorCompletion(), CompletionEnsemble(n_estimators=2)])
def test_deviations_are_those_of_the_estimator(estimator, quick, tensor):
    """Where something was predicted; 0 elsewhere. The order is filled, std, model."""
    array, missing = tensor[1], np.isnan(tensor[1])
    estimator = estimator.set_params(estimator=quick, random_state=0)
    filled, std, model = complete(array, estimator, return_std=True, return_model=True)
    mean, deviation = model.predict(np.argwhere(missing), return_std=True)
    assert_array_equal(filled[missing], mean)
    assert_array_equal(std[missing], deviation)
    assert (std[missing] > 0).all() and not std[~missing].any()
    assert type(model) is type(estimator) and model.shape_ == array.shape


def test_who_fills_by_default(tensor):
    """CPCompletion, and where deviations are asked for PosteriorCompletion."""
    array = tensor[1][:, :, 0]
    assert type(complete(array, return_model=True, random_state=0)[1]) is CPCompletion
    model = complete(array, return_std=True, return_model=True, random_state=0)[-1]
    assert type(model) is PosteriorCompletion


def search(estimator):
    return GridSearchCV(estimator, {"n_components": [1, 2]}, cv=2)


INSIDE = {
    "itself": (lambda e: e, lambda m: m),
    "ensemble": (CompletionEnsemble, lambda m: m.estimators_[0]),
    "mixed": (lambda e: CompletionEnsemble(estimators=[("a", e)]), lambda m: m.estimators_[0]),
    "posterior": (PosteriorCompletion, lambda m: m.estimator_),
    "search": (search, lambda m: m.best_estimator_),
}


@pytest.mark.parametrize("case", INSIDE)
def test_shape_and_clip_reach_the_estimator_inside(case, quick):
    """The shape is that of the array, whatever it was; bounds hold for what is predicted."""
    wrap, inner = INSIDE[case]
    array = np.outer(np.arange(1.0, 9.0), np.arange(1.0, 7.0))
    array[-1] = NAN  # so that the largest index has no cell
    filled, model = complete(
        array, wrap(quick.set_params(shape=(3, 3))), clip=(10.0, 11.0), return_model=True
    )
    assert inner(model).shape == inner(model).shape_ == array.shape
    assert inner(model).clip == (10.0, 11.0)
    assert ((filled[-1] >= 10) & (filled[-1] <= 11)).all()


def test_clip_to_the_range(quick):
    """Of the values that are known."""
    array = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [8.0, 16.0, NAN]])
    assert complete(array, quick, clip="range")[2, 2] <= 16.0


def test_random_state_decides(tensor):
    """The same number gives the same bits, and None keeps that of the estimator."""
    array, model = tensor[1], CPCompletion(3, n_init=1, max_iter=30)
    first, again, other = (complete(array, model, random_state=seed) for seed in (5, 5, 6))
    assert_array_equal(first, again)
    assert (first != other).any()
    assert_array_equal(complete(array, model.set_params(random_state=5)), first)


def pipeline(estimator):
    return make_pipeline(StandardScaler(with_std=False, with_mean=False), estimator)


def drawn(estimator):
    return RandomizedSearchCV(estimator, {"n_components": [1, 2]}, cv=2, n_iter=2)


WRAPPED = {
    "target": TransformedTargetRegressor,
    "search": search,
    "random search": drawn,
    "pipeline": pipeline,
    "ensemble": CompletionEnsemble,
    "ensemble inside": lambda e: TransformedTargetRegressor(CompletionEnsemble(e)),
}


@pytest.mark.parametrize("case", WRAPPED)
def test_random_state_decides_inside(case, quick, tensor):
    """Also where what is around the estimator has none, or does not draw its."""
    estimator = WRAPPED[case](quick.set_params(random_state=None))
    first, again, other = (complete(tensor[1], estimator, random_state=n) for n in (7, 7, 8))
    assert_array_equal(first, again)
    assert (first != other).any()


def test_an_unfolded_model_fills_too(tensor):
    """Any estimator of the package."""
    estimator = DeepMatrixCompletion(max_iter=50, row_modes=(0,), random_state=0)
    assert_array_equal(complete(tensor[1], estimator), by_hand(estimator, tensor[1]))


@pytest.mark.filterwarnings("default::sktf.CompletionWarning")
def test_warnings_point_to_the_call(quick):
    """Once each, at the line of the user."""
    array = np.outer(np.arange(1.0, 7.0), [1.0, 2.0, 3.0, 4.0])
    array[2] = NAN
    with pytest.warns(CompletionWarning, match="No cell tells of 1 of the 6 .* mode 0") as caught:
        complete(array, quick)
    about = [warning for warning in caught if "No cell tells" in str(warning.message)]
    assert [warning.filename for warning in about] == [__file__]


BAD = {
    "one mode": (([1.0, NAN],), ValueError, r"shape \(2,\); pass two modes or more"),
    "no value": ((np.full((2, 2), NAN),), ValueError, "No cell has a value"),
    "no cell": ((np.empty((0, 3)),), ValueError, "No cell has a value"),
    "infinite": ((np.where(np.isnan(GAPS), np.inf, GAPS),), ValueError, r"infinite.*\(0, 1\)"),
    "complex": ((GAPS + 1j,), TypeError, "dtype complex128; expected numbers"),
    "dates": ((np.array([["2024-01-01", "NaT"]], "M8[D]"),), TypeError, "datetime64"),
    "letters": (([["a", "b"], ["c", "d"]],), (TypeError, ValueError), "holds no numbers"),
    "class": ((GAPS, CPCompletion), TypeError, "pass an instance"),
    "no estimator": ((GAPS, "cp"), TypeError, "pass an instance"),
    "too large": (
        (sparse.coo_array(([1.0], ([0], [0])), shape=(2**16, 2**15)),),
        ValueError,
        "fit",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_completed(case):
    """Is told at once, with the remedy."""
    arguments, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        complete(*arguments)


OPTIONS = {
    "cells": ({"cells": "some"}, ValueError, 'expected "missing" or "all"'),
    "values": ({"values": "stars"}, TypeError, "for long tables.* are a ndarray"),
    "all": ({"cells": "all"}, TypeError, "for long tables"),
    "std": (
        {"estimator": CPCompletion(), "return_std": True},
        TypeError,
        r"CPCompletion tells no.*PosteriorCompletion\(...\) or CompletionEnsemble",
    ),
    "clip": ({"clip": (2, 1)}, ValueError, "least value comes first"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_that_do_not_fit(case):
    """Likewise."""
    options, kind, message = OPTIONS[case]
    with pytest.raises(kind, match=message):
        complete(GAPS, **options)


def test_clip_needs_an_estimator_that_has_it():
    """It is not left out silently."""
    from sklearn.linear_model import LinearRegression

    with pytest.raises(TypeError, match="LinearRegression has no parameter clip"):
        complete(GAPS, LinearRegression(), clip="range")


def test_filters_of_warnings_stay(quick):
    """Global state is as it was."""
    before = list(warnings.filters)
    complete(GAPS, quick)
    assert warnings.filters == before


def test_arrays_need_no_library_of_tables():
    """xarray and polars are told by the type of the data, and not imported for that."""
    code = (
        "import sys, sktf; sktf.complete([[1, 2], [2, None], [3, 6]], random_state=0);"
        "print(*{'xarray', 'polars'} & set(sys.modules))"
    )
    root = Path(sktf.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
