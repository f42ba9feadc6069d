"""Pinned threads, timing in turn and printed tables; import this before anything numerical.

The number of threads is read from ``SKTF_BENCHMARK_THREADS`` (default 2) when this module is
imported, because the libraries read theirs when they are.
"""

import logging
import os
import time
import warnings

THREADS = int(os.environ.setdefault("SKTF_BENCHMARK_THREADS", "2"))
for _name in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ[f"{_name}_NUM_THREADS"] = str(THREADS)

import numpy as np  # noqa: E402

# pyttb tells of every copy that it makes, torch that its CSR tensors are in beta.
logging.disable(logging.WARNING)
warnings.filterwarnings("ignore", message="Sparse CSR tensor")

#: Rows of goals that were printed so far: (goal, figure, whether it is met).
GOALS = []


# Seconds between two contenders; the threads of PyTorch come to rest in less.
_PAUSE = 0.05


def time_in_turn(contenders, repeats=5, seconds=20.0):
    """Return the wall seconds of every call of every contender, {name: list of floats}.

    They run in turn, so that a busy moment of the machine meets all of them; after ``seconds`` no
    round is begun. The first round is not counted. Threads of OpenMP spin for a while after their
    work and would take a core from the next contender: hence a pause, and a call that is not timed.
    """
    times = {name: [] for name in contenders}
    begun = time.perf_counter()
    for turn in range(repeats + 1):
        for name, call in contenders.items():
            time.sleep(_PAUSE)
            call()
            start = time.perf_counter()
            call()
            if turn:
                times[name].append(time.perf_counter() - start)
        if turn and time.perf_counter() - begun > seconds:
            break
    return times


def medians(times):
    """Return {name: median}."""
    return {name: float(np.median(taken)) for name, taken in times.items()}


def ratio(times, name, base):
    """Median over rounds of the time of ``name`` over that of ``base``."""
    return float(np.median(np.divide(times[name], times[base])))


def print_title(title):
    """Print a title, underlined."""
    print(f"\n{title}\n{'-' * len(title)}", flush=True)


def print_row(*cells, widths=(30,), width=13):
    """Print cells; the first ones have ``widths``, the others ``width``, right-aligned."""
    row = ""
    for number, cell in enumerate(cells):
        text = f"{cell:.3g}" if isinstance(cell, float) else str(cell)
        wide = widths[number] if number < len(widths) else None
        row += f"{text:{wide}} " if wide else f"{text:>{width}}"
    print(row.rstrip(), flush=True)


def print_goal(goal, figure, met):
    """Print and remember one line: what is wanted, what was measured, whether it is met."""
    GOALS.append((goal, figure, met))
    print(f"  {'met   ' if met else 'MISSED'}  {goal}: {figure}", flush=True)


def print_goals():
    """Print all goals again."""
    if GOALS:
        print_title("Goals")
    for goal, figure, met in GOALS:
        print(f"  {'met   ' if met else 'MISSED'}  {goal}: {figure}")
