"""Chains that go on, in other processes or after an end: resumed, interrupted, watched, refused."""

import pickle

import numpy as np
import pytest
from cases.posteriors import noisy, small
from cases.ticks import AtTick
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError

from sktf import (
    CPCompletion,
)
from sktf._averages.chains import APART
from sktf._averages.gibbs import Sampler


def test_a_failed_fit_leaves_the_columns_as_they_were():
    """Also one of more columns."""
    X, y, *_ = noisy(19)
    model = small(estimator=CPCompletion(4, n_init=2)).fit(X, y)
    before = model.predict(X)
    with pytest.raises(ValueError, match="belong together"):
        model.fit(X[:, :2], y, X_val=X[:, :2])
    assert_array_equal(model.predict(X), before)


def test_a_chain_resumed_equals_one_undisturbed():
    """With ``warm_start``, in every bit."""
    X, y, *_ = noisy(6)
    whole, parts = small().fit(X, y), small(n_samples=3, warm_start=True).fit(X, y)
    parts.set_params(n_samples=8).fit(X, y)
    assert_array_equal(whole.predict(X, return_std=True), parts.predict(X, return_std=True))
    parts = pickle.loads(pickle.dumps(small(n_samples=3, warm_start=True).fit(X, y)))
    parts.set_params(n_samples=8).fit(X, y)
    assert_array_equal(whole.predict(X), parts.predict(X))


def test_other_data_or_fewer_draws_cannot_be_gone_on_with():
    """Both are told with the remedy, and the fit before stays."""
    X, y, *_ = noisy(6)
    model = small(warm_start=True).fit(X, y)
    before = model.predict(X)
    for changed in ((X, y + 1), (X[::-1], y), (X, y, np.linspace(1, 2, len(y)))):
        with pytest.raises(ValueError, match="other data"):
            model.fit(*changed)
    with pytest.raises(ValueError, match="must not be less"):
        clone_with_fit(model, n_samples=4).fit(X, y)
    others = {"n_chains": 3, "n_components": 2, "random_state": 1, "estimator__clip": "range"}
    for name, value in others.items():
        with pytest.raises(ValueError, match=f"another (estimator|{name})"):
            clone_with_fit(model, **{name: value}).fit(X, y)
    with pytest.raises(ValueError, match="3 modes but X has 2 columns"):
        model.fit(X[:, :2], y)
    assert_array_equal(model.predict(X), before)


def clone_with_fit(model, **settings):
    """Return a copy of a fitted model with other parameters."""
    return pickle.loads(pickle.dumps(model)).set_params(**settings)


@pytest.mark.parametrize("backend", [None, 2])
def test_jobs_change_nothing(backend):
    """Chains draw from seeds of their own."""
    X, y, *_ = noisy(7)
    assert_array_equal(small(n_jobs=backend).fit(X, y).predict(X), small().fit(X, y).predict(X))


@pytest.mark.parametrize("at", [10 + 3 * APART + 1, 10 + 8 * APART + 10 + 3 * APART + 1])
def test_ctrl_c_keeps_the_draws(monkeypatch, at):
    """Of both chains, and a fit that goes on from there ends as an undisturbed one."""
    X, y, *_ = noisy(8)
    choice = small(warm_start=True).fit(X, y)._begun.choice
    # Sweeps of trials would count as well.
    monkeypatch.setattr("sktf._averages.posterior.choose", lambda *_: choice)
    whole, sweep, done = small(warm_start=True).fit(X, y), Sampler.sweep, []

    def interrupted(self, state):
        done.append(1)
        if len(done) == at:
            raise KeyboardInterrupt
        return sweep(self, state)

    monkeypatch.setattr(Sampler, "sweep", interrupted)
    model = small(warm_start=True)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert len(model._draws.draws) == (3 if at < 50 else 11)
    assert np.isfinite(model.predict(X)).all()
    assert_array_equal(model.fit(X, y).predict(X), whole.predict(X))


def test_ctrl_c_before_the_first_draw_leaves_it_as_it_was(monkeypatch):
    """Not fitted."""

    def interrupted(self, state):
        raise KeyboardInterrupt

    monkeypatch.setattr(Sampler, "sweep", interrupted)
    model = small()
    X, y, *_ = noisy(8)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_callbacks_see_every_chain_and_may_stop():
    """A callback that asks to stop leaves the chains before."""
    X, y, *_ = noisy(9)
    watching = AtTick()
    small().set_callbacks(watching).fit(X, y)
    assert watching.n_ticks == 2
    stopped = small().set_callbacks(AtTick(1, lambda: True)).fit(X, y)
    assert stopped._draws.chains.tolist() == [0] * 8


def test_verbose_tells_what_is_tried(capsys):
    """A line for each number of components and each chain."""
    X, y, *_ = noisy(9)
    small(verbose=1).fit(X, y)
    out = capsys.readouterr().out
    assert "3 components: held-out RMSE" in out
    assert "Chain 2 of 2: 8 draws" in out
