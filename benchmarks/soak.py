"""Many fits in one process, in threads and in processes, and damaged files of models.

    python benchmarks/soak.py [fits] [threads] [processes] [mutations] [--fits 2000] [--quick]

Without names all parts run. ``fits`` reads /proc, and so needs Linux.
"""

import argparse
import gc
import multiprocessing
import os
import pickle
import sys
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial

import common  # noqa: F401
import numpy as np
from common import GOALS, print_goal, print_row, print_title
from joblib import Parallel, delayed

import sktf

_SMALL = {"n_init": 1, "max_iter": 30, "random_state": 0}
#: Small fits of all estimators of cells that need no optional package.
ESTIMATORS = (
    sktf.CPCompletion(n_init=2, max_iter=30, random_state=0),
    sktf.DeepCPCompletion(4, **_SMALL),
    sktf.NonNegativeCPCompletion(4, **_SMALL),
    sktf.DeepMatrixCompletion(**_SMALL),
    sktf.DeepTuckerCompletion(**_SMALL),
    sktf.HierarchicalCompletion(2, **_SMALL),
    sktf.CPALSCompletion(2, solver="sparse", **_SMALL),
    sktf.CompletionEnsemble(sktf.CPCompletion(4, **_SMALL), n_estimators=2, random_state=0),
    sktf.PosteriorCompletion(
        sktf.CPCompletion(4, **_SMALL), n_samples=2, n_warmup=1, n_chains=2, random_state=0
    ),
)
_KIB, _FATES = 1024, ("refused", "harmless", "other predictions")
_GROWTH = 8  # MiB that the heap may move after the first fits


def problem(seed=0):
    """Return 300 cells of a tensor of rank 2, its shape and their values."""
    rng = np.random.default_rng(seed)
    X = rng.integers((12, 10, 8), size=(300, 3))
    factors = [rng.standard_normal((size, 2)) for size in (12, 10, 8)]
    return X, np.prod([f[c] for f, c in zip(factors, X.T, strict=True)], axis=0).sum(1)


def bits(number):
    """Return the predictions of a fit of the estimator of a number, as bytes."""
    X, y = problem(number)
    model = pickle.loads(pickle.dumps(ESTIMATORS[number % len(ESTIMATORS)]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, y).predict(X).tobytes()


def usage():
    """Return resident MiB, threads and open files of this process."""
    gc.collect()
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    resident = int(fields["VmRSS"].split()[0]) / _KIB
    return resident, int(fields["Threads"]), len(os.listdir("/proc/self/fd"))


def fits(n_fits, looks=(100, 500, 1000, 2000)):
    """Print what the process holds after so many fits, and return it."""
    print_title("Fits one after another in one process")
    print_row("fits", "resident MiB", "threads", "files")
    held = {}
    for done in range(1, n_fits + 1):
        bits(done)
        if done in looks:
            held[done] = usage()
            print_row(str(done), *held[done])
    (first, threads, files), (last, threads_now, files_now) = held[min(held)], held[max(held)]
    print_goal(
        f"from fit {min(held)} to fit {max(held)}: less than {_GROWTH} MiB more",
        f"{last - first:.1f} MiB",
        last - first < _GROWTH,
    )
    kept = (threads, files) == (threads_now, files_now)
    print_goal("no more threads or files", f"{threads_now}, {files_now}", kept)
    return held


def threads(n_threads=8, n_fits=72):
    """Print, and return, how many fits in threads have other bits than alone."""
    print_title("Fits in threads")
    alone = [bits(number) for number in range(n_fits)]
    with ThreadPoolExecutor(n_threads) as pool:
        together = list(pool.map(bits, range(n_fits)))
    return told(f"{n_threads} threads, {n_fits} fits", alone, together)


def processes(n_processes=2, n_fits=18):
    """Print, and return, how many fits in processes have other bits than alone, by how they start.

    The process has fitted before it forks.
    """
    print_title("Fits in processes")
    alone, numbers, other = [bits(number) for number in range(n_fits)], range(n_fits), {}
    for method in "fork", "forkserver", "spawn":
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(n_processes, mp_context=context) as pool:
            other[method] = told(method, alone, list(pool.map(bits, numbers, timeout=300)))
    run = Parallel(n_processes, backend="loky")
    other["loky"] = told("loky", alone, run(delayed(bits)(number) for number in numbers))
    return other


def told(name, alone, together):
    """Print, and return, how many of the fits differ."""
    n_other = sum(one != other for one, other in zip(alone, together, strict=True))
    print_goal(f"{name}: same bits", f"{n_other} differ", n_other == 0)
    return n_other


def mutations(n_each=500):
    """Print, and return, what becomes of damaged files of a model: see ``fate``."""
    print_title("Damaged files of a model: one bit flipped, or cut short")
    X, y = problem()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ESTIMATORS[0].fit(X, y)
    found, expected = {}, model.predict(X)
    for name, (write, read) in ways().items():
        for kind, files in damages(write(model), n_each).items():
            fates = Counter(fate(read, file, X, expected) for file in files)
            found[f"{name}, {kind}"] = fates
    print_row("files", *_FATES, widths=(20,), width=20)
    for name, fates in found.items():
        print_row(name, *(fates[fate] for fate in _FATES), widths=(20,), width=20)
    for name in sorted(found.keys() - {"pickle, flipped"}):  # which has no checksum
        silent = found[name]["other predictions"]
        print_goal(f"{name}: none predicts otherwise", f"{silent} of {n_each}", silent == 0)
    return found


def ways():
    """Return how models are written and read, by name."""
    found = {"pickle": (pickle.dumps, pickle.loads)}
    try:
        import skops.io
    except ImportError:
        return found

    def read(data):
        return skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))

    return found | {"skops": (skops.io.dumps, read)}


def damages(data, n_each, seed=0):
    """Return damaged copies of bytes, by the kind of damage."""
    rng = np.random.default_rng(seed)
    places = rng.choice(len(data), n_each)
    flipped = []
    for at in places:
        copy = bytearray(data)
        copy[at] ^= 1 << rng.integers(8)
        flipped.append(bytes(copy))
    return {"flipped": flipped, "cut": [data[:at] for at in places]}


def fate(read, data, X, expected):
    """Return "refused", "harmless" or "other predictions" of what is read from damaged data."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            predicted = read(data).predict(X)
    except Exception:
        return "refused"
    return "harmless" if np.array_equal(predicted, expected) else "other predictions"


def main(names, n_fits, quick):
    """Run the parts of these names, or all; return whether each goal is met."""
    if quick:
        parts = {
            "fits": partial(fits, 63, looks=(27, 63)),
            "threads": partial(threads, n_fits=9),
            "processes": partial(processes, n_fits=2),
            "mutations": partial(mutations, 50),
        }
    else:
        parts = {"fits": partial(fits, n_fits), "threads": threads}
        parts |= {"processes": processes, "mutations": mutations}
    for name in names or parts:
        parts[name]()
    return all(met for _, _, met in GOALS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help="fits, threads, processes or mutations")
    parser.add_argument("--fits", type=int, default=2000, help="fits one after another")
    parser.add_argument("--quick", action="store_true", help="few of all")
    options = parser.parse_args()
    sys.exit(not main(options.parts, options.fits, options.quick))
