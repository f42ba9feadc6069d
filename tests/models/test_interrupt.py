"""Ctrl-C: the best state is kept, and the interrupt goes on."""

import signal
from threading import Event, current_thread, main_thread

import numpy as np
import pytest
from cases.estimators import SHAPE, recorded
from cases.ticks import AtTick
from joblib import parallel_config
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import GridSearchCV, cross_val_score

from sktf import CPCompletion
from sktf._descent import race, run
from sktf._models import fitting

# Short runs are the point here; that they end early is tested where it matters.
# scikit-learn's checks fit a handful of random rows, which determine no model.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]


def interrupt():
    """Do what Ctrl-C does."""
    raise KeyboardInterrupt


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


def counted():
    """Return a class that counts its fits; those that other threads still begin count elsewhere."""

    class Counted(CPCompletion):
        n_fits = 0

        def fit(self, X, y):
            type(self).n_fits += 1
            return super().fit(X, y)

    return Counted


@pytest.mark.parametrize("backend", ["sequential", "threading"])
@pytest.mark.parametrize("loop", ["cross_val_score", "GridSearchCV"])
def test_ctrl_c_ends_a_loop_of_fits(small_tensor, backend, loop):
    """No fit begins after it, but those that joblib had given to its threads."""
    Counted = counted()
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
