"""An ensemble of different kinds: weights by stacking, parameters by name."""

import numpy as np
import pytest
from cases.ensembles import SHAPE
from conftest import low_rank_entries
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold

from sktf import CompletionEnsemble, CPALSCompletion, CPCompletion, PosteriorCompletion
from sktf._averages.stacking import folds, stacked_weights
from sktf._cells.validation import Observations

# Short fits of few cells are the point here; what they end with is tested where it matters.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]


def kinds():
    """Return two kinds of model, small and quick."""
    return [
        ("cp", CPCompletion(3, shape=SHAPE, n_init=2, tol=1e-3)),
        ("als", CPALSCompletion(2, shape=SHAPE, n_init=1, max_iter=50, solver="sparse")),
    ]


def mixed(**options):
    """Return an ensemble of them."""
    return CompletionEnsemble(**({"estimators": kinds(), "random_state": 0} | options))


@pytest.fixture(scope="module")
def cells():
    """Return X and y: most of a noisy tensor of rank 2."""
    X, y = low_rank_entries(SHAPE, 2, 0.8)
    return X, y + 0.1 * np.random.RandomState(0).standard_normal(len(y))


def test_weights_are_constrained_least_squares():
    """Of two fits the weight is that of the line between them, in closed form, 0 to 1."""
    for seed in range(20):
        rng = np.random.RandomState(seed)
        values, weights = rng.standard_normal(50) + 3, rng.random_sample(50)
        first, second = values + rng.standard_normal((2, 50)) * [[0.5], [0.4]]
        step = first - second
        best = np.clip((weights * (values - second)) @ step / (weights @ step**2), 0, 1)
        found = stacked_weights(values, weights, np.array([first, second]))
        assert_allclose(found, [best, 1 - best], atol=1e-6)


def test_weights_know_no_units():
    """Nor levels: values and predictions times 1e200, or plus 1e6."""
    rng = np.random.RandomState(1)
    values = rng.standard_normal(60)
    predictions = values + rng.standard_normal((3, 60)) * [[0.5], [0.6], [0.7]]
    plain = stacked_weights(values, np.ones(60), predictions)
    assert (plain > 0.1).all()
    assert_allclose(stacked_weights(values * 1e200, np.ones(60), predictions * 1e200), plain)
    moved = stacked_weights(values + 1e6, np.ones(60), predictions + 1e6)
    assert_allclose(moved, plain, rtol=1e-4)


def test_what_is_of_no_use_has_no_weight():
    """A fit that predicts nonsense is left out, as is one of less than 2 %."""
    rng = np.random.RandomState(2)
    values = rng.standard_normal(400)
    good = values + 0.1 * rng.standard_normal(400)
    found = stacked_weights(values, np.ones(400), np.array([good, rng.standard_normal(400)]))
    assert_array_equal(found, [1.0, 0.0])


def test_predictions_are_the_weighted_mean_of_members(cells):
    """Which are named, in the order of their weights."""
    model = mixed().fit(*cells)
    assert_allclose(model.weights_.sum(), 1.0)
    assert (np.diff(model.weights_) <= 0).all()
    pairs = zip(model.weights_, model.estimators_, strict=True)
    assert_allclose(model.predict(cells[0]), sum(w * m.predict(cells[0]) for w, m in pairs))
    assert {type(member) for member in model.estimators_} <= {CPCompletion, CPALSCompletion}
    assert set(model.names_) <= {"cp", "als"}
    assert_allclose(model.to_dense()[tuple(cells[0].T)], model.predict(cells[0]))


def test_members_are_fitted_to_all_cells(cells):
    """Those that count are the estimators, fitted as by hand."""
    model = mixed().fit(*cells)
    member = model.estimators_[model.names_.index("cp")]
    again = clone(dict(kinds())["cp"]).set_params(random_state=member.random_state).fit(*cells)
    assert_array_equal(member.predict(cells[0]), again.predict(cells[0]))


def _ratio(seed):
    """Return the error of a mixed ensemble over that of the best of its kinds."""
    rng = np.random.RandomState(seed)
    shape = (20, 16, 12)
    parts = [rng.standard_normal((size, 2)) for size in shape]
    X = np.argwhere(rng.random_sample(shape) < 0.4)
    read = [part[column] for part, column in zip(parts, X.T, strict=True)]
    y = sum(part[:, 0] for part in read) + np.prod([part[:, 1] for part in read], axis=0)
    y = y + 0.3 * rng.standard_normal(len(y))
    seen = np.arange(len(y)) % 3 > 0
    given = {
        "plain": CPCompletion(shape=shape, offset=None),
        "additive": CPCompletion(shape=shape, offset="additive"),
        "mean": CPCompletion(1, shape=shape, offset="mean"),
    }
    model = CompletionEnsemble(estimators=list(given.items()), random_state=seed)
    errors = {
        name: np.mean((fitted.fit(X[seen], y[seen]).predict(X[~seen]) - y[~seen]) ** 2)
        for name, fitted in {**given, "mixed": model}.items()
    }
    return errors["mixed"] / min(errors[name] for name in given)


def test_a_mean_of_kinds_is_about_as_good_as_the_best():
    """Effects that add up and one that multiplies; the best is known to the hidden cells alone.

    Squared errors at most 10 % above it, the mean of three draws (.99 to 1.19 each).
    """
    assert np.mean([_ratio(seed) for seed in (80, 81, 82)]) < 1.1


