"""Error on hidden cells and seconds: the estimators against peers with their rank search.

    python benchmarks/race.py [--splits N] [--quick]

Everyone is told the seen cells and nothing else. A peer takes its rank or setting by the error on
a tenth of the seen cells, ranks from a list with two starts each until three of them in a row are
no better (kinetics: the ranks 4, 8, 12 and 20, one start each, which makes peers faster), and then
takes all cells, ALS and pyttb from the solution they have; that is in its time, as all starts are
in ours. Figures are medians over splits. One of our settings beats a peer where it is at least as
good, within 2 %, in less time; none is chosen after the fact, each has its own line.
Times are by the wall. Results are kept in ``benchmarks/_cache/race.csv``, so that a run goes on
where it ended; delete the file to begin anew, pass ``--splits 0`` to print the table.
"""

import argparse
import time
import warnings
from functools import partial
from itertools import product
from pathlib import Path

import common
import numpy as np
import peers
from common import print_goal, print_row, print_title
from practice import PROBLEMS as REAL
from practice import Problem, read_cache, write_cache

from sktf import CPCompletion, datasets
from sktf.metrics import normalized_rmse

_CACHE = Path(__file__).parent / "_cache" / "race.csv"
_TIE = 1.02
_OURS = {
    "CPCompletion": {},
    "CPCompletion n_init=3": {"n_init": 3},
    "CPCompletion n_init=1": {"n_init": 1},
}


def _synthetic(shape, rank, seen, noise=0.1):
    def load(seed):
        tensor, _ = datasets.make_low_rank(shape, rank, random_state=seed)
        X, y = datasets.entries_from_dense(tensor)
        return X, y + noise * np.random.default_rng(seed).standard_normal(len(y)), shape

    return Problem(load, 1 - seen, {}, len(shape))


PROBLEMS = {
    "30^3, rank 3, noise .1, 10 % seen": _synthetic((30,) * 3, 3, 0.1),
    "30^3, rank 3, noise .1, 5 % seen": _synthetic((30,) * 3, 3, 0.05),
    "10^4, rank 3, noise .1, 20 % seen": _synthetic((10,) * 4, 3, 0.2),
    "100 x 100, rank 5, noise .1, 30 % seen": _synthetic((100, 100), 5, 0.3),
    **{name: problem for name, problem in REAL.items() if not problem.pattern},
}


def ours(setting, shape, X, y):
    """Return the predictor of one of our settings."""
    return CPCompletion(shape=shape, random_state=0, **_OURS[setting]).fit(X, y).predict


def peers_of(problem):
    """Return {peer: (shape, X, y) -> predictor}."""
    told = {"ranks": problem.ranks, "n_starts": problem.n_starts}
    found = {"pyttb": partial(peers.pyttb_search, **told)}
    if problem.order > 2:
        return {"tensorly": partial(peers.als_search, "tensorly", **told), **found}
    svd, ridges = partial(peers.surprise_fit, "SVD"), product((2, 5, 10), (0.1, 1.0, 10.0))
    found["surprise SVD"] = partial(peers.search, svd, settings=peers.SVD_SETTINGS)
    found["ridge ALS"] = partial(peers.search, peers.ridge_als_fit, settings=list(ridges))
    return found


def contenders(problem):
    """Return {name: (shape, X, y) -> predictor}; ours first."""
    return {setting: partial(ours, setting) for setting in _OURS} | peers_of(problem)


def measure(split, fit):
    """Return the error on the hidden cells of one split, and the seconds."""
    with warnings.catch_warnings(action="ignore"):
        start = time.perf_counter()
        predict = fit(split.shape, split.X, split.y)
        seconds = time.perf_counter() - start
    return float(normalized_rmse(split.y_hidden, predict(split.X_hidden))), seconds


def warm_up():
    """Load compiled code and the peers; ``memory.py`` times the first fit of a process."""
    peers.load()
    for order in (2, 3, 4):
        X, y = datasets.entries_from_dense(np.ones((3,) * order))
        with warnings.catch_warnings(action="ignore"):
            CPCompletion(2, n_init=1, max_iter=2).fit(X, y)


def fill(names, n_splits):
    """Measure what the cache lacks."""
    done = read_cache(_CACHE)
    if n_splits:
        warm_up()
    for number, name in product(range(n_splits), names):
        split = PROBLEMS[name].split(number)
        for contender, fit in contenders(PROBLEMS[name]).items():
            key = (name, str(number), contender)
            if key not in done:
                write_cache(_CACHE, key, measure(split, fit))


def collect(name):
    """Return {contender: (median error, median seconds)} and over how many splits all have."""
    done = {key[1:]: numbers for key, numbers in read_cache(_CACHE).items() if key[0] == name}
    wanted = contenders(PROBLEMS[name])
    numbers = {number for number, _ in done}
    shared = [n for n in numbers if all((n, contender) in done for contender in wanted)]
    if not shared:
        return {}, 0
    medians = {c: np.median([done[n, c] for n in shared], axis=0) for c in wanted}
    return medians, len(shared)


def compare(our, peer):
    """Return how many times faster we are, 0 where our error is larger."""
    return peer[1] / our[1] if our[0] <= _TIE * peer[0] else 0.0


def print_problem(name):
    """Print one problem and return {(our setting, peer): how many times faster}."""
    results, n_splits = collect(name)
    if not results:
        return {}
    rivals = list(peers_of(PROBLEMS[name]))
    outcome = {(o, p): compare(results[o], results[p]) for o, p in product(_OURS, rivals)}
    print_title(f"{name} (splits: {n_splits}): how many times faster than each peer")
    print_row("", "NRMSE", "seconds", *rivals, widths=(24,), width=14)
    for contender, (error, seconds) in results.items():
        faster = [outcome[contender, peer] for peer in rivals] if contender in _OURS else []
        cells = (f"{x:.1f} x{'' if x > 1 else ' LOST'}" if x else "worse LOST" for x in faster)
        print_row(contender, f"{error:.4f}", f"{seconds:.2f}", *cells, widths=(24,), width=14)
    return outcome


def print_goals_of(tables):
    """Print for each of our settings and each peer where we lose."""
    for our, peer in dict.fromkeys(pair for table in tables.values() for pair in table):
        faster = {name: table[our, peer] for name, table in tables.items() if (our, peer) in table}
        lost = [name for name, times in faster.items() if times <= 1]
        figure = f"median {np.median(list(faster.values())):.1f} x, rows: {len(faster)}"
        figure += f"; lost: {'; '.join(lost)}" if lost else ""
        print_goal(f"{our}: as good as {peer} in less time on every row", figure, not lost)


def main(quick=False, n_splits=10):
    """Measure, print a table for each problem, then the goals."""
    names = list(PROBLEMS)[:: 4 if quick else 1]
    fill(names, 1 if quick else n_splits)
    print_title(f"Hidden-cell NRMSE and seconds by the wall, {common.THREADS} threads, medians")
    print_goals_of({name: print_problem(name) for name in names})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    main(options.quick, options.splits)
