"""Checkpoints of fits: the same bits after a kill, refusals by name, and trouble on the disk."""

import errno
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cases.checkpoints import Killed, bits, count_writes, evenly
from cases.ticks import AtTick
from conftest import GRADIENT_ESTIMATORS, low_rank_entries, name_of
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils import check_random_state

from sktf import (
    CompletionEnsemble,
    CompletionWarning,
    CPCompletion,
    DeepMatrixCompletion,
    DeepTuckerCompletion,
    PosteriorCompletion,
)
from sktf._descent import growth, journal, run
from sktf._models import checkpoint, fitting, growth_choice, sampled

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]


@pytest.fixture
def path(tmp_path):
    """Return the path of a file that is not there yet."""
    return str(tmp_path / "fit.ckpt")


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


def settings(path, **others):
    """Return the parameters of a small fit."""
    return dict(n_components=3, n_init=2, max_iter=40, random_state=0, checkpoint=path) | others


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
    stopped = CPCompletion(**told).set_callbacks(AtTick(int(100 * share), action))
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


# Refusals ---------------------------------------------------------------------------------------


def first_changed(array, to):
    """Return a copy of an array with another first entry."""
    other = array.copy()
    other.flat[0] = to
    return other


OTHERS = {
    "max_iter": (dict(max_iter=41), r"max_iter \(40 in the file, 41 now\)\."),
    "dtype": (dict(dtype="float32"), r"dtype \(float64 in the file, float32 now\)\."),
    "seed": (dict(random_state=1), r"random_state \(0 in the file, 1 now\)\."),
    "none": (dict(random_state=None), r"random_state \(0 in the file, None now\)\."),
    "state": (dict(random_state=np.random.RandomState(0)), r"in random_state\."),
    "shape": (dict(shape=(7, 6, 5)), r"shape \(None in the file, \[7, 6, 5\] now\)\."),
    "init": (dict(init=[np.ones((n, 3)) for n in (7, 6, 5)], n_init=1), "init"),
    "measures": (dict(measures={"one": np.sum}), r"measures \(None .*\[\[one, numpy.sum\]\] now\)"),
}


@pytest.mark.parametrize("changed, told", OTHERS.values(), ids=OTHERS)
def test_other_parameters_are_refused(path, small_tensor, changed, told):
    """With what they were, the remedy, and the file as it was."""
    CPCompletion(**settings(path)).fit(*small_tensor)
    before = Path(path).read_bytes()
    with pytest.raises(ValueError, match=f"(?s){told}.*Delete the file .* a path of its own"):
        CPCompletion(**settings(path, **changed)).fit(*small_tensor)
    assert Path(path).read_bytes() == before


OTHER_DATA = {
    "X": (lambda X, y: (X[:, ::-1], y), r"in X; the sizes of the modes\."),
    "order": (lambda X, y: (X[::-1], y[::-1]), r"in X; y\."),
    "y": (lambda X, y: (X, first_changed(y, 0.5)), r"in y\."),
    "weights": (lambda X, y: (X, y, first_changed(np.ones(len(y)), 2)), r"in sample_weight\."),
}


@pytest.mark.parametrize("change, told", OTHER_DATA.values(), ids=OTHER_DATA)
def test_other_data_are_refused(path, small_tensor, change, told):
    """By the name of what differs."""
    CPCompletion(**settings(path)).fit(*small_tensor)
    with pytest.raises(ValueError, match=told):
        CPCompletion(**settings(path)).fit(*change(*small_tensor))


def test_other_cells_to_stop_on_are_refused(path, small_tensor):
    """Given cells where there were none, and others."""
    X, y = small_tensor
    given = {"X_val": X[:20], "y_val": y[:20]}
    CPCompletion(**settings(path)).fit(X, y, **given)
    with pytest.raises(ValueError, match=r"in X_val; y_val\."):
        CPCompletion(**settings(path)).fit(X, y)
    with pytest.raises(ValueError, match=r"in y_val\."):
        CPCompletion(**settings(path)).fit(X, y, X_val=X[:20], y_val=first_changed(y[:20], 9.0))


def test_another_version_or_estimator_is_refused(path, small_matrix, monkeypatch):
    """Both may descend otherwise."""
    CPCompletion(random_state=0, checkpoint=path).fit(*small_matrix)
    with pytest.raises(ValueError, match=r"the estimator \(.*CPCompletion in the file, .*Deep"):
        DeepMatrixCompletion(random_state=0, checkpoint=path).fit(*small_matrix)
    monkeypatch.setattr(checkpoint, "__version__", "99.0")
    with pytest.raises(ValueError, match=r"the version of sktf \(.* in the file, 99.0 now\)\."):
        CPCompletion(random_state=0, checkpoint=path).fit(*small_matrix)


def test_the_next_warm_start_is_another_fit(path, small_tensor):
    """It goes on from other parameters than the one before did."""
    model = CPCompletion(**settings(path, warm_start=True)).fit(*small_tensor)
    with pytest.raises(ValueError, match="in what warm_start goes on from"):
        model.fit(*small_tensor)
    again = model.set_params(checkpoint=f"{path}.2").fit(*small_tensor)
    assert bits(again) != bits(CPCompletion(**settings(path, warm_start=True)).fit(*small_tensor))


def test_same_parameters_of_other_types_are_the_same_fit(path, small_tensor):
    """NumPy's numbers, and other names of a type or of a sequence."""
    plain = settings(path, shape=(7, 6, 5))
    CPCompletion(**plain).fit(*small_tensor)
    alike = dict(shape=[7, 6, 5], max_iter=np.int64(40), dtype=np.float64, tol=np.float64(1e-6))
    CPCompletion(**plain | alike).fit(*small_tensor)
    X, y = small_tensor
    CPCompletion(**plain).fit(np.asfortranarray(X.astype(np.int32)), y.tolist())


