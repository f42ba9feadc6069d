"""Fits whose components grow on samples: what random starts do not find."""

import pickle
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from cases.sampled import draw, error
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sktf import CompletionWarning, CPCompletion, DeepCPCompletion, DeepMatrixCompletion
from sktf._descent import growth
from sktf._models import sampled
from sktf._models.sampled import SampledFitting


@pytest.mark.parametrize(
    ("shape", "rank", "n_cells"),
    [((100,) * 3, 3, 5400), ((40,) * 4, 3, 12_000), ((200,) * 3, 3, 20_000)],
)
@pytest.mark.parametrize("seed", [21, 22])
def test_tensors_that_random_starts_do_not_find(shape, rank, n_cells, seed):
    """Error far below the 0.1 of a wrong basin; the oracle with true supports has about .03-.05."""
    X, y, X_hidden, truth = draw(shape, rank, n_cells, 0.1, seed)
    model = CPCompletion(shape=shape, random_state=0).fit(X, y)
    assert error(model, X_hidden, truth) < 0.1
    assert model.rank_ == rank
    assert model.converged_


def test_plain_descent_from_a_random_start_finds_nothing(sparse):
    """What the test above would be without growth: the reason for it."""
    X, y, X_hidden, truth = sparse
    with warnings.catch_warnings(action="ignore"):
        model = CPCompletion(
            10, init="gaussian", early_stopping=True, shape=(100,) * 3, random_state=0
        ).fit(X, y)
    assert error(model, X_hidden, truth) > 0.9


def test_depth_zero_grows_as_cp_does(sparse):
    X, y, *_ = sparse
    how = {"shape": (100,) * 3, "random_state": 0}
    plain, deep = CPCompletion(**how).fit(X, y), DeepCPCompletion(depth=0, **how).fit(X, y)
    assert_array_equal(deep.predict(X), plain.predict(X))


@pytest.mark.parametrize(
    "model", [DeepMatrixCompletion(2), DeepMatrixCompletion(4), DeepCPCompletion(depth=2)]
)
def test_deep_models_grow_as_well(model):
    """500 x 400, rank 5: error and rank of least squares at the true rank, .0558 by itself."""
    X, y, X_hidden, truth = draw((500, 400), 5, 20_000, 0.1, 20)
    model.set_params(shape=(500, 400), random_state=0).fit(X, y)
    assert error(model, X_hidden, truth) < 0.065
    assert model.rank_ == 5


def test_layers_multiply_to_the_prediction():
    """Of a model that has grown, as wide as it is; without offset and scale."""
    X, y, *_ = draw((300, 200), 3, 20_000, 0.1, 20)
    model = DeepMatrixCompletion(3, shape=(300, 200), offset=None, scale=False, random_state=0)
    first, second, third = model.fit(X, y).layers_
    assert first.shape == (3, 200) and third.shape == (300, 3)
    assert_allclose((third @ second @ first)[tuple(X[:50].T)], model.predict(X[:50]), atol=1e-8)


def test_a_sample_is_enough(monkeypatch):
    """Components grow on the cells that are enough, and the last polish takes all."""
    monkeypatch.setattr(sampled, "_ENOUGH", 20_000)
    monkeypatch.setattr(sampled, "_PER_ROOT", 2)
    monkeypatch.setattr(sampled, "_PER_ROW", 10)
    seen, original = [], growth.GrowingRun._draw

    def note(self, size):
        original(self, size)
        seen.append(len(self._sample.values))

    monkeypatch.setattr(growth.GrowingRun, "_draw", note)
    X, y, X_hidden, truth = draw((60,) * 3, 3, 90_000, 0.1, 20)
    model = CPCompletion(shape=(60,) * 3, random_state=0).fit(X, y)
    assert max(seen) <= 20_000
    # Least squares of 540 parameters from 90,000 cells leaves .1 sqrt(540 / 90,000) = .008.
    assert error(model, X_hidden, truth) < 1.5 * 0.1 * np.sqrt(540 / 90_000)


@pytest.mark.parametrize("shape", [(60,) * 3, (200, 150)])
def test_what_held_out_cells_reject_ends_early_and_changes_nothing(monkeypatch, shape):
    """Beside what has been found there is noise: its descent is cut short, of no use either way."""
    X, y, X_hidden, _ = draw(shape, 2, 20_000, 0.1, 20)
    short = CPCompletion(shape=shape, random_state=0).fit(X, y)
    monkeypatch.setattr(growth, "_REJECTED", np.inf)
    long = CPCompletion(shape=shape, random_state=0).fit(X, y)
    assert short.n_iter_ <= long.n_iter_ - 10
    assert_array_equal(short.predict(X_hidden), long.predict(X_hidden))


