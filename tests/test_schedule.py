"""The race, the stages and the last fit on problems of one or two parameters."""

from threading import Barrier, Event, Thread

import numpy as np
import pytest
from sklearn.base import clone

from sktf import CPCompletion, _schedule
from sktf._schedule import _COMPARABLE, Problem, Run, _supported, best_run, refit
from sktf._steps import Constant
from sktf._trace import Recorder


class Objective:
    """Functions of theta by the name of a loss; keeps a list of what was evaluated."""

    def __init__(self, functions, loss=None, log=None):
        self.functions, self.name = functions, loss
        self.log = [] if log is None else log

    def with_loss(self, loss):
        return Objective(self.functions, loss, self.log)

    def __call__(self, theta):
        self.log.append((self.name, theta.copy()))
        return self.functions[self.name](theta)

    def loss(self, theta):
        return self.functions[self.name](theta)[0]

    def terms(self, theta):
        return np.array([self.loss(theta)])


def parabola(*centre, curvature=1.0):
    """``curvature * |theta - centre|^2``; constant steps contract by ``1 - 2 eta curvature``."""
    centre = np.array(centre)

    def function(theta):
        away = theta - centre
        return float(curvature * (away @ away)), 2 * curvature * away

    return function


def wells(theta):
    """``(theta^2 - 1)^2``: minima at -1 and 1, equally deep; 0 is stationary."""
    t = theta[0]
    return (t**2 - 1) ** 2, 4 * t * (t**2 - 1) * np.ones(1)


def nowhere(theta):
    return np.nan, theta


def make_problem(training, held_out=None, losses=("first", "second"), **options):
    defaults = {"step": Constant(0.05), "max_iter": 300, "tol": 1e-10, "patience": 10**6}
    held = held_out and Objective(held_out)
    return Problem(Objective(training), held, losses, **(defaults | options))


def make_run(*theta, kind=0, notify=lambda *_: False):
    return Run(kind, np.array(theta), Recorder(lambda theta: {}, 1, notify))


def test_stages_follow_one_another():
    """The second stage starts at the theta where the first ended, which is its minimum."""
    problem = make_problem({"first": parabola(3.0), "second": parabola(-2.0)}, tol=1e-20)
    run = best_run(problem, [make_run(0.5)])
    names = [name for name, _ in problem.training.log]
    changes = [i for i in range(1, len(names)) if names[i] != names[i - 1]]
    assert names[0] == "first" and names[-1] == "second" and len(changes) == 1
    np.testing.assert_allclose(problem.training.log[changes[0]][1], 3.0, rtol=1e-9)
    np.testing.assert_allclose(run.theta, -2.0, rtol=1e-9)
    assert run.status == "converged"


def test_every_stage_has_max_iter_of_its_own_and_iterations_count_on():
    """Two stages of 30 updates, in closed form, are 60 iterations of the recorder."""
    problem = make_problem({"first": parabola(3.0), "second": parabola(-2.0)}, max_iter=30)
    run = best_run(problem, [make_run(0.5)])
    middle = 3 + 0.9**30 * (0.5 - 3)
    np.testing.assert_allclose(run.theta, -2 + 0.9**30 * (middle + 2), rtol=1e-12)
    assert run.status == "max_iter" and run.recorder.iteration == 60
    np.testing.assert_allclose(run.recorder.time, 60 * 0.05, rtol=1e-12)
    # The loss at the end, and at the start, is that of the last stage.
    np.testing.assert_allclose(run.loss, (run.theta[0] + 2) ** 2, rtol=1e-12)
    assert run.first_loss == 2.5**2


@pytest.mark.parametrize("order", [1, -1])
def test_the_race_keeps_the_best_on_held_out_cells(order):
    """Both wells fit the training cells alike; the held-out cells prefer the one at 1."""
    held_out = {"first": parabola(1.0), "second": parabola(1.0)}
    problem = make_problem({"first": wells, "second": wells}, held_out)
    run = best_run(problem, [make_run(-0.6), make_run(0.6)][::order])
    np.testing.assert_allclose(run.theta, 1.0, atol=1e-4)


@pytest.mark.parametrize("order", [1, -1])
def test_without_held_out_cells_the_smallest_training_loss_wins(order):
    """The start at 0 is a stationary point of loss 1; the other finds loss 0."""
    problem = make_problem({"only": wells}, losses=("only",))
    run = best_run(problem, [make_run(0.0), make_run(0.3)][::order])
    np.testing.assert_allclose(run.theta, 1.0, atol=1e-4)
    assert run.loss < 1e-9


