"""How close the compiled gradient comes to what the machine can do.

    python benchmarks/roofline.py [--quick]

Three ceilings, each measured here on as many threads as the gradient uses: multiply-adds in
registers, the triad ``a = b + s c`` in main memory, and the same triad on arrays that lie in the
cache where the factors lie. The work is counted from the sorted cells: a cell takes three passes
of multiply-adds over R, and reads a factor row, reads and writes a gradient row, which a batch of
cells does out of turn so that both come from the cache once; whatever the leading modes share is
done once a run. The roofline is the ceiling that takes longest.

Ceilings and gradient are measured seconds apart: where a host shares its cores, the share reached
moves by as much as the cores that it gives (52 to 118 % in seven runs on two shared cores). What is
missing goes into adding up the lanes of each prediction and into storing gradient rows.
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor

import common
import gradient
import numpy as np
from common import print_goal, print_row, print_title
from numba import njit

_FAST = {"reassoc", "contract", "nsz"}


@njit(nogil=True, fastmath=_FAST)
def _multiply_add(n_rounds, x):
    """64 sums that stay in registers: 128 operations a round."""
    sums = np.zeros(64)
    for _ in range(n_rounds):
        for i in range(64):
            sums[i] = sums[i] * x + x
    return sums.sum()


@njit(nogil=True, fastmath=_FAST)
def _triad(n_rounds, a, b, c):
    for k in range(n_rounds):
        for i in range(len(a)):
            a[i] = b[i] + (0.5 + k) * c[i]


def _rate(work, call, repeats):
    """Largest rate of ``call`` run on every thread at once, in units of work per second."""
    best = 0.0
    with ThreadPoolExecutor(common.THREADS) as pool:
        list(pool.map(call, range(common.THREADS)))
        for _ in range(repeats):
            start = time.perf_counter()
            list(pool.map(call, range(common.THREADS)))
            best = max(best, common.THREADS * work / (time.perf_counter() - start))
    return best


def peak_flops(repeats):
    """Multiply-adds of numbers in registers, or of a matrix product where that is faster."""
    from threadpoolctl import threadpool_limits

    n_rounds, size = 10**6, 768
    by_hand = _rate(128 * n_rounds, lambda _: _multiply_add(n_rounds, 0.999), repeats)
    a, b = np.ones((2, size, size))
    with threadpool_limits(1, user_api="blas"):
        return max(by_hand, _rate(2 * size**3, lambda _: a @ b, repeats))


def bandwidth(n_numbers, repeats):
    """Bytes per second of triads on three arrays of together ``n_numbers`` numbers a thread."""
    size = n_numbers // 3
    arrays = [np.ones((3, size)) for _ in range(common.THREADS)]
    n_rounds = max(1, 2**25 // size)
    work = 24 * size * n_rounds
    return _rate(work, lambda t: _triad(n_rounds, *arrays[t]), repeats)


def count_work(case):
    """Operations, bytes of rows through the cache and bytes of cells from memory, once."""
    size, R = np.dtype(case.dtype).itemsize, case.components
    new = np.ones((case.observed, case.order - 1), bool)
    new[1:] = np.logical_or.accumulate(case.coords[1:, :-1] != case.coords[:-1, :-1], axis=1)
    n_runs = int(new.sum())
    # A cell: dot product, two updates. A run: a product forward, two updates backward.
    flops = R * (6 * case.observed + 5 * n_runs)
    rows = R * size * 3 * (case.observed + n_runs)
    return flops, rows, case.observed * (4 + size) + n_runs * (8 + 4 * (case.order - 1))


def main(quick=False):
    """Print ceilings, work, and the share of the roofline that is reached."""
    repeats = 3 if quick else 7
    case = gradient.Case(10**6, 3, 32, "float64")
    flops, rows, cells = count_work(case)
    resident = 2 * case.order * case.size * case.components
    flops_rate, memory_rate = peak_flops(repeats), bandwidth(2**24, repeats)
    cache_rate = bandwidth(resident, repeats)
    print_title(f"Roofline, {common.THREADS} threads: 1e6 cells, order 3, R = 32, float64")
    bounds = {
        "multiply-adds": (flops / 1e9, flops_rate / 1e9, flops / flops_rate),
        "rows in cache": (rows / 1e9, cache_rate / 1e9, rows / cache_rate),
        "cells in memory": (cells / 1e9, memory_rate / 1e9, cells / memory_rate),
    }
    print_row("", "counted 1e9", "1e9 / s", "takes ms", widths=(18,))
    for name, (work, rate, seconds) in bounds.items():
        print_row(name, work, rate, 1e3 * seconds, widths=(18,))
    call = gradient.compiled(case)
    taken = min(common.time_in_turn({"": call}, 4 * repeats)[""])
    name = max(bounds, key=lambda key: bounds[key][2])
    share = bounds[name][2] / taken
    print_row("the gradient", "", "", 1e3 * taken, widths=(18,))
    print_goal(f">= 60 % of the roofline ({name})", f"{share:.0%}", share >= 0.6)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    main(parser.parse_args().quick)
