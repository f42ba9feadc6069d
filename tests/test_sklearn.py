"""Every estimator is a scikit-learn estimator: its checks, pipelines, searches, routing."""

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy
from cases.estimators import FOLDS, SHAPE
from conftest import ESTIMATORS, name_of
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.metrics import r2_score
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_param_validation,
    parametrize_with_checks,
)
from sklearn.utils.fixes import parse_version

from sktf import CompletionClassifier, CPCompletion, DeepMatrixCompletion

# Short runs are the point here; that they end early is tested where it matters.
# scikit-learn's checks fit a handful of random rows, which determine no model.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]


def expected_failed_checks(estimator):
    """Return the one check that an estimator of index rows fails by being right."""
    if estimator.encode:
        return {}
    return {
        "check_sample_weight_equivalence_on_dense_data": (
            "feeds fractions in [0, 1) as indices, without looking at the categorical tag; "
            "see test_weights_equal_repeated_rows"
        )
    }


# Of few iterations, in which sums of another order do not drift apart.
LABELED = CPCompletion(4, encode=True, n_init=2, max_iter=20, random_state=0)


def failed_checks_of_a_classifier(estimator):
    """Return what fails besides: one more check feeds no indices."""
    return expected_failed_checks(CPCompletion()) | {
        "check_decision_proba_consistency": "feeds negative coordinates as indices; see "
        "test_log_odds_are_in_the_order_of_probabilities"
    }


@parametrize_with_checks(
    [CompletionClassifier()], expected_failed_checks=failed_checks_of_a_classifier
)
def test_scikit_learn_checks_of_a_classifier(estimator, check):
    """Every check of scikit-learn for classifiers passes but the two listed."""
    check(estimator)


@parametrize_with_checks([*ESTIMATORS, LABELED], expected_failed_checks=expected_failed_checks)
def test_scikit_learn_checks(estimator, check):
    """Every check of scikit-learn passes but the one listed, which must fail."""
    check(estimator)


@pytest.mark.parametrize(
    "check", [check_param_validation, check_dataframe_column_names_consistency]
)
def test_checks_that_third_parties_are_not_given(estimator, check):
    """Checks that scikit-learn runs on its own estimators alone hold here too."""
    # Neither check looks at what was learned, and eight modes unfold to wide matrices.
    check(name_of(estimator), estimator.set_params(max_iter=3))


@pytest.mark.skipif(
    parse_version(scipy.__version__) < parse_version("1.14"), reason="SciPy is too old for dispatch"
)
def test_array_api_dispatch_is_possible(small_tensor):
    """The checks above ran with the array API enabled, and dispatch changes no prediction."""
    X, y = small_tensor
    model = CPCompletion(4, max_iter=20, random_state=0)
    expected = clone(model).fit(X, y).predict(X)
    with config_context(array_api_dispatch=True):  # raises unless scipy was told to
        assert_array_equal(clone(model).fit(X, y).predict(X), expected)


def without_holding_out(estimator):
    """Switch off what depends on the number of rows."""
    if "early_stopping" in estimator.get_params():
        estimator.set_params(early_stopping=False, max_iter=60)
    return estimator


def test_weights_equal_repeated_rows(estimator, small_tensor):
    """A whole-number weight is that many copies of the row, and zero is none."""
    X, y = small_tensor
    rng = np.random.RandomState(0)
    weights = rng.randint(0, 4, len(y))
    times = np.repeat(np.arange(len(y)), weights)
    rng.shuffle(times)
    estimator = without_holding_out(estimator.set_params(shape=SHAPE))
    weighted = clone(estimator).fit(X, y, sample_weight=weights)
    repeated = clone(estimator).fit(X[times], y[times])
    # Sums of the same terms in another order: rounding errors of 1e-16, which descent away
    # from its small start, and alternating solves, enlarge by a few orders of magnitude.
    assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-7, atol=1e-7)


