"""Counts, and yes or no: what fits of a loss with a link find, predict, score and refuse."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from sklearn.base import clone
from sklearn.metrics import d2_log_loss_score, d2_tweedie_score, mean_poisson_deviance
from sklearn.model_selection import GridSearchCV

import sktf
from sktf import (
    CompletionEnsemble,
    CompletionWarning,
    CPCompletion,
    DeepCPCompletion,
    DeepMatrixCompletion,
    NonNegativeCPCompletion,
    PosteriorCompletion,
)
from sktf._cells.observations import Observations
from sktf._cells.offset import Offset
from sktf._models.extension import _likeliest as likeliest
from sktf._models.offset_choice import _error as error_of
from sktf._objective.links import LINKS
from sktf.datasets import dense_from_factors

SHAPE = (12, 14, 7)
each = pytest.mark.parametrize("loss", ["poisson", "logistic"])
pytestmark = pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")


def draw(loss, shape=SHAPE, rank=2, seen=0.7, size=1.0, terms=0.0, seed=0):
    """Seen cells and values, hidden ones, and the means of these."""
    rng = np.random.default_rng(seed)
    eta = np.zeros(shape)
    if rank:
        eta = dense_from_factors([rng.uniform(-1, 1, (n, rank)) for n in shape])
        eta *= size / eta.std()
    for effect in np.ix_(*(terms * rng.standard_normal(n) for n in shape)):
        eta = eta + effect
    mean = np.exp(1 + eta) if loss == "poisson" else expit(eta)
    y = rng.poisson(mean) if loss == "poisson" else rng.random(shape) < mean
    X, out = np.argwhere(np.ones(shape)), rng.random(mean.size) >= seen
    y, mean = y.ravel().astype(float), mean.ravel()
    return X[~out], y[~out], X[out], y[out], mean[out]


def deviance(loss, y, mean):
    return float(LINKS[loss].deviance(y, mean).mean())


def fitted(loss, X, y, **options):
    return CPCompletion(**({"shape": SHAPE, "loss": loss, "random_state": 0} | options)).fit(X, y)


@each
@pytest.mark.parametrize("seed", range(3))
def test_means_and_rank_are_found(loss, seed):
    """Two components of log-means, or of log-odds of spread 2.5, from 820 cells.

    The truth itself leaves the noise; of what the mean leaves beside it, a fit of 66 parameters
    to 820 values of deviance about 1 leaves 66 / 820 of the noise and more: a quarter in all.
    """
    size = {"poisson": 1.0, "logistic": 2.5}[loss]
    X, y, X_hidden, y_hidden, mean = draw(loss, size=size, seed=seed)
    model = fitted(loss, X, y)
    left, noise = deviance(loss, y_hidden, model.predict(X_hidden)), deviance(loss, y_hidden, mean)
    around = deviance(loss, y_hidden, np.full(len(mean), y.mean()))
    assert left - noise < 0.25 * (around - noise)
    assert model.rank_ == 2
    assert model.scale_ == 1 and len(model.component_norms_) >= 2


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
def test_nothing_to_find_is_rank_0_and_the_mean(loss):
    """Values of one mean: a warning, and hardly more deviance than the mean leaves."""
    X, y, X_hidden, y_hidden, mean = draw(loss, rank=0)
    with pytest.warns(CompletionWarning, match="Nothing was learned"):
        model = fitted(loss, X, y)
    assert model.rank_ == 0
    left, noise = deviance(loss, y_hidden, model.predict(X_hidden)), deviance(loss, y_hidden, mean)
    assert left < 1.05 * noise


@each
def test_additive_terms_are_taken_where_they_do(loss):
    """Effects of the indices alone are no components, and held-out cells say so."""
    shape = (30, 20, 8)
    X, y, X_hidden, y_hidden, mean = draw(loss, shape=shape, rank=0, terms=0.8)
    model = fitted(loss, X, y, shape=shape)
    assert model.offset_terms_ and model.rank_ == 0
    left, noise = deviance(loss, y_hidden, model.predict(X_hidden)), deviance(loss, y_hidden, mean)
    assert left < 1.15 * noise


@pytest.mark.parametrize("offset", [None, "mean", "additive"])
def test_offsets_are_those_of_the_linear_predictor(offset):
    """``offset_`` and its terms below the exponential, with the components, make the mean."""
    X, y, *_ = draw("poisson")
    model = fitted("poisson", X, y, offset=offset)
    eta = model.offset_ + sum(
        term[column] for term, column in zip(model.offset_terms_, X.T, strict=False)
    )
    eta += np.prod([f[c] for f, c in zip(model.factors_, X.T, strict=True)], axis=0).sum(axis=1)
    assert_allclose(model.predict(X), np.exp(eta), rtol=1e-10)
    assert (model.offset_ == 0) == (offset is None)
    assert len(model.offset_terms_) == (3 if offset == "additive" else 0)


def test_rates_of_exposures_as_weights_are_counts_of_larger_means():
    """With one exposure e, rates y / e of weight e are fitted as the counts, e times less."""
    X, y, X_hidden, *_ = draw("poisson")
    counts = fitted("poisson", X, y)
    model = CPCompletion(shape=SHAPE, loss="poisson", random_state=0)
    rates = model.fit(X, y / 1e4, sample_weight=np.full(len(y), 1e4))
    assert rates.rank_ == counts.rank_
    # Rounding of the units, through some hundred steps.
    assert_allclose(1e4 * rates.predict(X_hidden), counts.predict(X_hidden), rtol=1e-3)


def test_exposures_that_differ_tell_of_one_rate():
    """A row of weight 100 counts as much as its hundred: the rates of 1 in 200 are found."""
    rng, shape = np.random.default_rng(0), (25, 20, 6)
    X = np.argwhere(np.ones(shape))
    eta = dense_from_factors([rng.uniform(-1, 1, (n, 1)) for n in shape])
    rate = 0.005 * np.exp(eta / eta.std()).ravel()
    exposure = np.exp(rng.normal(7, 1, len(X)))
    cases = rng.poisson(exposure * rate)
    model = CPCompletion(shape=shape, loss="poisson", random_state=0)
    model.fit(X, cases / exposure, sample_weight=exposure)
    ratio = model.predict(X) / rate
    # The spread of log-rates is 1; of some five cases a cell, and 51 parameters, a tenth is left.
    assert model.rank_ == 1 and np.log(ratio).std() < 0.2


@each
def test_values_that_are_all_alike(loss):
    """No, zero or one count everywhere: finite, of rank 0, within half a value of it."""
    X, y, *_ = draw(loss)
    for value in (0.0, 1.0):
        for n_rows in (300, len(y)):  # a race, and growth
            model = fitted(loss, X[:n_rows], np.full(n_rows, value), shape=SHAPE)
            assert model.converged_
            assert_allclose(model.predict(X), value, atol=0.51 / n_rows)


@pytest.mark.parametrize(
    ("options", "n_rows"),
    [
        ({"early_stopping": False, "max_iter": 200}, 800),
        ({"init": "gaussian", "n_components": 5}, 800),
        ({"n_init": 3}, 300),
        ({"dtype": "float32"}, 800),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_plain_descents_fit_as_well(options, n_rows):
    """A race, or a single descent, of the deviance: half of what the mean leaves is explained."""
    X, y, *_ = draw("poisson")
    model = fitted("poisson", X[:n_rows], y[:n_rows], **options)
    assert model.score(X[:n_rows], y[:n_rows]) > 0.5
    assert model.trace_["loss"][-1] < model.trace_["loss"][0]


@pytest.mark.parametrize(
    "estimator",
    [DeepCPCompletion(depth=1), DeepMatrixCompletion(n_init=2)],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_other_models_have_the_losses(estimator):
    """The factorization is a seam: means are positive, and better than the mean of y."""
    X, y, X_hidden, y_hidden, _ = draw("poisson", size=0.7)
    model = clone(estimator).set_params(
        shape=SHAPE, loss="poisson", offset="auto", max_iter=300, random_state=0
    )
    model.fit(X, y)
    assert model.score(X_hidden, y_hidden) > 0.05 and (model.predict(X_hidden) > 0).all()


def test_counts_as_sums_of_parts():
    """Three parts that add up: no unit is lost, and less deviance is left than by squares."""
    rng, shape = np.random.default_rng(0), (20, 15, 12)
    mean = dense_from_factors([rng.gamma(0.7, size=(n, 3)) for n in shape])
    y, X = rng.poisson(5 * mean / mean.mean()).ravel().astype(float), np.argwhere(np.ones(shape))
    out = rng.random(len(y)) < 0.6
    left = {}
    for loss in ("poisson_sum", "squared"):
        model = NonNegativeCPCompletion(shape=shape, loss=loss, n_init=3, random_state=0)
        predicted = model.fit(X[~out], y[~out]).predict(X[out])
        assert predicted.min() >= 0
        left[loss] = mean_poisson_deviance(y[out], np.maximum(predicted, 1e-3))
    assert left["poisson_sum"] < min(left["squared"], 1.5)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_weights_equal_repeated_rows():
    """A weight is that many rows, and zero is none, as with squares."""
    X, y, *_ = draw("poisson")
    weights = np.random.default_rng(0).integers(0, 4, len(y))
    options = {"n_components": 3, "early_stopping": False, "max_iter": 60, "shape": SHAPE}
    model = CPCompletion(loss="poisson", random_state=0, **options)
    weighted = clone(model).fit(X, y, sample_weight=weights)
    repeated = clone(model).fit(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_answers_may_be_shares_with_their_number_as_weight():
    """Three of four: a row of weight 4, or four rows."""
    X, y, *_ = draw("logistic", rank=1, size=2)
    rng = np.random.default_rng(1)
    trials = rng.integers(1, 5, len(y))
    share = rng.binomial(trials, 0.2 + 0.6 * y) / trials
    model = CPCompletion(2, loss="logistic", shape=SHAPE, early_stopping=False, max_iter=40)
    model.set_params(random_state=0)
    few = clone(model).fit(X, share, sample_weight=trials).predict(X)
    each_answer = [np.arange(n) < round(n * s) for n, s in zip(trials, share, strict=True)]
    rows = np.repeat(X, trials, axis=0)
    many = clone(model).fit(rows, np.concatenate(each_answer)).predict(X)
    assert_allclose(few, many, rtol=1e-6)


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
    assert_allclose(likeliest(LINKS["logistic"], np.ones((1, 1)), left, 1.0), [z], rtol=1e-5)


def test_a_mean_deviance_of_rounding_is_none():
    """Its root is 0, also where it is -2e-15, as at 5."""
    assert LINKS["poisson"].value(np.log(5.0), np.float64(5)) < 0
    cells = Observations(np.zeros((2, 2), int), np.full(2, 5.0), np.ones(2), (1, 1))
    assert error_of(Offset(np.log(5.0), (), 1.0), cells, LINKS["poisson"]) == 0


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


def test_vectors_and_six_modes():
    """One mode is a mean for each index; six are a tensor as any."""
    X, y = np.repeat(np.arange(5), 40)[:, None], np.repeat([1.0, 2, 3, 4, 20], 40)
    assert_allclose(fitted("poisson", X, y, shape=(5,)).predict(X), y, rtol=0.05)
    shape = (4, 3, 4, 3, 4, 3)
    X, y, X_hidden, y_hidden, _ = draw("poisson", shape=shape, rank=0, terms=0.5, seen=0.6)
    assert fitted("poisson", X, y, shape=shape).score(X_hidden, y_hidden) > 0.3


def test_single_large_counts_do_not_capture_the_fit():
    """Ten cells of a thousand counts among means of three: the others are predicted as before."""
    X, y, X_hidden, y_hidden, mean = draw("poisson", shape=(25, 20, 10))
    spoiled = y.copy()
    spoiled[np.random.default_rng(0).permutation(len(y))[:10]] = 1000
    model = fitted("poisson", X, spoiled, shape=(25, 20, 10))
    left = mean_poisson_deviance(y_hidden, model.predict(X_hidden))
    noise = mean_poisson_deviance(y_hidden, mean)
    around = mean_poisson_deviance(y_hidden, np.full(len(mean), y.mean()))
    assert left - noise < 0.5 * (around - noise)


@pytest.mark.parametrize("value", [0.0, 1.0, 7.0, 100.0])
@pytest.mark.parametrize("loss", ["poisson", "poisson_sum", "logistic"])
def test_values_that_are_all_alike_are_what_is_predicted(loss, value):
    """Also where there is no level: to a thousandth, and what is on the boundary comes near it."""
    kind = NonNegativeCPCompletion if loss == "poisson_sum" else CPCompletion
    value = min(value, 1.0) if loss == "logistic" else value
    X = np.argwhere(np.ones((10, 8, 6)))
    model = kind(loss=loss, offset=None, random_state=0).fit(X, np.full(len(X), value))
    assert_allclose(model.predict(X), value, rtol=1e-3, atol=5e-3)


@pytest.mark.parametrize("unit", [1e-6, 1e6, 1e12])
def test_sums_of_parts_have_no_unit(unit):
    """The descent sees values of mean 1, and so does the loss at which it has converged."""
    rng, shape = np.random.default_rng(0), (20, 15, 12)
    mean = dense_from_factors([rng.gamma(0.7, size=(n, 3)) for n in shape])
    y, X = rng.poisson(5 * mean / mean.mean()).ravel().astype(float), np.argwhere(np.ones(shape))
    seen = rng.random(len(y)) < 0.4
    model = NonNegativeCPCompletion(loss="poisson_sum", n_init=1, random_state=0)
    expected = model.fit(X[seen], y[seen]).score(X[seen], y[seen])
    assert model.fit(X[seen], unit * y[seen]).score(X[seen], unit * y[seen]) == pytest.approx(
        expected, abs=1e-3
    )


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
@pytest.mark.parametrize("offset", [None, "auto", "additive"])
def test_few_counts_that_are_not_zero(offset):
    """Held-out counts are all zero: means of seen cells neither fall nor rise without end."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X = np.unique(np.stack([rng.integers(0, n, 900) for n in (15, 12, 8)], axis=1), axis=0)
        y = np.zeros(len(X))
        y[rng.integers(0, len(X), 3)] = 1
        model = CPCompletion(loss="poisson", offset=offset, random_state=0).fit(X, y)
        assert np.isfinite(model.loss_) and model.predict(X).max() < 10


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_terms_alone_are_fitted_to_all_cells():
    """Where no component is of use: residuals of all rows add up to what the ridge leaves.

    That is a term, of size 1 at most, times the ridge of 1; to those not held out they added up to
    twenty times as much.
    """
    rng, shape = np.random.default_rng(1), (30, 25, 20)
    terms = [rng.normal(0, 0.5, n) for n in shape]
    X = np.stack([rng.integers(0, n, 8000) for n in shape], axis=1)
    eta = 1 + sum(term[column] for term, column in zip(terms, X.T, strict=True))
    y = rng.poisson(np.exp(eta)).astype(float)
    model = CPCompletion(loss="poisson", offset="additive", random_state=0).fit(X, y)
    assert model.rank_ == 0
    assert np.abs(np.bincount(X[:, 0], y - model.predict(X))).max() < 8
