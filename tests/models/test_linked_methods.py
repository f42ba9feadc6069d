"""Counts, and yes or no: how fits are scored, extended, averaged and gone on from; refusals."""

import pickle
import warnings

import numpy as np
import pytest
from cases.linked import SHAPE, deviance, draw, fitted
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from sklearn.metrics import d2_log_loss_score, d2_tweedie_score
from sklearn.model_selection import GridSearchCV

import sktf
from sktf import (
    CompletionEnsemble,
    CompletionWarning,
    CPCompletion,
    NonNegativeCPCompletion,
    PosteriorCompletion,
)
from sktf._cells.observations import Observations
from sktf._cells.offset import Offset
from sktf._models.extension import _likeliest as likeliest
from sktf._models.extension import _ridge as ridge
from sktf._models.offset_choice import _error as error_of
from sktf._models.rows import row_covariance
from sktf._objective.links import LINKS
from sktf.datasets import dense_from_factors

each = pytest.mark.parametrize("loss", ["poisson", "logistic"])
pytestmark = pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")


@each
def test_score_is_the_share_of_deviance_explained(loss):
    """D^2 of scikit-learn, with weights, and R^2 as before without a link."""
    X, y, X_hidden, y_hidden, _ = draw(loss)
    model, weights = fitted(loss, X, y), np.random.default_rng(0).uniform(0.1, 2, len(y_hidden))
    at = model.predict(X_hidden)
    if loss == "poisson":
        expected = d2_tweedie_score(y_hidden, at, sample_weight=weights, power=1)
    else:
        chances = np.column_stack([1 - at, at])
        expected = d2_log_loss_score(y_hidden, chances, sample_weight=weights)
    assert_allclose(model.score(X_hidden, y_hidden, weights), expected, rtol=1e-9)
    assert "held-out D^2" in dict(model.summary().rows)
    with pytest.raises(ValueError, match="row 0 of y has -7"):
        model.score(X_hidden, np.full(len(y_hidden), -7))
    ones = [1] * len(y_hidden)
    assert_allclose(model.score(X_hidden, y_hidden, ones), model.score(X_hidden, y_hidden))


@pytest.fixture(scope="module", params=["alone", "ensemble"])
def scored(request):
    """A fit of the loss of counts, or two of it, and eight cells with their values."""
    X, y, *_ = draw("poisson")
    model = CPCompletion(2, shape=SHAPE, loss="poisson", n_init=1, max_iter=20, random_state=0)
    if request.param == "ensemble":
        model = CompletionEnsemble(model, n_estimators=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, y), X[:8], y[:8]


@pytest.mark.parametrize(
    ("y", "weights", "message"),
    [
        ([np.nan] + [1.0] * 7, None, "Input y contains NaN: row 0"),
        ([1.0] * 7 + [None], None, "Input y contains NaN: row 7"),
        ([1.0, np.inf] + [1.0] * 6, None, "Input y contains infinity: row 1"),
        ([1.0] * 5, None, "inconsistent numbers of samples.*X and y differ"),
        (np.ones((8, 2)), None, "y should be a 1d array"),
        (None, [1.0] * 7 + [np.nan], "sample_weight.*NaN"),
        (None, [1.0] * 7 + [-1.0], "sample_weight.*[Nn]egative"),
        (None, [1.0] * 5, r"sample_weight.shape == \(5,\)"),
        (None, [0.0] * 8, "sample_weight.*(is zero for every row|non-zero)"),
    ],
)
def test_a_score_is_of_finite_values_and_weights(scored, y, weights, message):
    """One of each for a cell, or an error that names it; no score of what was not read."""
    model, X, given = scored
    with pytest.raises(ValueError, match=message):
        model.score(X, given if y is None else y, weights)


@pytest.mark.parametrize("weights", [[0, 0, 1, 1, 1], [0.0, 0.0, 2.0, 0.0, 1.0]])
def test_a_wrong_value_is_named_by_its_row_in_y(weights):
    """Also where rows before it have no weight."""
    X, y = np.argwhere(np.ones((5, 1))), [1.0, 1.0, 1.0, 1.0, -2.0]
    with pytest.raises(ValueError, match="row 4 of y has -2"):
        CPCompletion(loss="poisson").fit(X, y, sample_weight=weights)