def test_starts_of_one_kind_race_and_two_run_to_the_end():
    """Of five starts, all descend for a tenth of max_iter and the two nearest go on.

    The losses are those of parabolas: after the screening the order is that of the distances.
    """
    problem = make_problem({"only": parabola(0.0)}, losses=("only",), max_iter=100, tol=0.0)
    runs = [make_run(float(t)) for t in (5, 2, 4, -1, 3)]
    run = best_run(problem, runs)
    assert [r.recorder.iteration for r in runs] == [10, 110, 10, 110, 10]
    assert run is runs[3]


def test_the_best_of_each_kind_runs_to_the_end():
    """Kind 1 is far behind in the screening; its best goes on, with the two best of kind 0."""
    problem = make_problem({"only": parabola(0.0)}, losses=("only",), max_iter=100, tol=0.0)
    runs = [make_run(float(t), kind=k) for t, k in ((9, 1), (2, 0), (8, 1), (-1, 0), (3, 0))]
    run = best_run(problem, runs)
    assert [r.recorder.iteration for r in runs] == [10, 110, 110, 110, 10]
    assert run is runs[3]


def test_a_kind_that_is_behind_at_first_can_win():
    """The first loss prefers kind 0, the last has kind 1 in the deeper well."""

    def tilted(theta):
        loss, gradient = wells(theta)
        return loss + 0.2 - 0.1 * theta[0], gradient - 0.1

    problem = make_problem({"first": parabola(-1.0, curvature=1e-3), "second": tilted})
    runs = [make_run(t, kind=k) for t, k in ((-0.9, 0), (-0.8, 0), (-0.7, 0), (0.8, 1), (0.9, 1))]
    run = best_run(problem, runs)
    assert run.kind == 1
    assert run.theta[0] > 0.9


def test_of_runs_that_fit_equally_well_the_lowest_kind_wins():
    """Below ten times tol no digit of the score counts; above it the smaller score wins."""
    for tol, kind in ((1e-3, 0), (1e-9, 1)):
        problem = make_problem({"only": parabola(0.0)}, losses=("only",), max_iter=10, tol=tol)
        # Ten steps of factor .9 end at scores of 4.9e-4 and 1.2e-4, and nothing in between.
        runs = [make_run(t, kind=k) for t, k in ((9.0, 0), (0.0632, 0), (0.0316, 1), (9.0, 1))]
        assert best_run(problem, runs).kind == kind


def test_two_starts_are_not_screened():
    """They run through all stages at once."""
    problem = make_problem({"only": parabola(0.0)}, losses=("only",), max_iter=100, tol=0.0)
    runs = [make_run(5.0), make_run(1.0)]
    best_run(problem, runs)
    assert [r.recorder.iteration for r in runs] == [100, 100]


@pytest.mark.parametrize("order", [1, -1])
def test_a_start_that_diverges_loses(order):
    """Beyond theta = 10 the loss is not a number."""

    def function(theta):
        return nowhere(theta) if abs(theta[0]) > 10 else parabola(0.0)(theta)

    problem = make_problem({"first": function, "second": function})
    run = best_run(problem, [make_run(20.0), make_run(3.0)][::order])
    assert run.status == "converged"
    np.testing.assert_allclose(run.theta, 0.0, atol=1e-4)


def test_when_all_diverge_that_is_the_outcome():
    """And no later stage is begun."""
    problem = make_problem({"first": nowhere, "second": parabola(0.0)})
    run = best_run(problem, [make_run(1.0)])
    assert run.status == "diverged"
    assert {name for name, _ in problem.training.log} == {"first"}


@pytest.mark.parametrize("n_runs", [1, 2, 5])
def test_a_callback_ends_everything(n_runs):
    """Neither a later stage nor another start is begun; what was reached is kept."""
    problem = make_problem({"first": parabola(3.0), "second": parabola(-2.0)})
    runs = [make_run(1.0, notify=lambda i, *_: i == 5) for _ in range(n_runs)]
    run = best_run(problem, runs)
    assert run is runs[0] and run.stopped and run.status == "callback"
    assert [r.recorder.iteration for r in runs] == [5] + [0] * (n_runs - 1)
    np.testing.assert_allclose(run.theta, 3 + 0.9**5 * (1 - 3), rtol=1e-12)


