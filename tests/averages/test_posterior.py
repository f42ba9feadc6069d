"""Gibbs chains from a fit: what they predict, how sure they are, and how they go on."""

from contextlib import nullcontext
from math import sqrt

import numpy as np
import pytest
from cases.posteriors import SHAPE, noisy, small
from conftest import low_rank_entries
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.base import clone

from sktf import (
    CompletionWarning,
    CPALSCompletion,
    CPCompletion,
    DeepMatrixCompletion,
    PosteriorCompletion,
)
from sktf._averages.gibbs import State
from sktf._averages.posterior_space import Space
from sktf._cells.validation import Observations
from sktf.datasets import load_il2, make_ratings, split_entries


@pytest.mark.parametrize("seed", [50, 51, 52])
def test_truth_and_noise_are_found(seed):
    """The truth to less than the noise, and the deviation of this, if it is not fitted in part.

    Of rank 2, 60 parameters of 480 cells would leave sqrt(60 / 480) = .35 of the noise; chains of
    more components, which held-out cells find as good, leave up to .8 of it.
    """
    X, y, X_hidden, truth = noisy(seed)
    model = PosteriorCompletion(CPCompletion(shape=SHAPE), random_state=seed).fit(X, y)
    assert sqrt(np.mean((model.predict(X_hidden) - truth) ** 2)) < 0.1
    assert 0.05 < model.noise_std_ < 0.13
    assert model.rank_ == 2
    assert model.r_hat_ < 1.1


@pytest.mark.parametrize("seed", [60, 61, 62])
def test_intervals_hold_what_they_say(seed):
    """90 % intervals of new values: 80 to 98 % of 480 hidden cells; of the truth, 80 % or more.

    Cells share rows, so that their errors go together: the binomial error (1.4 %) is too small.
    """
    X, y, X_hidden, truth = noisy(seed)
    model = PosteriorCompletion(CPCompletion(shape=SHAPE), random_state=seed).fit(X, y)
    new = truth + 0.1 * np.random.RandomState(seed).standard_normal(len(truth))
    low, high = model.predict_quantiles(X_hidden, [0.05, 0.95])
    assert 0.8 < np.mean((low < new) & (new < high)) < 0.98
    mean, std = model.predict(X_hidden, return_std="mean")
    assert np.mean(np.abs(mean - truth) < 1.645 * std) > 0.8


def test_it_beats_the_descent_on_ratings_and_assays():
    """By 2 % and more, where 4 to 30 % are measured; means of two splits each."""
    for (X, y, shape), hidden in ((make_ratings(random_state=70), 0.2), (load_il2(), 0.5)):
        ratios = []
        for seed in (70, 71):
            X_seen, X_hidden, y_seen, y_hidden = split_entries(X, y, hidden, random_state=seed)
            model = PosteriorCompletion(CPCompletion(shape=shape), random_state=seed)
            with pytest.warns(CompletionWarning) if len(shape) > 2 else nullcontext():
                model.fit(X_seen, y_seen)
            errors = [
                np.mean((fitted.predict(X_hidden) - y_hidden) ** 2)
                for fitted in (
                    model,
                    CPCompletion(shape=shape, random_state=seed).fit(X_seen, y_seen),
                )
            ]
            ratios.append(errors[0] / errors[1])
        assert np.mean(ratios) < 0.96


def test_unseen_indices_get_what_their_mode_is_like():
    """The mean of their mode, about, and a deviation as wide as its rows differ."""
    X, y, X_hidden, truth = noisy(1)
    inner = CPCompletion(shape=(14, 10, 8), handle_unknown="mean")
    with pytest.warns(CompletionWarning, match="No cell tells"):
        model = PosteriorCompletion(inner, random_state=0).fit(X, y)
    unseen = np.column_stack([np.full(80, 13), *np.divmod(np.arange(80), 8)])
    mean, std = model.predict(unseen, return_std=True)
    others = np.zeros((12, 80))
    for index in range(12):
        others[index] = model.predict(np.column_stack([np.full(80, index), unseen[:, 1:]]))
    # Rows of 12 indices give a deviation to about 1 / sqrt(24); factor 1.5 either way.
    ratio = sqrt(np.mean(std**2) / np.mean(others.var(axis=0)))
    assert 1 / 1.5 < ratio < 1.5
    assert_array_equal(model.predict([[20, 3, 4], [-1, 3, 4]]), model.predict([[13, 3, 4]] * 2))
    # What is predicted hardly depends on the seed: the mean of a mode is known, not sampled.
    other = clone(model).set_params(random_state=1)
    with pytest.warns(CompletionWarning, match="No cell tells"):
        other.fit(X, y)
    assert np.mean((other.predict(unseen) - mean) ** 2) < 0.05 * np.mean(others.var(axis=0))
    # Two such indices have rows of their own, as far apart as others: twice the variance.
    pair = model.sample_y([[12, 3, 4], [13, 3, 4]], 2000)
    assert abs(np.corrcoef(pair)[0, 1]) < 0.5


