"""The ensemble: its mean and spread, what it leaves out, and its place in scikit-learn."""

import pickle
import warnings
from threading import Event, Thread

import numpy as np
import pandas as pd
import pytest
from conftest import low_rank_entries, name_of
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_param_validation,
    parametrize_with_checks,
)

from sktf import (
    CompletionEnsemble,
    CompletionWarning,
    CPALSCompletion,
    CPCompletion,
    DeepMatrixCompletion,
)
from sktf.datasets import make_low_rank, sample_entries, split_entries
from sktf.metrics import relative_error

# Short fits of few rows are the point here; what they end with is tested where it matters.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]

SHAPE = (7, 6, 5)
FOLDS = KFold(3, shuffle=True, random_state=0)
# Settings under which scikit-learn's checks take seconds, as those of tests/conftest.py.
SMALL = CPCompletion(n_components=4, offset="additive", n_init=2, max_iter=300, random_state=0)


def expected_failed_checks(estimator):
    """Return the one check that an estimator of index rows fails by being right."""
    return {
        "check_sample_weight_equivalence_on_dense_data": (
            "feeds fractions in [0, 1) as indices, without looking at the categorical tag; "
            "see test_weights_equal_repeated_rows"
        )
    }


@parametrize_with_checks(
    [CompletionEnsemble(SMALL, n_init=2, random_state=0)],
    expected_failed_checks=expected_failed_checks,
)
def test_scikit_learn_checks(estimator, check):
    """Every check of scikit-learn passes but the one listed, which must fail."""
    check(estimator)


@pytest.mark.parametrize(
    "check", [check_param_validation, check_dataframe_column_names_consistency]
)
def test_checks_that_third_parties_are_not_given(check):
    """Checks that scikit-learn runs on its own estimators alone hold here too."""
    member = clone(SMALL).set_params(max_iter=3)
    ensemble = CompletionEnsemble(member, n_init=2, random_state=0)
    check(name_of(ensemble), ensemble)


class Stub(RegressorMixin, BaseEstimator):
    """Predicts its seed everywhere; score and rank are looked up in the order of fits."""

    def __init__(self, scores, ranks=(1, 1, 1, 1, 1), random_state=None):
        self.scores, self.ranks, self.random_state = scores, ranks, random_state

    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None):
        rng = np.random.RandomState(0)
        seeds = rng.randint(np.iinfo(np.int32).max, size=len(self.scores)).tolist()
        number = seeds.index(self.random_state)
        self.validation_score_, self.rank_ = self.scores[number], self.ranks[number]
        self.value_, self.weighted_ = float(number), sample_weight is not None
        self.shape_, self.n_features_in_ = SHAPE, 3
        return self

    def predict(self, X):
        return np.full(len(X), self.value_)

    def to_dense(self):
        return np.full(SHAPE, self.value_)


def stubs(scores, **options):
    """Return an ensemble of one stub per score, fitted; member i predicts i."""
    ranks = options.pop("ranks", (1,) * len(scores))
    ensemble = CompletionEnsemble(Stub(scores, ranks), n_init=len(scores), random_state=0)
    return ensemble.set_params(**options).fit(np.zeros((4, 3), int), np.zeros(4))


def members_of(ensemble):
    """Return which members are averaged, by what they predict."""
    return [int(member.value_) for member in ensemble.estimators_[: ensemble.n_average_]]


def test_members_are_ordered_and_the_failed_one_is_left_out():
    """1 - R^2 of .4, .05, .1, .02: the median is .075, and .4 is beyond three times that."""
    ensemble = stubs((0.6, 0.95, 0.9, 0.98))
    assert members_of(ensemble) == [3, 1, 2]
    assert_array_equal(ensemble.validation_scores_, [0.98, 0.95, 0.9, 0.6])
    assert ensemble.best_estimator_ is ensemble.estimators_[0]
    mean, std = ensemble.predict(np.zeros((2, 3), int), return_std=True)
    assert_allclose(mean, 2.0)
    assert_allclose(std, np.sqrt(2 / 3))
    assert_allclose(ensemble.to_dense(), 2.0)


@pytest.mark.parametrize(
    ("scores", "averaged"),
    [
        ((0.78, 0.93, 0.9), [1, 2, 0]),  # .22 is within three times .1
        ((-5.0, -0.2, -0.1), [2, 1]),  # worse than the mean of y, and one much worse
        ((1.0, 1.0, 0.9), [0, 1]),
        ((-np.inf, 0.9, 0.8), [1, 2]),
        ((None, None, None), [0, 1, 2]),  # nothing was held out
    ],
)
def test_who_is_averaged(scores, averaged):
    """Members whose unexplained share is at most three times that of the median member."""
    assert members_of(stubs(scores)) == averaged


