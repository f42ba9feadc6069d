"""Callbacks and verbose: what watches a fit."""

import importlib.util
import re
import sys
from threading import get_ident

import numpy as np
import pytest
from cases.estimators import FOLDS, SHAPE, recorded
from cases.ticks import AtTick
from conftest import low_rank_entries
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV

from sktf import CPCompletion, DeepCPCompletion, DeepMatrixCompletion
from sktf._descent import run
from sktf._models import old_sklearn

# Short runs are the point here; that they end early is tested where it matters.
# scikit-learn's checks fit a handful of random rows, which determine no model.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]


# Callbacks -----------------------------------------------------------------------------------

callback = pytest.importorskip("sklearn.callback")


_progressbar = pytest.importorskip("sklearn.callback._progressbar")


@pytest.fixture
def shown(monkeypatch):
    """What the outermost ProgressBar shows after each event, between 0 and 1."""
    pytest.importorskip("rich")
    shares, monitor = [], _progressbar.RichProgressMonitor
    original = monitor._on_task_end

    def note(self, task):
        original(self, task)
        shares.append(self.root_rich_task.progress)

    monkeypatch.setattr(monitor, "_on_task_end", note)
    return shares


def test_progress_bar_through_grid_search(small_tensor, capsys, shown):
    """A ProgressBar on a search draws one bar per fit, and its own moves within each."""
    model = CPCompletion(4, shape=SHAPE, n_init=1, max_iter=10, random_state=0)
    search = GridSearchCV(model, {"n_components": [1, 2]}, cv=FOLDS)
    search.set_callbacks(callback.ProgressBar()).fit(*small_tensor)
    out = capsys.readouterr().out
    assert out.count("CPCompletion - fit") >= 2 * 3 + 1
    assert np.all(np.diff(shown) >= -1e-12) and shown[-1] == 1.0
    assert len(np.unique(np.round(shown, 6))) > 6 * 50


@pytest.mark.parametrize("settings", [{}, {"n_init": 1}, {"early_stopping": False}], ids=str)
def test_progress_bar_of_a_fit_moves_to_its_end(small_tensor, capsys, shown, settings):
    """In a hundred steps, however many records there are; a fit in six stages or in two."""
    recorded(**settings).set_callbacks(callback.ProgressBar()).fit(*small_tensor)
    assert "100%" in capsys.readouterr().out
    assert_allclose(shown, [*np.arange(1, 101) / 100, 1.0], rtol=1e-12)


MODELS = {
    "CP": CPCompletion(4, max_iter=300, random_state=0),
    "deep CP": DeepCPCompletion(4, max_iter=60, random_state=0),
    "matrix": DeepMatrixCompletion(max_iter=60, random_state=0),
}


@pytest.mark.parametrize("watch", ["verbose", "every record", "callback"])
@pytest.mark.parametrize("name", MODELS)
def test_watching_changes_no_bit(small_tensor, monkeypatch, capsys, name, watch):
    """Of the model and its trace, with two threads to descend on."""
    monkeypatch.setattr("sktf._objective.cpu.numba_config.NUMBA_NUM_THREADS", 2)
    X, y = low_rank_entries((12, 11), 2, 0.9) if name == "matrix" else small_tensor
    alone, watched = clone(MODELS[name]).fit(X, y), clone(MODELS[name])
    if watch == "callback":
        watched.set_callbacks(AtTick(), callback.ScoringMonitor(scoring="r2"))
    else:
        watched.set_params(verbose=1 + (watch == "every record"))
    watched.fit(X, y)
    assert_array_equal(watched._theta, alone._theta)
    for key, records in alone.trace_.items():
        assert_array_equal(watched.trace_[key], records)


@pytest.mark.parametrize("watch", ["verbose", "callback"])
def test_watched_starts_descend_side_by_side(small_tensor, monkeypatch, capsys, watch):
    """In threads of their own, while the one of the user tells of them."""
    monkeypatch.setattr("sktf._objective.cpu.numba_config.NUMBA_NUM_THREADS", 2)
    threads, original = set(), run.gradient_descent

    def note(*args, **options):
        threads.add(get_ident())
        return original(*args, **options)

    monkeypatch.setattr(run, "gradient_descent", note)
    model = CPCompletion(4, random_state=0, verbose=watch == "verbose")
    if watch == "callback":
        model.set_callbacks(AtTick())
    model.fit(*small_tensor)
    assert len(threads - {get_ident()}) >= 1


def test_scoring_monitor_scores_the_live_model(small_tensor):
    """A ScoringMonitor sees a model that predicts at every tick, and the one that is left."""
    X, y = small_tensor
    monitor = callback.ScoringMonitor(scoring="r2")
    settings = dict(early_stopping=False, loss="squared", tol=0.0, max_iter=200)
    model = recorded(**settings).set_callbacks(monitor).fit(X, y)
    final, *live = [row["r2"] for row in monitor.get_logs().data if "r2" in row]
    # On the scaled data, whose mean square is 1: R^2 is 1 minus the loss over the variance.
    expected = 1 - model.loss_curve_[2::2] * np.mean(y**2) / y.var()
    # An absolute error, since scores start at zero.
    assert_allclose(live, expected, atol=1e-12)
    assert_allclose(final, r2_score(y, model.predict(X)), rtol=1e-12)