def labeled(X):
    """Return index rows as a pandas DataFrame of labels, and the labels of each mode."""
    names = ["user", "item", "day"]
    categories = [
        [f"{name}-{code:02d}" for code in range(size)]
        for name, size in zip(names, SHAPE, strict=True)
    ]
    columns = [np.array(c)[column] for c, column in zip(categories, X.T, strict=True)]
    return pd.DataFrame(dict(zip(names, columns, strict=True))), categories


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_pipeline_from_labels(small_tensor, library):
    """An OrdinalEncoder that knows all labels makes a table of strings fit like its codes."""
    X, y = small_tensor
    table, categories = labeled(X)
    if library == "polars":
        table = pytest.importorskip("polars").DataFrame(table.to_dict("list"))
    model = CPCompletion(4, shape=SHAPE, max_iter=30, random_state=0)
    pipeline = make_pipeline(OrdinalEncoder(categories=categories), clone(model)).fit(table, y)
    assert_array_equal(pipeline.predict(table), clone(model).fit(X, y).predict(X))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_column_names_are_kept(estimator, small_tensor, library):
    """feature_names_in_ holds the columns of a DataFrame, and predict checks them."""
    X, y = small_tensor
    module = pytest.importorskip(library)
    table = module.DataFrame(dict(zip("abc", X.T, strict=True)))
    estimator.fit(table, y)
    assert estimator.feature_names_in_.tolist() == ["a", "b", "c"]
    assert_array_equal(estimator.predict(table), clone(estimator).fit(X, y).predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.predict(module.DataFrame(dict(zip("abd", X.T, strict=True))))


def test_scaled_indices_are_refused_with_the_remedy(small_tensor):
    """A scaler in front of X fails with the message that names the encoder."""
    X, y = small_tensor
    with pytest.raises(ValueError, match="Negative values in data"):
        make_pipeline(StandardScaler(), CPCompletion()).fit(X, y)
    with pytest.raises(ValueError, match=r"whole-number indices.*OrdinalEncoder"):
        make_pipeline(StandardScaler(with_mean=False), CPCompletion()).fit(X, y)


@pytest.mark.slow
def test_grid_search_is_the_same_in_processes_and_threads(small_tensor):
    """Two loky workers, two threads and no parallelism find bitwise equal scores."""
    X, y = small_tensor
    grid = {"depth": [2, 3], "init_scale": [1e-3, 1e-2]}
    model = DeepMatrixCompletion(shape=SHAPE, n_init=2, max_iter=40, random_state=0)
    scores = []
    for backend, n_jobs in [("loky", 2), ("threading", 2), ("sequential", 1)]:
        with parallel_config(backend, n_jobs=n_jobs):
            search = GridSearchCV(model, grid, cv=FOLDS).fit(X, y)
        scores.append([search.cv_results_[f"split{fold}_test_score"] for fold in range(3)])
    assert np.isfinite(scores).all() and len(np.unique(scores[0])) > 4
    assert_array_equal(scores[0], scores[1])
    assert_array_equal(scores[1], scores[2])


def test_halving_search_over_max_iter(small_tensor):
    """max_iter serves as the resource of a halving search."""
    X, y = small_tensor
    search = HalvingGridSearchCV(
        CPCompletion(shape=SHAPE, n_init=1, random_state=0),
        {"n_components": [1, 2, 4]},
        resource="max_iter",
        min_resources=10,
        max_resources=90,
        cv=FOLDS,
    ).fit(X, y)
    assert search.n_resources_ == [10, 30, 90][: len(search.n_resources_)]
    assert len(search.n_resources_) > 1 and np.isfinite(search.best_score_)


def test_the_constructor_only_assigns(estimator):
    """Parameters are the very objects that were passed, and a clone has the same values."""
    params = estimator.get_params()
    assert all(vars(estimator)[name] is value for name, value in params.items())
    assert vars(clone(estimator)).keys() == params.keys()
    assert clone(estimator).get_params() == params


def test_fit_writes_no_parameter(estimator, small_tensor):
    """After fit every parameter is the object it was before."""
    before = estimator.get_params()
    estimator.fit(*small_tensor)
    assert all(estimator.get_params()[name] is value for name, value in before.items())


def test_pickle_and_skops_keep_every_bit(estimator, small_tensor):
    """A saved model predicts the same bits, and its state is free of torch."""
    io = pytest.importorskip("skops.io")
    X, y = small_tensor
    expected = estimator.fit(X, y).predict(X)
    assert_array_equal(pickle.loads(pickle.dumps(estimator)).predict(X), expected)
    assert b"torch" not in pickle.dumps(estimator)
    saved = io.dumps(estimator)
    untrusted = io.get_untrusted_types(data=saved)
    assert untrusted == [f"{type(estimator).__module__}.{name_of(estimator)}"]
    assert_array_equal(io.loads(saved, trusted=untrusted).predict(X), expected)


def test_sample_weight_is_routed_to_fit_and_score(small_tensor):
    """With routing on, each fold fits and scores with its own share of the weights."""
    X, y = small_tensor
    weights = np.random.RandomState(0).uniform(0.1, 2, len(y))
    model = CPCompletion(4, shape=SHAPE, n_init=1, max_iter=30, random_state=0)
    expected = []
    for train, test in FOLDS.split(X):
        fitted = clone(model).fit(X[train], y[train], sample_weight=weights[train])
        expected.append(r2_score(y[test], fitted.predict(X[test]), sample_weight=weights[test]))
    with config_context(enable_metadata_routing=True):
        routed = clone(model).set_fit_request(sample_weight=True)
        routed.set_score_request(sample_weight=True)
        scores = cross_val_score(routed, X, y, cv=FOLDS, params={"sample_weight": weights})
    assert_array_equal(scores, expected)
