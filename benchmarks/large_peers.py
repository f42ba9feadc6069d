"""What other packages make of many cells: SPLATT's completion, and dense ones of small tensors.

Part of section "time" of ``large.py``. All are told the true rank; SPLATT also gets 20 components.
``SPLATT`` in the environment names the executable of its branch sc16; it takes its penalty and
start by a tenth of the cells, which also stops it. tensorly and pyttb build the dense tensor; of
their starts the one with the lowest training error counts. Memory is what a fit takes beside its
cells, of SPLATT all that its process has. Peers that are missing are left out.
"""

import ctypes
import os
import re
import shutil
import subprocess
import tempfile
import time
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np
from peers import Components, pyttb_fit

_PENALTIES, _STARTS = (0.01, 0.1, 1.0, 10.0), (1, 2)
_WIDE = 20
#: Cells of the largest tensor that is given to those who build it.
_DENSE = 10**7
# A sweep of SPLATT ends with the seconds that have gone since it read its files.
_CLOCK = re.compile(r"RMSE-vl: \S+\s+time: ([\d.]+)s")


class Outcome(NamedTuple):
    """Its predictor, seconds of all its fits and of the one that counts, and MiB at the peak."""

    predict: Any
    searched: float
    alone: float
    memory: float


def watched(fit, *arguments):
    """Return the outcome of a single fit in this process, which returns a predictor."""
    before = _forget_peak()
    start = time.perf_counter()
    predict = fit(*arguments)
    seconds = time.perf_counter() - start
    return Outcome(predict, seconds, seconds, _memory("VmHWM") - before)


def _memory(field, process="self"):
    """Return a size that Linux tells of a process, in MiB; nan where it does not."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))
    except (OSError, StopIteration):
        return np.nan


def _forget_peak():
    """Let the peak of the memory begin anew, and return what is in use, in MiB."""
    try:
        # What a fit has given back would else count as in use, and as free for the next.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        return np.nan
    return _memory("VmRSS")


def fits(shape, rank, X, y):
    """Yield the name and the outcome of every peer; None of one that is left out."""
    executable = shutil.which(os.environ.get("SPLATT", ""))
    if executable is None:
        yield "SPLATT: the environment names no executable", None
    else:
        executable = os.path.abspath(executable)
        for n_components in (rank, _WIDE):
            yield f"SPLATT ALS, R = {n_components}", _splatt(executable, n_components, X, y)
    for name, fit, starts in (
        ("tensorly", _parafac, ("svd", "random")),
        ("pyttb", pyttb_fit, (0, 1)),
    ):
        if np.prod(shape) > _DENSE:
            yield f"{name}: the dense tensor is too large", None
        elif not _is_there(name):
            yield f"{name}: not installed", None
        else:
            yield f"{name}, R = {rank}", _dense(fit, shape, *_once(shape, X, y), rank, starts)


def _is_there(name):
    """Whether a package can be imported; then it is, so that no fit is charged for it."""
    try:
        import_module({"pyttb": "pyttb.gcp.optimizers"}.get(name, name))
    except ImportError:
        return False
    return True


def _best(outcomes, X, y):
    """Return the outcome of least error at cells, with the time of all."""
    best = min(outcomes, key=lambda outcome: np.mean((outcome.predict(X) - y) ** 2))
    return best._replace(searched=sum(outcome.searched for outcome in outcomes))


def _dense(fit, shape, X, y, rank, starts):
    return _best([watched(fit, shape, X, y, rank, start) for start in starts], X, y)


def _once(shape, X, y):
    """Return every cell once, with the mean of its values."""
    places = np.ravel_multi_index(tuple(X.T), shape)
    places, which = np.unique(places, return_inverse=True)
    means = np.bincount(which, y) / np.bincount(which)
    return np.column_stack(np.unravel_index(places, shape)), means


def _parafac(shape, X, y, rank, start):
    """Fit by tensorly's ALS, which imputes what its mask hides."""
    from tensorly.decomposition import parafac

    tensor, mask = np.zeros(shape), np.zeros(shape)
    tensor[tuple(X.T)], mask[tuple(X.T)] = y, 1.0
    settings = {"init": start, "mask": mask, "n_iter_max": 500, "tol": 1e-7, "random_state": 0}
    weights, (first, *others) = parafac(tensor, rank, **settings)
    return Components([first * weights, *others])


def _splatt(executable, n_components, X, y):
    """Return SPLATT's best by a tenth of the cells."""
    out = np.random.default_rng(0).random(len(y)) < 0.1
    with tempfile.TemporaryDirectory() as folder:
        for name, part in (("train.tns", ~out), ("held_out.tns", out)):
            cells = np.column_stack([X[part] + 1, y[part]])
            np.savetxt(Path(folder, name), cells, fmt=["%d"] * X.shape[1] + ["%.9g"])
        settings = product(_PENALTIES, _STARTS)
        runs = [_splatt_run(executable, folder, n_components, *each) for each in settings]
    return _best(runs, X[out], y[out])


def _splatt_run(executable, folder, n_components, penalty, seed):
    """Return the outcome of one run; its seconds are those of its sweeps, by its own clock."""
    command = [executable, "complete", "train.tns", "held_out.tns", "-a", "als", "-i", "50"]
    command += [f"-r{n_components}", f"-t{common.THREADS}", f"--reg={penalty}", f"--seed={seed}"]
    # Its threads solve small systems, each of which is for one thread.
    environment, said, memory = os.environ | {"OPENBLAS_NUM_THREADS": "1"}, Path(folder, "said"), 0
    with (
        said.open("w") as stdout,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=stdout) as process,
    ):
        while process.poll() is None:
            memory = np.fmax(memory, _memory("VmHWM", process.pid))
            time.sleep(0.005)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}.")
    seconds = float(_CLOCK.findall(said.read_text())[-1])
    # It writes the model that was best on the held-out cells.
    factors = [np.loadtxt(path) for path in sorted(Path(folder).glob("mode*.mat"))]
    return Outcome(Components(factors), seconds, seconds, float(memory))
