"""Bad input is refused in words that help; odd input that is legal gives the right numbers."""

import re

import numpy as np
import pandas as pd
import pytest
from conftest import low_rank_entries
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sktf import CPALSCompletion, CPCompletion, DeepCPCompletion, DeepMatrixCompletion

# Short runs are the point here; test_sklearn.py holds the one warning to its word.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SHAPE = (7, 6, 5)


def with_index(X, value, dtype=float):
    """Return X with one index, row 3 of mode 1, replaced."""
    X = X.astype(dtype)
    X[3, 1] = value
    return X


# Indices -------------------------------------------------------------------------------------

BAD_INDICES = {
    "fraction": (0.5, float, r"whole-number indices in X; row 3 has 0.5 in mode 1.*OrdinalEncoder"),
    "negative": (-1, int, r"Negative values in data passed to \w+ \(input X\)"),
    "NaN": (np.nan, float, r"Input X contains NaN"),
    "infinite": (np.inf, float, r"Input X contains infinity"),
    "label": ("a", object, r"could not convert string to float: 'a'"),
    "stray 1e15": (1e15, float, r"Row 3 of X holds index 1000000000000000\.0 in mode 1.*Ordinal"),
    "stray 1e300": (1e300, float, r"Row 3 of X holds index 1e\+300 in mode 1.*OrdinalEncoder"),
    "2**31": (2**31, np.int64, r"Row 3 of X holds index 2147483648 in mode 1.*OrdinalEncoder"),
    "2**30": (2**30, np.int64, r"Mode 1 has size 1073741825, more rows than can .*OrdinalEncoder"),
    "largest uint64": (2**64 - 1, np.uint64, r"Row 3 of X holds index 18446744073709551615 in"),
}


@pytest.mark.parametrize("case", BAD_INDICES)
def test_bad_index_in_fit(estimator, small_tensor, case):
    """fit names the row, the mode and the remedy."""
    X, y = small_tensor
    value, dtype, message = BAD_INDICES[case]
    with pytest.raises(ValueError, match=message):
        estimator.fit(with_index(X, value, dtype), y)


@pytest.mark.parametrize(
    ("case", "handle_unknown"),
    [(case, "error") for case in BAD_INDICES if case != "2**30"]
    + [(case, "offset") for case in BAD_INDICES if case not in ("2**30", "negative")],
)
def test_bad_index_in_predict(small_tensor, case, handle_unknown):
    """predict refuses as fit does; only a negative index may stand for an unknown one."""
    X, y = small_tensor
    value, dtype, message = BAD_INDICES[case]
    model = CPCompletion(2, max_iter=5, handle_unknown=handle_unknown).fit(X, y)
    with pytest.raises(ValueError, match=message):
        model.predict(with_index(X, value, dtype))