def test_a_zero_count_alone_is_no_cause_for_a_warning():
    """Components of 5e-6 on the log scale are rounding, whatever values ask for."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "(?!Predictions dwarf)", CompletionWarning)
        CPCompletion(loss="poisson", random_state=0).fit([[0, 0]], [0.0])


@each
@pytest.mark.parametrize("offset", ["mean", "additive"])
def test_extend_learns_rows_by_their_deviance(loss, offset):
    """New rows predict their hidden cells nearly as well as those of a fit to all."""
    size = {"poisson": 1.0, "logistic": 2.5}[loss]
    X, y, X_hidden, y_hidden, _ = draw(loss, shape=(16, 14, 9), size=size, terms=0.2)
    old, new = X[:, 0] < 12, X_hidden[:, 0] >= 12
    whole = fitted(loss, X, y, shape=(16, 14, 9), offset=offset)
    model = fitted(loss, X[old], y[old], shape=(12, 14, 9), offset=offset)
    model.extend(X[~old], y[~old], mode=0)
    assert model.shape_ == (16, 14, 9)
    left = [deviance(loss, y_hidden[new], m.predict(X_hidden[new])) for m in (model, whole)]
    around = deviance(loss, y_hidden[new], np.full(new.sum(), y.mean()))
    assert left[0] - left[1] < 0.25 * (around - left[1])


@pytest.mark.parametrize("n_cells", [2, 8, 60])
def test_rows_of_parts_have_the_least_deviance(n_cells):
    """By SciPy's bounded minimum of deviance and prior over the entries of the row."""
    rng, shape = np.random.default_rng(n_cells), (30, 12, 9)
    factors = [rng.gamma(0.7, size=(size, 3)) for size in shape]
    mean = dense_from_factors(factors)
    X = np.argwhere(rng.random(shape) < 0.5)
    y = rng.poisson(4 * mean[tuple(X.T)] / mean.mean()).astype(float)
    y[X[:, 2] == 0] = 0.0  # whose parts are next to nothing
    model = NonNegativeCPCompletion(loss="poisson_sum", shape=shape, random_state=0).fit(X, y)
    alive = model.component_norms_ > 0
    factor, *others = (factor[:, alive] for factor in model.factors_)
    rows = np.vstack([factor, factor.mean(axis=0)])
    covariance = row_covariance(rows, np.ones(len(factor)))
    new = np.column_stack([np.full(n_cells, 30), *(rng.integers(0, n, n_cells) for n in (12, 9))])
    new[0, 2], values = 0, rng.poisson(4, n_cells).astype(float)
    values[0] = 0.0
    model.extend(new, values, mode=0)
    found, design = model.factors_[0][-1, alive], others[0][new[:, 1]] * others[1][new[:, 2]]

    def cost(row):
        eta, away = design @ row + 1e-10, row - rows[-1]
        return 2 * (eta - values * np.log(eta)).sum() + away @ np.linalg.solve(covariance, away)

    best = minimize(cost, rows[-1], method="L-BFGS-B", bounds=[(0, None)] * len(found))
    assert (found >= 0).all()
    assert cost(found) <= best.fun + 1e-4 * abs(best.fun)


def test_a_row_of_one_huge_count_stays_finite():
    """Newton's steps are halved until they go down."""
    X, y, *_ = draw("poisson")
    model = fitted("poisson", X, y)
    model.extend([[12, 0, 0], [12, 1, 1], [13, 2, 2]], [1e6, 0, 0], mode=0)
    assert np.isfinite(model.predict([[12, 0, 0], [12, 1, 1], [13, 2, 2]])).all()


@pytest.mark.parametrize(("y", "eta", "z"), [(0.0, 800.0, -1.0), (1.0, -800.0, 1.0)])
def test_a_row_of_a_cell_that_is_all_but_sure_goes_down(y, eta, z):
    """The deviance has the slope 2 and no curvature there, so that ``z^2 - 2 |z|`` is least.

    Of sums of 1600 six digits of z are told apart.
    """
    left = np.array([[y, eta]])
    assert_allclose(likeliest(LINKS["logistic"], ridge, np.ones((1, 1)), left, 1.0), [z], rtol=1e-5)


