"""Inputs that users bring: each error names row, mode or column, and the remedy that fits."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from sktf import CompletionEnsemble, CPCompletion
from sktf._cells.complaints import about_rows, explained

# Handfuls of cells determine no model, and short runs are the point here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]

LISTED = r"filled = sktf\.complete\(array\).*X, y = entries_from_dense\(matrix\)"
FILLED = r"To fill a table with gaps: sktf\.complete\(table\)"
# Three sensors at four hours, with gaps.
GAPS = np.array([[2.0, np.nan, 1.0, 0.0], [np.nan, 3.0, 5.0, 1.0], [4.0, 0.0, np.nan, 2.0]])
TABLE = pd.DataFrame({"sensor": [2, 0, 1, 1], "hour": [0, 3, 1, 2]})
Y = [4.0, 0.0, 3.0, 5.0]


def model():
    """Return a model that fits in no time."""
    return CPCompletion(2, n_init=1, max_iter=2, random_state=0)


WHOLE = {
    "array": GAPS,
    "table": pd.DataFrame(GAPS, columns=list("abcd")),
    "numbered table": pd.DataFrame(GAPS),
    "polars table": pl.DataFrame(GAPS),
    "nullable table": pd.DataFrame(GAPS).convert_dtypes(),
    "3 modes": np.stack([GAPS, GAPS]),
    "4 modes": np.ones((2, 2, 2, 2)),
    "csr": sparse.csr_array(np.nan_to_num(GAPS)),
    "coo matrix": sparse.coo_matrix(np.nan_to_num(GAPS)),
}


@pytest.mark.parametrize("case", WHOLE)
@pytest.mark.parametrize("wrap", [model, lambda: CompletionEnsemble(model(), n_estimators=2)])
def test_an_array_in_place_of_rows(case, wrap):
    """Without y, fit says what it takes, and how cells are listed."""
    with pytest.raises(ValueError, match=rf"requires y to be passed.*fit takes rows of.*{LISTED}"):
        wrap().fit(WHOLE[case])


def test_every_estimator_answers_an_array(estimator):
    """A missing y is no TypeError of Python's."""
    with pytest.raises(ValueError, match=LISTED):
        estimator.fit(WHOLE["table"])


@pytest.mark.parametrize("case", ["3 modes", "4 modes"])
def test_more_than_two_dimensions(case):
    """X is a table; an array of more modes is listed first, for fit and predict."""
    with pytest.raises(ValueError, match=rf"Found array with dim [34].*{LISTED}"):
        model().fit(WHOLE[case], np.ones(2))
    with pytest.raises(ValueError, match=rf"Found array with dim [34].*{LISTED}"):
        model().fit(TABLE.to_numpy(), Y).predict(WHOLE[case])


@pytest.mark.parametrize("array", [GAPS, np.nan_to_num(GAPS), pd.DataFrame(GAPS), WHOLE["3 modes"]])
def test_an_array_as_its_own_target(array):
    """fit(A, A), as autoencoders are called, with gaps or without."""
    with pytest.raises(ValueError, match=LISTED):
        model().fit(array, array)


@pytest.mark.parametrize("case", ["csr", "coo matrix"])
def test_sparse_rows(case):
    """The remedy in one line, and not toarray, which would make zeros of what is missing."""
    with pytest.raises(TypeError, match=rf"^Sparse data was passed.*{LISTED}") as caught:
        model().fit(WHOLE[case], np.ones(3))
    assert "toarray" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_frame_of_sparse_columns_is_not_a_sparse_matrix():
    """Its rows may be indices, so that it has to be made dense, as pandas does it."""
    with pytest.raises(TypeError, match=r"X has sparse columns; pass X.sparse.to_dense\(\)"):
        model().fit(TABLE.astype(pd.SparseDtype(int, 0)), Y)


