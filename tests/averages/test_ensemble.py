"""Who is averaged, and what the average is."""

import warnings

import numpy as np
import pytest
from cases.ensembles import Stub
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import r2_score

from sktf import (
    CompletionEnsemble,
    CompletionWarning,
)

# Short fits of few rows are the point here; what they end with is tested where it matters.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]


def stubs(scores, **options):
    """Return an ensemble of one stub per score, fitted; member i predicts i."""
    ranks = options.pop("ranks", (1,) * len(scores))
    ensemble = CompletionEnsemble(Stub(scores, ranks), n_estimators=len(scores), random_state=0)
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
    ensemble = CompletionEnsemble(Stub((0.5,), (1,)), n_estimators=1, random_state=0)
    X, y = np.zeros((4, 3), int), np.zeros(4)
    assert ensemble.fit(X, y, np.ones(4)).best_estimator_.weighted_
    assert not ensemble.fit(X, y).best_estimator_.weighted_


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
