"""Checkpoints of fits: the same bits after a kill, and what is there at the end."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cases.checkpoints import Killed, bits, count_writes, evenly, settings
from cases.ticks import AtTick
from conftest import GRADIENT_ESTIMATORS, low_rank_entries, name_of
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.utils import check_random_state

from sktf import CPCompletion, DeepMatrixCompletion, DeepTuckerCompletion
from sktf._descent import growth, run
from sktf._models import checkpoint, fitting, growth_choice, sampled

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]


@pytest.fixture
def quick(monkeypatch):
    """Have nothing wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda number: None)


# The same bits ----------------------------------------------------------------------------------


def killed_and_resumed(monkeypatch, model, path, data, most, fit="fit"):
    """Return the bits of a fit, and those of fits that were killed after one write or another."""
    writes, kept = count_writes(monkeypatch), clone(model).set_params(checkpoint=path)
    expected, found = bits(getattr(clone(model), fit)(*data)), {}
    writes.kill_after(10**9)
    getattr(clone(kept), fit)(*data)
    for last in evenly(writes.n, most):
        os.unlink(path)
        writes.kill_after(last)
        with pytest.raises(Killed):
            getattr(clone(kept), fit)(*data)
        writes.kill_after(10**9)
        found[last] = bits(getattr(clone(kept), fit)(*data))
    return expected, found


RACES = [clone(model).set_params(n_init=7, max_iter=80) for model in GRADIENT_ESTIMATORS]


@pytest.mark.parametrize("model", RACES, ids=name_of)
def test_a_race_goes_on(quick, monkeypatch, path, model):
    """Screening, finalists, their mean and the refit, each of several runs."""
    model.set_params(early_stopping=True)
    data = low_rank_entries(
        (9, 8) if isinstance(model, DeepMatrixCompletion) else (7, 6, 5), 2, 0.6
    )
    expected, found = killed_and_resumed(monkeypatch, model, path, data, 4)
    assert len(found) == 4 and all(its == expected for its in found.values())


