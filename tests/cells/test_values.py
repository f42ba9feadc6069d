"""y and sample_weight: what is refused, by name, and what any unit gives."""

import numpy as np
import pytest
from cases.validation import SHAPE, with_index
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sktf import CPALSCompletion, CPCompletion, DeepMatrixCompletion

# Short runs are the point here; test_sklearn.py holds the one warning to its word.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# Values --------------------------------------------------------------------------------------

BAD_VALUES = {
    "NaN": (lambda y: np.where(np.arange(len(y)) == 3, np.nan, y), r"Input y contains NaN"),
    "infinite": (lambda y: np.where(np.arange(len(y)) == 3, np.inf, y), r"y contains infinity"),
    "strings": (lambda y: np.full(len(y), "a"), r"y holds <U1; expected numbers"),
    "complex": (lambda y: 1j * y, r"Complex data not supported"),
    "dates": (lambda y: y.astype("datetime64[D]"), r"y holds datetime64\[D\]; expected numbers"),
    "masked": (lambda y: np.ma.masked_greater(y, 1), r"y has masked entries; leave those rows out"),
    "too large": (lambda y: 1e307 * np.sign(y), r"y has values as large as 1e\+307; .*Divide"),
    "two columns": (lambda y: np.column_stack([y, y]), r"y should be a 1d array"),
    "too short": (lambda y: y[:-1], r"inconsistent numbers of samples"),
}


@pytest.mark.parametrize("case", BAD_VALUES)
def test_bad_values(estimator, small_tensor, case):
    """y must be finite numbers, one for each row."""
    X, y = small_tensor
    make, message = BAD_VALUES[case]
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, make(y))


