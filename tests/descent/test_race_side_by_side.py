"""Runs that descend at once, and what ends them."""

from threading import Barrier, Event, Thread

import numpy as np
import pytest
from cases.race import Watched, make_problem, make_run, parabola, wells
from sklearn.base import clone

from sktf import CPCompletion
from sktf._descent import race
from sktf._descent.progress import Progress
from sktf._descent.race import best_run
from sktf._descent.recording import Recorder
from sktf._descent.run import Observer, Run


def side_by_side(starts, notify=lambda *_: False, function=None, **options):
    """Race starts on two threads; return the best run and all runs."""
    problem = make_problem({"only": function or wells}, losses=("only",), **options)
    problem = problem._replace(n_threads=2, progress=Watched(notify))
    runs = [make_run(start) for start in starts]
    return best_run(problem, runs), runs


def test_two_runs_descend_at_once():
    """Each waits at its third iteration until the other is there."""
    both = Barrier(2, timeout=10)

    def meet(iteration, *_):
        if iteration == 3:
            both.wait()
        return False

    run, _ = side_by_side([0.5, -0.6], meet)
    np.testing.assert_allclose(np.abs(run.theta), 1.0, atol=1e-4)


def test_an_error_of_one_run_is_that_of_the_race():
    """As it was raised, and at once: the other run would go on for 10^7 iterations."""
    endless = parabola(0.0, curvature=1e-7)

    def failing(theta):
        return 1 / 0 if theta[0] > 5 else endless(theta)

    with pytest.raises(ZeroDivisionError):
        side_by_side([0.5, 9.0], function=failing, max_iter=10**7, tol=-1.0)


@pytest.mark.parametrize("n_started", [0, 1])
def test_where_no_more_threads_may_start_every_run_descends_once(monkeypatch, n_started):
    """As after the end of the main thread, or beyond a limit of processes."""
    start, started, seen = Thread.start, [], []

    def refuse(thread):
        if len(started) == n_started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(Thread, "start", refuse)
    run, runs = side_by_side(
        [0.5, -0.6, 0.4], lambda i, loss, theta: i == 0 and seen.append(theta[0])
    )
    np.testing.assert_allclose(np.abs(run.theta), 1.0, atol=1e-4)
    assert set(seen) >= {0.5, -0.6, 0.4} and len(seen) == len(set(seen))
    assert all(r.recorder.iteration <= 600 for r in runs)


def test_ctrl_c_ends_all_runs_where_no_thread_may_start(monkeypatch):
    """The one thread there is goes on to no other run; each would take 10^5 iterations."""

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    def impatient(iteration, *_):
        if iteration == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(Thread, "start", refuse)
    endless = {"max_iter": 10**5, "tol": -1.0, "function": parabola(0.0, curvature=1e-7)}
    run, runs = side_by_side([0.5, -0.6, 0.4], impatient, **endless)
    assert run.status == "interrupted" and [r.recorder.iteration for r in runs] == [5, 0, 0]


def test_a_descent_looks_around_however_seldom_it_is_recorded():
    """Every hundred steps at least, so that Ctrl-C and the end of a race take effect."""
    run = Run(0, np.zeros(1), Recorder(lambda theta: {}, 10**9))
    observer = Observer(run, None, Progress())
    assert [observer.due(n) for n in (0, 70, 10**6)] == [100, 170, 10**6 + 100]


@pytest.mark.parametrize("n_starts", [2, 5])
def test_ctrl_c_ends_all_runs_that_descend_at_once(monkeypatch, n_starts):
    """The thread that waits for them is told; the best state of all is what is left."""
    met = Event()

    def impatient(descents, **options):
        met.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr(race, "wait", impatient)
    run, runs = side_by_side(
        [0.5, -0.6, 0.4, 0.3, 0.2][:n_starts],
        lambda i, *_: i == 5 and met.set(),
        max_iter=10**7,
        tol=-1.0,
        function=parabola(0.0, curvature=1e-7),
    )
    assert run.status == "interrupted" and {r.status for r in runs} == {"interrupted"}
    assert run.loss == min(run.theta[0] ** 2 * 1e-7 for run in runs)


def test_threads_change_no_bit_of_a_fit(monkeypatch):
    """Twelve starts one after another, because somebody measures, and two at once."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 6, (150, 3))
    y = (X + 1.0).prod(axis=1) + rng.standard_normal(150)
    monkeypatch.setattr("sktf._objective.cpu.numba_config.NUMBA_NUM_THREADS", 2)
    model = CPCompletion(random_state=0, max_iter=200)
    at_once = clone(model).fit(X, y)
    alone = model.set_params(measures={"one": lambda factors: 1}).fit(X, y)
    np.testing.assert_array_equal(at_once._theta, alone._theta)
    np.testing.assert_array_equal(at_once.loss_curve_, alone.loss_curve_)