@pytest.mark.parametrize(("n_held_out", "rejected"), [(1, False), (16, False), (17, True)])
def test_few_held_out_cells_reject_nothing(n_held_out, rejected):
    """Cells that all lose as much lie as many standard errors from zero as their root is."""
    losses = {0.0: np.zeros(n_held_out), 1.0: np.ones(n_held_out)}
    held_out = SimpleNamespace(terms=lambda factors: losses[factors[0][0, 0]])
    problem = SimpleNamespace(
        held_out=SimpleNamespace(with_loss=lambda loss: held_out),
        pruning=SimpleNamespace(factors=lambda theta: [theta], distrust=lambda factors: 1.0),
    )
    assert growth._rejects(problem, None, np.ones((2, 1))) == rejected


def test_samples_are_doubled_until_they_show_something(monkeypatch):
    """Of 2,000 of 20,000 cells nothing stands out."""
    monkeypatch.setattr(sampled, "_ENOUGH", 2000)
    monkeypatch.setattr(sampled, "_PER_ROOT", 0)
    monkeypatch.setattr(sampled, "_PER_ROW", 1)
    X, y, X_hidden, truth = draw((200,) * 3, 3, 20_000, 0.1, 20)
    model = CPCompletion(shape=(200,) * 3, random_state=0).fit(X, y)
    assert error(model, X_hidden, truth) < 0.1


def test_additive_terms_are_fitted_jointly():
    """Beside components, with few cells an index: terms to a fifth of their size."""
    rng = np.random.default_rng(20)
    X, y, X_hidden, truth = draw((400, 300), 2, 22_000, 0.3, 20)
    terms = [rng.standard_normal(400), rng.standard_normal(300)]
    y = 5 + y + terms[0][X[:, 0]] + terms[1][X[:, 1]]
    truth = 5 + truth + terms[0][X_hidden[:, 0]] + terms[1][X_hidden[:, 1]]
    model = CPCompletion(shape=(400, 300), offset="additive", random_state=0).fit(X, y)
    assert error(model, X_hidden, truth) < 0.15
    for fitted, term in zip(model.offset_terms_, terms, strict=True):
        assert np.std((fitted - fitted.mean()) - (term - term.mean())) < 0.2


def test_pure_noise_grows_nothing():
    """The mean is predicted, rank 0, and a warning says so."""
    rng = np.random.default_rng(20)
    X, y = rng.integers(0, 80, (20_000, 3)), rng.standard_normal(20_000)
    with pytest.warns(CompletionWarning, match="Nothing was learned"):
        model = CPCompletion(shape=(80,) * 3, random_state=0).fit(X, y)
    assert model.rank_ == 0
    assert_allclose(model.predict(X), y.mean(), atol=0.05)


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_n_components_is_a_cap(sparse):
    X, y, *_ = sparse
    model = CPCompletion(2, shape=(100,) * 3, random_state=0).fit(X, y)
    assert [factor.shape for factor in model.factors_] == [(100, 2)] * 3


def test_a_cap_that_binds_is_told(sparse):
    X, y, *_ = sparse
    with pytest.warns(CompletionWarning, match="n_components=2"):
        CPCompletion(2, shape=(100,) * 3, random_state=0).fit(X, y)
    with warnings.catch_warnings(action="error"):
        CPCompletion(3, shape=(100,) * 3, random_state=0).fit(X, y)


@pytest.mark.parametrize(
    "settings",
    [
        {"init": "gaussian"},
        {"init_scale": 0.5},
        {"init_mean": 0.3},
        {"loss": "squared"},
        {"step": "constant"},
        {"learning_rate": 0.1},
        {"record_every": 5},
        {"measures": {"one": lambda factors: 1}},
        {"prune": False},
        {"warm_start": True},
    ],
    ids=", ".join,
)
def test_what_researchers_ask_for_is_one_plain_descent(monkeypatch, sparse, settings):
    def refuse(*_, **__):
        raise AssertionError("grew")

    monkeypatch.setattr(SampledFitting, "__init__", refuse)
    X, y, *_ = sparse
    with warnings.catch_warnings(action="ignore"):
        CPCompletion(3, shape=(100,) * 3, max_iter=2, n_init=1, **settings).fit(X, y)


def test_the_order_of_rows_hides_nothing(monkeypatch):
    """Components of late indices, in sorted rows, of which some held-out ones are looked at."""
    monkeypatch.setattr(sampled, "_LOOKED_AT", 1500)
    rng = np.random.default_rng(20)
    factors = [rng.standard_normal((60, 2)) for _ in range(3)]
    factors[0][:40, 1] = factors[0][40:, 0] = 0
    X = np.argwhere(rng.random((60,) * 3) < 0.2)
    y = np.prod([f[c] for f, c in zip(factors, X.T, strict=True)], axis=0).sum(axis=1)
    y += 0.3 * y.std() * rng.standard_normal(len(y))
    assert CPCompletion(shape=(60,) * 3, random_state=0).fit(X, y).rank_ == 2