def test_indices_of_one_cell_each_are_fitted():
    """As of time stamps: none can be held out, and no held-out cell is complained of."""
    rng = np.random.RandomState(18)
    X = np.column_stack([np.arange(300), rng.randint(3, size=300)])
    y = X[:, 1] + 0.1 * rng.standard_normal(300)
    with pytest.warns(CompletionWarning, match="Under-determined"):
        model = PosteriorCompletion(CPCompletion(n_init=1), random_state=0).fit(X, y)
    assert model.validation_score_ is None
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
@pytest.mark.parametrize("seed", range(6))
def test_sparse_cells_are_fitted_whatever_is_held_out(seed):
    """Every index keeps a cell to train on."""
    rng = np.random.RandomState(seed)
    X = np.column_stack([rng.randint(200, size=120), rng.randint(150, size=120)])
    model = small(estimator=CPCompletion(2, n_init=1), random_state=seed)
    assert np.isfinite(model.fit(X, rng.standard_normal(120)).predict(X)).all()


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_weights_are_precisions():
    """Cells of weight .01 are off by ten times as much, and harm little where this is said."""
    X, y, X_hidden, truth = noisy(2)
    rng = np.random.RandomState(2)
    bad = rng.random_sample(len(y)) < 0.5
    y = y + bad * 1.0 * rng.standard_normal(len(y))
    errors = []
    for weights in (None, np.where(bad, 0.01, 1.0)):
        model = PosteriorCompletion(CPCompletion(shape=SHAPE), random_state=0).fit(X, y, weights)
        errors.append(np.mean((model.predict(X_hidden) - truth) ** 2))
    assert errors[1] < 0.3 * errors[0]


def test_deviation_quantiles_and_samples_are_of_one_distribution():
    """Of a cell: 4,000 samples have the mean, deviation and quantiles that are told."""
    X, y, *_ = noisy(3)
    model = small(n_samples=25, n_chains=4).fit(X, y)
    samples = model.sample_y(X[:3], 4000, random_state=0)
    mean, std = model.predict(X[:3], return_std=True)
    assert_allclose(samples.mean(axis=1), mean, atol=5 * std.max() / sqrt(4000))
    assert_allclose(samples.std(axis=1), std, rtol=5 / sqrt(8000))
    below = (samples < model.predict_quantiles(X[:3], [0.1])[0][:, None]).mean(axis=1)
    assert_allclose(below, 0.1, atol=5 * sqrt(0.09 / 4000))
    assert (model.predict(X[:3], return_std="mean")[1] < std).all()


def test_the_descent_takes_its_share():
    """As a normal distribution of its own error beside the draws, by a weight set by hand."""
    X, y, *_ = noisy(4)
    model = small().fit(X, y)
    alone, descent = model.predict(X[:5]), model.estimator_.predict(X[:5])
    model.weight_ = 0.25
    assert_allclose(model.predict(X[:5]), 0.25 * alone + 0.75 * descent, rtol=1e-6)
    model.weight_ = 0.0
    _, std = model.predict(X[:5], return_std=True)
    assert_allclose(std, model.estimator_._error)
    expected = descent + norm.ppf(0.9) * model.estimator_._error
    assert_allclose(model.predict_quantiles(X[:5], [0.9])[0], expected, rtol=1e-6)
    spread = model.sample_y(X[:5], 2000).std(axis=1)
    assert_allclose(spread, model.estimator_._error, rtol=5 / sqrt(4000))


def test_where_the_descent_is_right_it_counts():
    """A matrix of rank 3 with little noise: chains of forty components can only be worse."""
    X, y = low_rank_entries((60, 50), 3, 0.5, 5)
    y = y + 0.01 * np.random.RandomState(5).standard_normal(len(y))
    inner = CPCompletion(shape=(60, 50))
    model = PosteriorCompletion(inner, n_components=40, random_state=0).fit(X, y)
    assert model.weight_ < 0.5


def test_pure_noise_is_told():
    """Nothing was learned; the mean is not predicted much worse than by itself."""
    X, _, X_hidden, _ = noisy(10)
    rng = np.random.RandomState(10)
    y, y_hidden = rng.standard_normal(len(X)), rng.standard_normal(len(X_hidden))
    with pytest.warns(CompletionWarning, match="Nothing was learned"):
        model = PosteriorCompletion(CPCompletion(shape=SHAPE), random_state=0).fit(X, y)
    assert np.mean((model.predict(X_hidden) - y_hidden) ** 2) < 1.15 * np.mean(y_hidden**2)
    mean, std = model.predict(X_hidden, return_std=True)
    assert 0.84 < np.mean(np.abs(mean - y_hidden) < 1.645 * std) < 0.96


