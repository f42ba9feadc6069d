"""What is told of a fit: ticks of its budget and lines, in the thread that waits for it."""

from threading import get_ident

import numpy as np
import pytest
from cases.race import make_problem, make_run, parabola

from sktf._descent.progress import N_TICKS, ToldProgress
from sktf._descent.race import best_run, budget, refit

# Never converges within any number of iterations below.
ENDLESS = parabola(0.0, curvature=1e-7)


class Told:
    """A race of starts with somebody watching; ``ticks`` are the thetas that came with them."""

    def __init__(self, starts, *, n_threads=1, tick=None, verbose=0, refits=False, **options):
        settings = {"functions": {"only": ENDLESS}, "tol": -1.0} | options
        functions = settings.pop("functions")
        problem = make_problem(functions, losses=tuple(functions), **settings)
        self.ticks, self._act = [], tick
        self.runs = [make_run(start) for start in starts]
        progress = ToldProgress(
            budget(problem, self.runs, refits), self.runs, "title",
            verbose=verbose, score=lambda run: None, tick=self.tick,
        )  # fmt: skip
        self.problem = problem._replace(progress=progress, n_threads=n_threads)

    def tick(self, theta):
        self.ticks.append(theta)
        return bool(self._act and self._act())

    def go(self):
        """Fit to the end; return the run that is left."""
        run = best_run(self.problem, self.runs)
        self.problem.progress.finish(run)
        return run


def test_every_hundredth_of_the_budget_is_one_tick():
    """Of 300 iterations every third, with the theta there."""
    at = []
    told = Told([5.0], max_iter=300, tick=lambda: at.append(told.runs[0].recorder.latest))
    told.go()
    assert at == list(range(3, 301, 3)) and len(told.ticks) == N_TICKS
    expected = 5.0 * (1 - 2 * 1e-7 * 0.05) ** np.array(at)
    np.testing.assert_allclose(np.concatenate(told.ticks), expected, rtol=1e-12)