BAD_TABLES = {
    "empty": (lambda X: X[:0], r"0 sample\(s\)"),
    "no columns": (lambda X: X[:, :0], r"0 feature\(s\)"),
    "one-dimensional": (lambda X: X[:, 0], r"Expected 2D array"),
    "complex": (lambda X: X * 1j, r"Complex data not supported"),
    "strings": (lambda X: X.astype(str), r"numeric"),
    "dates": (lambda X: X.astype("datetime64[s]"), r"OrdinalEncoder.*not dtype datetime64\[s\]"),
    "masked": (lambda X: np.ma.masked_equal(X, 2), r"X has masked entries; leave those rows out"),
    "string categories": (
        lambda X: pd.DataFrame(np.array(list("abcdefg"))[X], columns=list("abc"), dtype="category"),
        r"OrdinalEncoder|could not convert string to float",
    ),
    "too few rows": (lambda X: X[1:], r"inconsistent numbers of samples"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_table(estimator, small_tensor, case):
    """An X that is no table of indices is refused, lengths included."""
    X, y = small_tensor
    make, message = BAD_TABLES[case]
    made = make(X)
    with pytest.raises(ValueError, match=message):
        estimator.fit(made, y[:0] if case == "empty" else y)


def test_other_number_of_columns_in_predict(estimator, small_tensor):
    """predict wants as many modes as fit saw."""
    X, y = small_tensor
    with pytest.raises(ValueError, match="X has 2 features, but .* is expecting 3"):
        estimator.fit(X, y).predict(X[:, :2])


DATES = pd.date_range("2024-03-01", periods=6)
LABELS = {
    "labels": list("abcdef"),
    "categories": pd.Categorical(list("abcdef")),
    "dates": DATES,
    "dates with a zone": DATES.tz_localize("UTC"),
    "durations": DATES - DATES[0],
    "months": DATES.to_period("M"),
}


@pytest.mark.parametrize("kind", LABELS)
def test_the_column_of_labels_is_named(small_tensor, kind):
    """In fit and predict, of a frame and of an array, with the remedy."""
    X, y = small_tensor
    numbers = pd.DataFrame(X, columns=["place", "when", "what"])
    labelled = numbers.assign(when=pd.Series(LABELS[kind])[X[:, 1]].array)
    tables = {
        r"Column 'when' \(mode 1\) of X ": (numbers, labelled),
        "Mode 1 of X ": (X, labelled.to_numpy(dtype=object)),
    }
    for name, (table, bad) in tables.items():
        model = CPCompletion(2, max_iter=5).fit(table, y)
        with pytest.raises((TypeError, ValueError), match=f"^{name}.* OrdinalEncoder"):
            model.predict(bad)
        with pytest.raises((TypeError, ValueError), match=f"^{name}.* OrdinalEncoder"):
            model.fit(bad, y)


LEGAL_TABLES = {
    "uint64": lambda X: X.astype(np.uint64),
    "int8": lambda X: X.astype(np.int8),
    "float64": lambda X: X.astype(np.float64),
    "float32": lambda X: X.astype(np.float32),
    "float16": lambda X: X.astype(np.float16),
    "object": lambda X: X.astype(object),
    "list": lambda X: X.tolist(),
    "Fortran order": np.asfortranarray,
    "categories": lambda X: pd.DataFrame(X, columns=list("abc")).astype("category"),
    "nullable integers": lambda X: pd.DataFrame(X, columns=list("abc")).astype("Int64"),
}


@pytest.mark.parametrize("case", LEGAL_TABLES)
def test_legal_table(estimator, small_tensor, case):
    """Whole numbers of any type, order and container fit and predict alike."""
    X, y = small_tensor
    expected = clone(estimator).fit(X, y).predict(X)
    made = LEGAL_TABLES[case](X)
    assert_array_equal(estimator.fit(made, y).predict(made), expected)


def test_boolean_indices(estimator):
    """False and True are the indices 0 and 1."""
    X = np.array([[False, False], [False, True], [True, False], [True, True]])
    y = np.array([1.0, 2.0, 2.0, 4.0])
    expected = clone(estimator).fit(X.astype(int), y).predict(X.astype(int))
    assert estimator.fit(X, y).shape_ == (2, 2)
    assert_array_equal(estimator.predict(X), expected)


# Shape ---------------------------------------------------------------------------------------

BAD_SHAPES = {
    "too short": ((7, 6), r"shape=\(7, 6\) has 2 modes but X has 3 columns"),
    "nested": ([[7, 6, 5]], r"has 1 modes but X has 3 columns"),
    "zero": ((7, 6, 0), r"mode 2 has size 0; expected a positive int"),
    "negative": ((-1, 6, 5), r"mode 0 has size -1; expected a positive int"),
    "float": ((7, 6, 5.0), r"mode 2 has size 5.0; expected a positive int"),
    "bool": ((7, 6, True), r"mode 2 has size True; expected a positive int"),
    "string": ((7, "a", 5), r"mode 1 has size 'a'; expected a positive int"),
    "too small": ((7, 6, 4), r"Row 2 of X has index 4 in mode 2, which has size 4.*shape"),
    "huge": ((7, 10**20, 5), r"Mode 1 has size 100000000000000000000, more rows than can be"),
    "no sequence": (5, r"The 'shape' parameter of \w+ must be an array-like or None. Got 5"),
}


@pytest.mark.parametrize("case", BAD_SHAPES)
def test_bad_shape(estimator, small_tensor, case):
    """A wrong shape is named with the mode and the size at fault."""
    shape, message = BAD_SHAPES[case]
    assert tuple(small_tensor[0][2])[2] == 4  # the row that the case "too small" names
    with pytest.raises(ValueError, match=message):
        estimator.set_params(shape=shape).fit(*small_tensor)


@pytest.mark.parametrize("shape", [(7, 6, 5), [7, 6, 5], np.array([7, 6, 5])], ids=repr)
def test_shape_may_be_any_sequence(estimator, small_tensor, shape):
    """shape_ is a tuple of int whatever sequence shape is."""
    estimator.set_params(shape=shape).fit(*small_tensor)
    assert estimator.shape_ == (7, 6, 5) and {type(size) for size in estimator.shape_} == {int}


@pytest.mark.parametrize(
    "model, n_parameters",
    [
        (CPCompletion(100, shape=(2**26, 6, 5)), "6.7e+09"),
        (DeepCPCompletion(10, depth=1, shape=(2**16, 6, 5)), "4.3e+10"),
        (DeepMatrixCompletion(depth=2, shape=(2**26, 6, 5)), "2e+09"),
    ],
    ids=lambda case: type(case).__name__,
)
def test_a_model_too_large_for_memory_is_refused(small_tensor, model, n_parameters):
    """Before a single array is made, the message names size and mode."""
    message = rf"would have {re.escape(n_parameters)} parameters.*encode mode 0 of X"
    with pytest.raises(ValueError, match=message):
        model.fit(*small_tensor)


def test_sides_that_cannot_be_numbered_are_refused(small_tensor):
    """row_modes that make a side of more than 2**63 cells are named."""
    X, y = small_tensor
    model = DeepMatrixCompletion(row_modes=(0, 1, 2), shape=(2**25, 2**25, 2**25, 5))
    with pytest.raises(ValueError, match="row_modes cuts shape"):
        model.fit(np.column_stack([X, X[:, 2]]), y)


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


# Parameters ----------------------------------------------------------------------------------

BAD_PARAMETERS = [
    ("init", "bad"),
    ("loss", "bad"),
    ("step", "bad"),
    ("offset", "bad"),
    ("handle_unknown", "bad"),
    ("dtype", "bad"),
    ("early_stopping", "bad"),
    ("n_init", "bad"),
    ("n_components", 0),
    ("n_components", 2.5),
    ("n_components", -1),
    ("max_iter", 0),
    ("tol", -1e-3),
    ("rank_tol", 1.5),
    ("learning_rate", 0.0),
    ("huber_delta", 0.0),
    ("init_scale", 0.0),
    ("init_mean", np.nan),
    ("validation_fraction", 1.0),
    ("n_iter_no_change", 0),
    ("record_every", 0),
    ("device", None),
]


@pytest.mark.parametrize("name, value", BAD_PARAMETERS)
def test_bad_parameter(small_tensor, name, value):
    """The message names the parameter, what it may be and what it was."""
    message = rf"The '{name}' parameter of CPCompletion must be .* Got {value!r} instead"
    with pytest.raises(ValueError, match=message):
        CPCompletion(**{name: value}).fit(*small_tensor)


BAD_MATRIX_PARAMETERS = [
    ({"depth": 0}, r"'depth' parameter .* Got 0"),
    ({"hidden": 0}, r"'hidden' parameter .* Got 0"),
    ({"hidden": 2.5}, r"'hidden' parameter .* Got 2.5"),
    ({"hidden": "ab"}, r"'hidden' parameter .* Got 'ab'"),
    ({"hidden": (3,)}, r"hidden=\(3,\): expected 2 positive widths for depth=3, or one int"),
    ({"hidden": (3, 0)}, r"hidden=\(3, 0\): expected 2 positive widths"),
    ({"hidden": (3.5, 2)}, r"hidden=\(3.5, 2\): expected 2 positive widths"),
    ({"row_modes": ()}, r"row_modes=\(\): expected one or more distinct modes from 0 to 2"),
    ({"row_modes": (3,)}, r"row_modes=\(3,\): expected .* modes from 0 to 2"),
    ({"row_modes": (-1,)}, r"row_modes=\(-1,\): expected .* modes from 0 to 2"),
    ({"row_modes": (0, 0)}, r"row_modes=\(0, 0\): expected one or more distinct"),
    ({"row_modes": (0.0,)}, r"row_modes=\(0.0,\): expected"),
    ({"row_modes": (True,)}, r"row_modes=\(True,\): expected"),
    ({"row_modes": 0}, r"'row_modes' parameter .* Got 0"),
]


@pytest.mark.parametrize("params, message", BAD_MATRIX_PARAMETERS, ids=str)
def test_bad_matrix_parameter(small_tensor, params, message):
    """Depth, widths and modes of a matrix model are checked against each other and the data."""
    with pytest.raises(ValueError, match=message):
        DeepMatrixCompletion(max_iter=3, **params).fit(*small_tensor)


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "", "CPU", "meta"])
def test_absent_device(gradient_estimator, small_tensor, device):
    """A device that is absent, misspelt or holds no numbers is a ValueError that names it."""
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match=rf"device='{device}' cannot .*device='cpu' always can"):
        gradient_estimator.set_params(device=device).fit(*small_tensor)


