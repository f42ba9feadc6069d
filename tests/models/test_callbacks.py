"""Callbacks and Ctrl-C: what watches a fit, and what ends it."""

import importlib.util
import re
import signal
import sys
from threading import Event, current_thread, get_ident, main_thread

import numpy as np
import pytest
from cases.estimators import FOLDS, SHAPE, recorded
from conftest import low_rank_entries
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score

from sktf import CPCompletion, DeepCPCompletion, DeepMatrixCompletion
from sktf._descent import race, run
from sktf._models import fitting, old_sklearn

# Short runs are the point here; that they end early is tested where it matters.
# scikit-learn's checks fit a handful of random rows, which determine no model.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]


# Callbacks -----------------------------------------------------------------------------------

callback = pytest.importorskip("sklearn.callback")
_progressbar = pytest.importorskip("sklearn.callback._progressbar")


class AtTick:
    """A callback that acts at the tick of the given number and counts what it sees."""

    def __init__(self, number=None, action=None):
        self.number, self.action = number, action
        self.n_ticks = self.n_fits = self.n_teardowns = 0

    def setup(self, estimator, context):
        self.n_fits += 1

    def teardown(self, estimator, context):
        self.n_teardowns += 1

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "fit":
            return None
        self.n_ticks += 1
        return self.action() if self.n_ticks == self.number else None


def interrupt():
    """Do what Ctrl-C does."""
    raise KeyboardInterrupt


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


@pytest.mark.parametrize("share", [0.1, 0.4, 0.6, 0.8, 0.95])
@pytest.mark.parametrize("settings", [{"n_init": 2}, {"n_init": 5}], ids=str)
def test_ctrl_c_keeps_the_best_state(small_tensor, settings, share):
    """Whenever Ctrl-C comes, it ends fit at once, and the model holds the best of what it has."""
    X, y = small_tensor
    settings = settings | {"early_stopping": True}
    stop = AtTick(int(share * 100), interrupt)
    model = recorded(**settings).set_callbacks(stop)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert stop.n_ticks == stop.number
    assert not model.converged_ and stop.n_teardowns == 1
    assert np.isfinite(model.predict(X)).all()


def test_ctrl_c_after_some_progress_keeps_it(small_tensor):
    """Ctrl-C in the second of two starts does not throw the finished first one away."""
    X, y = small_tensor
    settings = dict(early_stopping=True, prune=False, max_iter=500)
    finished = recorded(n_init=1, refit=False, **settings).fit(X, y)
    # Two losses for each start and a last fit are five parts, of 20 ticks each.
    stop = AtTick(43, interrupt)
    settings["measures"] = {"one": lambda factors: 1}  # one start after another
    model = recorded(n_init=2, **settings).set_callbacks(stop)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert_array_equal(model.predict(X), finished.predict(X))


def test_ctrl_c_in_the_first_gradient_of_a_stage_keeps_the_stage_before(small_tensor, monkeypatch):
    """The squared stage never gets a gradient; in the very first stage nothing is there to keep."""

    original, stages = run.gradient_descent, []

    def impatient(*args, **options):
        stages.append(1)
        return interrupt() if len(stages) == last else original(*args, **options)

    monkeypatch.setattr(run, "gradient_descent", impatient)
    X, y = small_tensor
    settings = dict(n_init=1, early_stopping=False, random_state=0)
    last = 2
    model = CPCompletion(loss="auto", **settings)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    last = 0
    expected = CPCompletion(loss="huber", **settings).fit(X, y)
    assert_array_equal(model.predict(X), expected.predict(X))
    for before in (CPCompletion(**settings), expected):
        known = dict(vars(before))
        stages.clear()
        last = 1
        with pytest.raises(KeyboardInterrupt):
            before.fit(X, y)
        assert {**vars(before), "n_features_in_": 3} == {**known, "n_features_in_": 3}


def impatient(number):
    """Return measures that raise what Ctrl-C does at their call of the given number."""
    calls = []

    def measure(factors):
        calls.append(1)
        return interrupt() if len(calls) == number else len(calls)

    return {"impatient": measure}


def attributes(model):
    """Return the names of all attributes that fit sets."""
    return {name for name in vars(model) if name not in model.get_params()}


@pytest.mark.parametrize("number", [2, 15])
def test_ctrl_c_leaves_a_complete_model(gradient_estimator, small_tensor, number):
    """Each estimator has all attributes of a whole fit; callbacks hear of its end."""
    X, y = small_tensor
    settings = dict(record_every=1, early_stopping=False, n_init=1, max_iter=40)
    whole = clone(gradient_estimator).set_params(**settings, measures=impatient(0)).fit(X, y)
    watch = AtTick()
    model = gradient_estimator.set_params(**settings, measures=impatient(number))
    with pytest.raises(KeyboardInterrupt):
        model.set_callbacks(watch).fit(X, y)
    assert attributes(model) - {"_skl_callbacks"} == attributes(whole)
    assert not model.converged_ and model.n_iter_ < whole.n_iter_
    assert_array_equal(model.loss_curve_, whole.loss_curve_[: len(model.loss_curve_)])
    assert np.isfinite(model.predict(X)).all() and watch.n_teardowns == 1


def test_ctrl_c_in_a_fit_of_measurements():
    """The same habit there: 12 iterations are kept, and the interrupt goes on."""
    A = np.random.RandomState(0).standard_normal((30, 5, 4))
    y = A.sum(axis=(1, 2))
    settings = dict(n_components=2, loss="squared", record_every=1, random_state=0)
    model = CPCompletion(**settings, measures=impatient(13))
    with pytest.raises(KeyboardInterrupt):
        model.fit_measurements(A, y)
    expected = CPCompletion(**settings, max_iter=model.n_iter_).fit_measurements(A, y)
    assert model.n_iter_ == 12 and not model.converged_
    assert_array_equal(model.to_dense(), expected.to_dense())