def test_one_wild_value_ruins_nothing():
    """Squares would follow it; a race begins with a bounded pull."""
    X, y, X_hidden, truth = draw((60, 50, 40), 3, 20_000, 0.1, 20)
    y[1] = 1000.0  # which is not held out
    with warnings.catch_warnings(action="ignore"):
        model = CPCompletion(shape=(60, 50, 40), random_state=0).fit(X, y)
    assert error(model, X_hidden, truth) < 0.1


def test_without_a_refit_all_training_cells_are_seen(monkeypatch):
    monkeypatch.setattr(sampled, "_ENOUGH", 10_000)
    monkeypatch.setattr(sampled, "_PER_ROOT", 2)
    monkeypatch.setattr(sampled, "_PER_ROW", 10)
    X, y, X_hidden, truth = draw((60,) * 3, 3, 90_000, 0.3, 20)
    model = CPCompletion(shape=(60,) * 3, refit=False, random_state=0).fit(X, y)
    assert error(model, X_hidden, truth) < 1.5 * 0.3 * np.sqrt(540 / 81_000)


@pytest.mark.parametrize(
    ("model", "shape", "n_cells"),
    [
        (CPCompletion(), (100,) * 3, 6000),
        (DeepCPCompletion(), (100,) * 3, 6000),
        (DeepMatrixCompletion(), (90, 80), 16_000),
    ],
)
def test_a_warm_start_goes_on_from_what_has_grown(model, shape, n_cells):
    """And once more from there. Of fewer cells a deep model finds nothing to go on from."""
    X, y, *_ = draw(shape, 3 if len(shape) == 3 else 2, n_cells, 0.1, 0)
    model = clone(model).set_params(shape=shape, random_state=0).fit(X, y)
    before = model.predict(X)
    model.set_params(warm_start=True, max_iter=3)
    for _ in range(2):
        with warnings.catch_warnings(action="ignore"):
            again = model.fit(X, y).predict(X)
        assert np.std(again - before) < 0.1 * np.std(before)


def test_a_deep_model_that_has_grown_is_small_and_goes_on():
    """Its square matrices, here 500 times as many numbers as factors, are made to go on from."""
    X, y, *_ = draw((500, 400), 2, 20_000, 0.1, 20)
    model = DeepCPCompletion(depth=2, shape=(500, 400), random_state=0).fit(X, y)
    n_numbers = (500 + 400) * len(model.component_norms_)
    assert len(pickle.dumps(model)) < 16 * n_numbers + 60_000  # factors twice, trace, counts
    before = model.predict(X)
    model.set_params(warm_start=True, early_stopping=False, max_iter=3)
    with warnings.catch_warnings(action="ignore"):
        again = model.fit(X, y).predict(X)
    assert 0 < np.std(again - before) < 0.1 * np.std(before)  # as far as the noise is
    grown = DeepCPCompletion(depth=2, shape=(500, 400), random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="keep n_components"):
        grown.set_params(warm_start=True, n_components=7).fit(X, y)


def test_a_few_cells_seen_a_million_times_are_few():
    """They are numbered all the same, and nothing is held out."""
    cell = np.random.default_rng(20).integers(0, 10, 2**20 + 5)
    y = cell + 0.1 * np.random.default_rng(21).standard_normal(len(cell))
    with warnings.catch_warnings(action="ignore"):
        model = CPCompletion(n_init=1, max_iter=100, random_state=0)
        model.fit(np.column_stack([cell, cell]), y)
    assert model.validation_score_ is None
    assert_allclose(model.predict([[k, k] for k in range(10)]), range(10), atol=0.5)


def test_weights_of_zero_are_absent(sparse):
    X, y, *_ = sparse
    spoiled = y.copy()
    spoiled[:500] = 1e3
    weights = np.r_[np.zeros(500), np.ones(len(y) - 500)]
    with_zeros = CPCompletion(shape=(100,) * 3, random_state=0).fit(X, spoiled, weights)
    without = CPCompletion(shape=(100,) * 3, random_state=0).fit(X[500:], y[500:])
    assert_array_equal(with_zeros.predict(X), without.predict(X))


def test_units_change_nothing(sparse):
    """A power of two moves no digit."""
    X, y, *_ = sparse
    one = CPCompletion(shape=(100,) * 3, random_state=0).fit(X, y)
    other = CPCompletion(shape=(100,) * 3, random_state=0).fit(X, y * 2.0**40)
    assert_allclose(other.predict(X), one.predict(X) * 2.0**40, rtol=1e-9)


def test_a_vector_of_many_cells_is_one_plain_descent():
    """It tells of no index by its other ones; held-out cells are given."""
    rng = np.random.default_rng(20)
    X = rng.integers(0, 300, (20_000, 1))
    y = 2 + np.sin(X[:, 0])
    model = CPCompletion(n_init=1, random_state=0).fit(X, y, X_val=X[:300], y_val=y[:300])
    assert_allclose(model.predict(X), y, atol=0.05)