def test_constant_step_too_large(gradient_estimator, small_tensor):
    """Divergence is a ValueError with the iteration, the setting and two cures."""
    gradient_estimator.set_params(step="constant", learning_rate=1e3)
    message = (
        r"diverged at iteration [1-9]\d* with step='constant', learning_rate=1000.0; "
        r"lower learning_rate or use step='adaptive'"
    )
    with pytest.raises(ValueError, match=message):
        gradient_estimator.fit(*small_tensor)


# Held-out cells ------------------------------------------------------------------------------

BAD_HELD_OUT = {
    "no values": (lambda X, y: (X, None), r"X_val and y_val belong together"),
    "no cells": (lambda X, y: (None, y), r"X_val and y_val belong together"),
    "outside": (lambda X, y: (X + 10, y), r"Row 0 of X_val has index 10 in mode 0.*shape"),
    "negative": (lambda X, y: (X - 10, y), r"Negative values in data .*\(input X_val\)"),
    "fraction": (lambda X, y: (with_index(X, 0.5), y), r"indices in X_val; row 3 has 0.5 in mode"),
    "columns": (lambda X, y: (X[:, :2], y), r"X has 2 features, but"),
    "lengths": (lambda X, y: (X, y[1:]), r"inconsistent numbers of samples"),
    "empty": (lambda X, y: (X[:0], y[:0]), r"0 sample\(s\)"),
    "NaN": (lambda X, y: (X, y * np.nan), r"Input y contains NaN"),
    "dates": (lambda X, y: (X.astype("datetime64[s]"), y), r"Mode 0 of X_val holds no whole-num"),
    "masked": (lambda X, y: (X, np.ma.masked_greater(y, 1)), r"y_val has masked entries"),
}