# polars 1.0 says so of itself.
@pytest.mark.filterwarnings("ignore:Determining the data types of a LazyFrame")
@pytest.mark.parametrize("name", ["X", "y", "X_val", "y_val"])
def test_lazy_frames_are_to_be_collected(name):
    """The first error is not hidden by one about columns that cannot be looked at."""
    lazy = pl.DataFrame(TABLE.to_dict("list")).lazy()
    X = TABLE.to_numpy()
    data = {"X": X, "y": Y, "X_val": X, "y_val": Y} | {name: lazy}
    with pytest.raises(ValueError, match=rf"^{name} is a LazyFrame.* pass {name}.collect\(\)"):
        model().fit(**data)


@pytest.mark.parametrize("methods", [["collect", "toPandas"], ["compute"]])
def test_frames_elsewhere_are_to_be_fetched(methods):
    """By the method that makes a table of them: toPandas of Spark, whose collect makes a list."""
    elsewhere = type("Frame", (), dict.fromkeys(methods, lambda self: TABLE))()
    with pytest.raises(ValueError, match=rf"^X is a Frame.* pass X.{methods[-1]}\(\)"):
        model().fit(elsewhere, Y)


def test_a_foreign_object_hides_no_error():
    """Whatever it raises while its columns are looked at, the first error is told."""

    class Foreign:
        columns, ndim = property(lambda self: 1 / 0), 2

        def __array__(self, *_, **__):
            return np.array([["a", "b"]] * len(Y))

    with pytest.raises(ValueError, match="^dtype='numeric' is not compatible"):
        model().fit(Foreign(), Y)
    with pytest.raises(ValueError, match="^first$"), explained(about_rows, "X", Foreign()):
        raise ValueError("first")


BLANKS = {
    "array": (TABLE.to_numpy(float), "mode 1"),
    "frame": (TABLE.astype(float), r"column 'hour' \(mode 1\)"),
    "nullable": (TABLE.astype("Int64"), r"column 'hour' \(mode 1\)"),
    "objects": (TABLE.astype(object), r"column 'hour' \(mode 1\)"),
}


@pytest.mark.parametrize("case", BLANKS)
@pytest.mark.parametrize("blank", [np.nan, None, pd.NA])
def test_a_blank_index(case, blank):
    """Row and mode are named, by the column too where it has a name; so in predict."""
    made, place = BLANKS[case]
    table = pd.DataFrame(made, copy=True)
    table.iloc[2, 1] = np.nan if case in ("array", "frame") else blank
    table = table.to_numpy() if case == "array" else table
    message = (
        rf"^Input X contains NaN: row 2 has no index in {place}\. {FILLED}.*leave those rows out\.$"
    )
    with pytest.raises(ValueError, match=message):
        model().fit(table, Y)
    with pytest.raises(ValueError, match=message):
        model().fit(made, Y).predict(table)


SINGLE = {"text": "str", 5: "int", np.datetime64("2020-01-01"): "datetime64"}


@pytest.mark.parametrize("encode", [False, True])
@pytest.mark.parametrize("boxed", [False, True])
@pytest.mark.parametrize("one", SINGLE)
def test_what_is_no_table(one, boxed, encode):
    """A single value, also within an array of no dimension."""
    X = np.array(one, object) if boxed else one
    with pytest.raises(
        (TypeError, ValueError), match=f"X is no table but a {SINGLE[one]}. .*takes rows"
    ):
        CPCompletion(encode=encode).fit(X, Y)


def test_a_blank_beside_labels():
    """Whichever the conversion met first: the blank, or else the column to be encoded."""
    with pytest.raises(ValueError, match="row 0 has no index in mode 1"):
        model().fit(np.array([[0, pd.NA], ["a", 1]], object), Y[:2])
    with pytest.raises(ValueError, match="Mode 0 of X holds no whole-number .*OrdinalEncoder"):
        model().fit(np.array([["a", 1], [0, pd.NA]], object), Y[:2])


def test_a_blank_of_polars():
    """null is blank."""
    table = pl.DataFrame({"sensor": [2, 0, 1], "hour": [0, None, 1]})
    with pytest.raises(ValueError, match=r"row 1 has no index in column 'hour' \(mode 1\)"):
        model().fit(table, Y[:3])