def test_the_spread_has_the_weights(cells):
    """Between members, and within one that knows its own."""
    posterior = PosteriorCompletion(kinds()[0][1], n_components=2, n_samples=4, n_chains=2)
    model = mixed(estimators=[*kinds(), ("chains", posterior)]).fit(*cells)
    mean, std = model.predict(cells[0][:5], return_std=True)
    predictions = np.array([member.predict(cells[0][:5]) for member in model.estimators_])
    between = model.weights_ @ (predictions - mean) ** 2
    assert (std**2 >= between * (1 - 1e-9)).all()
    if "chains" in model.names_:
        number = model.names_.index("chains")
        within = model.estimators_[number].predict(cells[0][:5], return_std="mean")[1] ** 2
        assert (std**2 >= between + model.weights_[number] * within * (1 - 1e-9)).all()


def test_one_firm_sum_whatever_is_predicted():
    """Predictions far beyond values that are all alike, and more fits than fifty alike."""
    huge = 1e9 * np.arange(1.0, 61).reshape(2, 30)
    assert_allclose(stacked_weights(np.zeros(30), np.ones(30), huge).sum(), 1.0)
    alike = np.tile(np.arange(30.0), (60, 1)) + np.random.RandomState(0).standard_normal((60, 30))
    assert_allclose(stacked_weights(np.arange(30.0), np.ones(30), alike).sum(), 1.0)


@pytest.mark.parametrize("size", [1, 2])
def test_a_short_mode_is_held_out_as_well(size):
    """Cells of every index of a mode of one or two tell of the weights."""
    X = np.argwhere(np.ones((20, 15, size)))
    y = np.random.RandomState(0).standard_normal(len(X))
    observations = Observations(X.astype(np.int32), y, np.ones(len(y)), (20, 15, size))
    (_, held_out), *_ = folds(observations, None, np.random.RandomState(0))
    assert (np.bincount(held_out.coords[:, 2], minlength=size) > 10).all()


def test_the_shape_of_one_is_that_of_all(cells):
    """Of any member, or of an estimator inside one."""
    X, y = cells
    larger = (9, 9, 9)
    given = [("a", CPCompletion(2, n_init=1)), ("b", small_posterior(CPCompletion(shape=larger)))]
    model = CompletionEnsemble(estimators=given, random_state=0).fit(X, y)
    assert model.shape_ == larger
    assert all(member.shape_ == larger for member in model.estimators_)


def small_posterior(estimator=None):
    """Return short chains."""
    return PosteriorCompletion(estimator, n_components=2, n_samples=4, n_chains=2)


def test_a_failed_fit_leaves_the_columns_as_they_were(cells):
    """And what was fitted."""
    model = mixed(estimators=[("cp", CPCompletion(3, n_init=2))]).fit(*cells)
    before = model.predict(cells[0])
    with pytest.raises(ValueError, match="belong together"):
        model.fit(cells[0][:, :2], cells[1], X_val=cells[0][:, :2])
    assert_array_equal(model.predict(cells[0]), before)


def test_few_cells_give_all_one_weight():
    """Too few to hold any out."""
    X, y = low_rank_entries(SHAPE, 1, 0.4)
    model = mixed().fit(X[:80], y[:80])
    assert_allclose(model.weights_, 0.5)
    assert np.isnan(model.validation_scores_).all()


def test_given_held_out_cells_choose_the_weights(cells):
    """Those of one model, given as the truth, leave no weight to others."""
    X, y = cells
    exact = CPALSCompletion(1, n_init=1, max_iter=50, solver="sparse", random_state=0).fit(X, y)
    given = [("exact", clone(exact)), ("cp", kinds()[0][1])]
    model = CompletionEnsemble(estimators=given, random_state=0)
    model.fit(X, y, X_val=X[:60], y_val=exact.predict(X[:60]))
    assert model.names_ == ["exact"]
    # To the tolerance of the descent: its start is another.
    assert_allclose(model.predict(X), exact.predict(X), atol=0.01 * y.std())


def test_parameters_go_by_name(cells):
    """As in VotingRegressor: get, set, replace, clone and search."""
    model = mixed()
    assert model.get_params()["cp__n_components"] == 3
    model.set_params(cp__n_components=1, als=CPALSCompletion(3, shape=SHAPE))
    assert model.estimators[0][1].n_components == 1
    assert model.estimators[1][1].n_components == 3
    assert clone(model).get_params()["cp__n_components"] == 1
    search = GridSearchCV(mixed(), {"cp__n_components": [1, 3]}, cv=KFold(2, shuffle=True))
    assert search.fit(*cells).best_params_["cp__n_components"] in (1, 3)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"estimators": [("a", CPCompletion()), ("a", CPCompletion())]}, "not unique"),
        ({"estimators": [("a__b", CPCompletion())]}, "must not contain __"),
        ({"estimators": [("a", CPCompletion)]}, "instance"),
        ({"estimators": []}, "at least one"),
        ({"estimators": [CPCompletion()]}, "pairs of a name and an estimator"),
        ({"estimators": [(1, CPCompletion())]}, "pairs of a name and an estimator"),
        ({"estimators": [("a", "drop")]}, "'a' is 'drop'"),
        ({"estimators": [("a", Ridge())]}, "'a' is Ridge"),
        ({"estimator": CPCompletion()}, "not both"),
    ],
)
def test_bad_lists_are_told(cells, options, match):
    """With what is wrong."""
    with pytest.raises((ValueError, TypeError), match=match):
        mixed(**options).fit(*cells)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_jobs_change_nothing(cells, n_jobs):
    """Every member has a seed of its own."""
    assert_array_equal(
        mixed(n_jobs=n_jobs).fit(*cells).predict(cells[0]), mixed().fit(*cells).predict(cells[0])
    )
