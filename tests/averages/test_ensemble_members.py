"""Members: jobs, warnings, errors, other estimators."""

import pickle
import warnings
from threading import Event, Thread

import numpy as np
import pandas as pd
import pytest
from cases.ensembles import SHAPE, SMALL, Stub, small_ensemble
from conftest import low_rank_entries, name_of
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from sktf import (
    CompletionEnsemble,
    CompletionWarning,
    CPALSCompletion,
    CPCompletion,
    DeepMatrixCompletion,
)
from sktf._cells.record import warn
from sktf.datasets import make_low_rank, sample_entries
from sktf.metrics import relative_error

# Short fits of few rows are the point here; what they end with is tested where it matters.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]


FOLDS = KFold(3, shuffle=True, random_state=0)


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
    ensemble = small_ensemble(n_estimators=2)
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
        ensemble = CompletionEnsemble(member, n_estimators=2, random_state=0)
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
    ensemble = CompletionEnsemble(member, n_estimators=2, random_state=0)
    weighted = clone(ensemble).fit(X, y, sample_weight=weights).predict(X)
    # The same sums in another order, enlarged by the descent away from a small start.
    assert_allclose(weighted, ensemble.fit(X[times], y[times]).predict(X), rtol=1e-7, atol=1e-7)


def test_labels_and_names(small_tensor):
    """Column names are kept and checked, and a pipeline encodes labels for all members."""
    X, y = small_tensor
    table = pd.DataFrame(X, columns=list("abc"))
    ensemble = CompletionEnsemble(clone(SMALL), n_estimators=2, random_state=0)
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
    model = CompletionEnsemble(estimator, n_estimators=2, random_state=0).fit(X, y)
    assert model.shape_ == SHAPE and model.score(X, y) > 0.5
    if isinstance(estimator, CPALSCompletion):
        assert np.isnan(model.validation_scores_).all() and model.n_average_ == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_average": 4, "n_estimators": 3}, "n_average=4 exceeds n_estimators=3"),
        ({"estimator": LinearRegression()}, "has no random_state"),
        ({"n_estimators": 0}, "'n_estimators' parameter"),
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
    ensemble = CompletionEnsemble(member, n_estimators=3, n_jobs=n_jobs, random_state=0)
    with parallel_config(backend), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ensemble.fit(*small_tensor)
    stopped = [w for w in caught if w.category is ConvergenceWarning]
    assert ["max_iter=3" in str(w.message) for w in stopped] == [True]
    assert {w.filename for w in caught} == {__file__}


def test_members_whose_warnings_differ_in_numbers_tell_once():
    """Each predicts some cells far outside of what was seen, but not the same."""

    class Wild(Stub):
        def fit(self, X, y, **data):
            for what in ("from", "to"):  # a member may say two things that differ in a number
                warn(f"Some cells are predicted {what} {self.random_state}.", CompletionWarning, 1)
            return super().fit(X, y)

    ensemble = CompletionEnsemble(Wild((0.5,) * 3), n_estimators=3, random_state=0)
    with pytest.warns(CompletionWarning, match="Some cells") as caught:
        ensemble.fit(np.zeros((4, 3), int), np.zeros(4))
    told = [str(warning.message).split()[4] for warning in caught]
    assert sorted(told) == ["from", "to"]


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
        ensemble = CompletionEnsemble(member((0.5,), (1,)), n_estimators=1, random_state=0)
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
    ensemble = CompletionEnsemble(CPCompletion(4, max_iter=3), n_estimators=2, random_state=0)
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
    model = CompletionEnsemble(member, n_estimators=4, random_state=0).fit(*small_tensor)
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
    model = CompletionEnsemble(member, n_estimators=3, random_state=seed).fit(X, y)
    errors = [relative_error(m.to_dense(), tensor) for m in model.estimators_[: model.n_average_]]
    assert relative_error(model.to_dense(), tensor) < min(0.1, np.mean(errors) + 1e-12)
    assert model.rank_ == 3


def test_a_default_ensemble_is_one_of_cp_completions():
    """``estimator=None``, on half of a small tensor of rank 1."""
    X, y = low_rank_entries((8, 8, 8), 1, 0.5)
    model = CompletionEnsemble(n_estimators=2, random_state=0).fit(X, y)
    assert all(isinstance(member, CPCompletion) for member in model.estimators_)
    assert (model.rank_, model.rank_agreement_) == (1, 1.0)


@pytest.mark.filterwarnings("ignore:No cell tells of:sktf.CompletionWarning")
@pytest.mark.parametrize("offset", [None, "additive"])
def test_cells_of_indices_without_cells_are_the_least_sure(offset):
    """Inside the shape and outside; at least half as far off as the others of the mode differ."""
    X, y = low_rank_entries((12, 9, 8), 2, 0.5, seed=6)
    seen = X[:, 1] != 4
    member = CPCompletion(4, shape=(12, 9, 8), offset=offset, handle_unknown="mean", n_init=3)
    model = CompletionEnsemble(member, n_estimators=3, random_state=0).fit(X[seen], y[seen] + 2)
    cells = np.argwhere(np.ones((12, 9, 8)))
    mean, std = model.predict(cells, return_std=True)
    dense, spread = mean.reshape(12, 9, 8), std.reshape(12, 9, 8)
    others = np.delete(spread, 4, axis=1)
    assert np.median(spread[:, 4]) > 3 * np.median(others)
    assert spread[:, 4].mean() > 0.5 * np.delete(dense, 4, axis=1).std(axis=1).mean()
    outside = model.predict([[0, 9, 0]], return_std=True)[1]
    np.testing.assert_allclose(outside, spread[0, 4, 0], rtol=1e-12)


def test_an_ensemble_learns_new_indices():
    """In every member; a refusal changes none."""
    X, y = low_rank_entries((9, 8, 7), 2, 0.8, seed=6)
    old = X[:, 0] < 8
    member = CPCompletion(4, n_init=3)
    model = CompletionEnsemble(member, n_estimators=2, random_state=0).fit(X[old], y[old])
    shown = ~old & (np.arange(len(y)) % 2 == 0)
    hidden = ~old & ~shown
    with pytest.raises(ValueError, match="had cells in fit"):
        model.extend(X[:5], y[:5], mode=0)
    assert model.extend(X[shown], y[shown], mode=0).shape_ == (9, 8, 7)
    assert model.score(X[hidden], y[hidden]) > 0.9
    assert model.to_dense().shape == (9, 8, 7)
