"""How fits are told whose components grow on samples: records, callbacks, Ctrl-C, ``verbose``."""

import re

import numpy as np
import pytest
from cases.sampled import draw, error
from cases.ticks import AtTick

from sktf import CPCompletion
from sktf._descent import growth


def test_the_trace_has_a_record_of_each_step(sparse):
    """Of components that were not there yet it has zeros."""
    X, y, *_ = sparse
    model = CPCompletion(shape=(100,) * 3, random_state=0).fit(X, y)
    norms, iterations = model.trace_["component_norms"], model.trace_["iteration"]
    assert norms.shape == (len(iterations), norms.shape[1]) and (norms[0] == 0).all()
    assert (np.diff(iterations) >= 0).all() and iterations[-1] == model.n_iter_
    assert np.nanmin(model.trace_["validation_loss"]) < 0.05
    assert model.loss_curve_[-1] == model.loss_


def test_the_loss_is_that_of_training(sparse):
    """On the scaled data; of few cells all are looked at."""
    X, y, *_ = sparse
    model = CPCompletion(shape=(100,) * 3, random_state=0).fit(X, y)
    left = (y - model.predict(X)) / model.scale_
    assert model.loss_ == pytest.approx(np.mean(left**2), rel=1e-6)


def test_callbacks_see_the_terms_of_the_moment():
    """The scores of the last ticks are near that of the fit."""
    X, y, *_ = draw((60, 50, 40), 2, 20_000, 0.1, 20)
    y = y + 3 * np.sin(1 + X[:, 0])
    callback = pytest.importorskip("sklearn.callback")
    monitor = callback.ScoringMonitor(scoring="r2")
    model = CPCompletion(shape=(60, 50, 40), offset="additive", random_state=0)
    model.set_callbacks(monitor).fit(X, y)
    final, *live = [row["r2"] for row in monitor.get_logs().data if "r2" in row]
    assert abs(live[-1] - final) < 0.002


def interrupt():
    raise KeyboardInterrupt


@pytest.mark.parametrize("number", [1, 2])
def test_ctrl_c_keeps_what_has_grown(monkeypatch, sparse, number):
    """In the first growth that is nothing, and nothing is fitted; in the second it is the first."""
    X, y, *_ = sparse
    calls, original = [], growth.GrowingRun._fresh

    def fresh(self, kind, progress):
        calls.append(kind)
        return interrupt() if len(calls) == number else original(self, kind, progress)

    monkeypatch.setattr(growth.GrowingRun, "_fresh", fresh)
    model = CPCompletion(shape=(100,) * 3, n_init=1, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    if number == 1:
        assert not hasattr(model, "factors_")
    else:
        assert not model.converged_
        assert error(model, X, y) < 0.9


def test_ctrl_c_at_a_tick_ends_the_fit(sparse):
    X, y, *_ = sparse
    stop = AtTick(40, interrupt)
    model = CPCompletion(shape=(100,) * 3, random_state=0).set_callbacks(stop)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert stop.n_ticks == 40 and stop.n_teardowns == 1


def test_verbose_tells_of_every_start(sparse, capsys):
    X, y, *_ = sparse
    CPCompletion(shape=(100,) * 3, random_state=0, verbose=1).fit(X, y)
    told = capsys.readouterr().out
    assert "Start 1: held-out R^2" in told
    assert "Stopped on held-out cells" in told


@pytest.mark.parametrize("n_init", [1, 3])
def test_verbose_two_tells_of_every_growth(sparse, capsys, n_init):
    """Components, the cells they grew on and the held-out loss, which a start lowers."""
    X, y, *_ = sparse
    model = CPCompletion(shape=(100,) * 3, n_init=n_init, random_state=0, verbose=2).fit(X, y)
    title, *lines = capsys.readouterr().out.splitlines()
    prefix = "" if n_init == 1 else r"Start (?:1|2|3): "
    pattern = prefix + r"(\d+) components of (\d+) cells, held-out loss = (\d\.\d{8})"
    grown = [match for line in lines if (match := re.fullmatch(pattern, line))]
    for match in grown:
        # A few cells were seen twice, and the title counts them once.
        assert int(match[1]) > 0 and 0 <= int(match[2]) - int(title.split()[0]) < 30
    losses = np.array([float(match[3]) for match in grown])
    recorded = model.trace_["validation_loss"]
    found = np.nanmin(np.abs(losses[:, None] - recorded), axis=1) < 1e-8
    assert found.any()
    if n_init == 1:
        assert found.all() and np.all(np.diff(losses) < 0)