@pytest.mark.parametrize("case", BAD_HELD_OUT)
def test_bad_held_out_cells(estimator, small_tensor, case):
    """X_val and y_val are checked as X and y are, against the shape of the training cells."""
    X, y = small_tensor
    make, message = BAD_HELD_OUT[case]
    X_val, y_val = make(X, y)
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, y, X_val=X_val, y_val=y_val)


def test_held_out_cells_and_no_early_stopping(gradient_estimator, small_tensor):
    """Held-out cells that nothing stops on are a mistake, and the message says so."""
    X, y = small_tensor
    with pytest.raises(ValueError, match="set early_stopping=True"):
        gradient_estimator.set_params(early_stopping=False).fit(X, y, X_val=X, y_val=y)


def test_early_stopping_needs_two_cells(gradient_estimator):
    """One cell cannot be held out and trained on; how often it is observed does not count."""
    model = gradient_estimator.set_params(early_stopping=True)
    message = "validation_fraction=0.1 leaves no cell to train on, of 1 observed; set early_stop"
    with pytest.raises(ValueError, match=message):
        model.fit([[0, 0]], [1.0])
    with pytest.raises(ValueError, match=message):
        model.fit([[0, 0], [0, 0]], [1.0, 2.0])


# Indices that were never seen ----------------------------------------------------------------