SETTINGS = {
    "constant": dict(step="constant", learning_rate=0.05),
    "grouprmsprop": dict(step="grouprmsprop"),
    "in Python": dict(dtype="float32", early_stopping=True, n_init=1),
    "measured": dict(measures={"sum": lambda factors: factors[0].sum()}, record_every=3),
    "two losses": dict(loss="auto", record_every="log"),
    "additive": dict(init="auto", offset="additive", early_stopping=True, n_init=2),
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_long_descent_goes_on(quick, monkeypatch, path, settings):
    """Amid its steps: with the state of the step, of what is held out and of what is recorded."""
    plain = dict(init="gaussian", init_scale=0.3, loss="squared", early_stopping=False)
    told = dict(n_components=4, max_iter=300, random_state=0) | plain | settings
    data = low_rank_entries((7, 6, 5), 2, 0.6)
    expected, found = killed_and_resumed(monkeypatch, CPCompletion(**told), path, data, 4)
    assert len(found) == 4 and all(its == expected for its in found.values())


def test_a_descent_in_pytorch_goes_on(quick, monkeypatch, path, small_tensor):
    """Whose vectors are tensors, on any device."""
    pytest.importorskip("torch")
    model = CPCompletion(4, n_init=7, max_iter=20, device="cpu:0", random_state=0)
    model.set_params(early_stopping=True)
    expected, found = killed_and_resumed(monkeypatch, model, path, small_tensor, 3)
    assert len(found) == 3 and all(its == expected for its in found.values())


def test_a_descent_in_rounds_goes_on(quick, monkeypatch, path):
    """While components sleep: those awake are a walk of their own."""
    data = low_rank_entries((14, 13, 12, 11), 3, 0.15)
    told = dict(init="gaussian", init_scale=0.05, max_iter=400, early_stopping=False)
    model, walks = CPCompletion(100, random_state=0, **told), []
    original = checkpoint.Checkpoint._refuse_another

    def look(self, mine):
        walks.extend(page["walk"] for page in self._content["pages"])
        original(self, mine)

    monkeypatch.setattr(checkpoint.Checkpoint, "_refuse_another", look)
    expected, found = killed_and_resumed(monkeypatch, model, path, data, 4)
    assert len(found) == 4 and all(its == expected for its in found.values())
    assert any(walk and walk[0][1] is not None for walk in walks)


GROWTHS = {
    "tensor": (CPCompletion(random_state=0), (14, 13, 12)),
    "additive": (CPCompletion(offset="additive", random_state=0), (14, 13, 12)),
    "single": (CPCompletion(dtype="float32", random_state=0), (14, 13, 12)),
    "matrix": (CPCompletion(2, random_state=0), (40, 30)),
    "lent": (DeepTuckerCompletion(random_state=0), (14, 13, 12)),
}


@pytest.mark.parametrize("model, shape", GROWTHS.values(), ids=GROWTHS)
def test_growth_goes_on(quick, monkeypatch, path, model, shape):
    """Of samples of the cells, which its random state draws, and a start that such a fit lends."""
    monkeypatch.setattr(growth_choice, "_MANY", 500)
    monkeypatch.setattr(sampled, "_ENOUGH", 300)
    monkeypatch.setattr(sampled, "_PER_ROW", 10)
    X, y = low_rank_entries(shape, 2, 0.5)
    y += 0.1 * np.random.RandomState(1).standard_normal(len(y))
    expected, found = killed_and_resumed(monkeypatch, model, path, (X, y), 4)
    assert len(found) == 4 and all(its == expected for its in found.values())


def test_measurements_go_on(quick, monkeypatch, path):
    """fit_measurements has the same descent."""
    rng = np.random.RandomState(0)
    A = rng.standard_normal((20, 4, 4))
    data = A, (A * np.outer(*rng.standard_normal((2, 4)))).sum(axis=(1, 2))
    model = DeepMatrixCompletion(depth=2, max_iter=200, random_state=0)
    expected, found = killed_and_resumed(monkeypatch, model, path, data, 3, "fit_measurements")
    assert len(found) == 3 and all(its == expected for its in found.values())


def test_two_kills_and_threads(quick, monkeypatch, path, small_tensor):
    """A fit that was resumed may be killed and resumed; runs side by side write one file."""
    writes, model = count_writes(monkeypatch), CPCompletion(n_init=6, max_iter=100, random_state=0)
    expected = bits(clone(model).fit(*small_tensor))
    monkeypatch.setattr(fitting, "n_descents", lambda objective, step: 3)
    for last in 20, 15, 10:
        writes.kill_after(last)
        with pytest.raises(Killed):
            clone(model).set_params(checkpoint=path).fit(*small_tensor)
    writes.kill_after(None)
    assert bits(clone(model).set_params(checkpoint=path).fit(*small_tensor)) == expected


_FIT = """
import sys
import numpy as np
from sktf import CPCompletion
from sktf._descent import journal
journal.SECONDS, journal.TIMES = 0.02, 0
X = np.argwhere(np.ones((20, 20, 20)))[::3]
y = np.sin(X).sum(axis=1) + np.cos(X).prod(axis=1)
told = dict(init="gaussian", init_scale=0.1, early_stopping=False, max_iter=2000, tol=0.0)
path = sys.argv[1] if len(sys.argv) > 1 else None
print("ready", flush=True)
model = CPCompletion(12, random_state=0, checkpoint=path, **told).fit(X, y)
print(model._theta.tobytes().hex()[-4000:])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_a_process_that_is_killed_goes_on_in_another(path):
    """By the signal that no process can catch, once a few states have been written."""
    command = [sys.executable, "-W", "ignore", "-c", _FIT]
    environment = dict(os.environ, PYTHONPATH=str(Path(checkpoint.__file__).parents[2]))
    how = dict(env=environment, stdout=subprocess.PIPE, text=True)
    expected = subprocess.run(command, check=True, **how).stdout
    killed = subprocess.Popen([*command, path], **how)
    assert killed.stdout.readline() == "ready\n"
    began, marks = time.monotonic(), set()
    while len(marks) < 4 and time.monotonic() - began < 60:
        marks |= {os.stat(path).st_mtime_ns} if os.path.exists(path) else set()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL and len(marks) == 4
    assert subprocess.run([*command, path], check=True, **how).stdout == expected


# How it ends ------------------------------------------------------------------------------------


def test_the_end_is_kept(path, small_tensor, monkeypatch):
    """The same call again does not descend, whatever it prints, and returns the same model."""
    first = CPCompletion(**settings(path)).fit(*small_tensor)
    monkeypatch.setattr(run, "gradient_descent", None)
    again = CPCompletion(**settings(path, verbose=1)).fit(*small_tensor)
    assert bits(again) == bits(first)


def test_it_changes_nothing_of_a_fit(path, small_tensor):
    """Neither what is found nor the estimator; the path may be of any kind."""
    plain = CPCompletion(**settings(None)).fit(*small_tensor)
    model = CPCompletion(**settings(Path(path))).fit(*small_tensor)
    assert bits(model) == bits(plain) and model.checkpoint == Path(path)
    assert clone(model).checkpoint == Path(path)
    X, loaded = small_tensor[0], pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.predict(X), model.predict(X))


def test_without_a_random_state_the_file_has_it(path, small_tensor):
    """So that a fit that draws anew each time goes on as it began."""
    told = settings(path, random_state=None)
    first = CPCompletion(**told).fit(*small_tensor)
    assert bits(CPCompletion(**told).fit(*small_tensor)) == bits(first)
    other = CPCompletion(**told | {"checkpoint": None}).fit(*small_tensor)
    assert bits(other) != bits(first)


def test_going_on_leaves_the_global_random_state(path, small_tensor):
    """Which a fit without a checkpoint draws from."""
    told = settings(path, random_state=None)
    CPCompletion(**told).fit(*small_tensor)
    draws = check_random_state(None)
    before = draws.get_state()[1].copy()
    CPCompletion(**told).fit(*small_tensor)
    assert_array_equal(draws.get_state()[1], before)


def interrupt():
    """Do what Ctrl-C does."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("action", [interrupt, lambda: True], ids=["Ctrl-C", "a callback"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_what_somebody_stops_goes_on(path, small_tensor, monkeypatch, action, share):
    """To where it would have ended: what was cut short is not taken for a result."""
    told = settings(path, n_init=9)
    expected = bits(CPCompletion(**told | {"checkpoint": None}).fit(*small_tensor))
    stop = AtTick(int(100 * share), action)
    stopped = CPCompletion(**told).set_callbacks(stop)
    if action is interrupt:
        with pytest.raises(KeyboardInterrupt):
            stopped.fit(*small_tensor)
    else:
        stopped.fit(*small_tensor)
    assert bits(stopped) != expected and os.path.exists(path)
    assert bits(CPCompletion(**told).fit(*small_tensor)) == expected


def test_ctrl_c_while_a_start_is_lent(quick, path, monkeypatch):
    """The descent from it that then is cut short is not taken for a result."""
    monkeypatch.setattr(growth_choice, "_MANY", 500)
    data = low_rank_entries((14, 13, 12), 2, 0.5)
    told = dict(random_state=0)
    expected = bits(DeepTuckerCompletion(**told).fit(*data))
    original = growth.GrowingRun.take_mean

    def late(self, runs, progress):
        progress.stop("interrupted")
        original(self, runs, progress)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(growth.GrowingRun, "take_mean", late)
        DeepTuckerCompletion(checkpoint=path, **told).fit(*data)
    assert bits(DeepTuckerCompletion(checkpoint=path, **told).fit(*data)) == expected
