"""X and shape: what is refused, by name, and what is read."""

import re

import numpy as np
import pandas as pd
import pytest
from cases.validation import with_index
from numpy.testing import assert_array_equal
from sklearn.base import clone

from sktf import CPCompletion, DeepCPCompletion, DeepMatrixCompletion

# Short runs are the point here; test_sklearn.py holds the one warning to its word.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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
    + [(case, "mean") for case in BAD_INDICES if case not in ("2**30", "negative")],
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
    labeled = numbers.assign(when=pd.Series(LABELS[kind])[X[:, 1]].array)
    tables = {
        r"Column 'when' \(mode 1\) of X ": (numbers, labeled),
        "Mode 1 of X ": (X, labeled.to_numpy(dtype=object)),
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
        (CPCompletion(100, init="gaussian", shape=(2**26, 6, 5)), "6.7e+09"),
        (DeepCPCompletion(10, depth=1, init="gaussian", shape=(2**16, 6, 5)), "4.3e+10"),
        (DeepMatrixCompletion(depth=2, init="gaussian", shape=(2**26, 6, 5)), "2e+09"),
    ],
    ids=lambda case: type(case).__name__,
)
def test_a_model_too_large_for_memory_is_refused(small_tensor, model, n_parameters):
    """Before a single array is made; a start that is named has a row for every index."""
    message = rf"would have {re.escape(n_parameters)} parameters.*encode mode 0 of X"
    with pytest.raises(ValueError, match=message):
        model.fit(*small_tensor)


def test_sides_that_cannot_be_numbered_are_refused(small_tensor):
    """row_modes that make a side of more than 2**63 cells are named."""
    X, y = small_tensor
    model = DeepMatrixCompletion(row_modes=(0, 1, 2), shape=(2**25, 2**25, 2**25, 5))
    with pytest.raises(ValueError, match="row_modes cuts shape"):
        model.fit(np.column_stack([X, X[:, 2]]), y)
