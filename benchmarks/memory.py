"""Peak memory and start-up, each measured in a fresh process.

    python benchmarks/memory.py [--quick] [--most 100000000]

Memory is the largest resident set of the process less that after the imports. Problems too large
for the free memory are left out.
"""

import argparse
import subprocess
import sys
import time

import common
from common import print_goal, print_row, print_title

_HEAD = """
import resource, time
import numpy as np
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
"""

_SPARSE = """
from sktf import CPCompletion
import warnings; warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
linear = rng.choice(300**3, 270_000, replace=False)
X = np.stack(np.unravel_index(linear, (300,) * 3), axis=1)
U = rng.standard_normal((3, 300, 3))
y = (U[0][X[:, 0]] * U[1][X[:, 1]] * U[2][X[:, 2]]).sum(1)
CPCompletion(2, shape=(3, 3, 3), n_init=1, max_iter=1).fit(X[:9] % 3, y[:9])  # compiled code
before = peak()
CPCompletion(10, shape=(300,) * 3, max_iter=50, random_state=0).fit(X, y)
print(peak() - before)
"""

_DENSE = """
import tensorly
from tensorly.decomposition import parafac
rng = np.random.default_rng(0)
before = peak()
tensor, mask = rng.random((300,) * 3), rng.random((300,) * 3) < 0.01
parafac(tensor, 10, mask=mask, init="random", random_state=0, n_iter_max=2)
print(peak() - before)
"""

# Indices in int32, as a user of little memory has them; a tensor of rank one under noise, cells
# held out and a last polish on all, as by default.
_FIT = """
from sktf import CPCompletion
import warnings; warnings.simplefilter("ignore")
rng, n, size = np.random.default_rng(0), {observed}, {size}
X = rng.integers(0, size, (n, 3), dtype=np.int32)
u, v, w = rng.standard_normal((3, size), dtype=np.float32)
y = 0.1 * rng.standard_normal(n, dtype=np.float32)
for k in range(0, n, 2**22):
    i, j, l = X[k : k + 2**22].T
    y[k : k + 2**22] += u[i] * v[j] * w[l]
start = time.perf_counter()
CPCompletion(shape=(size,) * 3, dtype="float32", random_state=0).fit(X, y)
print(peak(), time.perf_counter() - start)
"""

_GRADIENT = """
from sktf._models.cp import CPFactorization
from sktf._objective.losses import ClippedSquare
from sktf._objective.cpu import FusedObjective
from sktf._cells.validation import Observations
rng, n, size = np.random.default_rng(0), {observed}, {size}
X = rng.integers(0, size, (n, 3), dtype=np.int32)
y = rng.standard_normal(n, dtype=np.float32)
cells = Observations(X, y, np.ones(n, np.float32), (size,) * 3)
start = time.perf_counter()
model = CPFactorization((size,) * 3, 16)
objective = FusedObjective(model, cells, ClippedSquare(np.inf), dtype="float32")
made = time.perf_counter() - start
theta = rng.standard_normal(model.n_parameters, dtype=np.float32)
objective(theta)
seconds = []
for _ in range(5):
    start = time.perf_counter()
    objective(theta)
    seconds.append(time.perf_counter() - start)
print(peak(), made, min(seconds))
"""

_IMPORT = """
import time
start = time.perf_counter()
import sktf
imported = time.perf_counter() - start
sktf.CPCompletion
print(imported, time.perf_counter() - start)
"""

_FIRST_FIT = """
from sktf import CPCompletion
rng = np.random.default_rng(0)
X = np.argwhere(rng.random((10, 10, 10)) < 0.3)
y = np.prod([rng.standard_normal(10)[c] for c in X.T], axis=0)
model = CPCompletion(5, shape=(10,) * 3, random_state=0)
times = []
for _ in range(2):
    start = time.perf_counter()
    model.fit(X, y)
    times.append(time.perf_counter() - start)
print(times[0] - times[1])
"""


def in_fresh_process(code, head=_HEAD, timeout=580):
    """Run code after ``head`` in a new process and return the numbers that it prints."""
    command = [sys.executable, "-c", head + code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=timeout)
    return [float(word) for word in done.stdout.split()]


def free_gib():
    """Memory that is free, in GiB; infinity where the system does not say."""
    try:
        with open("/proc/meminfo") as file:
            fields = dict(line.split(":") for line in file)
    except OSError:
        return float("inf")
    return int(fields["MemAvailable"].split()[0]) / 2**20


def start_up():
    """Print the time of the import and of the first fit."""
    print_title("Start-up, medians of 5 fresh processes")
    # The first import writes bytecode, the first fit compiled code.
    imports, with_estimator = sorted(in_fresh_process(_IMPORT, "") for _ in range(6))[2]
    fits = sorted(in_fresh_process(_FIRST_FIT)[0] for _ in range(6))
    figure = f"{imports:.2f} s; with an estimator {with_estimator:.2f} s"
    print_goal("import sktf < 0.5 s", figure, imports < 0.5)
    print_goal("first fit of a process pays < 2 s", f"{fits[2]:.2f} s", fits[2] < 2)


def small_row(quick):
    """Print the memory of a sparse 300^3 tensor."""
    print_title("300^3, 1 % seen, 10 components: MiB above the imports")
    (ours,) = in_fresh_process(_SPARSE)
    print_row("CPCompletion", ours)
    if not quick and free_gib() > 8:
        print_row("tensorly, two sweeps", *in_fresh_process(_DENSE))
    print_goal(
        "300^3 with 1 % seen: < 150 MB above import", f"{1.048576 * ours:.0f} MB", ours < 143
    )


def large_rows(most):
    """Print memory and time of ever more cells, and how far from linear they are."""
    print_title("Order 3, R = 16, float32, one cell in eight seen: MiB in all and seconds")
    print_row("cells", "gradient MiB", "sort s", "gradient s", "fit MiB", "fit s", widths=(10,))
    counts = [n for n in (10**6, 10**7, 10**8) if n <= most]
    rows = {}
    for observed in counts:
        if observed == 10**8 and free_gib() < 13:
            print(f"  1e8 cells left out: {free_gib():.1f} GiB free, 13 needed")
            continue
        sizes = {"observed": observed, "size": round((8 * observed) ** (1 / 3))}
        memory, made, seconds = in_fresh_process(_GRADIENT.format(**sizes))
        fit = in_fresh_process(_FIT.format(**sizes))
        rows[observed] = fit[0], seconds
        print_row(f"{observed:.0e}", memory, made, seconds, *fit, widths=(10,))
    last = max(rows)
    memory, seconds = rows[last]
    linear = seconds / (last / 10**6 * rows[10**6][1])
    name = f"{last:.0e} cells, order 3, R = 16, float32"
    print_goal(f"{name}: whole fit within 12 GB", f"{1.048576e-3 * memory:.1f} GB", memory < 11444)
    print_goal(f"{name}: gradient within 1.5 x of linear", f"{linear:.2f} x", linear < 1.5)


def main(quick=False, most=10**8):
    """Print all tables."""
    begun = time.perf_counter()
    start_up()
    small_row(quick)
    large_rows(min(most, 10**7) if quick else most)
    print(f"  ({common.THREADS} threads, {time.perf_counter() - begun:.0f} s)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="at most 1e7 cells")
    parser.add_argument("--most", type=float, default=1e8, help="largest number of cells")
    options = parser.parse_args()
    main(options.quick, int(options.most))
