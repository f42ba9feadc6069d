"""What a checkpoint costs, and whether fits that are killed go on to the same bits.

    python benchmarks/checkpoint.py [cost] [kills] [--seed 0]

``cost``: processor time of fits with a checkpoint over that without, in turn, and how large the
file is. ``kills``: ten processes, of three kinds of fit in turn, ended by SIGKILL at random
moments, and whether the fits that go on from their files find the same bits.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from hashlib import sha256
from pathlib import Path

import common  # noqa: F401  pins the threads
import numpy as np
from common import THREADS, print_goal, print_row, print_title

from sktf import CPCompletion

# Rounds there are at least, and seconds of processor time from which on no further one begins.
_ROUNDS, _ENOUGH, _KILLS = 5, 30, 10
# Seconds between two writes of the fits that are killed, which take seconds themselves; and where
# writing takes long, it is done more often than by default.
_OFTEN = 0.1


def cells(shape, n_cells, rank=5, noise=0.3):
    """Return rows and values of a tensor of this rank under noise."""
    rng = np.random.default_rng(0)
    X = np.stack([rng.integers(size, size=n_cells, dtype=np.int32) for size in shape], axis=1)
    factors = [rng.standard_normal((size, rank)) for size in shape]
    y = np.prod([f[i] for f, i in zip(factors, X.T, strict=True)], axis=0).sum(axis=1)
    return X, y + noise * y.std() * rng.standard_normal(n_cells)


_PLAIN = dict(init="gaussian", init_scale=0.1, early_stopping=False, loss="squared", tol=0.0)
#: Name -> parameters, shape and number of cells.
FITS = {
    "race, 2,000 cells": ({}, (20, 20, 20), 2_000),
    "growth, 10^5 cells": ({}, (100, 100, 100), 10**5),
    "growth, 10^6 cells": ({}, (300, 300, 300), 10**6),
    "one descent, 10^5 cells": (
        dict(n_components=30, max_iter=10_000, **_PLAIN),
        (99, 99, 99),
        10**5,
    ),
}
#: The fits that are killed.
KILLED = ("long race, 2,000 cells", "growth, 10^5 cells", "long descent, 10^4 cells")
FITS["long race, 2,000 cells"] = (dict(max_iter=20_000, tol=0.0), (20, 20, 20), 2_000)
FITS["long descent, 10^4 cells"] = (
    dict(n_components=100, max_iter=4000, record_every="log", **_PLAIN),
    (20, 20, 20, 20),
    10_000,
)


def model_of(name, path):
    """Return the estimator of a fit."""
    return CPCompletion(random_state=0, checkpoint=path, **FITS[name][0])


def cost(folder):
    """Print what checkpoints cost."""
    print_title(f"Cost of a checkpoint ({THREADS} threads)")
    widths = (26,)
    print_row("fit", "CPU s", "ratio", "CPU s again", "MB", widths=widths)
    for name in list(FITS)[:4]:
        data, path = cells(*FITS[name][1:]), f"{folder}/cost"
        model_of(name, None).fit(*data)
        taken = []
        while len(taken) < _ROUNDS or (len(taken) < 99 and np.sum(taken) < _ENOUGH):
            Path(path).unlink(missing_ok=True)
            order = (None, path) if len(taken) % 2 else (path, None)
            pair = {where: _timed(name, where, data) for where in order}
            taken.append((pair[None], pair[path]))
        seconds = float(np.median([without for without, _ in taken]))
        ratio = float(np.median([kept / without for without, kept in taken]))
        again = _timed(name, path, data)
        print_row(name, seconds, ratio, again, os.path.getsize(path) / 1e6, widths=widths)


def _timed(name, path, data):
    """Return the processor seconds of a fit."""
    model, began = model_of(name, path), time.process_time()
    model.fit(*data)
    return time.process_time() - began


def kills(folder, seed):
    """Print where fits were killed, and whether they went on to the same bits."""
    rng, same, undisturbed = np.random.default_rng(seed), [], {name: _run(name) for name in KILLED}
    print_title(f"Fits that are killed ({THREADS} threads)")
    print_row("fit", "seconds", "killed after", "MB kept", "same bits", widths=(24,))
    while len(same) < _KILLS:
        name, path = KILLED[len(same) % len(KILLED)], f"{folder}/{len(same)}"
        whole, seconds = undisturbed[name]
        moment = rng.random() * seconds
        if not _killed(name, path, moment):
            Path(path).unlink()  # it had ended
            continue
        kept = os.path.getsize(path) / 1e6 if os.path.exists(path) else 0.0
        same.append(_run(name, path)[0] == whole)
        print_row(name, seconds, moment, kept, "yes" if same[-1] else "NO", widths=(24,))
    print_goal("fits that went on to the same bits", f"{sum(same)} of {len(same)}", all(same))


def _command(name, path):
    return [sys.executable, __file__, "one", "--fit", name, "--path", path or ""]


def _run(name, path=None):
    """Return what a fit prints of its bits, in a process of its own, and its seconds."""
    done = subprocess.run(_command(name, path), capture_output=True, text=True, check=True)
    digest, seconds = done.stdout.split()[-2:]
    return digest, float(seconds)


def _killed(name, path, moment):
    """Kill a fit so many seconds after it has begun; return whether it had not ended."""
    process = subprocess.Popen(_command(name, path), stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    time.sleep(moment)
    process.kill()
    ended = process.stdout.read()
    process.wait()
    return not ended


def one(name, path):
    """Fit, and print a checksum of all that is found."""
    from sktf._descent import journal

    journal.SECONDS, journal.TIMES = _OFTEN, 2
    data = cells(*FITS[name][1:])
    print("begins", flush=True)
    began = time.perf_counter()
    model = model_of(name, path or None).fit(*data)
    seconds = time.perf_counter() - began
    found = [*model.factors_, *model.trace_.values(), np.array([model.loss_, model.n_iter_])]
    print(sha256(b"".join(array.tobytes() for array in found)).hexdigest(), seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["cost", "kills"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fit")
    parser.add_argument("--path")
    told = parser.parse_args()
    warnings.simplefilter("ignore")
    if told.what == ["one"]:
        return one(told.fit, told.path)
    with tempfile.TemporaryDirectory() as folder:
        if "cost" in told.what:
            cost(folder)
        if "kills" in told.what:
            kills(folder, told.seed)


if __name__ == "__main__":
    main()
