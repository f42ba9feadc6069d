"""``CompletionImputer``: a transformer of scikit-learn whose rows are filled each by itself."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_param_validation,
    check_set_output_transform_pandas,
    check_transformer_get_feature_names_out,
    check_transformer_get_feature_names_out_pandas,
    parametrize_with_checks,
)

from sktf import (
    CompletionEnsemble,
    CompletionImputer,
    CPALSCompletion,
    CPCompletion,
    DeepMatrixCompletion,
    PosteriorCompletion,
)

NAN = np.nan
# scikit-learn's checks fit a handful of random rows, of which nothing is to be learned.
unlearned = pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")


def table(n_rows=200, n_features=8, noise=0.1, seed=0):
    """Return features of different units and levels, of rank 2 but for noise, and with gaps."""
    rng = np.random.RandomState(seed)
    rows, columns = rng.standard_normal((n_rows, 2)), rng.standard_normal((2, n_features))
    truth = rows @ columns + noise * rng.standard_normal((n_rows, n_features))
    truth = 10.0 ** np.arange(n_features) * truth + np.arange(n_features)
    return truth, np.where(rng.random_sample(truth.shape) < 0.2, NAN, truth)


@unlearned
@parametrize_with_checks([CompletionImputer(random_state=0)])
def test_scikit_learn_checks(estimator, check):
    """Every check of transformers passes."""
    check(estimator)


@unlearned
@pytest.mark.filterwarnings("ignore:X (has|does not have) .*feature names")  # as one check asks
@pytest.mark.parametrize(
    "check",
    [
        check_param_validation,
        check_dataframe_column_names_consistency,
        check_transformer_get_feature_names_out,
        check_transformer_get_feature_names_out_pandas,
        check_set_output_transform_pandas,
    ],
)
def test_checks_that_third_parties_are_not_given(check):
    """Checks that scikit-learn runs on its own transformers alone hold here too."""
    check("CompletionImputer", CompletionImputer(random_state=0))


def test_what_is_filled_is_near_the_truth():
    """Nearer than by neighbors or means, in units of each feature; noise alone is 0.07 of these."""
    truth, X = table()
    left = {}
    for imputer in CompletionImputer(random_state=0), KNNImputer(), SimpleImputer():
        error = (imputer.fit_transform(X) - truth) / truth.std(axis=0)
        left[type(imputer)] = np.sqrt(np.mean(error[np.isnan(X)] ** 2))
    assert left[CompletionImputer] < 0.2
    assert left[CompletionImputer] < 0.7 * left[KNNImputer] < left[SimpleImputer]


def test_known_values_stay():
    """Bit for bit, and X is not changed."""
    _, X = table()
    X.setflags(write=False)
    filled = CompletionImputer(random_state=0).fit_transform(X)
    known = ~np.isnan(X)
    assert_array_equal(filled[known], X[known])
    assert np.isfinite(filled).all()


def test_a_row_is_filled_by_itself():
    """Rows of fit too, whichever others are transformed with them: up to rounding."""
    _, X = table()
    imputer = CompletionImputer(random_state=0)
    filled = imputer.fit_transform(X)
    assert_array_equal(filled, clone(imputer).fit(X).transform(X))
    unit = np.nanstd(X, axis=0)
    for some in slice(0, 1), slice(5, 40), slice(None, None, -1):
        assert_allclose(imputer.transform(X[some]) / unit, filled[some] / unit, atol=1e-9)


def test_units_do_not_matter():
    """What is filled has the units and level of its feature."""
    _, X = table()
    filled = CompletionImputer(random_state=0).fit_transform(X)
    scale, level = 2.0 ** np.arange(-3, 5), 2.0 ** np.arange(8)
    other = CompletionImputer(random_state=0).fit_transform(X * scale + level)
    # Means and deviations are rounded, and descent enlarges that by some orders of magnitude.
    assert_allclose(other / scale, filled + level / scale, rtol=1e-4)


def test_rows_without_values_get_the_means():
    """Those of the values of each feature, whether they stand in fit or not; fit has no warning."""
    _, X = table()
    X[3] = NAN
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        imputer = CompletionImputer(random_state=0).fit(X)
    means = np.nanmean(X, axis=0)
    assert_allclose(imputer.transform(X)[3], means)
    assert_allclose(imputer.transform(np.full((2, 8), NAN)), [means, means])
    assert_allclose(imputer.mean_, means)
    assert_allclose(imputer.scale_, np.nanstd(X, axis=0))


def test_constant_features_stay_constant():
    """Also where rounding makes their deviation a little more than nothing."""
    _, X = table()
    X[:, 4] = np.where(np.isnan(X[:, 4]), NAN, 0.1)
    imputer = CompletionImputer(random_state=0)
    assert_allclose(imputer.fit_transform(X)[:, 4], 0.1, rtol=1e-15)
    assert imputer.scale_[4] == 0


@pytest.mark.parametrize("level", [0.0, 3.0, 1e20])
def test_constant_features_tell_nothing(level):
    """What is filled is as without them, also where they then differ, or are all that is known."""
    _, X = table()
    wide = np.column_stack([X, np.full(len(X), level)])
    imputer, without = (CompletionImputer(random_state=0).fit(T) for T in (wide, X))
    assert imputer.scale_[-1] == 0
    expected = without.transform(X)
    unit = np.nanstd(X, axis=0)
    other = np.column_stack([X, np.linspace(-1e6, 1e6, len(X))])
    # The fits differ: one has a column of zeros more.
    assert_allclose(imputer.transform(other)[:, :-1] / unit, expected / unit, atol=0.2)
    assert_array_equal(imputer.transform(other)[:, :-1], imputer.transform(wide)[:, :-1])
    alone = np.append(np.full(8, NAN), level + 9.0)
    assert_array_equal(imputer.transform([alone])[0, :-1], imputer.mean_[:-1])


def test_constant_features_of_rounded_means():
    """A mean that is off in the last digit leaves no value in their place; of 1e20 it is 1e4."""
    _, X = table()
    values = np.random.RandomState(0).choice([1e20, np.nextafter(1e20, 2e20)], len(X))
    imputer, other = (
        CompletionImputer(random_state=0).fit(np.column_stack([X, column]))
        for column in (values, np.full(len(X), 2.0**60))
    )
    found, expected = (each.estimator_.predict([[0, 0], [5, 3]]) for each in (imputer, other))
    assert_array_equal(found, expected)


@pytest.mark.filterwarnings("ignore:Skipping features without any observed values")
@pytest.mark.parametrize("keep", [False, True])
def test_empty_features_are_as_of_scikit_learn(keep):
    """Dropped, or filled with 0; with the names and indicators of its SimpleImputer."""
    _, X = table()
    X[:, 2] = NAN
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    options = {"keep_empty_features": keep, "add_indicator": True}
    imputer = CompletionImputer(random_state=0, **options).set_output(transform="pandas")
    simple = SimpleImputer(**options).set_output(transform="pandas")
    filled, expected = imputer.fit_transform(frame), simple.fit_transform(frame)
    assert list(filled.columns) == list(expected.columns) == list(imputer.get_feature_names_out())
    indicators = [name for name in filled if "indicator" in name]
    assert_array_equal(filled[indicators], expected[indicators])
    rest = filled.drop(columns=indicators)
    assert np.isfinite(rest.to_numpy()).all() and ("c" in rest) is keep
    if keep:
        assert not rest["c"].any()
    other = frame.assign(c=1.0)  # values of a feature that had none say nothing
    same = imputer.transform(other).drop(columns=indicators)
    assert_array_equal(same, rest)


def test_huge_and_tiny_values():
    """The squares of either are no numbers."""
    _, X = table()
    small = CompletionImputer(random_state=0).fit_transform(X)
    for unit in 2.0**600, 2.0**-600:
        filled = CompletionImputer(random_state=0).fit_transform(X * unit)
        assert_array_equal(filled, small * unit)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, object])
def test_types_of_numbers(dtype):
    """float32 stays so; whole numbers and objects become float64."""
    _, X = table()
    X = np.where(np.isnan(X), 0, X).astype(dtype) if dtype is np.int64 else X.astype(dtype)
    filled = CompletionImputer(random_state=0).fit_transform(X)
    assert filled.dtype == (np.float32 if dtype == np.float32 else np.float64)


def test_any_estimator_that_can_learn_rows():
    """Alternating least squares, an ensemble, chains; a regression cannot."""
    truth, X = table()
    for estimator in (
        CPALSCompletion(2, solver="sparse"),
        CompletionEnsemble(CPALSCompletion(2, n_init=1, solver="sparse"), n_estimators=2),
        PosteriorCompletion(CPCompletion(2), n_components=2, n_chains=2),
    ):
        filled = CompletionImputer(estimator, random_state=0).fit_transform(X)
        error = (filled - truth) / truth.std(axis=0)
        assert np.sqrt(np.mean(error[np.isnan(X)] ** 2)) < 0.3
        assert "random_state=0" not in repr(estimator)
    with pytest.raises(ValueError, match="'estimator' parameter .*'extend'"):
        CompletionImputer(LinearRegression()).fit(X)


@pytest.mark.parametrize(
    "estimator",
    [
        CPALSCompletion(2, clip=(0, 1)),
        CPALSCompletion(2, clip="range"),
        CompletionEnsemble(CPALSCompletion(2, clip=(0, 1))),
    ],
)
def test_bounds_of_standardized_values_are_refused(estimator):
    """They are in the units of no feature."""
    with pytest.raises(ValueError, match="clip=.*the estimator sees standardized.*transform ret"):
        CompletionImputer(estimator).fit(table()[1])


@pytest.mark.parametrize("modes", [(0, 1), (), [1, 0]])
def test_rows_that_are_no_rows_of_a_table_are_refused(modes):
    """In fit: transform would learn no new row."""
    inner = DeepMatrixCompletion(row_modes=modes)
    for estimator in (inner, CompletionEnsemble(inner)):
        with pytest.raises(ValueError, match=r"row_modes=.*: rows of a table .* set .*=\(0,\)"):
            CompletionImputer(estimator).fit(table()[1])


@pytest.mark.parametrize(
    "estimator",
    [CPCompletion(loss="poisson"), CompletionEnsemble(CPCompletion(loss="logistic"))],
)
def test_losses_of_values_that_are_not_standardized_are_refused(estimator):
    """Standardized values are no counts, and neither yes nor no."""
    with pytest.raises(ValueError, match=r'loss="\w+": .*standardized.*fill the table with sktf'):
        CompletionImputer(estimator).fit(table()[1])


@pytest.mark.parametrize("named", [True, False])
def test_values_beyond_all_bounds(named):
    """Row and feature are named, not what the estimator is given; in rows to be filled alone."""
    frame = pd.DataFrame(table()[1], columns=list("abcdefgh"))
    imputer = CompletionImputer(random_state=0).fit(frame if named else frame.to_numpy())
    rows = frame[:5].copy()
    rows.loc[1, "a"] = NAN
    rows.loc[3] = [NAN, 2, -1e308, 4, 5, 6, 7, 8]
    name = "'c'" if named else "2"
    with pytest.raises(ValueError, match=f"Row 3 of X has a value in feature {name} that is more"):
        imputer.transform(rows if named else rows.to_numpy())
    rows.loc[3, "a"] = 1.0
    assert np.isfinite(imputer.transform(rows if named else rows.to_numpy())).all()


def test_in_a_pipeline():
    """Before a regression on features that miss values, of which means lose twice as much."""
    truth, X = table()
    y = truth @ (1 / truth.std(axis=0))
    scores = {
        type(imputer): cross_val_score(
            make_pipeline(imputer, StandardScaler(), Ridge()), X, y, cv=3
        ).mean()
        for imputer in (CompletionImputer(random_state=0), SimpleImputer())
    }
    assert 1 - scores[CompletionImputer] < 0.5 * (1 - scores[SimpleImputer])


def test_a_pickle_fills_the_same():
    """To the bit."""
    _, X = table()
    imputer = CompletionImputer(random_state=0).fit(X)
    assert_array_equal(pickle.loads(pickle.dumps(imputer)).transform(X), imputer.transform(X))


def test_a_warning_of_the_estimator_comes_once():
    """Where nothing was learned; at the line of the user."""
    X = np.random.RandomState(0).standard_normal((40, 6))
    X[::3, 0] = NAN
    for name in "fit", "fit_transform":
        with pytest.warns(UserWarning, match="Nothing was learned") as caught:
            getattr(CompletionImputer(random_state=0), name)(X)
        assert [warning.filename for warning in caught] == [__file__]


BAD = {
    "nothing": (np.full((3, 2), NAN), "X has no value at all"),
    "infinite": ([[1.0, np.inf], [2.0, 3.0]], "contains infinity"),
    "one mode": ([1.0, NAN], "Expected 2D array"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_learned_from(case):
    """Is an error, and leaves the imputer as it was."""
    X, message = BAD[case]
    imputer = CompletionImputer()
    before = dict(vars(imputer))
    with pytest.raises(ValueError, match=message):
        imputer.fit(X)
    assert vars(imputer) == before