@pytest.mark.parametrize("offset", [None, "mean", "additive"])
def test_unknown_indices_get_the_offset_of_the_known_ones(small_tensor, offset):
    """handle_unknown="offset": level plus the terms of known modes; known cells as before."""
    X, y = small_tensor
    model = CPCompletion(2, offset=offset, max_iter=20, random_state=0).fit(X, y + 1)
    cells = np.array([[1, 2, 3], [7, 2, 3], [10**6, 2, 99], [8, 8, 8]])
    with pytest.raises(ValueError, match=r"Row 1 of X has index 7 in mode 0.*handle_unknown='off"):
        model.predict(cells)
    terms = model.offset_terms_ or [np.zeros(size) for size in SHAPE]
    expected = model.offset_ + np.array([terms[1][2] + terms[2][3], terms[1][2], 0.0])
    known = model.predict(cells[:1])
    predicted = model.set_params(handle_unknown="offset").predict(cells)
    assert_array_equal(predicted[0], known[0])
    assert_allclose(predicted[1:], expected, rtol=1e-12, atol=1e-12)
    assert (offset is None) == (model.offset_ == 0)


def test_a_row_never_observed_stays_at_its_start(small_tensor):
    """Inside the shape but unseen: no gradient, so the row keeps its length of iteration 1."""
    X, y = small_tensor
    settings = dict(loss="squared", n_init=1, early_stopping=False, random_state=0)
    lengths = [
        np.linalg.norm(
            CPCompletion(4, shape=(9, 6, 5), max_iter=n, **settings).fit(X, y).factors_[0], axis=1
        )
        for n in (1, 200)
    ]
    # Its length does not depend on the order of the components, and the scale is the same.
    assert_allclose(lengths[1][7:], lengths[0][7:], rtol=1e-12)
    assert (np.abs(lengths[1][:7] / lengths[0][:7] - 1) > 0.1).all()


def test_an_index_never_observed_has_no_additive_term(small_tensor):
    """Ridge regression gives an index without observations the term 0."""
    X, y = small_tensor
    model = CPCompletion(2, shape=(9, 6, 5), offset="additive", max_iter=5).fit(X, y)
    assert_array_equal(model.offset_terms_[0][7:], 0)
    assert (model.offset_terms_[0][:7] != 0).all()


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


def test_extend_leaves_skipped_indices_at_zero(small_tensor):
    """An index that was skipped has a row of zeros, so that it predicts the offset."""
    X, y = small_tensor
    model = CPCompletion(2, offset="mean", max_iter=50, random_state=0).fit(X, y)
    model.extend([[9, 0, 0], [9, 1, 1], [9, 2, 3]], [1.0, 2.0, 3.0], mode=0)
    assert model.shape_ == (10, 6, 5)
    assert_array_equal(model.factors_[0][7:9], 0)
    assert_array_equal(model.predict([[7, 0, 0], [8, 1, 1]]), model.offset_)


BAD_EXTENSIONS = {
    "mode -1": (-1, [7, 0, 0], r"mode=-1: expected a mode number from 0 to 2"),
    "mode 3": (3, [7, 0, 0], r"mode=3: expected a mode number"),
    "mode True": (True, [0, 7, 0], r"mode=True: expected a mode number"),
    "mode 0.0": (0.0, [7, 0, 0], r"mode=0.0: expected a mode number"),
    "known index": (0, [6, 0, 0], r"Row 0 of X has index 6 in mode 0, which was fitted already"),
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