def test_n_average_is_the_number_averaged():
    """The best two, whatever their scores."""
    assert members_of(stubs((0.1, 0.9, 0.2), n_average=2)) == [1, 2]


def test_rank_of_the_best_and_its_agreement():
    """Of the averaged members .9, .8 and .7 two have rank 3; the failed one does not count."""
    ensemble = stubs((-9.0, 0.9, 0.8, 0.7), ranks=(8, 3, 2, 3))
    assert ensemble.rank_ == 3
    assert ensemble.rank_agreement_ == pytest.approx(2 / 3)


@pytest.mark.parametrize(("ranks", "warns"), [((2, 3, 4), True), ((2, 2, 3), False)])
def test_a_rank_that_is_not_identified_warns_the_caller(ranks, warns):
    """When no more than half agree with the best; the warning carries the line of fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stubs((0.9, 0.8, 0.8), ranks=ranks)
    assert [w.category for w in caught] == [CompletionWarning] * warns
    if warns:
        assert "[2, 3, 4]" in str(caught[0].message)
        assert caught[0].filename == __file__


def test_weights_reach_the_members():
    """``sample_weight`` is passed on as it came."""
    ensemble = CompletionEnsemble(Stub((0.5,), (1,)), n_init=1, random_state=0)
    X, y = np.zeros((4, 3), int), np.zeros(4)
    assert ensemble.fit(X, y, np.ones(4)).best_estimator_.weighted_
    assert not ensemble.fit(X, y).best_estimator_.weighted_


@pytest.fixture(scope="module")
def data():
    """Return cells for training and testing, of a tensor of rank 2 with noise."""
    tensor, _ = make_low_rank((12, 10, 8), 2, random_state=0)
    X, y = sample_entries(tensor, 0.5, noise=0.2, random_state=0)
    return *split_entries(X, y, 0.3, random_state=0), tensor


def small_ensemble(**options):
    """Return three fits of three starts each."""
    member = CPCompletion(4, shape=(12, 10, 8), n_init=3, tol=1e-4)
    return CompletionEnsemble(member, **{"n_init": 3, "random_state": 0} | options)


@pytest.fixture(scope="module")
def fitted(data):
    return small_ensemble().fit(data[0], data[2])


def test_mean_and_spread_are_those_of_the_members(fitted, data):
    """By numpy, of the predictions of ``estimators_``; ``to_dense`` is the mean at all cells."""
    X_test = data[1]
    each = np.stack([m.predict(X_test) for m in fitted.estimators_[: fitted.n_average_]])
    mean, std = fitted.predict(X_test, return_std=True)
    assert_allclose(mean, each.mean(axis=0), rtol=1e-12)
    assert_allclose(std, each.std(axis=0), rtol=1e-12)
    assert_array_equal(fitted.predict(X_test), mean)
    assert_allclose(fitted.to_dense()[tuple(X_test.T)], mean, rtol=1e-9)


def test_the_mean_is_no_worse_than_its_members(fitted, data):
    """Convexity of the squared error: at most the mean of the members' errors, on any cells."""
    _, X_test, _, y_test, _ = data
    members = fitted.estimators_[: fitted.n_average_]
    each = [np.mean((m.predict(X_test) - y_test) ** 2) for m in members]
    assert np.mean((fitted.predict(X_test) - y_test) ** 2) < np.mean(each)
    assert fitted.score(X_test, y_test) == pytest.approx(r2_score(y_test, fitted.predict(X_test)))


def test_members_differ_in_start_and_in_held_out_cells(fitted):
    """Seeds, scores and predictions differ, and the parameters are otherwise those given."""
    members = fitted.estimators_
    assert len({m.random_state for m in members}) == 3
    assert len(set(fitted.validation_scores_)) == 3
    for member in members:
        assert member.get_params() | {"random_state": None} == fitted.estimator.get_params()
    assert not hasattr(fitted.estimator, "shape_")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_jobs_change_nothing(fitted, data, backend):
    """Bit for bit."""
    with parallel_config(backend):
        model = small_ensemble(n_jobs=2).fit(data[0], data[2])
    assert_array_equal(model.predict(data[1]), fitted.predict(data[1]))
    assert_array_equal(model.validation_scores_, fitted.validation_scores_)


