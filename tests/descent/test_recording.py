"""Records of a descent, and stopping on held-out cells, on sequences made by hand."""

import sys

import numpy as np
import pytest

from sktf._descent.held_out import HeldOut
from sktf._descent.loop import Result
from sktf._descent.recording import Measures, Recorder, to_frame

CAP = 200


def record(n_iter, *, every=None, recorder=None, first=0):
    """Feed iterations ``first`` to ``n_iter`` of one stage; the loss is the iteration."""
    recorder = recorder or Recorder(lambda theta: {"twice": 2 * theta}, every)
    recorded = [recorder.observe(i, i / 10, float(i), i) for i in range(first, n_iter + 1)]
    return recorder, recorded


def end(recorder, n_iter):
    """End the stage at ``n_iter``; return whether that was one record more."""
    return recorder.end_stage(Result(n_iter, float(n_iter), n_iter, n_iter / 10, "max_iter"))


@pytest.mark.parametrize("n_iter", [0, 1, 199, 200, 201, 399, 400, 1000, 4321, 100_000])
def test_thinning_keeps_at_most_the_cap_evenly_spaced_from_the_start(n_iter):
    """At all times; the spacing is a power of two, and at least half the cap is in use."""
    recorder, _ = record(n_iter)
    kept = recorder.trace()["iteration"]
    gaps = np.unique(np.diff(kept))
    assert len(kept) <= CAP and kept[0] == 0
    assert len(gaps) <= 1
    spacing = int(gaps[0]) if len(gaps) else 1
    assert spacing & (spacing - 1) == 0
    assert n_iter - kept[-1] < spacing
    assert len(kept) >= min(n_iter + 1, CAP // 2)


@pytest.mark.parametrize("n_iter", [0, 1, 150, 199, 200, 201, 399, 400, 500, 797, 798, 799, 4321])
def test_the_last_record_is_where_the_stage_ended(n_iter):
    """However the records were thinned, and the cap holds."""
    recorder, _ = record(n_iter)
    end(recorder, n_iter)
    trace = recorder.trace()
    assert trace["iteration"][-1] == n_iter
    assert trace["loss"][-1] == n_iter
    assert len(trace["iteration"]) <= CAP


def test_a_given_spacing_is_kept():
    """``every`` records exactly its multiples, beyond the cap as well, and the end."""
    recorder, _ = record(2503, every=5)
    end(recorder, 2503)
    kept = recorder.trace()["iteration"]
    np.testing.assert_array_equal(kept, [*range(0, 2501, 5), 2503])


def test_logarithmic_records_are_sixteen_of_each_doubling():
    """All iterations below 32, then evenly spaced ones: 271 in a million, and the end."""
    recorder = Recorder(lambda theta: {}, "log")
    for i in range(10**6 + 1):
        recorder.observe(i, 0.0, 1.0, i)
    expected = list(range(32))
    for k in range(5, 20):
        expected += range(2**k, 2 ** (k + 1), 2**k // 16)
    expected = [i for i in expected if i <= 10**6]
    assert recorder.trace()["iteration"].tolist() == expected and len(expected) == 271
    end(recorder, 10**6)
    assert recorder.trace()["iteration"].tolist() == [*expected, 10**6]


def test_logarithmic_records_count_on_over_stages():
    """The second stage goes on in the spacing of the iterations of the whole descent."""
    recorder, _ = record(40, every="log")
    end(recorder, 40)
    record(30, recorder=recorder, first=1)
    kept = recorder.trace()["iteration"]
    np.testing.assert_array_equal(kept[32:], [*range(32, 64, 2), *range(64, 71, 4)])


@pytest.mark.parametrize("every", [None, 1, 7, "log"])
def test_what_is_due_is_what_is_recorded(every):
    """Over two stages: visiting only the iterations that are due leaves the same trace."""
    asked = Recorder(lambda theta: {}, every)
    told = Recorder(lambda theta: {}, every)
    for n_iter in (333, 1000):
        iteration = 0
        while iteration <= n_iter:
            asked.observe(iteration, 0.0, 1.0, iteration)
            iteration = asked.due(iteration)
        for iteration in range(n_iter + 1):
            told.observe(iteration, 0.0, 1.0, iteration)
        end(asked, n_iter)
        end(told, n_iter)
    np.testing.assert_array_equal(asked.trace()["iteration"], told.trace()["iteration"])


def test_the_first_spacing_can_be_larger():
    """It doubles from there; a given spacing does not heed it."""
    recorder = Recorder(lambda theta: {}, None, 10)
    record(5000, recorder=recorder)
    np.testing.assert_array_equal(recorder.trace()["iteration"], range(0, 5001, 40))
    recorder = Recorder(lambda theta: {}, 3, 10)
    record(9, recorder=recorder)
    np.testing.assert_array_equal(recorder.trace()["iteration"], [0, 3, 6, 9])


def test_records_hold_what_was_measured():
    """Time, loss and every measured quantity belong to the iteration of the record."""
    recorder, _ = record(950)
    trace = recorder.trace()
    np.testing.assert_allclose(trace["time"], trace["iteration"] / 10, rtol=1e-15)
    np.testing.assert_array_equal(trace["loss"], trace["iteration"])
    np.testing.assert_array_equal(trace["twice"], 2 * trace["iteration"])


def test_measured_arrays_are_stacked():
    """An array per record becomes an array whose first axis is the record."""
    recorder = Recorder(lambda theta: {"norms": np.full(4, theta)}, 1)
    record(9, recorder=recorder)
    np.testing.assert_array_equal(recorder.trace()["norms"], np.arange(10)[:, None] * np.ones(4))


def test_extras_missing_from_some_records_are_nan():
    """A quantity of the second stage alone is not a number in the first."""
    recorder, _ = record(2, every=1)
    end(recorder, 2)
    recorder.observe(1, 0.1, 5.0, 1, validation_loss=7.0)
    np.testing.assert_array_equal(recorder.trace()["validation_loss"], [np.nan] * 3 + [7.0])


def test_stages_count_on():
    """Iterations and time of the second stage start where those of the first ended."""
    recorder, _ = record(13, every=5)
    end(recorder, 13)
    record(9, recorder=recorder, first=1)
    end(recorder, 9)
    trace = recorder.trace()
    np.testing.assert_array_equal(trace["iteration"], [0, 5, 10, 13, 15, 20, 22])
    np.testing.assert_allclose(trace["time"], trace["iteration"] / 10, rtol=1e-14)
    assert recorder.iteration == 22


def test_where_stages_meet_there_is_one_record():
    """The end of the first stage, not the start of the second, which is the same iteration."""
    recorder, _ = record(10, every=5)
    end(recorder, 10)
    record(7, recorder=recorder)
    end(recorder, 7)
    trace = recorder.trace()
    np.testing.assert_array_equal(trace["iteration"], [0, 5, 10, 15, 17])
    np.testing.assert_array_equal(trace["loss"], [0, 5, 10, 5, 7])


def test_whoever_observes_learns_what_became_a_record():
    """Every tenth iteration, and the end of a stage unless it is one of them."""
    recorder, recorded = record(25, every=10)
    assert [i for i, is_record in enumerate(recorded) if is_record] == [0, 10, 20]
    assert end(recorder, 25)
    assert record(5, recorder=recorder)[1] == [False] * 5 + [True]
    assert not end(recorder, 5)


def test_measures_are_copies_of_what_was_returned():
    """A function that returns the same array again and writes to it changes no record."""
    buffer = np.zeros(2)

    def running(factors):
        buffer[:] += factors[0]
        return buffer

    measures = Measures({"sum": running, "flag": lambda factors: factors[0] > 1})
    records = [measures([i]) for i in (1, 2)]
    np.testing.assert_array_equal([r["sum"] for r in records], [[1, 1], [3, 3]])
    assert [bool(r["flag"]) for r in records] == [False, True]
    assert Measures(None)([1]) == {}


BAD_VALUES = {
    "text": "much",
    "nothing": None,
    "complex": 1j,
    "function": np.sin,
    "ragged": [[1.0], [1.0, 2.0]],
    "generator": (i for i in range(2)),
}


@pytest.mark.parametrize("case", BAD_VALUES)
def test_a_measure_that_returns_no_number_is_named(case):
    """With the type that came; arrays of objects and complex numbers are none either."""
    with pytest.raises(TypeError, match=r"measures\['gap'\] returned .*expected a real number"):
        Measures({"gap": lambda factors: BAD_VALUES[case]})([])


def test_a_measure_that_changes_its_shape_is_named():
    """Records are stacked to arrays, so the first shape stays."""
    measures = Measures({"gap": np.ones})
    measures(2)
    with pytest.raises(ValueError, match=r"measures\['gap'\] returned shape \(3,\) after \(2,\)"):
        measures(3)


@pytest.mark.parametrize(
    ("functions", "error", "message"),
    [
        ({"loss": len}, ValueError, "its own 'loss'; choose another name"),
        ({"singular_values": len}, ValueError, "its own 'singular_values'"),
        ({"size": 3}, TypeError, "got 'size': 3"),
        ({3: len}, TypeError, "got 3: <built-in"),
    ],
)
def test_bad_measures_are_refused_before_they_measure(functions, error, message):
    """A name of the trace's own, something that is no function, a name that is none."""
    with pytest.raises(error, match=message):
        Measures(functions)


def test_a_trace_becomes_a_table():
    """One row per record, named by its iteration; one column per entry."""
    trace = {
        "iteration": np.array([0, 5]),
        "loss": np.array([2.0, 1.0]),
        "norms": np.array([[1.0, 2.0], [3.0, 4.0]]),
        "gram": np.arange(8.0).reshape(2, 2, 2),
    }
    frame = to_frame(trace)
    assert list(frame.columns) == [
        *("loss", "norms_0", "norms_1"),
        *("gram_0_0", "gram_0_1", "gram_1_0", "gram_1_1"),
    ]
    assert frame.index.name == "iteration" and list(frame.index) == [0, 5]
    assert frame.loc[5].tolist() == [1, 3, 4, 4, 5, 6, 7]


def test_a_table_without_pandas_says_what_is_missing(monkeypatch):
    """And where the numbers are all the same."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="trace_frame needs pandas: install it, or read trace_"):
        to_frame({"iteration": np.zeros(1)})


class Losses:
    """A held-out objective that reads its losses, one per iteration, from a list."""

    def __init__(self, losses):
        self.losses, self.n_looks = losses, 0

    def loss(self, theta):
        self.n_looks += 1
        return float(self.losses[theta])


def watch(training, held_out, patience=200, progress=0.3, rejects=None):
    """Feed both sequences; return the watcher, and the iteration and status of the stop."""
    watcher = HeldOut(Losses(held_out), patience, progress, rejects)
    for iteration, loss in enumerate(training):
        status = watcher.observe(iteration, float(loss), iteration)
        if status is not None:
            return watcher, iteration, status
    return watcher, None, None


def test_a_plateau_stops_nothing():
    """Both losses are flat for 50 patiences, up to noise, before the next component."""
    rng = np.random.default_rng(0)
    training = 1 + 1e-3 * rng.standard_normal(10_000)
    held_out = 1 + 1e-2 * rng.standard_normal(10_000)
    assert watch(training, held_out)[1] is None


def test_a_staircase_is_descended_to_its_foot():
    """Plateaus of 3,000 iterations between drops, which the held-out loss shares."""
    steps = np.array([1.0, 0.5, 0.2, 0.01])
    training = np.repeat(steps, 3000)
    watcher, stop, _ = watch(training, training)
    assert stop is None
    assert watcher.loss == 0.01


def test_a_drop_that_held_out_cells_follow_late_is_waited_for():
    """After a long plateau the training loss drops; the held-out loss follows 100 later."""
    training = np.repeat([1.0, 0.1], 3000)
    held_out = np.repeat([1.0, 0.1], [3100, 2900])
    watcher, stop, _ = watch(training, held_out)
    assert stop is None
    assert watcher.loss == 0.1


def test_a_worse_held_out_loss_on_a_plateau_stops_nothing():
    """Held-out cells got worse, but the training loss has not moved since."""
    training = np.concatenate([np.linspace(1, 0.5, 100), np.full(5000, 0.5)])
    held_out = np.concatenate([np.linspace(1, 0.6, 100), np.full(5000, 0.7)])
    assert watch(training, held_out)[1] is None


def test_overfitting_stops_after_patience_and_progress():
    """Training falls by 1 % an iteration, held-out cells turn at iteration 300.

    30 % of progress take 36 iterations, seen at 340; then patience, 200, begins.
    """
    iterations = np.arange(3000)
    held_out = 1 + (iterations - 300.0) ** 2 / 1e4
    watcher, stop, status = watch(0.99**iterations, held_out)
    assert (stop, status) == (540, "held_out")
    assert watcher.theta == 300


def test_improvements_below_a_thousandth_do_not_count():
    """Held-out cells that improve by .05 % per look, .5 % in 100 iterations, keep no theta long.

    A look is better once it is .1 % below the best: every third one, never the next.
    """
    held_out = 0.9995 ** (np.arange(101) / 10)
    watcher, _, _ = watch(np.ones(101), held_out)
    assert watcher.theta == 90


def test_progress_is_waited_for():
    """Where training falls by 0.1 % an iteration, 30 % take 357; only then patience begins."""
    iterations = np.arange(3000)
    held_out = np.where(iterations < 300, 2.0 - iterations / 300, 1.5)
    watcher, stop, _ = watch(0.999**iterations, held_out)
    assert watcher.theta == 290
    # 0.999^357 is the first power below 0.7; a look is due every ten iterations.
    assert stop == 290 + 360 + 200


def test_without_progress_to_wait_for_patience_begins_at_the_best():
    """Held-out cells turn at iteration 40, whatever the training loss does."""
    held_out = 1 + np.abs(np.arange(300) - 40.0)
    for training in (np.ones(300), 0.99 ** np.arange(300)):
        watcher, stop, status = watch(training, held_out, patience=30, progress=0.0)
        assert (watcher.theta, stop, status) == (40, 70, "held_out")


def test_the_best_is_kept_with_its_training_loss():
    """``best`` returns the theta of the smallest held-out loss, not the last."""
    iterations = np.arange(1000)
    training, held_out = 0.99**iterations, np.abs(iterations - 130.0) + 5
    watcher, stop, _ = watch(training, held_out)
    result = Result(stop, training[stop], stop, 1.0, "held_out")
    best = watcher.best(result)
    assert (best.theta, best.loss, best.status) == (130, training[130], "held_out")
    assert watcher.loss == 5 and watcher.latest == held_out[stop]


def test_the_end_of_a_stage_is_looked_at():
    """An end between two looks is the best when its held-out loss is."""
    held_out = np.linspace(2, 1, 106)
    watcher, _, _ = watch(np.linspace(2, 1, 106), held_out)
    assert watcher.theta == 100
    best = watcher.best(Result(105, 1.0, 105, 1.0, "converged"))
    assert (best.theta, watcher.loss, watcher.latest) == (105, 1.0, 1.0)


def test_held_out_cells_are_looked_at_every_tenth_iteration():
    """One evaluation in ten iterations keeps it cheap."""
    watcher, _, _ = watch(np.ones(101), np.ones(101))
    assert watcher._objective.n_looks == 11


def test_what_is_rejected_ends_at_once():
    """From iteration 40 on thetas are rejected, and asked about only where the loss has risen."""
    iterations, asked = np.arange(300), []

    def rejects(theta):
        asked.append(theta)
        return theta >= 40

    falling, rising = np.exp(-iterations / 100), 1 + iterations / 1e3
    assert watch(falling, rising, rejects=rejects)[1:] == (40, "held_out")
    assert asked == [10, 20, 30, 40]
    asked.clear()
    assert watch(falling, falling, rejects=rejects)[1] is None
    assert not asked