@pytest.mark.filterwarnings("ignore:Nothing was learned:sktf.CompletionWarning")
@pytest.mark.parametrize("power", [-1000, -660, 498, 996])
@pytest.mark.parametrize("offset", [None, "mean", "additive"])
def test_units_change_no_digit(estimator, small_tensor, offset, power):
    """Values times 2**power, from 1e-301 to 1e300, descend alike and find the same rank."""
    X, y = small_tensor
    if "offset" in estimator.get_params():
        estimator.set_params(offset=offset)
    elif offset is not None:
        pytest.skip("has no offset")
    model, scaled = clone(estimator).fit(X, y), clone(estimator).fit(X, np.ldexp(y, power))
    if hasattr(model, "loss_curve_"):
        assert_array_equal(scaled.loss_curve_, model.loss_curve_)
    assert scaled.rank_ == model.rank_
    # Only the roots of the units that the factors share out are rounded.
    got = np.ldexp(scaled.predict(X), -power)
    assert_allclose(got, model.predict(X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_precision_does_not_bound_the_units(small_tensor, dtype):
    """Descent in float32 predicts values that float32 could not hold."""
    X, y = small_tensor
    model = CPCompletion(4, dtype=dtype, random_state=0).fit(X, 1e300 * y)
    assert_allclose(model.predict(X) / 1e300, y, atol=0.02)


@pytest.mark.parametrize("level", [0.0, 5.0, -1e-200, 1e300])
def test_constant_values_are_all_offset(estimator, small_tensor, level):
    """Where the offset leaves nothing, predictions are the constant itself and rank_ is 0."""
    X, _ = small_tensor
    params = estimator.get_params()
    if level != 0 and "offset" not in params:
        pytest.skip("has no offset")
    for offset in ["mean", "additive"] if "offset" in params else [None]:
        if offset:
            estimator.set_params(offset=offset)
        estimator.fit(X, np.full(len(X), level))
        assert estimator.rank_ == 0
        # The mean of equal numbers is off by a few roundings.
        assert_allclose(estimator.predict(X), level, rtol=1e-14, atol=0)


@pytest.mark.parametrize("scale", [True, False])
def test_zeros_are_predicted_as_zeros(gradient_estimator, small_tensor, scale):
    """Values that are all 0 are predicted as 0 exactly, not as what the start was."""
    X, _ = small_tensor
    model = gradient_estimator.set_params(offset=None, scale=scale).fit(X, np.zeros(len(X)))
    assert model.rank_ == 0 and model.converged_
    assert_array_equal(model.to_dense(), np.zeros(SHAPE))


@pytest.mark.parametrize("model", [CPCompletion(3), DeepMatrixCompletion()], ids=["CP", "matrix"])
def test_constant_values_without_offset_have_rank_one(small_tensor, model):
    """A constant tensor is one component where no offset takes it."""
    X, _ = small_tensor
    model = clone(model).set_params(offset=None, random_state=0)
    model.fit(X, np.full(len(X), -3.0))
    assert model.rank_ == 1
    # Converged means a mean squared error below 1e-6 of the data's: 1e-3 relative, on average.
    assert_allclose(model.predict(X), -3.0, rtol=0.02)


def test_one_cell(estimator):
    """A single observed cell is a tensor of one cell, and it is fitted."""
    if "offset" in estimator.get_params():
        estimator.set_params(offset=None)
    model = estimator.fit([[0, 0, 0]], [2.5])
    assert model.shape_ == (1, 1, 1)
    # The squared error is below 1e-6 of the value's (1e-2 for the loose convex solver).
    assert_allclose(model.predict([[0, 0, 0]]), 2.5, rtol=0.05)


def test_one_mode():
    """A tensor with one mode is a vector, and a CP model holds it in a single component."""
    y = np.array([1.0, -2.0, 0.5, 3.0])
    for model in (CPCompletion(random_state=0), CPALSCompletion(1, random_state=0)):
        fitted = model.fit(np.arange(4)[:, None], y)
        assert fitted.rank_ == 1
        assert_allclose(fitted.predict(np.arange(4)[:, None]), y, atol=0.01)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_cell_seen_twice_is_predicted_at_its_weighted_mean(weighted):
    """Least squares on one number is the weighted mean of its observations."""
    X = np.array([0, 0, 0, 1, 1, 2])[:, None]
    y = np.array([1.0, 2.0, 4.0, -1.0, 5.0, 3.0])
    weights = np.array([1.0, 2.0, 0.5, 3.0, 1.0, 1.0]) if weighted else np.ones(6)
    expected = [np.average(y[X[:, 0] == i], weights=weights[X[:, 0] == i]) for i in range(3)]
    # One mode and one component: a separate quadratic for every index, so descent reaches
    # the minimum up to where the step no longer changes a digit.
    model = CPCompletion(1, loss="squared", tol=0, early_stopping=False, random_state=0)
    fitted = model.fit(X, y, sample_weight=weights)
    assert_allclose(fitted.predict([[0], [1], [2]]), expected, rtol=1e-6)


# Weights -------------------------------------------------------------------------------------

BAD_WEIGHTS = {
    "negative": (-1.0, r"Negative values in data passed to `sample_weight`"),
    "NaN": (np.nan, r"sample_weight contains NaN"),
    "infinite": (np.inf, r"sample_weight contains infinity"),
    "zero": (0.0, r"(?i)at least one"),
    "sum overflows": (1e308, r"sample_weight is too large.*divide it"),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_bad_weights(estimator, small_tensor, case):
    """Weights are finite and not negative, and some are positive."""
    X, y = small_tensor
    value, message = BAD_WEIGHTS[case]
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, y, sample_weight=np.full(len(y), value))


def test_masked_weights(small_tensor):
    """A masked weight is no weight."""
    X, y = small_tensor
    with pytest.raises(ValueError, match="sample_weight has masked entries; leave those rows out"):
        CPCompletion().fit(X, y, sample_weight=np.ma.masked_less(np.arange(len(y)), 3))


# Half of the cells are few, and a model may say so: as it does of these cells without weights.
@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_weights_of_any_range(estimator, small_tensor):
    """A weight that is nothing beside the largest counts as zero: no 0 / 0 in any estimator."""
    X, y = small_tensor
    weights = np.where(np.arange(len(y)) % 2, 1e300, 1e-300)
    expected = clone(estimator).fit(X, y, np.where(weights > 1, weights, 0)).predict(X)
    assert_array_equal(estimator.fit(X, y, weights).predict(X), expected)


def test_weights_of_another_length(estimator, small_tensor):
    """There is one weight for each row."""
    X, y = small_tensor
    with pytest.raises(ValueError, match=r"sample_weight.shape == \(3,\), expected"):
        estimator.fit(X, y, sample_weight=np.ones(3))


def test_rows_of_weight_zero_are_absent(estimator, small_tensor):
    """Neither value nor index of a row of weight zero matters, also for sizes and draws."""
    X, y = small_tensor
    expected = clone(estimator).fit(X, y)
    padded_X, padded_y = np.vstack([[[50, 0, 0]], X]), np.r_[1e6, y]
    weights = np.r_[0.0, np.ones(len(y))]
    fitted = estimator.fit(padded_X, padded_y, sample_weight=weights)
    assert fitted.shape_ == expected.shape_ == SHAPE
    assert_array_equal(fitted.predict(X), expected.predict(X))


def test_row_numbers_are_those_of_the_user(small_tensor):
    """An error counts rows as X does, also when rows of weight zero come before."""
    X, y = small_tensor
    weights = np.r_[0.0, 0.0, np.ones(len(y) - 2)]
    with pytest.raises(ValueError, match=r"Row 3 of X has index 6 in mode 1, which has size 6"):
        CPCompletion(shape=SHAPE).fit(with_index(X, 6), y, sample_weight=weights)
