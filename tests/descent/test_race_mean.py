"""The good runs of a race are averaged, with as few components as cells support."""

import numpy as np
import pytest
from cases.race import Objective, Watched, make_problem, make_run, nowhere, parabola, wells

from sktf._descent.race import _COMPARABLE, _supported, best_run


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


def pruned(starts, notify=lambda *_: False, training=None):
    """Race starts that hardly move, and prune; return the best run and who was averaged."""
    training = {"only": parabola(0.0, curvature=1e-9) if training is None else training}
    problem = make_problem(training, losses=("only",), max_iter=50, tol=0.0)
    problem = problem._replace(progress=Watched(notify))
    held_out, pruning = Objective({"only": parabola(0.0)}), Averaging()
    problem = problem._replace(held_out=held_out, pruning=pruning)
    run = best_run(problem, [make_run(start) for start in starts])
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
