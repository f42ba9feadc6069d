"""``complete`` on tables of pandas and polars, wide and long: labels stay, cells are the same."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal, assert_index_equal
from sklearn.base import clone

from sktf import CompletionEnsemble, complete

# Short fits and a handful of cells are the point here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]

NAN = np.nan
GAPS = np.array([[1.0, NAN, 3.0], [2.0, 4.0, NAN], [3.0, 5.0, 6.0], [4.0, 8.0, 12.0]])
LEVELS = pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["letter", "number"])
WIDE = {
    "plain": pd.DataFrame(GAPS, columns=list("abc")),
    "levels": pd.DataFrame(GAPS, index=LEVELS, columns=LEVELS[:3]),
    "duplicates": pd.DataFrame(GAPS, index=[7, 7, 8, 9], columns=["a", "a", "b"]),
    "dates": pd.DataFrame(GAPS, index=pd.date_range("2024-01-01", periods=4, name="day")),
    "nullable": pd.DataFrame(GAPS, columns=list("abc")).convert_dtypes(),
    "objects": pd.DataFrame(GAPS, columns=list("abc")).astype(object),
}


@pytest.mark.parametrize("case", WIDE)
def test_wide_tables_keep_their_labels(case, quick):
    """Index, columns and attributes; the numbers are those of the array."""
    table = WIDE[case]
    table.attrs["unit"] = "mol"
    before = table.copy()
    filled, std = complete(table, CompletionEnsemble(quick, random_state=0), return_std=True)
    assert_frame_equal(table, before)
    expected = complete(GAPS, CompletionEnsemble(quick, random_state=0), return_std=True)
    for frame, array in zip((filled, std), expected, strict=True):
        assert_index_equal(frame.index, table.index)
        assert_index_equal(frame.columns, table.columns)
        assert frame.attrs == {"unit": "mol"}
        assert_array_equal(frame.to_numpy(), array, strict=True)


def test_wide_tables_of_polars(quick):
    """Come back as such."""
    table = pl.DataFrame({"a": [1, 2, 3, 4], "b": [None, 4, 5, 8], "c": [True, None, False, True]})
    filled = complete(table, quick)
    assert filled.schema == pl.Schema(dict.fromkeys("abc", pl.Float64))
    array = [[1, None, 1], [2, 4, None], [3, 5, 0], [4, 8, 1]]
    assert_array_equal(filled.to_numpy(), complete(array, quick))


NOT_NUMBERS = {
    "strings": pd.DataFrame({"user": ["a", "b"], "stars": [1.0, NAN]}),
    "digits": pd.DataFrame({"user": ["1", "2"], "stars": [1.0, NAN]}),
    "objects": pd.DataFrame({"user": pd.Series(["a", None], dtype=object), "stars": [1.0, NAN]}),
    "dates": pd.DataFrame({"user": pd.date_range("2024", periods=2), "stars": [1.0, NAN]}),
    "categories": pd.DataFrame({"user": pd.Categorical([1, 2]), "stars": [1.0, NAN]}),
    "polars": pl.DataFrame({"user": ["a", "b"], "stars": [1.0, None]}),
}


@pytest.mark.parametrize("case", NOT_NUMBERS)
def test_labels_in_a_wide_table(case):
    """The column is named, and values= for what is a long table."""
    with pytest.raises(TypeError, match=r"'user' holds no numbers.*values="):
        complete(NOT_NUMBERS[case])


def long_table():
    """Return 4 x 3 x 2 cells of rank 1, their rows shuffled, with labels of three kinds."""
    cells = [(i, j, k) for i in range(4) for j in range(3) for k in range(2)]
    days = pd.date_range("2024-03-30", periods=3, tz="Europe/Paris")
    table = pd.DataFrame(
        {
            "user": pd.Categorical(
                [f"u{i}" for i, _, _ in cells], categories=["u9", "u3", "u2", "u1", "u0"]
            ),
            "stars": [(1.0 + i) * (1 + j) * (1 + k) for i, j, k in cells],
            "day": [days[j] for _, j, _ in cells],
            "late": [k == 1 for _, _, k in cells],
        }
    )
    return table.sample(frac=1, random_state=0).reset_index(drop=True)


def cube(table, quick):
    """Return what is predicted of the cells of a long table in its array, by pandas alone."""
    means = table.groupby(["user", "day", "late"], observed=True)["stars"].mean()
    grid = pd.MultiIndex.from_product(
        [["u3", "u2", "u1", "u0"], sorted(table["day"].unique()), [False, True]]
    )
    return means.reindex(grid)


@pytest.mark.parametrize("kind", ["absent", "blank", "both"])
def test_long_tables(kind, quick):
    """Cells without a row, or with a blank one, are those that come back, with their labels."""
    table = long_table()
    hidden = [2, 9, 17]
    if kind == "absent":
        known = table.drop(hidden)
    else:
        known = table.copy()
        known.loc[hidden, "stars"] = NAN
        known = known.drop(hidden[:1]) if kind == "both" else known
    filled = complete(known, quick, values="stars")
    assert list(filled.columns) == ["user", "day", "late", "stars"]
    assert_index_equal(filled.index, pd.RangeIndex(3))
    assert (filled.dtypes == table.dtypes[filled.columns]).all()
    expected = table.loc[hidden, ["user", "day", "late"]].sort_values(["user", "day", "late"])
    assert_frame_equal(filled[["user", "day", "late"]], expected.reset_index(drop=True))
    series = cube(known, quick)
    array = complete(series.to_numpy().reshape(4, 3, 2), quick).ravel()
    # The rows come in another order than the cells of the array: rounding, which descent enlarges.
    np.testing.assert_allclose(filled["stars"], array[series.isna()], rtol=1e-6)


def test_all_cells_of_a_long_table(quick):
    """In the order of the labels; a known cell keeps its value, of several rows their mean."""
    table = long_table()
    known = pd.concat([table.drop([2, 9]), table.loc[[0, 0]].assign(stars=[50.0, 60.0])])
    filled, model = complete(known, quick, values="stars", cells="all", return_model=True)
    assert model.shape_ == (4, 3, 2) and len(filled) == 24
    series = cube(known, quick)
    seen = series.notna().to_numpy()
    assert_array_equal(filled["stars"][seen], series[seen])
    assert filled["stars"].notna().all()
    assert filled["user"].tolist() == list(np.repeat(["u3", "u2", "u1", "u0"], 6))
    # The fit is to all rows, not to their means.
    codes = known.assign(
        user=known["user"].map({"u3": 0, "u2": 1, "u1": 2, "u0": 3}).astype(int),
        day=known["day"].rank(method="dense").astype(int) - 1,
        late=known["late"].astype(int),
    )
    by_hand = clone(quick).set_params(shape=(4, 3, 2))
    by_hand.fit(codes[["user", "day", "late"]].to_numpy(), known["stars"])
    cells = np.argwhere(np.ones((4, 3, 2)))
    assert_array_equal(filled["stars"][~seen], by_hand.predict(cells)[~seen])


def test_deviations_are_a_column(quick):
    """0 where there was a value."""
    known = long_table().drop([2, 9])
    options = {"values": "stars", "return_std": True}
    estimator = CompletionEnsemble(quick, n_estimators=2, random_state=0)
    every = complete(known, estimator, cells="all", **options)
    assert list(every.columns) == ["user", "day", "late", "stars", "stars_std"]
    missing = complete(known, estimator, **options)
    assert (missing["stars_std"] > 0).all()
    labels = ["user", "day", "late"]
    at = pd.MultiIndex.from_frame(every[labels]).isin(pd.MultiIndex.from_frame(missing[labels]))
    assert_frame_equal(every[at].reset_index(drop=True), missing)
    assert not every.loc[~at, "stars_std"].any()


def test_a_whole_grid(quick):
    """No cell is missing: an empty table of the same columns, or all rows, in order."""
    table = long_table()
    nothing = complete(table, quick, values="stars")
    assert nothing.empty and (nothing.dtypes == table.dtypes[nothing.columns]).all()
    every = complete(table, quick, values="stars", cells="all")
    labels = ["user", "day", "late"]
    assert_frame_equal(every, table.sort_values(labels)[[*labels, "stars"]].reset_index(drop=True))


def test_labels_of_any_kind(quick):
    """Numbers that are no positions, mixed objects, names of columns that are no strings."""
    table = pd.DataFrame({0: [1.5, 1.5, -2.0, 7.0], 1: ["a", 3, "a", 3], 2: [1, 2, 3, 4]})
    filled = complete(table, quick, values=2)
    assert filled[[0, 1]].to_numpy().tolist() == [[-2.0, 3], [7.0, "a"]]
    assert list(filled.columns) == [0, 1, 2]


def test_labels_of_several_types(quick):
    """Numbers and tuples, of which NumPy makes no array."""
    users = np.fromiter([3, (1, "a"), 3, (2, "b")], object)
    table = pd.DataFrame({"user": users, "film": list("xxyz"), "stars": [1.0, 2.0, 3.0, 4.0]})
    filled, model = complete(table, quick, values="stars", return_model=True)
    assert model.shape_ == (3, 3) and set(filled["user"]) == set(users)
    assert_array_equal(model.predict(filled[["user", "film"]].astype("category")), filled["stars"])


def test_long_tables_of_polars(quick):
    """Come back as such, with their types."""
    day = datetime.date(2024, 1, 1)
    days = [day, day, day + datetime.timedelta(1), None]
    table = pl.DataFrame(
        {"film": ["x", "y", "x", "x"], "day": days, "stars": [1, 2, 3, None]},
        schema_overrides={"film": pl.Categorical},
    )
    filled = complete(table[:3], quick, values="stars")
    assert filled.dtypes == [pl.Categorical(), pl.Date(), pl.Float64()]
    assert filled["film"].to_list() == ["y"] and filled["day"].to_list() == [days[2]]
    frame = pd.DataFrame(table[:3].to_dict(as_series=False))
    assert filled["stars"].to_list() == complete(frame, quick, values="stars")["stars"].to_list()
    with pytest.raises(ValueError, match="Row 3 has no label in column 'day'"):
        complete(table, quick, values="stars")


TIMES = pl.Series([86_400_000_000 * n for n in (3, 1, 3, 2, 2)])
LABELS = {
    "zone": TIMES.cast(pl.Datetime("us")).dt.replace_time_zone("Europe/Paris"),
    "zone, milliseconds": TIMES.cast(pl.Datetime("us", "UTC")).dt.cast_time_unit("ms"),
    "dates": TIMES.cast(pl.Datetime("us")).cast(pl.Date),
    "nanoseconds": TIMES.cast(pl.Datetime("us")).dt.cast_time_unit("ns"),
    "durations": TIMES.cast(pl.Duration("us")),
    "single precision": TIMES.cast(pl.Float32) / 3,
    "large numbers": TIMES.cast(pl.UInt64) + 2**63,
    "ordered": pl.Series(list("cacbb"), dtype=pl.Enum(list("zcba"))),
    "booleans": TIMES > 100_000_000_000,
}


@pytest.mark.parametrize("case", LABELS)
def test_the_model_of_a_long_table_of_polars_knows_its_labels(case, quick):
    """It predicts what was filled in, of the labels that come back."""
    table = pl.DataFrame({"a": LABELS[case], "b": list("xxyyx"), "stars": [1.0, 2, 3, 4, 5]})
    filled, model = complete(table, quick, values="stars", return_model=True)
    assert filled.schema == pl.Schema(table.schema) and len(filled)
    assert_array_equal(model.predict(filled[["a", "b"]]), filled["stars"])


def test_nanoseconds_of_polars_are_not_rounded(quick):
    """Python has none; with a time zone neither has an estimator."""
    times = pl.Series([1, 2, 1001]).cast(pl.Datetime("ns"))
    for each in (
        times,
        times.dt.replace_time_zone("UTC"),
        pl.Series([1, 2, 3]).cast(pl.Duration("ns")),
    ):
        table = pl.DataFrame({"a": each, "b": list("xyx"), "stars": [1.0, 2.0, 3.0]})
        with pytest.raises(ValueError, match="nanoseconds of column 'a'; round them with"):
            complete(table, quick, values="stars")
    with pytest.raises(ValueError, match="nanoseconds of column 't' .mode 0."):
        quick.set_params(encode=True).fit(
            pl.DataFrame({"t": times.dt.replace_time_zone("UTC"), "b": list("xyx")}), [1, 2, 3]
        )


RATED = pd.DataFrame({"user": ["a", "b", "a"], "film": ["x", "x", "y"], "stars": [1.0, 2.0, 3.0]})
MANY = np.arange(2**16)
BAD = {
    "no such column": (RATED, "rating", ValueError, "'rating'.*one of the columns"),
    "one mode": (RATED[["user", "stars"]], "stars", ValueError, "needs two or more"),
    "columns twice": (RATED[["user", "user", "stars"]], "stars", ValueError, "all different"),
    "blank label": (
        RATED.assign(film=["x", None, "y"]),
        "stars",
        ValueError,
        "Row 1 has no label in column 'film'; leave",
    ),
    "infinite label": (
        RATED.assign(film=[1.0, -np.inf, 2.0]),
        "stars",
        ValueError,
        "Row 1 has the label -inf in column 'film'; leave such rows out",
    ),
    "no numbers": (RATED, "user", TypeError, "'user', that of values, holds no numbers"),
    "digits": (RATED.astype({"stars": str}), "stars", TypeError, "'stars'.* holds no numbers"),
    "infinite": (
        RATED.assign(stars=[1.0, 2.0, -np.inf]),
        "stars",
        ValueError,
        "Row 2 has the value -inf in column 'stars'",
    ),
    "no value": (RATED.assign(stars=NAN), "stars", ValueError, "No cell has a value"),
    "lists": (
        pl.DataFrame({"user": [[1], [2]], "film": ["x", "y"], "stars": [1.0, 2.0]}),
        "stars",
        TypeError,
        "Column 'user' holds what is no label .*; give strings, numbers or dates",
    ),
    "structures": (
        pl.DataFrame({"user": [{"a": 1}, {"a": 2}], "film": ["x", "y"], "stars": [1.0, 2.0]}),
        "stars",
        TypeError,
        "Column 'user' holds what is no label",
    ),
    "lists of pandas": (
        RATED.assign(film=[["x"], ["x"], ["y"]]),
        "stars",
        TypeError,
        "Column 'film' holds what is no label",
    ),
    "name taken": (RATED.assign(stars_std=1), "stars", ValueError, "Rename column 'stars_std'"),
    "too large": (
        pd.DataFrame({"user": MANY, "film": MANY, "stars": 1.0}),
        "stars",
        ValueError,
        "32 GiB; fit an estimator to the rows.*predict",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_long_tables_that_cannot_be_completed(case):
    """Row and column are named, and the remedy."""
    table, values, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        complete(table, values=values)


@pytest.mark.parametrize("table", [RATED, pl.DataFrame(RATED.to_dict("list"))])
def test_all_cells_of_a_table_whose_values_are_not_named(table):
    """The parameter that is missing is named."""
    with pytest.raises(TypeError, match="long tables; name their column of values, values="):
        complete(table, cells="all")


@pytest.mark.parametrize(
    ("labels", "known"),
    [
        (["a", "b", "c", "d", "e", "f"], True),
        ([1.5, 2.5, 4.0, 8.0, 9.0, 10.0], True),
        (["a", "a", "b", "b", "c", "c"], False),
        (["a", None, "b", "c", "d", "e"], False),
        ([1.0, 2.0, 3.0, 4.0, 5.0, np.inf], False),
        (pd.MultiIndex.from_product([["x", "y"], [1, 2, 3]]), False),
    ],
)
def test_the_model_of_a_wide_table_knows_labels_that_tell(quick, labels, known):
    """Where they occur twice, are blank or have several levels, cells are positions."""
    table = pd.DataFrame(np.outer(np.arange(1.0, 7.0), np.arange(1.0, 6.0)), index=labels)
    table.iloc[2, 3] = np.nan
    filled, model = complete(table, quick, return_model=True)
    assert hasattr(model, "categories_") == known
    cell = pd.DataFrame({"row": [labels[2]], "column": [3]}) if known else [[2, 3]]
    assert model.predict(cell)[0] == filled.iloc[2, 3]


CATEGORIES = {
    "reversed": pd.CategoricalIndex(list("abcdef"), list("fedcba"), name="dose"),
    "unused": pd.CategoricalIndex(list("abcdef"), list("xfyedcbaz"), ordered=True),
    "numbers": pd.CategoricalIndex([1, 2, 3, 4, 5, 7], [7, 6, 5, 4, 3, 2, 1]),
    "dates": pd.CategoricalIndex(pd.date_range("2024", periods=6, tz="Europe/Paris")[::-1]),
}


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("case", CATEGORIES)
def test_an_index_of_categories_is_read_by_position(case, axis, quick):
    """Whatever the order of the categories, and those that do not occur."""
    table = pd.DataFrame(np.outer(np.arange(1.0, 7.0), np.arange(1.0, 7.0)))
    table.iloc[2, 3] = NAN
    filled, model = complete(table.set_axis(CATEGORIES[case], axis=axis), quick, return_model=True)
    assert_index_equal(filled.axes[axis], CATEGORIES[case])
    assert_array_equal(filled, complete(table, quick))
    assert model.categories_[axis].tolist() == CATEGORIES[case].tolist()