def test_given_held_out_cells_serve_all_members(data):
    """Each score is that of the member on these cells."""
    X, X_val, y, y_val, _ = data
    model = small_ensemble().fit(X, y, X_val=X_val, y_val=y_val)
    expected = [member.score(X_val, y_val) for member in model.estimators_]
    assert_allclose(model.validation_scores_, expected, rtol=1e-9)


def test_pickle_and_clone(fitted, data):
    """A pickle predicts the same; a clone is unfitted and has the same parameters."""
    back = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(back.predict(data[1]), fitted.predict(data[1]))
    copy = clone(fitted)
    assert str(copy.get_params()) == str(fitted.get_params())
    with pytest.raises(NotFittedError):
        copy.predict(data[1])


@pytest.mark.slow
def test_grid_search_over_a_parameter_of_the_members(data):
    """Rank 2 with noise: room for two components beats room for one."""
    ensemble = small_ensemble(n_init=2)
    search = GridSearchCV(ensemble, {"estimator__n_components": [1, 3]}, cv=FOLDS)
    search.fit(data[0], data[2])
    assert search.best_params_ == {"estimator__n_components": 3}
    assert search.score(data[1], data[3]) > 0.8


def test_weights_are_routed(small_tensor):
    """A requested sample_weight reaches fit through cross_validate: dropped rows do not count."""
    X, y = small_tensor
    spoilt = np.arange(len(y)) % 4 == 0
    weights = np.where(spoilt, 0.0, 1.0)
    member = CPCompletion(4, shape=SHAPE, n_init=1, max_iter=100)
    with config_context(enable_metadata_routing=True):
        ensemble = CompletionEnsemble(member, n_init=2, random_state=0)
        ensemble.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scores = [
            cross_validate(ensemble, X, values, params={"sample_weight": weights}, cv=FOLDS)
            for values in (y, np.where(spoilt, 1e3, y))
        ]
    assert_array_equal(scores[0]["test_score"], scores[1]["test_score"])


def test_weights_equal_repeated_rows(small_tensor):
    """A whole-number weight is that many copies of the row, and zero is none."""
    X, y = small_tensor
    weights = np.random.RandomState(0).randint(0, 4, len(y))
    times = np.repeat(np.arange(len(y)), weights)
    member = CPCompletion(4, shape=SHAPE, early_stopping=False, max_iter=60)
    ensemble = CompletionEnsemble(member, n_init=2, random_state=0)
    weighted = clone(ensemble).fit(X, y, sample_weight=weights).predict(X)
    # The same sums in another order, enlarged by the descent away from a small start.
    assert_allclose(weighted, ensemble.fit(X[times], y[times]).predict(X), rtol=1e-7, atol=1e-7)


def test_labels_and_names(small_tensor):
    """Column names are kept and checked, and a pipeline encodes labels for all members."""
    X, y = small_tensor
    table = pd.DataFrame(X, columns=list("abc"))
    ensemble = CompletionEnsemble(clone(SMALL), n_init=2, random_state=0)
    model = clone(ensemble).fit(table, y)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(table[["b", "a", "c"]])
    labels = table.astype(str)
    pipeline = make_pipeline(OrdinalEncoder(), clone(ensemble)).fit(labels, y)
    assert_array_equal(pipeline.predict(labels), model.predict(table))


@pytest.mark.parametrize(
    "estimator",
    [CPALSCompletion(2, n_init=1, solver="sparse"), DeepMatrixCompletion(2, n_init=2)],
    ids=name_of,
)
def test_other_estimators(estimator, small_tensor):
    """Any estimator of the package with a random_state; without held-out scores all count."""
    X, y = small_tensor
    model = CompletionEnsemble(estimator, n_init=2, random_state=0).fit(X, y)
    assert model.shape_ == SHAPE and model.score(X, y) > 0.5
    if isinstance(estimator, CPALSCompletion):
        assert np.isnan(model.validation_scores_).all() and model.n_average_ == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_average": 4, "n_init": 3}, "n_average=4 exceeds n_init=3"),
        ({"estimator": LinearRegression()}, "has no random_state"),
        ({"n_init": 0}, "'n_init' parameter"),
        ({"estimator": "CPCompletion"}, "'estimator' parameter"),
    ],
)
def test_bad_parameters(options, message, small_tensor):
    """A ValueError that names the parameter, before anything is fitted."""
    with pytest.raises(ValueError, match=message):
        small_ensemble().set_params(**options).fit(*small_tensor)


