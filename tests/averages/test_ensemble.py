"""Who is averaged, and what the average is."""

import warnings

import numpy as np
import pytest
from cases.ensembles import Stub
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import r2_score

from sktf import CompletionEnsemble, CompletionWarning, CPCompletion
from sktf.datasets import make_low_rank, sample_entries

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


@pytest.mark.parametrize(
    ("ranks", "rank", "agreement"),
    [
        ((4, 3, 3, 3), 3, 3 / 4),  # the best member has another
        ((5, 2, 5, 2), 2, 1 / 2),  # of two the smaller
        ((6, 4, 5, 3), 3, 1 / 4),
    ],
)
def test_the_rank_is_the_most_frequent_one(ranks, rank, agreement):
    """And its agreement the share of the members that found it."""
    ensemble = stubs((0.9, 0.8, 0.8, 0.8), ranks=ranks)
    assert (ensemble.rank_, ensemble.rank_agreement_) == (rank, agreement)
    assert type(ensemble.rank_) is int


def test_the_rank_of_members_left_out_does_not_count():
    """Of the averaged members .9, .8 and .7 two have rank 3; those that failed have 8."""
    ensemble = stubs((-9.0, -9.0, 0.9, 0.8, 0.7, 0.7), ranks=(8, 8, 3, 2, 3, 2), n_average=3)
    assert ensemble.rank_ == 3
    assert ensemble.rank_agreement_ == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("ranks", "warns"),
    [
        ((8, 2, 5, 2, 9), True),  # the quartiles are 2 and 8
        ((1, 1, 3, 3), True),
        ((2, 9), True),
        ((0, 0, 2, 2), True),
        ((16, 17, 12, 15, 20), False),  # none agree, but 15 and 17 are near
        ((1, 2, 1, 2), False),
        ((2, 3, 3, 3, 12), False),  # one stands out
        ((4,), False),
        ((0, 0), False),
    ],
)
def test_a_rank_that_is_not_identified_warns_the_caller(ranks, warns):
    """When the upper quartile is twice the lower and 2 larger; with the line of fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stubs((0.9,) * len(ranks), ranks=ranks)
    assert [w.category for w in caught] == [CompletionWarning] * warns
    if warns:
        *others, largest = sorted(ranks)
        found = f"{len(ranks)} fits found ranks {', '.join(map(str, others))} and {largest}."
        assert found in str(caught[0].message)
        assert caught[0].filename == __file__


@pytest.mark.slow
@pytest.mark.parametrize(("per_parameter", "least", "most"), [(0.6, 2, 3), (10, 0, 0)])
def test_ranks_of_far_too_few_cells_are_not_identified(per_parameter, least, most):
    """20^3, rank 4, 10 % noise: 0.6 cells for each of the 232 free parameters, or ten."""
    told = []
    for seed in range(3):
        tensor, _ = make_low_rank((20, 20, 20), 4, random_state=seed)
        share = per_parameter * 232 / tensor.size
        X, y = sample_entries(tensor, share, noise=0.1, random_state=seed)
        member = CPCompletion(shape=tensor.shape)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            CompletionEnsemble(member, n_estimators=5, random_state=0).fit(X, y)
        told.append(any("Rank not identified" in str(w.message) for w in caught))
    assert least <= sum(told) <= most


def test_weights_reach_the_members():
    """``sample_weight`` is passed on as it came."""
    ensemble = CompletionEnsemble(Stub((0.5,), (1,)), n_estimators=1, random_state=0)
    X, y = np.zeros((4, 3), int), np.zeros(4)
    assert ensemble.fit(X, y, np.ones(4)).best_estimator_.weighted_
    assert not ensemble.fit(X, y).best_estimator_.weighted_


def test_mean_and_spread_are_those_of_the_members(fitted, data):
    """By numpy, of the predictions of ``estimators_``; ``to_dense`` is the mean at all cells.

    The variance has that between members and, on average, that within (law of total variance).
    """
    X_test = data[1]
    each = np.stack([m.predict(X_test) for m in fitted.estimators_[: fitted.n_average_]])
    mean, std = fitted.predict(X_test, return_std=True)
    assert_allclose(mean, each.mean(axis=0), rtol=1e-12)
    within = [m._variance_of_rows(X_test) for m in fitted.estimators_[: fitted.n_average_]]
    assert_allclose(std**2, each.var(axis=0) + np.mean(within, axis=0), rtol=1e-12)
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
