"""Counts, and yes or no: what fits of a loss with a link find and predict."""

import numpy as np
import pytest
from cases.linked import SHAPE, deviance, draw, fitted
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import mean_poisson_deviance

from sktf import (
    CompletionWarning,
    CPCompletion,
    DeepCPCompletion,
    DeepMatrixCompletion,
    NonNegativeCPCompletion,
)
from sktf.datasets import dense_from_factors

each = pytest.mark.parametrize("loss", ["poisson", "logistic"])
pytestmark = pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")


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


@pytest.mark.parametrize("n_events", [1, 2, 5])
@pytest.mark.parametrize("case", ["poisson", "noise", "yes", "no"])
def test_a_few_events_tell_nothing_but_their_number(case, n_events):
    """Anywhere among 800 cells: held-out zeros do not speak for a model that is sure of zeros.

    Nor do they where nearly all are yes, or rates have a little noise.
    """
    loss = "poisson" if case in ("poisson", "noise") else "logistic"
    for seed in range(4):
        rng = np.random.default_rng(seed)
        cells = rng.choice(20 * 15 * 10, 800, replace=False)
        X = np.column_stack(np.unravel_index(cells, (20, 15, 10)))
        y = np.where(np.arange(800) < n_events, 1.0, 0.0)
        y[700:] += 1e-6 * (case == "noise")
        y = 1 - y if case == "no" else y
        model = CPCompletion(loss=loss, shape=(20, 15, 10), random_state=seed).fit(X, y)
        assert model.rank_ == 0
        assert_allclose(model.to_dense(), y.mean(), rtol=1e-9)


@pytest.mark.parametrize("n_answers", [100, 10_000])
@pytest.mark.parametrize("loss", ["poisson", "logistic"])
def test_shares_of_many_answers_are_many_events(loss, n_answers):
    """At a mean of 1 % each cell has seen some, by its weight; a D^2 of .3 is far from chance."""
    rng, shape = np.random.default_rng(0), (15, 12, 10)
    X = np.argwhere(rng.random(shape) < 0.5)
    factors = [rng.standard_normal(size) for size in shape]
    eta = np.prod([f[column] for f, column in zip(factors, X.T, strict=True)], axis=0)
    chance = 0.01 * np.exp(np.clip(eta, -2, 2))
    y, weights = rng.binomial(n_answers, chance) / n_answers, np.full(len(X), n_answers)
    model = CPCompletion(loss=loss, shape=shape, random_state=0).fit(X, y, sample_weight=weights)
    assert model.rank_ and model.validation_score_ > 0.3


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_model_of_parts_never_rules_out_what_was_seen():
    """A mean of exactly zero explains no event."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X = np.argwhere(rng.random((20, 15, 10)) < 0.27)
        y = np.where(np.arange(len(X)) % (len(X) // 5) == 3, 1.0, 0.0)
        model = NonNegativeCPCompletion(loss="poisson_sum", random_state=seed).fit(X, y)
        assert model.predict(X[y > 0]).min() > 0


@pytest.mark.parametrize("seed", [0, 7])
def test_a_share_is_predicted_beside_the_terms_that_it_was_judged_with(seed):
    """So that a refit on all cells, which would move these, changes nothing."""
    rng, shape = np.random.default_rng(seed), (15, 12, 10)
    X = np.column_stack([rng.integers(size, size=1200) for size in shape])
    X[0] = np.array(shape) - 1
    factors, terms = ([rng.normal(size=size) for size in shape] for _ in range(2))
    columns = [*zip(factors, terms, X.T, strict=True)]
    eta = 0.9 * np.prod([f[at] for f, _, at in columns], axis=0)
    eta += sum(0.5 * term[at] for _, term, at in columns) - 2
    y = rng.poisson(np.exp(np.minimum(eta, 3))).astype(float)
    told = {"loss": "poisson", "offset": "additive", "shape": shape, "random_state": 0}
    fits = [CPCompletion(refit=refit, **told).fit(X, y) for refit in (False, True)]
    assert fits[0].rank_ == 0 and fits[0].component_norms_.any()  # a share of them
    assert_array_equal(*(model.predict(X) for model in fits))


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