def test_a_mean_deviance_of_rounding_is_none():
    """Its root is 0, also where it is -2e-15, as at 5."""
    assert LINKS["poisson"].value(np.log(5.0), np.float64(5)) < 0
    cells = Observations(np.zeros((2, 2), int), np.full(2, 5.0), np.ones(2), (1, 1))
    assert error_of(Offset(np.log(5.0), (), 1.0), cells, cells, LINKS["poisson"]) == 0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_going_on_keeps_the_loss():
    """A warm start goes on where it was; another loss is refused, and begins anew without it."""
    X, y, *_ = draw("poisson")
    model = fitted("poisson", X, y, warm_start=True, n_components=3, max_iter=300)
    before = model.score(X, y)
    assert model.fit(X, y).score(X, y) >= before - 1e-6
    with pytest.raises(ValueError, match="warm_start=True goes on with the loss"):
        model.set_params(loss="squared").fit(X, y)
    assert model.set_params(warm_start=False).fit(X, y).scale_ != 1


def test_a_fit_keeps_its_loss():
    """Predictions are those of the fit, whatever is set after it, and through a pickle."""
    X, y, *_ = draw("poisson")
    model = fitted("poisson", X, y)
    expected = model.predict(X)
    assert_array_equal(model.set_params(loss="squared").predict(X), expected)
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), expected)
    assert model.to_dense().min() > 0
    bounded = fitted("poisson", X, y, clip=(1, 3)).predict(X)
    assert bounded.min() == 1 and bounded.max() == 3


def test_ensembles_average_means():
    """And score their deviance; the spread is that of means."""
    X, y, X_hidden, y_hidden, _ = draw("poisson")
    model = CPCompletion(shape=SHAPE, loss="poisson")
    ensemble = CompletionEnsemble(model, n_estimators=3, random_state=0).fit(X, y)
    mean, std = ensemble.predict(X_hidden, return_std=True)
    assert_allclose(mean, np.mean([m.predict(X_hidden) for m in ensemble.estimators_], axis=0))
    assert (std > 0).all() and np.median(std / mean) < 0.5
    expected = d2_tweedie_score(y_hidden, mean, power=1)
    assert_allclose(ensemble.score(X_hidden, y_hidden), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X, y: PosteriorCompletion(CPCompletion(loss="poisson")).fit(X, y), "normal noise"),
        (
            lambda X, y: CPCompletion(loss="poisson").fit_measurements(np.ones((3, 2, 2)), [1] * 3),
            "has no link; fit_measurements",
        ),
        (lambda X, y: CPCompletion(loss="poisson").fit(X, y - 9), "row 0 of y has"),
        (lambda X, y: CPCompletion(loss="poisson_sum").fit(X, y), "NonNegativeCPCompletion with"),
        (
            lambda X, y: NonNegativeCPCompletion(loss="poisson").fit(X, y),
            'only raise the linear predictor; take loss="poisson_sum"',
        ),
        (lambda X, y: CPCompletion(loss="logistic").fit(X, 1.0 + (y > 2)), "CompletionClassifier"),
        (
            lambda X, y: CPCompletion(loss="poisson", shape=SHAPE).fit(X, y, X_val=X, y_val=-1 - y),
            "row 0 of y_val",
        ),
    ],
)
def test_what_has_no_such_loss_is_refused(call, message):
    """With the remedy, and nothing half fitted."""
    X, y, *_ = draw("poisson")
    with pytest.raises(ValueError, match=message):
        call(X, y)


def test_labels_searches_and_tables():
    """What works with squares works here: strings, a search, an array with gaps."""
    X, y, *_ = draw("poisson")
    named = fitted("poisson", X.astype(str), y, encode=True, shape=None)
    assert named.predict([["0", "1", "2"]])[0] > 0
    model = CPCompletion(shape=SHAPE, loss="poisson", n_init=2, random_state=0)
    search = GridSearchCV(model, {"n_components": [1, 3]}, cv=2).fit(X, y)
    assert 0 < search.best_score_ < 1
    array = np.full(SHAPE, np.nan)
    array[tuple(X.T)] = y
    filled = sktf.complete(array, estimator=model)
    assert filled.min() >= 0
    assert_array_equal(filled[tuple(X.T)], y)
