"""Checkpoints of other fits are refused by name; and what is done where the disk has trouble."""

import errno
import os
import time
from pathlib import Path

import numpy as np
import pytest
from cases.checkpoints import bits, count_writes, settings
from sklearn.model_selection import GridSearchCV

from sktf import (
    CompletionEnsemble,
    CompletionWarning,
    CPCompletion,
    DeepMatrixCompletion,
    PosteriorCompletion,
)
from sktf._descent import journal, run
from sktf._models import checkpoint

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]


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