def test_a_stage_moves_on_from_its_best_held_out_theta():
    """On the way from 0 to 3 held-out cells like 1.5 best; the stage yields that point."""
    held_out = {"only": parabola(1.5)}
    problem = make_problem({"only": parabola(3.0)}, held_out, ("only",), patience=30)
    run = best_run(problem, [make_run(0.0)])
    assert run.status == "held_out"
    # 3 (1 - 0.9^k) at a look, every ten iterations, is nearest to 1.5 at k = 10 (1.954).
    np.testing.assert_allclose(run.theta, 3 * (1 - 0.9**10), rtol=1e-12)
    np.testing.assert_allclose(run.score, (run.theta[0] - 1.5) ** 2, rtol=1e-12)
    np.testing.assert_allclose(run.loss, (run.theta[0] - 3) ** 2, rtol=1e-12)


def test_the_last_fit_stops_at_the_training_loss_it_had():
    """On all cells the descent ends at the first theta whose loss is below the one before."""
    run = best_run(
        make_problem({"only": parabola(3.0)}, losses=("only",), max_iter=20), [make_run(0.0)]
    )
    reached = run.loss
    problem = make_problem({"only": parabola(-5.0)}, losses=("only",))
    refitted = refit(problem, run)
    losses = [parabola(-5.0)(theta)[0] for _, theta in problem.training.log]
    assert refitted.loss == losses[-1] < reached <= losses[-2]
    # The run had ended at max_iter; reaching its loss again is no convergence.
    assert refitted.status == "max_iter"


def test_the_last_fit_uses_the_last_loss():
    """The stages before it are not gone through again."""
    run = best_run(make_problem({"first": wells, "second": wells}), [make_run(0.5)])
    problem = make_problem({"first": nowhere, "second": parabola(0.0)})
    refit(problem, run)
    assert {name for name, _ in problem.training.log} == {"second"}


class HeldOutTerms:
    """Held-out cells whose terms are the candidates themselves; counts how many were looked at."""

    def __init__(self, log=None):
        self.log = [] if log is None else log

    def with_loss(self, loss):
        return self

    def terms(self, candidate):
        self.log.append(candidate)
        return np.array(candidate)


def supported(candidates, best=1.0, tol=0.0):
    """Return the number of the candidate that is chosen, or None, and how many were tried."""
    problem = make_problem({}, tol=tol)._replace(held_out=HeldOutTerms(), pruning=Averaging())
    run = make_run(0.0)
    run.score = best
    chosen = _supported(problem, run, iter(candidates))
    number = None if chosen is None else [chosen is c for c in candidates].index(True)
    return number, len(problem.held_out.log)


@pytest.mark.parametrize(("excess", "number"), [(0.03, 0), (0.05, 1)])
def test_the_fewest_within_one_standard_error(excess, number):
    """Cell by cell the first candidate is above the second by ``excess +- 0.08``, at four cells.

    The standard error of the sum of four is ``2 * 0.08 = 0.16``: a sum of 0.12 is within it, one
    of 0.20 is not.
    """
    least = np.full(4, 0.1)
    first = least + excess + np.array([0.08, -0.08, 0.08, -0.08])
    assert supported([first, least])[0] == number


def test_a_difference_at_all_cells_alike_has_no_error():
    """However small, it is significant; equal terms are as good."""
    least = np.array([0.1, 0.2, 0.3])
    assert supported([least + 1e-6, least])[0] == 1
    assert supported([least, least.copy()])[0] == 0


def test_five_candidates_without_progress_are_enough():
    """The generator is not asked for more; the one that would be best stays unseen."""
    sums = [0.5, 0.1, 0.2, 0.2, 0.2, 0.2, 0.2, 0.0]
    assert supported([np.array([value, 0.0]) for value in sums])[1] == 7


def test_a_candidate_below_ten_times_tol_is_enough():
    """No digit below counts, so that a smaller error does not buy a component."""
    candidates = [np.array([value]) for value in (0.5, 9e-4, 1e-6)]
    assert supported(candidates, tol=1e-4)[0] == 1
    assert supported(candidates, tol=1e-6)[0] == 2


def test_a_mean_out_of_reach_of_the_best_run_is_dropped():
    """More than one and a half times its error."""
    assert supported([np.array([0.14])], best=0.1)[0] == 0
    assert supported([np.array([0.16])], best=0.1)[0] is None


class Averaging:
    """Pruning of thetas that are their own factors: the mean of the runs is the one candidate."""

    def __init__(self):
        self.averaged = []

    def candidates(self, thetas):
        self.averaged = [float(theta[0]) for theta in thetas]
        return iter([np.mean(thetas, axis=0)])

    def factors(self, theta):
        return theta

    def distrust(self, factors):
        return 1.0

    def theta(self, factors):
        return factors


