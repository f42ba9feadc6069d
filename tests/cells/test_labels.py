"""Labels in the place of indices: what is read, in which order, and what is refused."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal
from sklearn.preprocessing import OrdinalEncoder

from sktf import CPCompletion
from sktf._cells.labels import LabelTable

# Short runs are the point here; what they end with is tested where it matters.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CODES = np.array([(i, j) for i in range(4) for j in range(3) if (i + j) % 4 or not i])
NAMES = np.array(["ann", "bob", "Cy", "dan"]), np.array([2.5, 10, 300])
DAYS = np.array(["2024-03-01", "2024-03-05", "2024-02-01"], "datetime64[D]")


def table(first=NAMES[0], second=NAMES[1]):
    """Return a frame of labels, one for each of the codes."""
    return pd.DataFrame({"who": first[CODES[:, 0]], "dose": second[CODES[:, 1]]})


TABLES = {
    "frame": table(),
    "objects": table().astype(object),
    "array of objects": table().to_numpy(object),
    "array of strings": table().astype(str).to_numpy().astype(str),
    "lists": table().to_numpy(object).tolist(),
    "polars": pl.DataFrame(table().to_dict("list")),
    "nullable": table().convert_dtypes(),
    "strings": table().astype({"who": "string"}),
    "numbers with gaps": table(np.array([5, 7, 900, 2])),
    "booleans": table(np.array([True, False, True, False])),
    "dates": table(second=DAYS),
    "dates of Python": table(second=DAYS.astype(object)),
    "lists of dates": table(second=DAYS.astype(object)).to_numpy(object).tolist(),
    "dates with a zone": table(second=pd.DatetimeIndex(DAYS).tz_localize("UTC")),
    "durations": table(second=DAYS - DAYS[0]),
    "months": table(second=pd.DatetimeIndex(DAYS).to_period("M")),
    "large numbers": table(np.array([2**63 + 1, 2**63, -1, 3], object)),
}


@pytest.mark.parametrize("case", TABLES)
def test_labels_are_numbered_as_by_ordinal_encoder(case):
    """In sorted order; and found again, in a list of single rows too."""
    X = TABLES[case]
    frame = pd.DataFrame(X.to_dict(as_series=False)) if case == "polars" else pd.DataFrame(X)
    read = LabelTable.read(X)
    for mode in range(2):
        column = frame.iloc[:, mode].astype(object)
        column = (
            pd.to_datetime(column) if case.endswith(("of Python", "of dates")) and mode else column
        )
        expected = sorted(set(column))
        assert pd.Index(read.labels[mode]).tolist() == pd.Index(expected).tolist()
        assert [expected.index(label) for label in column] == read.numbers[:, mode].tolist()
    assert_array_equal(read.among(read.labels), read.numbers)
    rows = frame.astype(object).to_numpy().tolist()
    one_by_one = [LabelTable.read([row]).among(read.labels)[0] for row in rows]
    assert_array_equal(one_by_one, read.numbers)


@pytest.mark.parametrize("case", ["frame", "lists", "array of strings"])
def test_as_scikit_learn(case):
    """An independent implementation of sorted order."""
    X = TABLES[case]
    assert_array_equal(LabelTable.read(X).numbers, OrdinalEncoder().fit_transform(X))


def test_categories_keep_their_order_and_those_without_cells():
    """As pandas declares them, not sorted; neither read nor hashed row by row."""
    sizes = pd.CategoricalDtype(["small", "medium", "large", "huge"], ordered=True)
    read = LabelTable.read(pd.DataFrame({"size": ["large", "small", "large"]}).astype(sizes))
    assert read.labels[0].tolist() == ["small", "medium", "large", "huge"]
    assert read.numbers[:, 0].tolist() == [2, 0, 2]
    again = LabelTable.read([["huge"], ["medium"], ["gone"]]).among(read.labels)
    assert again[:, 0].tolist() == [3, 1, -1]


ZONED = pd.DatetimeIndex(DAYS).tz_localize("UTC")
OTHER_TYPES = {
    "number": (["1", "2"], [1], "numbers in mode 0, but fit has seen strings there; give labels"),
    "string": ([1, 2], ["1"], "strings in mode 0, but fit has seen numbers"),
    "boolean": ([1, 2], [True], "booleans in mode 0, but fit has seen numbers"),
    "text of a date": (list(DAYS), ["2024-03-01"], "strings in mode 0, but fit has seen dates"),
    "zone": (list(DAYS), list(ZONED), "dates with a time zone in mode 0, but fit has seen dates t"),
    "single": (np.array([0.1, 0.5]), np.array([0.1], np.float32), r"float32.*float64"),
    "double": (np.array([0.1, 0.5], np.float32), np.array([0.5, 0.1]), r"float64.*float32"),
}


@pytest.mark.parametrize("case", OTHER_TYPES)
def test_labels_of_another_type_are_refused(case):
    """The number 1 is not the string "1", nor True; a rounded number is another. None is new."""
    known, asked, message = OTHER_TYPES[case]
    categories = LabelTable.read(np.asarray(known)[:, None]).labels
    read = LabelTable.read(np.asarray(asked)[:, None])
    with pytest.raises(ValueError, match=message):
        read.among(categories)
    with pytest.raises(ValueError, match=message):
        read.grown(categories, 0)


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
@pytest.mark.parametrize("handle_unknown", ["auto", "error", "mean"])
def test_labels_of_another_type_are_refused_by_predict(handle_unknown):
    """Whatever becomes of new ones."""
    fitted = model(handle_unknown=handle_unknown).fit(table(), Y)
    with pytest.raises(ValueError, match="X has strings in column 'dose' .mode 1., but fit has se"):
        fitted.predict(table().astype({"dose": str}))


def test_numbers_of_another_precision_may_be_equal_or_new():
    """A half is the same in both, and what is near no label known is new."""
    categories = LabelTable.read(np.array([[0.1], [0.5]])).labels
    asked = np.array([[0.5], [0.2], [7.0]], np.float32)
    assert LabelTable.read(asked).among(categories).tolist() == [[1], [-1], [-1]]


def test_labels_of_several_types_are_found_by_one_of_them():
    """In categories of pandas."""
    labels = pd.DataFrame({"a": pd.Categorical(["a", 3, 2], ["a", 3, 2])})
    categories = LabelTable.read(labels).labels
    assert LabelTable.read([[2], [3]]).among(categories).tolist() == [[2], [1]]


def test_equal_numbers_are_one_label():
    """An int and the float of its value, and dates of another unit."""
    labels = LabelTable.read(np.array([[1, 3], [2, 4]])).labels
    assert LabelTable.read([[2.0, 3]]).among(labels).tolist() == [[1, 0]]
    dates = LabelTable.read(DAYS[:, None]).labels
    finer = DAYS[:1, None].astype("datetime64[ns]")
    assert LabelTable.read(finer).among(dates).tolist() == [[1]]
    assert LabelTable.read([[datetime.date(2024, 3, 1)]]).among(dates).tolist() == [[1]]


NANOSECONDS = np.array([0, 1, 999, 1000], "m8[ns]")
FINE = {
    "dates of pandas": (pd.Series(DAYS[0] + NANOSECONDS), "M8[ns]"),
    "durations of pandas": (pd.Series(NANOSECONDS), "m8[ns]"),
    "dates before 1970": (pd.Series(np.datetime64(-1, "ns") - NANOSECONDS), "M8[ns]"),
}


@pytest.mark.parametrize("case", FINE)
def test_nanoseconds_are_kept(case):
    """In objects as in columns of their type, and each finds those of the other."""
    times, dtype = FINE[case]
    native, objects = times.to_frame(), times.astype(object).to_frame()
    scalars = np.fromiter((time.to_numpy() for time in times), object)[:, None]
    for table_ in native, objects, scalars, objects.astype("category"):
        read = LabelTable.read(table_)
        assert read.labels[0].dtype == dtype
        assert_array_equal(read.labels[0][read.numbers[:, 0]], times)
        for other in native, objects, scalars:
            assert_array_equal(LabelTable.read(other).among(read.labels), read.numbers)


def test_dates_beyond_a_finer_unit():
    """The year 9999 is found, and does not hide others; beside nanoseconds it is refused."""
    known = [["2024-01-01"], ["2024-02-01"], ["9999-12-31"]]
    labels = LabelTable.read(np.array(known, "M8[us]")).labels
    asked = LabelTable.read(np.array(known[1:2], "M8[ns]"))
    assert asked.among(labels).tolist() == [[1]]
    wrapped = np.array(known, "M8[us]").astype("M8[ns]")  # of the year 1816
    assert LabelTable.read(wrapped).among(labels).tolist() == [[0], [1], [-1]]
    fine = LabelTable.read(np.sort(wrapped, axis=0))
    assert LabelTable.read(np.array(known, "M8[us]")).among(fine.labels)[2] == -1
    mixed = np.array([[pd.Timestamp(1)], [pd.Timestamp("9999-12-31")]], object)
    with pytest.raises(ValueError, match="beyond what datetime64.ns., the unit of some, holds"):
        LabelTable.read(mixed)


BIG = 2**53
GROWN = {
    "a fraction": (np.array([BIG, BIG + 1]), np.array([0.5])),
    "signs": (np.array([2**64 - 1, 2**63], np.uint64), np.array([-1])),
    "single precision": (np.array([0.1, 0.2], np.float32), np.array([16777217])),
    "whole numbers": (np.array([1, 2], np.int8), np.array([300])),
    "strings": (np.array(["a", "b"]), np.array(["long"])),
}


@pytest.mark.parametrize("case", GROWN)
def test_labels_that_are_learned_leave_those_known_as_they_are(case):
    """Whatever type holds both."""
    known, new = (labels[:, None] for labels in GROWN[case])
    categories = LabelTable.read(known).labels
    grown = LabelTable.read(new).grown(categories, 0)[0]
    assert grown.tolist() == [*categories[0].tolist(), *new[:, 0].tolist()]
    assert LabelTable.read(known).among([grown]).max() < len(known)
    assert LabelTable.read(new).among([grown]).tolist() == [[len(known)]]


def test_dates_to_learn_may_be_finer():
    """Those known stay; of dates beyond the finer unit others would come, and they are refused."""
    later = DAYS[:1, None] + np.timedelta64(1, "ns")
    grown = LabelTable.read(later).grown([DAYS], 0)[0]
    assert_array_equal(grown, np.append(DAYS, later))
    read = LabelTable.read(np.array([["9999-12-31"]], "M8[us]"))
    with pytest.raises(ValueError, match="to 9999-12-31.*beyond what datetime64.ns."):
        read.grown([DAYS.astype("M8[ns]")], 0)


MIXED = {
    "numbers and tuples": [3, (1, "a"), (1, "b")],
    "a tuple first": [(1, "a"), 3, "x"],
    "numbers and strings": [3, "3", 2.5],
    "booleans and strings": [True, "True"],
    "dates and strings": [DAYS[0].item(), "2024-03-01"],
}


@pytest.mark.parametrize("case", MIXED)
def test_categories_that_mix_types(case):
    """Are what they are: pandas has put them in order, so that they need not compare."""
    labels = np.fromiter(MIXED[case], object)
    read = LabelTable.read(
        pd.DataFrame({"a": pd.Categorical(labels, pd.Index(labels, tupleize_cols=False))})
    )
    assert list(read.labels[0]) == MIXED[case]
    assert [type(label) for label in read.labels[0]] == [type(label) for label in labels]
    assert read.among(read.labels)[:, 0].tolist() == [*range(len(labels))]


# What is refused -----------------------------------------------------------------------------


def model(**options):
    """Return a model that fits in no time."""
    return CPCompletion(2, encode=True, n_init=1, max_iter=20, random_state=0, **options)


Y = np.arange(float(len(CODES)))


def with_label(label, row=2):
    """Return the frame with another label in column who."""
    frame = table().astype(object)
    frame.at[row, "who"] = label
    return frame


BAD_TABLES = {
    "None": (
        with_label(None),
        r"row 2 has no label in column 'who' \(mode 0\)\. Leave those rows",
    ),
    "NaN": (with_label(np.nan), r"NaN or infinity: row 2 has no label in column 'who' \(mode 0\)"),
    "NA": (with_label(pd.NA), r"NaN or infinity: row 2 has no label in column 'who' \(mode 0\)"),
    "NaT": (with_label(pd.NaT), r"NaN or infinity: row 2 has no label in column 'who' \(mode 0\)"),
    "category": (with_label(None).astype("category"), r"row 2 has no label in column 'who'"),
    "date": (table(second=np.append(DAYS[:2], np.datetime64("NaT"))), r"row 2 has no label in c"),
    "float": (
        with_label("x").assign(who="x", dose=[np.nan, *Y[1:]]),
        r"row 0 has no label in column 'd",
    ),
    "int": (with_label(7), r"Row 2 of X has the label 7 in column 'who' \(mode 0\), one of numb"),
    "bool": (with_label(True, 0), r"'ann' in column .*strings among booleans.*to one type"),
    "array": (with_label(7).to_numpy(), r"Row 2 of X has the label 7 in mode 0"),
    "1 and True": ([[1, 2], [True, 3]], r"label True in mode 0, one of booleans among numbers"),
    "lists": ([[[1], 2], [[2], 3]], r"what is no label in mode 0|Expected 2D|dim 3|homogeneous"),
    "complex": ([[1j, 2], [2j, 3]], r"Complex data not supported: X in mode 0"),
    "tuples": (with_label((1, "a")).assign(who=[(1, "a"), (1, 2)] * 5), r"X holds what is no lab"),
    "infinity": (table(second=np.array([1, 2, np.inf])), r"infinity: row 2 has no label in column"),
    "infinite category": (
        table(second=np.array([1, 2, np.inf])).astype({"dose": "category"}),
        r"infinity: row 2 has no label in column 'dose'",
    ),
    "no category": (
        table().assign(who=pd.Categorical([None] * len(CODES))),
        r"row 0 has no label in column 'who'",
    ),
    "masked": (np.ma.masked_equal(CODES, 2), r"X has masked entries"),
    "vector": (np.array(list("abcd")), r"Expected 2D array, got 1D array.*Reshape your data"),
    "lazy": (pl.DataFrame({"a": ["x"]}).lazy(), r"X is a LazyFrame.* pass X.collect\(\)"),
    "no rows": (table().iloc[:0], r"0 sample\(s\)"),
    "no columns": (table()[[]], r"0 feature\(s\)"),
    "lengths": (table().iloc[1:], r"inconsistent numbers of samples"),
}


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
@pytest.mark.parametrize("case", BAD_TABLES)
def test_bad_labels(case):
    """In fit and, but for another length, in predict, by row, mode and remedy."""
    X, message = BAD_TABLES[case]
    y = Y[: len(X)] if case in ("1 and True", "lists", "complex", "vector", "no rows") else Y
    with pytest.raises((TypeError, ValueError), match=message):
        model().fit(X, y)
    if case in ("lengths", "vector", "lists", "no columns"):
        return
    fitted = model().fit(table() if isinstance(X, pd.DataFrame) else table().to_numpy(object), Y)
    with pytest.raises((TypeError, ValueError), match=message):
        fitted.predict(X)


def test_bad_values_beside_labels():
    """y is spoken of as without labels, whatever X holds."""
    with pytest.raises(ValueError, match=r"y contains NaN: row 1 has no value\. Cells without"):
        model().fit(table(), np.where(Y == 1, np.nan, Y))
    with pytest.raises(ValueError, match="y holds no numbers"):
        model().fit(table(), np.array(["a", *Y[1:]], object))
    with pytest.raises(ValueError, match="requires y to be passed"):
        model().fit(table())


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_labels_of_absent_rows_are_neither_read_nor_complained_about():
    """Of weight zero: neither new labels, nor blanks, nor another type."""
    X = pd.concat([table(), table()[:3].assign(who=["zoe", None, 7])], ignore_index=True)
    weights = np.repeat([1.0, 0.0], [len(CODES), 3])
    fitted = model().fit(X, [*Y, 1, 2, 3], sample_weight=weights)
    expected = model().fit(table(), Y)
    assert fitted.categories_[0].tolist() == sorted(NAMES[0])
    assert_array_equal(fitted.predict(table()), expected.predict(table()))


SHAPES = {
    "as many": ((4, 3), None),
    "more": ((40, 30), None),
    "fewer": ((4, 2), r"shape=\(4, 2\): mode 1 has size 2, but 3 labels.*leave shape at None"),
    "modes": ((4, 3, 2), r"shape=\(4, 3, 2\) has 3 modes but X has 2 columns"),
    "float": ((4, 3.5), r"mode 1 has size 3.5; expected a positive int"),
}


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
@pytest.mark.parametrize("case", SHAPES)
def test_shape_bounds_the_numbers_of_labels(case):
    """Sizes are the numbers of labels, whatever larger shape is given."""
    shape, message = SHAPES[case]
    if message is None:
        assert model(shape=shape).fit(table(), Y).shape_ == (4, 3)
    else:
        with pytest.raises(ValueError, match=message):
            model(shape=shape).fit(table(), Y)