@pytest.mark.parametrize("always", [False, True])
def test_ctrl_c_in_the_last_record_of_a_stage(small_tensor, always):
    """The record of iteration 30 is what ends 30 iterations; without any there is no model."""
    X, y = small_tensor
    settings = dict(init="gaussian", loss="squared", early_stopping=False, random_state=0)
    calls = []

    def measure(factors):
        calls.append(1)
        return interrupt() if always or len(calls) == 2 else 0

    model = CPCompletion(2, max_iter=30, record_every=31, measures={"m": measure}, **settings)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert hasattr(model, "shape_") != always
    if not always:
        expected = CPCompletion(2, max_iter=30, **settings).fit(X, y)
        assert_array_equal(model.predict(X), expected.predict(X))


def test_ctrl_c_while_the_last_descent_is_made_ready(small_tensor, monkeypatch):
    """The best start of the race is kept, as with ``refit=False``."""
    X, y = small_tensor
    settings = dict(early_stopping=True, n_init=2)
    expected = recorded(**settings, refit=False).fit(X, y)
    monkeypatch.setattr(fitting, "refit", lambda *_: interrupt())
    model = recorded(**settings)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert_array_equal(model.predict(X), expected.predict(X))


class Counted(CPCompletion):
    """Counts its fits; the first is interrupted at its fifth record."""

    n_fits = 0

    def fit(self, X, y):
        type(self).n_fits += 1
        return super().fit(X, y)


@pytest.mark.parametrize("backend", ["sequential", "threading"])
@pytest.mark.parametrize("loop", ["cross_val_score", "GridSearchCV"])
def test_ctrl_c_ends_a_loop_of_fits(small_tensor, backend, loop):
    """No fit begins after it, but those that joblib had given to its threads."""
    Counted.n_fits = 0
    model = Counted(2, shape=SHAPE, measures=impatient(5), max_iter=20, random_state=0)
    n_jobs = {"sequential": None, "threading": 2}[backend]
    with parallel_config(backend), pytest.raises(KeyboardInterrupt):
        if loop == "GridSearchCV":
            GridSearchCV(model, {"rank_tol": [0.1] * 5}, cv=4, n_jobs=n_jobs).fit(*small_tensor)
        else:
            cross_val_score(model, *small_tensor, cv=20, n_jobs=n_jobs)
    # joblib keeps two jobs ready for each thread, and takes in another before it is told.
    assert Counted.n_fits <= (1 if n_jobs is None else 6)


@pytest.fixture
def sigint():
    """Handle SIGINT as Python does, whatever this process was started with."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: signal.pthread_kill(main_thread().ident, signal.SIGINT)
    signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals between threads")
def test_a_real_signal_ends_starts_that_descend_side_by_side(monkeypatch, sigint):
    """Sent by one of their threads to the one that waits; none goes on to the 10^6 iterations."""
    rng = np.random.default_rng(1)
    X = rng.integers(0, 6, (150, 3))
    y = (X + 1.0).prod(axis=1) + rng.standard_normal(150)
    monkeypatch.setattr("sktf._objective.cpu.numba_config.NUMBA_NUM_THREADS", 2)
    look, wait = run.Observer.__call__, race.wait
    seen, waits = [], Event()

    def watch(observer, iteration, *state):
        if iteration >= 200 and waits.wait(10):
            seen.append(current_thread())
            if len(seen) == 1:
                sigint()
        return look(observer, iteration, *state)

    def told(*args, **options):
        waits.set()
        return wait(*args, **options)

    monkeypatch.setattr(run.Observer, "__call__", watch)
    monkeypatch.setattr(race, "wait", told)
    model = CPCompletion(6, early_stopping=False, n_init=6, max_iter=10**6, tol=0.0, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert main_thread() not in seen and model.n_iter_ < 10**5
    assert not model.converged_ and np.isfinite(model.predict(X)).all()


def test_dask_tells_fits_of_other_data_apart(small_tensor):
    """What dask names a task by: equal for equal fits, another one for other data."""
    X, y = small_tensor
    one, same, other = (
        recorded(early_stopping=False).fit(X, values).__dask_tokenize__() for values in (y, y, -y)
    )
    assert one[:2] == same[:2] == other[:2] == ("sktf", "CPCompletion")
    assert_array_equal(one[2]["_theta"], same[2]["_theta"])
    assert not np.array_equal(one[2]["_theta"], other[2]["_theta"])


@pytest.mark.parametrize("step", ["adaptive", "constant"])
def test_ctrl_c_between_two_records(small_tensor, monkeypatch, step):
    """Before compiled steps, or in the middle of a gradient: theta as it was, and its loss."""
    from sktf._descent.compiled_walk import CompiledWalk
    from sktf._objective.cpu import FusedObjective

    owner, name = {
        "adaptive": (CompiledWalk, "go"),
        "constant": (FusedObjective, "__call__"),
    }[step]
    original, n_calls = getattr(owner, name), []

    def impatient(self, *arguments):
        n_calls.append(1)
        return interrupt() if len(n_calls) == 20 else original(self, *arguments)

    monkeypatch.setattr(owner, name, impatient)
    X, y = small_tensor
    model = recorded(early_stopping=False, step=step)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert len(n_calls) == 20
    # Rounding alone: the loss of the scaled data, of another order of sums.
    expected = np.mean((model.predict(X) - y) ** 2) / model.scale_**2
    np.testing.assert_allclose(model.loss_, expected, rtol=1e-9)


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