def test_an_error_of_a_member_is_that_of_the_ensemble(small_tensor):
    """A negative index is refused as by the member, and nothing is left behind."""
    X, y = small_tensor
    ensemble = small_ensemble()
    with pytest.raises(ValueError, match="Negative values"):
        ensemble.fit(X - 1, y)
    assert not hasattr(ensemble, "estimators_")


@pytest.mark.parametrize(
    ("backend", "n_jobs"),
    [("sequential", 1), ("threading", 2), pytest.param("loky", 2, marks=pytest.mark.slow)],
)
def test_warnings_of_members_are_told_once_to_the_caller(small_tensor, backend, n_jobs):
    """All three members stop at max_iter; one warning says so, with the line of this fit."""
    member = CPCompletion(4, max_iter=3, early_stopping=False)
    ensemble = CompletionEnsemble(member, n_init=3, n_jobs=n_jobs, random_state=0)
    with parallel_config(backend), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ensemble.fit(*small_tensor)
    stopped = [w for w in caught if w.category is ConvergenceWarning]
    assert ["max_iter=3" in str(w.message) for w in stopped] == [True]
    assert {w.filename for w in caught} == {__file__}


def test_ensembles_in_threads_leave_the_warnings_alone():
    """Had both caught warnings, the one that ends last would go on catching for the other."""
    first_in, second_in, first_out = Event(), Event(), Event()

    class First(Stub):
        def fit(self, X, y, **data):
            first_in.set()
            assert second_in.wait(5)
            return super().fit(X, y)

    class Second(Stub):
        def fit(self, X, y, **data):
            second_in.set()
            assert first_out.wait(5)
            return super().fit(X, y)

    def fit(member):
        ensemble = CompletionEnsemble(member((0.5,), (1,)), n_init=1, random_state=0)
        ensemble.fit(np.zeros((4, 3), int), np.zeros(4))

    threads = [Thread(target=fit, args=[member]) for member in (First, Second)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads[0].start()
        assert first_in.wait(5)
        threads[1].start()
        threads[0].join(5)
        first_out.set()
        threads[1].join(5)
        warnings.warn("shown", stacklevel=1)
    assert [str(w.message) for w in caught] == ["shown"]


def test_warnings_of_members_can_be_errors(small_tensor):
    """A filter of the caller reaches the members."""
    ensemble = CompletionEnsemble(CPCompletion(4, max_iter=3), n_init=2, random_state=0)
    with warnings.catch_warnings(), pytest.raises(ConvergenceWarning, match="max_iter=3"):
        warnings.simplefilter("error")
        ensemble.fit(*small_tensor)


def test_a_class_for_an_estimator_is_refused(small_tensor):
    """By a message that names the remedy."""
    with pytest.raises(TypeError, match="estimator is the class CPCompletion; pass an instance"):
        CompletionEnsemble(CPCompletion).fit(*small_tensor)


def test_members_without_scores_are_ordered_by_training_loss(small_tensor):
    """Four starts of least squares that four sweeps leave at different losses; lowest first."""
    member = CPALSCompletion(2, n_init=1, max_iter=4, solver="sparse")
    model = CompletionEnsemble(member, n_init=4, random_state=0).fit(*small_tensor)
    losses = [each.loss_ for each in model.estimators_]
    assert losses == sorted(losses) and len(set(losses)) > 1
    assert model.best_estimator_.loss_ == min(losses)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [40, 41, 42])
def test_the_default_completes_noisy_cells(seed):
    """30^3, rank 3, 5 % seen with 10 % noise: NRMSE below that of the members' mean, and .1.

    The noise that 264 parameters take up from 1350 cells has NRMSE .044; the bound is twice that.
    """
    tensor, _ = make_low_rank((30, 30, 30), 3, random_state=seed)
    X, y = sample_entries(tensor, 0.05, noise=0.1, random_state=seed)
    member = CPCompletion(shape=tensor.shape)
    model = CompletionEnsemble(member, n_init=3, random_state=seed).fit(X, y)
    errors = [relative_error(m.to_dense(), tensor) for m in model.estimators_[: model.n_average_]]
    assert relative_error(model.to_dense(), tensor) < min(0.1, np.mean(errors) + 1e-12)
    assert model.rank_ == 3


def test_a_default_ensemble_is_one_of_cp_completions():
    """``estimator=None``, on half of a small tensor of rank 1."""
    X, y = low_rank_entries((8, 8, 8), 1, 0.5)
    model = CompletionEnsemble(n_init=2, random_state=0).fit(X, y)
    assert all(isinstance(member, CPCompletion) for member in model.estimators_)
    assert (model.rank_, model.rank_agreement_) == (1, 1.0)