def test_a_descent_that_ends_early_passes_the_ticks_it_had_left():
    """One of two losses is half the way; skipped ticks have no theta, but the last one does."""
    log = []
    told = Told([3.0], functions=dict.fromkeys("ab", parabola(0.0)), tol=1e-3, max_iter=500)
    told.problem.progress.begin("finalists", told.runs)
    for loss in "ab":
        told.runs[0].descend(told.problem, loss, 500)
        told.problem.progress.tell()
        log.append(len(told.ticks))
    assert log == [N_TICKS // 2, N_TICKS]
    assert told.runs[0].recorder.iteration < 100
    assert sum(theta is None for theta in told.ticks) > 80 and told.ticks[-1] is not None


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("n_starts", [1, 2, 5])
@pytest.mark.parametrize("refits", [False, True])
def test_a_fit_has_a_hundred_ticks(n_threads, n_starts, refits):
    """Screened or not, refitted or not, side by side or not; whatever was not needed is passed."""
    starts = np.linspace(1.0, 2.0, n_starts)
    told = Told(starts, n_threads=n_threads, max_iter=40, refits=refits)
    run = best_run(told.problem, told.runs)
    assert len(told.ticks) == N_TICKS or refits
    if refits:
        assert 50 <= len(told.ticks) < N_TICKS
        refit(told.problem, run)
    told.problem.progress.finish(run)
    assert len(told.ticks) == N_TICKS and run.status == "max_iter"


@pytest.mark.parametrize("n_starts", [1, 3])
def test_ticks_are_told_in_the_thread_of_the_user(n_starts):
    """Settings of scikit-learn and windows of plots belong to it."""
    threads = set()
    told = Told([1.0] * n_starts, n_threads=2, max_iter=50, tick=lambda: threads.add(get_ident()))
    told.go()
    assert threads == {get_ident()}


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_stop_asked_for_ends_all_runs(n_threads):
    """They would go on for hours; the status is that a callback ended it, and no tick follows."""
    told = Told([1.0, 2.0], n_threads=n_threads, max_iter=10**6, tick=lambda: len(told.ticks) == 2)
    run = told.go()
    assert run.status == "callback" and len(told.ticks) == 2
    assert sum(run.recorder.iteration for run in told.runs) < 10**6


@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_error_of_a_callback_is_that_of_the_fit(n_threads):
    """At once, whoever is descending; ``RuntimeError`` is also what a lack of threads raises."""

    def fail():
        raise RuntimeError("mine")

    told = Told([1.0, 2.0], n_threads=n_threads, max_iter=10**6, tick=fail)
    with pytest.raises(RuntimeError, match="mine"):
        told.go()
    assert len(told.ticks) == 1
    assert sum(run.recorder.iteration for run in told.runs) < 10**6


@pytest.mark.parametrize("n_threads", [1, 2])
def test_ctrl_c_in_a_callback_interrupts(n_threads):
    """As anywhere else: what was reached is left, with that status."""

    def interrupt():
        raise KeyboardInterrupt

    told = Told([1.0, 2.0], n_threads=n_threads, max_iter=10**6, tick=interrupt)
    assert told.go().status == "interrupted" and len(told.ticks) == 1


@pytest.mark.parametrize("max_iter", [200, 6400])
def test_one_start_is_told_of_at_doublings(capsys, max_iter):
    """At 0, 1, 2, 4, ..., 64 hundredths of the budget, so that the length does not matter."""
    told = Told([5.0], verbose=1, max_iter=max_iter, tol=0.0)
    told.go()
    title, *lines, end = capsys.readouterr().out.splitlines()
    assert title == "title" and end.startswith(f"Stopped at max_iter after {max_iter} iterations")
    hundredth = max_iter // 100
    assert [int(line.split()[1][:-1]) for line in lines] == [
        k * hundredth for k in (0, 1, 2, 4, 8, 16, 32, 64)
    ]
    loss = ENDLESS(5.0 * (1 - 2 * 1e-7 * 0.05) ** (64 * hundredth) * np.ones(1))[0]
    assert lines[-1] == f"Iteration {64 * hundredth}, loss = {loss:.3g}"


def test_losses_before_the_last_are_named(capsys):
    """Their values are no losses of the one the fit ends with."""
    functions = {"first": ENDLESS, "second": parabola(0.0, curvature=1e-3)}
    Told([5.0], verbose=1, max_iter=100, functions=functions).go()
    _, *lines, _ = capsys.readouterr().out.splitlines()
    named = [line.endswith(" (first)") for line in lines]
    assert named == [True] * 7 + [False]


@pytest.mark.parametrize("n_threads", [1, 2])
def test_of_many_starts_the_story_is_told(capsys, n_threads):
    """Who goes on, how each ended, how the fit ended; nothing of the iterations."""
    told = Told([5.0, 1.0, 4.0, 2.0], verbose=1, max_iter=50, n_threads=n_threads)
    told.go()
    _, screening, *ends, end = capsys.readouterr().out.splitlines()
    assert screening == "Screening: loss = 1e-07 at best; starts 2, 4 go on"
    assert sorted(ends) == [
        "Start 2: loss = 1e-07 after 55 iterations", "Start 4: loss = 4e-07 after 55 iterations"
    ]  # fmt: skip
    assert end.startswith("Stopped at max_iter after 55 iterations in 0.")


@pytest.mark.parametrize("starts", [[1.0], [1.0, 2.0]])
def test_every_record_is_printed_where_asked_for(capsys, starts):
    """Verbose 2: as many lines as records, which name the start where there are several."""
    told = Told(starts, verbose=2, max_iter=7)
    told.go()
    lines = [s for s in capsys.readouterr().out.splitlines() if "Iteration" in s]
    assert len(lines) == sum(len(run.recorder.trace()["loss"]) for run in told.runs)
    prefix = "Start 1: " if len(starts) > 1 else ""
    assert lines[0] == f"{prefix}Iteration 0, loss = 0.00000010"


@pytest.mark.parametrize("status", ["callback", "interrupted"])
def test_who_stops_a_fit_that_has_converged(status):
    """A callback comes too late, in the ticks that were not needed; Ctrl-C is never swallowed."""

    def stop():
        if status == "interrupted":
            raise KeyboardInterrupt
        return True

    told = Told([1.0], functions={"only": parabola(0.0)}, tol=1e-3, max_iter=5, tick=stop)
    told.runs[0].theta *= 0.01  # below tol from the start
    assert told.go().status == {"callback": "converged", "interrupted": "interrupted"}[status]
    assert len(told.ticks) == 1