@pytest.mark.parametrize("n_cells", [1, 2, 20])
def test_few_cells_leave_wide_intervals(n_cells):
    """Whatever is predicted, the deviation is not less than what the values show."""
    X, y, X_hidden, truth = noisy(11)
    model = PosteriorCompletion(CPCompletion(shape=SHAPE), random_state=0)
    with pytest.warns(CompletionWarning, match="No cell tells|Under-determined"):
        model.fit(X[:n_cells], y[:n_cells])
    mean, std = model.predict(X_hidden, return_std=True)
    assert np.isfinite(mean).all()
    assert np.median(std) > 0.5 * np.std(y[:n_cells])
    assert np.median(std) > 0


@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_units_change_nothing(unit):
    """No square over- or underflows; rounding grows a little along the chains."""
    X, y, *_ = noisy(12)
    found = np.array(small().fit(X, y * unit).predict(X[:9], return_std=True)) / unit
    assert_allclose(found, small().fit(X, y).predict(X[:9], return_std=True), atol=1e-3)


def test_values_all_alike():
    """Are predicted, nearly, and nearly surely."""
    X, y, *_ = noisy(12)
    mean, std = small().fit(X, np.full(len(y), 3.0)).predict(X, return_std=True)
    assert_allclose(mean, 3.0, rtol=0.01)
    assert (std < 0.05).all()


@pytest.mark.parametrize(
    "inner",
    [
        CPALSCompletion(2, shape=SHAPE),
        CPCompletion(2, shape=SHAPE, offset="additive"),
        CPCompletion(shape=SHAPE, early_stopping=False, tol=0.02),
    ],
)
def test_any_cp_form_may_be_the_start(inner):
    """Error below the noise, as above."""
    X, y, X_hidden, truth = noisy(13)
    model = PosteriorCompletion(inner, random_state=0).fit(X, y)
    assert sqrt(np.mean((model.predict(X_hidden) - truth) ** 2)) < 0.1


def test_the_first_state_predicts_as_the_descent_does():
    """Components, offset and additive terms are taken over as they are."""
    X, y, *_ = noisy(14)
    y = y + 5.0 + X[:, 0]
    inner = CPCompletion(2, shape=SHAPE, offset="additive", random_state=0).fit(X, y)
    observations = Observations(X.astype(np.int32), y, np.ones(len(y)), SHAPE)
    space = Space.of(observations)
    factors, terms = space.begin("descent", inner, 2, np.random.RandomState(0))
    state = State(factors, terms, 1.0, None)
    assert_allclose(space.values(state.at(space.rows(observations.coords))), inner.predict(X))


@pytest.mark.parametrize(
    ("estimator", "match"),
    [
        (DeepMatrixCompletion(shape=SHAPE), "one factor for each of the 3 modes"),
        (CPCompletion, "estimator"),
        ("CP", "estimator"),
        (CPCompletion(shape=-1), "The 'shape' parameter of CPCompletion must be"),
        (CPCompletion(loss=["squared"]), "The 'loss' parameter of CPCompletion must be"),
    ],
)
def test_what_is_no_start_is_told(estimator, match):
    """By name."""
    X, y, *_ = noisy(15)
    with pytest.raises((ValueError, TypeError), match=match):
        PosteriorCompletion(estimator, random_state=0).fit(X, y)


def test_bad_questions_are_told():
    """With what is expected."""
    X, y, *_ = noisy(15)
    model = small().fit(X, y)
    with pytest.raises(ValueError, match='expected a bool or "mean"'):
        model.predict(X, return_std="maen")
    for quantiles in ([0.0, 0.5], 0.5, [1.0], [np.nan]):
        with pytest.raises(ValueError, match="between 0 and 1"):
            model.predict_quantiles(X, quantiles)
    with pytest.raises(ValueError, match="has index 40 in mode 0"):
        model.predict([[40, 0, 0]])


def test_dense_tensor_and_bounds():
    """``to_dense`` predicts all cells; ``clip`` of the estimator bounds them."""
    X, y, *_ = noisy(16)
    model = small().fit(X, y)
    cells = np.argwhere(np.ones(SHAPE))
    assert_array_equal(model.to_dense().ravel(), model.predict(cells))
    clipped = small(estimator=CPCompletion(4, shape=SHAPE, clip=(-0.5, 0.5))).fit(X, y)
    assert np.abs(clipped.predict(cells)).max() == 0.5
    assert np.abs(clipped.predict_quantiles(cells, [0.01])).max() == 0.5


def test_held_out_cells_may_be_given():
    """Then all cells of X are trained on."""
    X, y, X_hidden, truth = noisy(17)
    model = PosteriorCompletion(CPCompletion(shape=SHAPE), random_state=0)
    model.fit(X, y, X_val=X_hidden, y_val=truth)
    explained = 1 - np.mean((model.predict(X_hidden) - truth) ** 2) / truth.var()
    # Short chains on the same cells are a little worse than the long ones.
    assert explained - 0.02 < model.validation_score_ <= explained + 0.01
