"""Listing the cells of arrays, tables and sparse matrices, and helpers that take what fit takes."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.utils.fixes import parse_version

from sktf import CPCompletion
from sktf.datasets import dense_from_entries, entries_from_dense, entry_groups, split_entries
from sktf.model_selection import BlockKFold, CellKFold, FiberKFold

# Handfuls of cells determine no model, and short runs are the point here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]

# Four cells of a 3 x 4 matrix in no order; the one at (2, 1) is a zero.
ROWS, COLUMNS, VALUES = [2, 0, 2, 1], [3, 2, 1, 0], [7.0, -1.5, 0.0, 4.0]
CELLS, SORTED = [[0, 2], [1, 0], [2, 1], [2, 3]], [-1.5, 4.0, 0.0, 7.0]


@pytest.mark.parametrize("form", ["coo", "csr", "csc", "lil", "dok"])
@pytest.mark.parametrize("kind", [sparse.coo_array, sparse.coo_matrix])
def test_what_a_sparse_matrix_stores_are_its_cells(form, kind):
    """In C order, stored zeros too; the rest is missing."""
    matrix = kind((VALUES, (ROWS, COLUMNS)), shape=(3, 4)).asformat(form)
    X, y = entries_from_dense(matrix)
    assert X.dtype == np.int64 and y.dtype == np.float64
    assert X.tolist() == CELLS and y.tolist() == SORTED


@pytest.mark.skipif(parse_version(scipy.__version__) < parse_version("1.15"), reason="2 modes only")
def test_sparse_arrays_of_three_modes():
    """As many columns as the array has modes; nothing is made dense on the way."""
    coords = ([5, 0, 0], [10**6, 2, 2], [1, 10**6, 3])
    X, y = entries_from_dense(sparse.coo_array(([1, 2, 3], coords), shape=(6, 10**7, 10**7)))
    assert X.tolist() == [[0, 2, 3], [0, 2, 10**6], [5, 10**6, 1]] and y.tolist() == [3.0, 2.0, 1.0]


def test_a_stored_nan_is_missing():
    """As in a dense array."""
    X, y = entries_from_dense(sparse.csr_array([[np.nan, 2.0], [0.0, 3.0]]))
    assert X.tolist() == [[0, 1], [1, 1]] and y.tolist() == [2.0, 3.0]


def test_listed_cells_fit():
    """From a sparse matrix to predictions in two lines."""
    X, y = entries_from_dense(sparse.csr_array(np.arange(72.0).reshape(9, 8) % 2))
    assert CPCompletion(1, max_iter=3, n_init=1).fit(X, y).predict(X).shape == (36,)


WIDE = np.array([[1.0, np.nan, 0.0], [np.nan, 2.5, 4.0]])
OF_WIDE = {
    "array": WIDE,
    "masked": np.ma.masked_invalid(WIDE),
    "masked and NaN": np.ma.array(WIDE, mask=[[False, True, False], [False] * 3]),
    "list": WIDE.tolist(),
    "None": [[1, None, 0], [None, 2.5, 4]],
    "NA": [[1, pd.NA, 0], [pd.NA, 2.5, 4]],
    "matrix": sparse.coo_matrix(WIDE).todense(),
    "pandas": pd.DataFrame(WIDE),
    "nullable floats": pd.DataFrame(WIDE).astype("Float64"),
    "nullable and other columns": pd.DataFrame(WIDE).convert_dtypes().astype({1: float}),
    "objects": pd.DataFrame(WIDE).astype(object),
    "sparse columns": pd.DataFrame(WIDE).astype(pd.SparseDtype(float, np.nan)),
    "polars": pl.DataFrame(WIDE, nan_to_null=True),
}


@pytest.mark.parametrize("case", OF_WIDE)
def test_blanks_of_any_table_are_missing(case):
    """NaN, None, NA, null and masked are no values, zeros are."""
    X, y = entries_from_dense(OF_WIDE[case])
    assert X.tolist() == [[0, 0], [0, 2], [1, 1], [1, 2]]
    assert type(y) is np.ndarray and y.dtype == np.float64 and y.tolist() == [1.0, 0.0, 2.5, 4.0]


def test_a_nullable_pivot_of_integers():
    """What pandas makes of a long table with convert_dtypes."""
    long = pd.DataFrame({"room": [3, 3, 8], "day": [1, 2, 1], "visits": [5, 0, 2]}).convert_dtypes()
    X, y = entries_from_dense(long.pivot(index="room", columns="day", values="visits"))
    assert X.tolist() == [[0, 0], [0, 1], [1, 0]] and y.tolist() == [5.0, 0.0, 2.0]


TWICE = sparse.coo_array(([1.0, 2.0, 4.0], ([1, 0, 1], [2, 0, 2])))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (TWICE, r"stores cell \(1, 2\) more than once.*sum_duplicates.*mean"),
        (sparse.csr_array(([1.0, 2.0], [1, 1], [0, 2, 2])), r"stores cell \(0, 1\) more than once"),
        (sparse.bsr_array(np.eye(4)), "sparse format 'bsr'.*'coo' or 'csr'"),
        (sparse.dia_array(np.eye(3)), "sparse format 'dia'.*'coo' or 'csr'"),
        (sparse.coo_array([0.0, 1.0]), r"shape \(2,\); pass two modes or more"),
        (sparse.csr_array([[0, 1j]]), "dtype complex128; expected numbers"),
        (sparse.csr_array([[0.0, np.inf]]), r"infinite values; write NaN .* \(0, 1\)"),
        (pl.DataFrame(WIDE).lazy(), r"array is a LazyFrame.* pass array.collect\(\)"),
        (np.ones((2, 2)) * 1j, "dtype complex128; expected numbers"),
        (np.ones((2, 2)).astype("datetime64[D]"), r"dtype datetime64\[D\]; expected numbers"),
        (
            pd.DataFrame({"room": ["attic", "hall"], "mon": [1, 2]}),
            "Column 'room' of array holds no numbers.*set_index",
        ),
        (
            pl.DataFrame({"mon": [1, 2], "room": ["attic", None]}),
            "Column 'room' of array holds no numbers.*set_index",
        ),
    ],
)
def test_arrays_that_cannot_be_listed(array, message):
    """The message says what arrived and what to do."""
    with pytest.raises((TypeError, ValueError), match=message):
        entries_from_dense(array)


# What fit takes, the helpers take too. --------------------------------------------------------

INDICES = np.array([[0, 4], [3, 1], [0, 2], [5, 4], [3, 0], [1, 2], [2, 3], [4, 1]])
FRAME = pd.DataFrame(INDICES, columns=["room", "day"])
TABLES = {
    "list": INDICES.tolist(),
    "floats": INDICES.astype(float),
    "unsigned": INDICES.astype(np.uint16),
    "objects": INDICES.astype(object),
    "frame": FRAME,
    "frame of floats": FRAME.astype(float),
    "nullable integers": FRAME.astype("Int32"),
    "nullable beside plain": FRAME.astype({"day": "Int64"}),
    "categories": FRAME.astype("category"),
    "polars": pl.DataFrame(FRAME.to_dict("list")),
}
Y = np.arange(8.0)
CALLS = {
    "split_entries": lambda X: split_entries(X, Y, 0.4, random_state=1),
    "entry_groups": lambda X: [entry_groups(X, pattern="fibers", mode=1)],
    "dense_from_entries": lambda X: [dense_from_entries(X, Y, (6, 5))],
    "CellKFold": lambda X: CellKFold(2, random_state=1).split(X),
    "FiberKFold": lambda X: FiberKFold(2, mode=0, random_state=1).split(X),
    "BlockKFold": lambda X: BlockKFold(2, block_shape=(2, 2), random_state=1).split(X),
}


def parts(found):
    """Return all arrays of what a helper returns."""
    return [part for item in found for part in (item if isinstance(item, tuple) else [item])]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("case", TABLES)
def test_helpers_take_what_fit_takes(call, case):
    """Whole numbers of any type and container give what plain integers give."""
    CPCompletion(1, n_init=1, max_iter=2).fit(TABLES[case], Y)
    expected, found = parts(CALLS[call](INDICES)), parts(CALLS[call](TABLES[case]))
    assert len(expected) == len(found) > 0
    for one, other in zip(expected, found, strict=True):
        assert one.dtype == other.dtype
        assert_array_equal(one, other)


def with_entry(value):
    """Return the frame with another index in row 5 of mode 0."""
    table = FRAME.astype(object if value is pd.NA else float)
    table.iloc[5, 0] = value
    return table


BAD_TABLES = {
    "blank": (with_entry(np.nan), "row 5 has no (index|label) in .*mode 0.*eave those rows out"),
    "NA": (with_entry(pd.NA), "row 5 has no (index|label) in .*mode 0.*eave those rows out"),
    "negative": (with_entry(-1).astype(int), r"row 5 has -1 in mode 0\..* leave those rows out"),
    "huge": (INDICES * 1e300, r"Row \d of X holds index .*e\+300 in mode"),
    "sparse": (sparse.csr_array(INDICES), r"X, y = entries_from_dense\(matrix\)"),
    "three modes": (np.ones((8, 2, 2)), r"(dim 3|3D array).*X, y = entries_from_dense\(matrix\)"),
    "lazy": (TABLES["polars"].lazy(), r"X is a LazyFrame.* pass X.collect\(\)"),
    "one column": (INDICES[:, 0], "Expected 2D array, got 1D array"),
    "fraction": (with_entry(0.5), "row 5 has 0.5 in mode 0.*OrdinalEncoder"),
    "labels": (FRAME.assign(day=list("abcdefgh")), r"Column 'day' \(mode 1\).*OrdinalEncoder"),
}


# scikit-learn 1.7 asks a lazy table for its types.
@pytest.mark.filterwarnings("ignore:Determining the data types of a LazyFrame")
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("case", BAD_TABLES)
def test_helpers_refuse_what_fit_refuses(call, case):
    """By row and mode or column; but what groups takes labels, and fractions for such."""
    table, message = BAD_TABLES[case]
    if call != "dense_from_entries" and case in ("fraction", "labels"):
        assert len(list(CALLS[call](table))) == len(list(CALLS[call](FRAME)))
        return
    with pytest.raises((TypeError, ValueError), match=message):
        list(CALLS[call](table))


@pytest.mark.parametrize(
    "kind", [list, pd.Series, lambda y: pd.Series(y, dtype="Int64"), pl.Series]
)
def test_values_of_any_kind(kind):
    """y may be what fit takes, and comes back as float64."""
    y = [3, 1, 4, 1, 5, 9, 2, 6]
    _, _, y_train, y_test = split_entries(INDICES, kind(y), 2, random_state=0)
    assert y_train.dtype == np.float64 and sorted([*y_train, *y_test]) == sorted(y)
    assert dense_from_entries(INDICES, kind(y), (6, 5))[5, 4] == 1


def test_values_that_are_missing():
    """A cell without a value is missing: its row is to be left out."""
    y = np.where(np.arange(8) == 6, np.nan, 1.0)
    for call in (lambda: split_entries(INDICES, y), lambda: dense_from_entries(INDICES, y, (6, 5))):
        with pytest.raises(ValueError, match=r"row 6 has no value\..* leave those rows out"):
            call()


def test_no_entries_make_an_empty_array():
    """Nothing but the fill value."""
    dense = dense_from_entries(np.empty((0, 2), int), [], (2, 3), fill_value=7.0)
    assert_array_equal(dense, np.full((2, 3), 7.0))


@pytest.mark.parametrize("shape", [(2**15 + 1, 2**15), (2**40, 2**40), (2**11, 2**10, 2**10)])
def test_dense_arrays_of_a_billion_cells_are_refused(shape):
    """Before memory is asked for, with the size and what to do."""
    X = np.zeros((1, len(shape)), int)
    with pytest.raises(ValueError, match=r"needs (8|16|9.01e\+15) GiB; keep the rows"):
        dense_from_entries(X, [1.0], shape)