def test_an_infinite_index():
    """Infinity is named with its place."""
    table = TABLE.to_numpy(float).copy()
    table[3, 0] = np.inf
    with pytest.raises(ValueError, match="Input X contains infinity: row 3 has inf in mode 0"):
        model().fit(table, Y)


TARGETS = {
    "list": [4.0, 0.0, np.nan, 5.0],
    "series": pd.Series([4.0, 0.0, None, 5.0], index=list("abcd")),
    "nullable": pd.Series([4, 0, pd.NA, 5], dtype="Int64"),
    "objects": pd.Series([4.0, 0.0, pd.NA, 5.0], dtype=object),
    "polars": pl.Series([4.0, 0.0, None, 5.0]),
}


@pytest.mark.parametrize("case", TARGETS)
def test_a_cell_without_a_value(case):
    """It is missing, and its row is to be left out; held-out cells likewise."""
    message = r"contains NaN: row 2 has no value\. Cells without a .* leave those rows out\.$"
    with pytest.raises(ValueError, match=f"^Input y {message}"):
        model().fit(TABLE, TARGETS[case])
    with pytest.raises(ValueError, match=f"^Input y_val {message}"):
        model().fit(TABLE, Y, X_val=TABLE, y_val=TARGETS[case])


def test_values_that_are_infinite_or_no_numbers():
    """The row of the one, and the name of the other."""
    with pytest.raises(ValueError, match="Input y contains infinity: row 1 has -inf"):
        model().fit(TABLE, [1.0, -np.inf, 2.0, 3.0])
    with pytest.raises(ValueError, match="y holds no numbers.*'low'"):
        model().fit(TABLE, np.array([1, "low", 2, 3], dtype=object))


def test_the_code_of_a_blank_label():
    """cat.codes writes -1: row, mode, where it comes from, and what to do."""
    hours = pd.Categorical(["noon", "dawn", None, "noon"])
    table = TABLE.assign(hour=hours.codes)
    message = r"Negative values in data passed to CPCompletion \(input X\): row 2 has -1 in mode 1"
    with pytest.raises(ValueError, match=rf"{message}\..*cat\.codes.*leave those rows out"):
        model().fit(table, Y)
    with pytest.raises(ValueError, match=r"row 0 has -3 in mode 0\. Indices count from 0"):
        model().fit(TABLE - [5, 0], Y)


REFUSED = {
    "None in a list": ([4.0, None, 3.0, 5.0], r"y contains NaN: row 1 has no value"),
    "None among objects": (np.array([None, *Y[1:]], object), r"y contains NaN: row 0 has no value"),
    "infinity among objects": (np.array([*Y[:3], -np.inf], object), r"y contains inf.*: row 3 has"),
    "too few": (Y[:3], r"inconsistent.*\[4, 3\]: X and y differ; each row of X needs one value"),
    "complex": (np.array(Y) + 1j, "^Complex data not supported: y; give real numbers.$"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("encode", [False, True])
def test_a_y_that_tells_nothing(case, encode):
    """What scikit-learn lets through among objects, and what it says too little of."""
    y, told = REFUSED[case]
    with pytest.raises(ValueError, match=told):
        model().set_params(encode=encode).fit(TABLE, y)


@pytest.mark.parametrize("encode", [False, True])
@pytest.mark.parametrize("weights", [[1, np.nan, 1, 1], [1, -1, 1, 1], [1, 1], [1, np.inf, 1, 1]])
def test_weights_that_weigh_nothing(weights, encode):
    """The error names the parameter and what it takes."""
    with pytest.raises(ValueError, match=r"^sample_weight: .*Give one finite number for each row"):
        model().set_params(encode=encode).fit(TABLE, Y, sample_weight=weights)


def test_opposite_infinities_are_an_error_alone():
    """NumPy's warning of their sum does not come before it."""
    with pytest.raises(ValueError, match="y contains infinity: row 0 has inf"):
        model().fit(TABLE, [np.inf, -np.inf, 1.0, 2.0])
