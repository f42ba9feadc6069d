"""Stages, starts that race on held-out cells, and the last fit."""

import numpy as np
import pytest
from cases.race import Watched, make_problem, make_run, nowhere, parabola, wells

from sktf._descent.race import best_run, refit


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
    watched = Watched(lambda i, *_: i == 5)
    problem = make_problem({"first": parabola(3.0), "second": parabola(-2.0)}, progress=watched)
    runs = [make_run(1.0) for _ in range(n_runs)]
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


def impatient(theta):
    """A parabola about 0; Ctrl-C beyond 5, and nothing finite beyond 10."""
    if 5 < theta[0] < 10:
        raise KeyboardInterrupt
    return nowhere(theta) if theta[0] > 10 else parabola(0.0)(theta)


@pytest.mark.parametrize("starts", [(0.5, 9.0), (20.0, 0.5, 9.0, 0.4)])
def test_an_interrupt_before_the_first_step_of_a_start_keeps_the_starts_before(starts):
    """The run from .5 is near 0, that from 9 has no gradient yet, the last never begins."""
    runs = [make_run(start) for start in starts]
    run = best_run(make_problem({"only": impatient}, losses=("only",)), runs)
    assert run is runs[starts.index(0.5)] and run.status == "interrupted"
    # Four starts are screened first, for 30 iterations.
    assert abs(run.theta[0]) <= 0.5 * 0.9**30 * 1.001
    assert [r.theta[0] for r in runs if r.reached and r is not run and r.status != "diverged"] == []


@pytest.mark.parametrize("starts", [(9.0,), (9.0, 0.5), (20.0, 9.0)])
def test_an_interrupt_before_anything_is_reached_goes_on(starts):
    """No gradient has come, or only of a start that diverged."""
    with pytest.raises(KeyboardInterrupt):
        best_run(make_problem({"only": impatient}, losses=("only",)), [*map(make_run, starts)])
