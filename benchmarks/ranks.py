"""``rank_`` against the truth: how often the default finds the true rank, over settings and ranks.

    python benchmarks/ranks.py [--quick]

A cell of the table says in how many seeds ``rank_`` is the true rank and, where it is not, the
median of what it is. Fits that have fewer cells than the true factors have free parameters are left
out. Under noise ``rank_`` is the number of components that held-out cells support, so that a true
component below the noise is rightly not counted.
"""

import argparse
import warnings

import common  # noqa: F401  pins the threads
import numpy as np
from common import print_goal, print_row, print_title
from study import Truth, synthetic_cells

from sktf import CPCompletion

_FIRST_SEED = 900
_RANKS = (1, 2, 3, 5, 8, 10)
_CUBE, _CLEAN = (30, 30, 30), "30^3, 10 %"
_SETTINGS = {
    _CLEAN: {"shape": _CUBE, "seen": 0.1},
    "30^3, 10 %, noise .1": {"shape": _CUBE, "seen": 0.1, "noise": 0.1},
    "30^3, 20 %, noise .3": {"shape": _CUBE, "seen": 0.2, "noise": 0.3},
    "10^4, 20 %, noise .1": {"shape": (10,) * 4, "seen": 0.2, "noise": 0.1},
    "60 x 60, 30 %, noise .1": {"shape": (60, 60), "seen": 0.3, "noise": 0.1},
    "30^3, 20 %, noise .1, norms 1 to 5": {
        "shape": _CUBE, "seen": 0.2, "noise": 0.1, "norms": 5.0
    },
    "30^3, 20 %, noise .1, collinear": {
        "shape": _CUBE, "seen": 0.2, "noise": 0.1, "kind": "collinear"
    },
}  # fmt: skip


def determined(truth):
    """Return whether there are as many cells as the true factors have free parameters."""
    order, sizes = len(truth.shape), sum(truth.shape)
    free = sizes - (truth.rank if order == 2 else order - 1)
    return truth.seen * np.prod(truth.shape) >= truth.rank * free


def found_rank(truth, seed):
    """Return ``rank_`` of the default."""
    X, _, y, _, shape = synthetic_cells(truth, seed)
    with warnings.catch_warnings(action="ignore"):
        return CPCompletion(shape=shape, random_state=seed).fit(X, y).rank_


def describe(ranks, true_rank):
    """Return one cell of the table."""
    wrong = ranks[ranks != true_rank]
    cell = f"{len(ranks) - len(wrong)}/{len(ranks)}"
    return f"{cell} ({np.median(wrong):g})" if len(wrong) else cell


def main(quick=False):
    """Print the table, a row for each setting, and the goals."""
    names, true_ranks, n_seeds = list(_SETTINGS), _RANKS, 5
    if quick:
        names, true_ranks, n_seeds = names[:2], _RANKS[:3], 1
    print_title(f"True rank in so many of {n_seeds} seeds (median of rank_ where it is another)")
    print_row("true rank", *true_ranks, widths=(36,), width=10)
    errors = {}
    for name in names:
        truths = [Truth(rank=rank, **_SETTINGS[name]) for rank in true_ranks]
        seeds = range(_FIRST_SEED, _FIRST_SEED + n_seeds)
        found = {
            truth.rank: np.array([found_rank(truth, seed) for seed in seeds])
            for truth in truths
            if determined(truth)
        }
        cells = (describe(found[rank], rank) if rank in found else "-" for rank in true_ranks)
        print_row(name, *cells, widths=(36,), width=10)
        errors[name] = np.concatenate([ranks - rank for rank, ranks in found.items()])
    right = np.mean(errors[_CLEAN] == 0)
    print_goal(f"{_CLEAN}, no noise: the true rank in 90 %", f"{right:.0%}", right >= 0.9)
    above = np.mean(np.concatenate(list(errors.values())) > 0)
    print_goal("more than the true rank in at most 10 % of all fits", f"{above:.0%}", above <= 0.1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    main(parser.parse_args().quick)
