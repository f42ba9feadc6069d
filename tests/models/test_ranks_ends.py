"""How a fit on several processes ends: with a clear error on all, soon, or with one model."""

import os
import pickle
import signal
import subprocess
import time
from threading import Timer

import numpy as np
import pytest
from cases.ranks import Pool, model_of, shard, sparse_cells

from sktf import CompletionEnsemble, CompletionImputer, CPCompletion
from sktf._models import ranks
from sktf._objective import cpu

pytest.importorskip("torch")
pytestmark = pytest.mark.slow

# Seconds within which all ranks must have heard that another is gone.
SOON = 30


@pytest.fixture(scope="module")
def pool():
    """Six processes, of which the last three may be killed."""
    pool = Pool(6)
    yield pool
    pool.close()


def at_the_fifth_step(act):
    """Act inside the fifth gradient of this process, and not before or after."""
    plain, calls = cpu.FusedObjective.__call__, []

    def acting(objective, theta):
        calls.append(None)
        if len(calls) == 5:
            act()
        return plain(objective, theta)

    cpu.FusedObjective.__call__ = acting
    return plain


def no_room():
    raise MemoryError("no room")


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def stand_still():
    """Stop this process as a debugger or a full machine does; another wakes it 2 seconds later."""
    subprocess.Popen(["sh", "-c", f"sleep 2; kill -CONT {os.getpid()}"])
    os.kill(os.getpid(), signal.SIGSTOP)


ACTS = {"raises": no_room, "Ctrl-C": interrupt, "killed": kill, "stopped": stand_still}


def ending(rank, size, how):
    """Fit while rank 1 makes trouble; return the error, seconds, what is fitted, and the model."""
    ranks.FEW_ROWS = 0
    model, X, y = model_of("constant step", distributed=True)
    mine, plain = shard(len(y), rank, size), cpu.FusedObjective.__call__
    X, y = X[mine], y[mine]
    if rank == 1:
        if how == "NaN":
            y = np.where(np.arange(len(y)) == 3, np.nan, y)
        elif how == "columns":
            X = X[:, :2]
        elif how in ACTS:
            at_the_fifth_step(ACTS[how])
    began, text = time.perf_counter(), None
    try:
        model.fit(X, y)
    except (Exception, KeyboardInterrupt) as error:
        text = f"{type(error).__name__}: {error}"
    finally:
        cpu.FusedObjective.__call__ = plain
    seconds, left = time.perf_counter() - began, {*vars(model)} - {*model.get_params()}
    return text, seconds, left, pickle.dumps(model)


@pytest.mark.parametrize(
    ("how", "own", "of_others"),
    [
        ("NaN", "ValueError: Input y contains NaN", "Rank 1 raised ValueError: Input y contains"),
        ("raises", "MemoryError: no room", "Rank 1 raised MemoryError: no room. So the fit ends"),
        ("columns", "ValueError: X has other columns on", "ValueError: X has other columns on"),
    ],
)
def test_a_rank_that_fails_fails_on_all(pool, how, own, of_others):
    """It has its own error, the others name it; nothing is left of the fit."""
    found = pool.run(range(3), ending, how)
    for rank, (text, seconds, left, _) in enumerate(found):
        assert (own if rank == 1 else of_others) in text
        assert seconds < SOON and not left


def test_ctrl_c_on_one_rank_ends_the_descent_on_all(pool):
    """All keep the best state, which is one."""
    found = pool.run(range(3), ending, "Ctrl-C")
    models = [pickle.loads(model) for *_, model in found]
    assert all(text.startswith("KeyboardInterrupt") for text, *_ in found)
    assert 0 < models[0].n_iter_ < 100 and not models[0].converged_
    for model in models[1:]:
        np.testing.assert_array_equal(model.to_dense(), models[0].to_dense())


def test_a_rank_that_stands_still_is_waited_for(pool):
    """As long as it lives; the fit ends with the bits of one that nothing has held up."""
    plain, held_up = (pool.run(range(3), ending, how) for how in ("nothing", "stopped"))
    assert all(text is None for text, *_ in held_up)
    assert held_up[0][1] > 1.9  # seconds, of which rank 0 waits for two
    expected = pickle.loads(plain[0][3]).to_dense()
    for *_, model in held_up:
        np.testing.assert_array_equal(pickle.loads(model).to_dense(), expected)


def test_a_killed_rank_ends_all_others(pool):
    """With a clear error, in time."""
    found = pool.run((0, 4, 1), ending, "killed")
    assert found[1] is None
    for text, seconds, left, _ in (found[0], found[2]):
        assert "A process of the group has ended" in text
        assert seconds < SOON and not left


def be_busy():
    began = time.perf_counter()
    while time.perf_counter() < began + 2 * SOON:
        np.ones(1000).sum()


def dying(rank, size, handler):
    """Kill rank 1 while rank 0 is busy with a fit of its own; return the error and the seconds."""
    before = signal.signal(signal.SIGINT, handler)
    try:
        return die(rank, size)
    finally:
        assert signal.signal(signal.SIGINT, before) is handler


def die(rank, size):
    X, y = sparse_cells()
    mine, model = shard(len(y), rank, size), CPCompletion(distributed=True, random_state=0)
    if rank == 0:
        model._fit_cells = lambda *told: be_busy()
    if rank == 1:
        Timer(2, kill).start()
    began = time.perf_counter()
    try:
        model.fit(X[mine], y[mine])
    except (Exception, KeyboardInterrupt) as error:
        return f"{type(error).__name__}: {error}", time.perf_counter() - began


@pytest.mark.parametrize(
    ("killed", "handler"), [(3, signal.default_int_handler), (5, signal.SIG_IGN)]
)
def test_a_busy_rank_hears_of_a_killed_one(pool, killed, handler):
    """Where few rows are gathered nothing is exchanged for as long as rank 0 fits.

    A shell has what it starts in the background ignore Ctrl-C, which ends the fit here.
    """
    found = pool.run((0, killed, 1), dying, handler)
    assert found[1] is None
    for text, seconds in (found[0], found[2]):
        assert text.startswith("RuntimeError: A process of the group has ended")
        assert seconds < SOON


def empty_fit(rank, size):
    model = CPCompletion(distributed=True)
    try:
        model.fit(np.empty((0, 3)), [])
    except ValueError as error:
        return str(error)


def test_no_rows_at_all(pool):
    """One empty shard is data, all empty are none."""
    assert all(
        "no row of positive weight on any rank" in text for text in pool.run((0, 1), empty_fit)
    )


@pytest.mark.parametrize(
    ("fit", "error", "text"),
    [
        (lambda model, X, y: model.fit(X, y), RuntimeError, "init_process_group"),
        (
            lambda model, X, y: model.fit_measurements(np.ones((2, 3, 3)), y[:2]),
            ValueError,
            "fit_measurements runs in one process",
        ),
        (
            lambda model, X, y: CompletionEnsemble(model).fit(X, y),
            ValueError,
            "CompletionEnsemble runs in one process",
        ),
        (
            lambda model, X, y: CompletionImputer(model).fit(np.ones((4, 3))),
            ValueError,
            "what fills gaps runs in one process",
        ),
    ],
)
def test_what_is_refused(fit, error, text):
    """A fit without a group, and what would take the rows of one rank for all."""
    X, y = sparse_cells()
    with pytest.raises(error, match=text):
        fit(CPCompletion(distributed=True), X, y)