def pruned(starts, notify=lambda *_: False, training=None, **options):
    """Race starts that hardly move, and prune; return the best run and who was averaged."""
    training = {"only": parabola(0.0, curvature=1e-9) if training is None else training}
    problem = make_problem(training, losses=("only",), max_iter=50, tol=0.0)
    held_out, pruning = Objective({"only": parabola(0.0)}), Averaging()
    problem = problem._replace(held_out=held_out, pruning=pruning, **options)
    run = best_run(problem, [make_run(start, notify=notify) for start in starts])
    return run, sorted(round(theta, 3) for theta in pruning.averaged)


def test_runs_that_score_nearly_as_the_best_are_averaged():
    """Scores are squares: one start scores just within the factor ``_COMPARABLE`` of 1, one not."""
    within, beyond = round(_COMPARABLE**0.5 - 0.01, 3), round(_COMPARABLE**0.5 + 0.01, 3)
    run, averaged = pruned([1.0, -within, beyond, -1.1])
    assert averaged == [-within, -1.1, 1.0]
    # Descent goes on from their mean; here it hardly moves.
    np.testing.assert_allclose(run.theta, (1 - within - 1.1) / 3, atol=1e-6)


def test_a_single_run_is_its_own_mean():
    """It is pruned all the same."""
    assert pruned([1.0])[1] == [1.0]


def test_six_runs_go_on_to_be_averaged():
    """Of eight, the six best by the screening, where there is room for six."""
    starts = [1.0, 1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.07]
    assert pruned(starts)[1] == starts[:6]


def test_a_run_that_diverged_is_not_averaged():
    """Its theta may be anything."""

    def function(theta):
        return nowhere(theta) if theta[0] > 5 else parabola(0.0, curvature=1e-9)(theta)

    assert pruned([1.0, 9.0, -1.1], training=function)[1] == [-1.1, 1.0]


def test_a_race_that_was_stopped_is_not_pruned():
    """The best run is returned as it is, with the status of the stop."""
    run, averaged = pruned([1.0, 1.1], notify=lambda i, *_: i == 7)
    assert not averaged and run.status == "callback"


def test_a_stop_after_the_race_keeps_the_mean():
    """The last descent counts on from iteration 50 of the best run."""
    run, averaged = pruned([1.0, -0.9], notify=lambda i, *_: i > 50)
    assert averaged == [-0.9, 1.0] and run.status == "callback"
    np.testing.assert_allclose(run.theta, 0.05, atol=1e-6)
    assert 50 < run.recorder.iteration < 60


def test_a_mean_that_fits_worse_leaves_the_best_run_alone():
    """The wells at -1 and 1 fit alike; their mean is the maximum between them."""
    training = {"only": wells}
    problem = make_problem(training, losses=("only",))
    held_out = Objective(training)
    problem = problem._replace(held_out=held_out, pruning=Averaging())
    run = best_run(problem, [make_run(-0.9), make_run(0.9)])
    np.testing.assert_allclose(np.abs(run.theta), 1.0, atol=1e-4)


def side_by_side(starts, notify=lambda *_: False, function=None, **options):
    """Race starts on two threads; return the best run and all runs."""
    problem = make_problem({"only": function or wells}, losses=("only",), **options)
    problem = problem._replace(n_threads=2, halt=Event())
    runs = [make_run(start, notify=notify) for start in starts]
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


def test_a_descent_looks_around_however_seldom_it_is_recorded():
    """Every hundred steps at least, so that Ctrl-C and the end of a race take effect."""
    recorder = Recorder(lambda theta: {}, 10**9, lambda *_: False)
    observer = _schedule.Observer(recorder, None, None)
    assert [observer.due(n) for n in (0, 70, 10**6)] == [100, 170, 10**6 + 100]


@pytest.mark.parametrize("n_starts", [2, 5])
def test_ctrl_c_ends_all_runs_that_descend_at_once(monkeypatch, n_starts):
    """The thread that waits for them is told; the best state of all is what is left."""
    met = Event()

    def impatient(descents, **options):
        met.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr(_schedule, "wait", impatient)
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
    """Twelve starts one after another, because somebody watches, and two at once."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 6, (150, 3))
    y = (X + 1.0).prod(axis=1) + rng.standard_normal(150)
    monkeypatch.setattr("sktf._objective.numba_config.NUMBA_NUM_THREADS", 2)
    model = CPCompletion(random_state=0, max_iter=200)
    at_once = clone(model).fit(X, y)
    alone = model.set_params(measures={"one": lambda factors: 1}).fit(X, y)
    np.testing.assert_array_equal(at_once._theta, alone._theta)
    np.testing.assert_array_equal(at_once.loss_curve_, alone.loss_curve_)