def test_a_file_that_is_no_checkpoint_is_refused(path, small_tensor):
    """It is an error, never a start from nothing, and never overwritten."""
    for data in b"", b"my results", b"sktf checkpoint 1\ntorn":
        Path(path).write_bytes(data)
        with pytest.raises(ValueError, match=r"checkpoint='.*fit.ckpt': the file is .* Delete"):
            CPCompletion(**settings(path)).fit(*small_tensor)
        assert Path(path).read_bytes() == data


@pytest.mark.parametrize("kind", [CompletionEnsemble, PosteriorCompletion])
def test_averages_refuse_it(path, small_tensor, kind):
    """Several fits would share the file."""
    with pytest.raises(ValueError, match="several; set checkpoint=None"):
        kind(CPCompletion(checkpoint=path)).fit(*small_tensor)
    assert not os.path.exists(path)


def test_a_search_is_refused_at_its_second_fit(path, small_tensor):
    """Which is not the fit of the file."""
    search = GridSearchCV(CPCompletion(**settings(path)), {"tol": [0.1, 0.2]}, error_score="raise")
    with pytest.raises(ValueError, match="of another fit"):
        search.fit(*small_tensor)


# Trouble ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["", "no folder/fit.ckpt", "file/fit.ckpt", "."])
def test_a_path_of_no_file_is_an_error_at_once(tmp_path, small_tensor, where, monkeypatch):
    """Before anything descends."""
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "gradient_descent", None)
    with pytest.raises(OSError, match="checkpoint='.*cannot be read or written: .* may be written"):
        CPCompletion(**settings(where)).fit(*small_tensor)
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_is_read_only_is_an_error_at_once(path, small_tensor, monkeypatch):
    """As the system says it of ``open``, also where the superuser runs the tests."""

    def refuse(*args, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError, match="Permission denied. Give a file in a folder"):
        CPCompletion(**settings(path)).fit(*small_tensor)
    assert os.listdir(os.path.dirname(path)) == []


def full_disk(monkeypatch, after):
    """Let the disk be full after so many writes."""
    writes = count_writes(monkeypatch)

    def write(path, content):
        if writes.n >= after:
            raise OSError(errno.ENOSPC, "No space left on device")
        writes(path, content)

    monkeypatch.setattr(checkpoint, "write_checkpoint", write)


def test_a_full_disk_does_not_end_a_fit(path, small_tensor, monkeypatch):
    """One warning; the fit is the same, and the last file that was written goes on."""
    expected = bits(CPCompletion(**settings(None)).fit(*small_tensor))
    with monkeypatch.context() as patch:
        full_disk(patch, 5)
        with pytest.warns(CompletionWarning) as told:
            assert bits(CPCompletion(**settings(path)).fit(*small_tensor)) == expected
    (text,) = [str(w.message) for w in told if "could not be written" in str(w.message)]
    assert text.startswith("checkpoint=") and "No space left on device. The fit goes on" in text
    assert bits(CPCompletion(**settings(path)).fit(*small_tensor)) == expected


def test_two_fits_that_share_a_path_leave_one_file(path, small_tensor, monkeypatch):
    """The one that finds the file of another in its place writes no more, and says so."""
    count_writes(monkeypatch)
    X, y = small_tensor

    def other(factors):
        if not os.path.exists(f"{path}.done"):
            Path(f"{path}.done").touch()
            Path(path).unlink()
            CPCompletion(**settings(path, max_iter=5)).fit(X, y)
        return 0.0

    with pytest.warns(CompletionWarning, match="another fit has written to it"):
        CPCompletion(**settings(path, measures={"other": other})).fit(X, y)
    CPCompletion(**settings(path, max_iter=5)).fit(X, y)


def test_a_fit_that_fails_at_once_leaves_no_file(path, small_tensor):
    """So that with the parameter mended the next is not refused."""
    with pytest.raises(ValueError, match="n_init"):
        CPCompletion(**settings(path, init=[np.ones((7, 3))])).fit(*small_tensor)
    assert os.listdir(os.path.dirname(path)) == []


def test_a_clock_that_jumps_changes_nothing(path, small_tensor, monkeypatch):
    """Writes go by a clock that only runs forward; that of the wall may say what it likes."""
    writes = count_writes(monkeypatch, eager=False)
    monkeypatch.setattr(time, "time", lambda: -1e9 if writes.n else 1e12)
    CPCompletion(**settings(path)).fit(*small_tensor)
    assert writes.n == 2  # where it begins, and where it ends


def test_writes_are_as_rare_as_promised(path, small_tensor, monkeypatch):
    """``SECONDS`` apart, or fifty times as long as the last took: here time passes by calls."""
    now, times = [0.0], []

    def clock():
        now[0] += 0.05
        return now[0]

    monkeypatch.setattr(journal, "monotonic", clock)
    monkeypatch.setattr(journal, "SECONDS", 0.5)
    writes = count_writes(monkeypatch, eager=False)

    def write(path, content):
        times.append(now[0])
        now[0] += 0.02
        writes(path, content)

    monkeypatch.setattr(checkpoint, "write_checkpoint", write)
    CPCompletion(**settings(path, n_init=9, max_iter=400)).fit(*small_tensor)
    assert len(times) > 3 and min(np.diff(times[1:-1])) >= 50 * 0.02