@pytest.mark.parametrize("number", [1, 10])
@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_a_callback_ends_the_fit(small_tensor, number):
    """True from a callback ends the fit there, without a warning and with a usable model."""
    X, y = small_tensor
    stop = AtTick(number, lambda: True)
    settings = dict(early_stopping=False, n_init=1, loss="squared", max_iter=300)
    model = recorded(**settings).set_callbacks(stop).fit(X, y)
    assert model.n_iter_ == 3 * number and len(model.loss_curve_) == 3 * number + 1
    assert not model.converged_ and np.isfinite(model.predict(X)).all()
    assert stop.n_fits == stop.n_teardowns == 1


# Lines ---------------------------------------------------------------------------------------


def lines_of(model, X, y, capsys):
    """Return the lines that a fit prints."""
    capsys.readouterr()
    model.fit(X, y)
    return capsys.readouterr().out.splitlines()


def test_a_quiet_fit_prints_nothing(small_tensor, capsys):
    """The default."""
    assert lines_of(recorded(), *small_tensor, capsys) == []


DEFAULT_STORY = [
    r"117 cells to fit, 14 held out, 12 starts",
    r"Screening: held-out R\^2 -?\d\.\d{3} at best; starts \d+(, \d+)* go on",
    r"(Start \d+: (held-out R\^2 -?\d\.\d{3}|diverged) after \d+ iterations\n){2,6}"
    r"Mean of fits: pruned from \d+ components to \d+",
    r"Mean: held-out R\^2 \d\.\d{3} after \d+ iterations",
    r"Refit on all cells",
    r"[A-Z][a-z -]+( at max_iter)? after \d+ iterations in \d+\.\d s, loss = \S+",
]


@pytest.mark.parametrize("max_iter", [200, 2000])
def test_the_story_of_a_default_fit(small_tensor, capsys, max_iter):
    """Cells, who goes on, how they end, what the mean is pruned to, the end: about ten lines."""
    model = CPCompletion(shape=SHAPE, random_state=0, max_iter=max_iter, verbose=1)
    lines = lines_of(model, *small_tensor, capsys)
    assert len(lines) <= 12
    assert re.fullmatch("\n".join(DEFAULT_STORY), "\n".join(lines))
    assert f"after {model.n_iter_} iterations" in lines[-1]
    assert f"Mean: held-out R^2 {model.validation_score_:.3f}" in lines[-3]


@pytest.mark.parametrize("max_iter", [100, 2000])
def test_the_story_of_an_explicit_start(small_tensor, capsys, max_iter):
    """Where it is now and then, however long it takes."""
    settings = dict(early_stopping=False, init="gaussian", tol=0.0, verbose=1)
    model = recorded(loss="squared", max_iter=max_iter, **settings)
    title, *lines, _ = lines_of(model, *small_tensor, capsys)
    assert title == "131 cells to fit, 0 held out, 1 start"
    at = max_iter // 100 * np.array([0, 1, 2, 4, 8, 16, 32, 64])
    assert lines == [f"Iteration {i}, loss = {model.loss_curve_[i]:.3g}" for i in at]


def test_verbose_two_prints_each_record(small_tensor, capsys):
    """Of both losses, the first of which is named."""
    model = recorded(early_stopping=False, max_iter=5, verbose=2)
    _, *lines, _ = lines_of(model, *small_tensor, capsys)
    trace = zip(model.trace_["iteration"], model.loss_curve_, strict=True)
    expected = [f"Iteration {i}, loss = {loss:.8f}" for i, loss in trace]
    assert lines == [line + " (Huber)" * (n < 6) for n, line in enumerate(expected)]


def test_measurements_are_no_cells(capsys):
    """Where whole arrays are measured."""
    rng = np.random.default_rng(0)
    A = rng.standard_normal((30, 4, 4))
    DeepMatrixCompletion(max_iter=5, random_state=0, verbose=1).fit_measurements(A, A[:, 0, 0])
    assert capsys.readouterr().out.startswith("30 measurements to fit, 0 held out, 1 start\n")


def test_stand_in_for_older_scikit_learn(small_tensor, monkeypatch):
    """Without sklearn.callback the stand-in changes nothing but that there are no callbacks."""
    X, y = small_tensor
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    spec = importlib.util.spec_from_file_location("stand_in", old_sklearn.__file__)
    stand_in = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stand_in)
    mixin = stand_in.CallbackSupportMixin
    assert mixin.__module__ == "stand_in" and not hasattr(mixin, "set_callbacks")
    older = type("Older", (mixin, CPCompletion), {})
    model = older(4, max_iter=30, random_state=0).fit(X, y)
    expected = CPCompletion(4, max_iter=30, random_state=0).fit(X, y)
    assert_array_equal(model.predict(X), expected.predict(X))
