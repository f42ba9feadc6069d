"""The study of the default: what each of its parts is worth, on problems of many kinds.

    python benchmarks/study.py [--seeds N] [--quick]

Errors are NRMSE against the noise-free truth on the unseen cells, on real tensors on the hidden
ones, kept between 0.01 (found) and 1.5 (lost) so that no single fit decides. A variant is chosen
on the even seeds and reported on the odd ones. Results are kept in ``benchmarks/_cache/study.csv``;
a run goes on where it ended, and ``--seeds 0`` prints the tables.
"""

import argparse
import time
import warnings
from itertools import product
from pathlib import Path
from typing import NamedTuple

import common  # noqa: F401  pins the threads
import numpy as np
from common import print_goal, print_row, print_title
from practice import read_cache, write_cache

from sktf import CPCompletion, datasets
from sktf.metrics import normalized_rmse

_CACHE = Path(__file__).parent / "_cache" / "study.csv"
_FIRST_SEED = 3000
_DEFAULT = "the default"
_LOWEST, _HIGHEST = 0.01, 1.5

VARIANTS = {
    _DEFAULT: {},
    "prune=False": {"prune": False},
    "n_init=6": {"n_init": 6},
    "n_init=24": {"n_init": 24},
    "loss='squared'": {"loss": "squared"},
    "refit=False": {"refit": False},
    "offset='additive'": {"offset": "additive"},
    "learning_rate=.15": {"learning_rate": 0.15},
    "zero-mean starts only": {"init": "gaussian", "n_init": 12, "prune": True},
}


class Truth(NamedTuple):
    """A synthetic problem; ``kind`` is that of the factors, ``norms`` largest over least norm."""

    shape: tuple
    rank: int
    seen: float
    noise: float = 0.0
    kind: str = "gaussian"
    pattern: dict = {}
    norms: float = 1.0


_FIBERS = {"pattern": "fibers", "mode": 0}
_BLOCKS = {"pattern": "blocks", "block_shape": (5, 5, 5)}
TRUTHS = {
    "60^2, rank 3, 30 %, noise .1": Truth((60, 60), 3, 0.3, 0.1),
    "60^2, rank 10, 60 %, noise .3": Truth((60, 60), 10, 0.6, 0.3),
    "30^3, rank 3, 10 %": Truth((30,) * 3, 3, 0.1),
    "30^3, rank 3, 4 %": Truth((30,) * 3, 3, 0.04),
    "30^3, rank 3, 5 %, noise .1": Truth((30,) * 3, 3, 0.05, 0.1),
    "20^3, rank 5, 20 %, noise .5": Truth((20,) * 3, 5, 0.2, 0.5),
    "20^3, rank 10, 40 %, noise .1": Truth((20,) * 3, 10, 0.4, 0.1),
    "20^3, rank 3, 15 %, positive, noise .1": Truth((20,) * 3, 3, 0.15, 0.1, "uniform"),
    "20^3, rank 3, 15 %, heavy tails, noise .1": Truth((20,) * 3, 3, 0.15, 0.1, "heavy_tailed"),
    "20^3, rank 4, 20 %, norms 1 to 8, noise .1": Truth((20,) * 3, 4, 0.2, 0.1, norms=8.0),
    "20^3, rank 3, 20 %, collinear, noise .1": Truth((20,) * 3, 3, 0.2, 0.1, "collinear"),
    "20^3, rank 3, 30 % of the fibers, noise .1": Truth(
        (20,) * 3, 3, 0.3, 0.1, "gaussian", _FIBERS
    ),
    "20^3, rank 3, 50 % of the blocks, noise .1": Truth(
        (20,) * 3, 3, 0.5, 0.1, "gaussian", _BLOCKS
    ),
    "10^4, rank 1, 2 %": Truth((10,) * 4, 1, 0.02),
    "10^4, rank 6, 15 %, norms 1 to 32, noise .2": Truth((10,) * 4, 6, 0.15, 0.2, norms=32.0),
    "6^5, rank 2, 5 %, noise .1": Truth((6,) * 5, 2, 0.05, 0.1),
    "6^5, rank 4, 20 %, collinear, noise .3": Truth((6,) * 5, 4, 0.2, 0.3, "collinear"),
}
REAL = {
    "IL-2, 50 %": (datasets.load_il2, 0.5),
    "IL-2, 10 %": (datasets.load_il2, 0.9),
    "COVID-19, 10 %": (datasets.load_covid19_serology, 0.9),
    "ratings 300 x 200, 80 %": (lambda: datasets.make_ratings(random_state=0)[:3], 0.2),
}


def _collinear(shape, rank, rng):
    """Return a tensor of RMS 1 whose vectors have cosines of about 0.8 in every mode."""
    factors = [2 * rng.standard_normal((n, 1)) + rng.standard_normal((n, rank)) for n in shape]
    tensor = datasets.dense_from_factors(factors)
    return tensor / np.sqrt(np.mean(tensor**2))


def _tensor(truth, seed):
    rng = np.random.RandomState(seed)
    if truth.kind == "collinear":
        return _collinear(truth.shape, truth.rank, rng)
    weights = np.geomspace(1, truth.norms, truth.rank) if truth.norms > 1 else None
    kind = {"distribution": truth.kind, "component_weights": weights}
    return datasets.make_low_rank(truth.shape, truth.rank, random_state=rng, **kind)[0]


def synthetic_cells(truth, seed):
    """Return seen cells with noise, hidden ones without, and the shape."""
    X, y = datasets.entries_from_dense(_tensor(truth, seed))
    X, X_hidden, y, y_hidden = datasets.split_entries(
        X, y, 1 - truth.seen, random_state=seed, **truth.pattern
    )
    y = y + truth.noise * np.random.default_rng(seed).standard_normal(len(y))
    return X, X_hidden, y, y_hidden, truth.shape


def cells(name, seed):
    """Return seen cells, hidden ones and the shape."""
    if name in REAL:
        load, hidden = REAL[name]
        X, y, shape = load()
        return *datasets.split_entries(X, y, hidden, random_state=seed), shape
    return synthetic_cells(TRUTHS[name], seed)


def measure(name, variant, seed):
    """Return error and seconds of one fit."""
    X, X_hidden, y, y_hidden, shape = cells(name, seed)
    model = CPCompletion(shape=shape, random_state=seed, **VARIANTS[variant])
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    seconds = time.process_time() - start
    return float(normalized_rmse(y_hidden, model.predict(X_hidden))), seconds


def fill(names, n_seeds):
    """Measure what the cache lacks."""
    done = read_cache(_CACHE)
    for number, name, variant in product(range(n_seeds), names, VARIANTS):
        key = (name, str(number), variant)
        if key not in done:
            write_cache(_CACHE, key, measure(name, variant, _FIRST_SEED + number))


def collect(half):
    """Return {variant: {(problem, seed): (error, seconds)}} of the seeds of one parity."""
    found = {variant: {} for variant in VARIANTS}
    for (name, number, variant), (error, seconds) in read_cache(_CACHE).items():
        if int(number) % 2 == half:
            found[variant][name, number] = np.clip(error, _LOWEST, _HIGHEST), seconds
    shared = set.intersection(*(set(results) for results in found.values()))
    return {v: {key: found[v][key] for key in sorted(shared)} for v in VARIANTS}


def compare(results):
    """Return {variant: (error ratio, share of wins, share of losses, time ratio)}."""
    base = np.array(list(results[_DEFAULT].values()))
    compared = {}
    for variant, table in results.items():
        ratios = np.array(list(table.values())) / base
        errors, times = np.exp(np.log(ratios).mean(axis=0))
        wins, losses = (ratios[:, 0] < 0.95).mean(), (ratios[:, 0] > 1.05).mean()
        compared[variant] = float(errors), float(wins), float(losses), float(times)
    return compared


def report(results, title):
    """Print one half and return what `compare` says of it."""
    compared, n_fits = compare(results), len(results[_DEFAULT])
    print_title(f"{title}: {n_fits} fits of each, against the default")
    print_row("", "error", "better", "worse", "time", widths=(24,), width=9)
    for variant, (error, wins, losses, seconds) in compared.items():
        row = f"{error:.3f} x", f"{wins:.0%}", f"{losses:.0%}", f"{seconds:.2f} x"
        print_row(variant, *row, widths=(24,), width=9)
    return compared


def print_medians(halves):
    """Print the median error of every problem and variant over all seeds."""
    print_title("Median NRMSE of each problem over all seeds (columns: the variants, in order)")
    names = [name for name in (*TRUTHS, *REAL) if any(name == key[0] for key in halves[_DEFAULT])]
    for name in names:
        medians = (
            np.median([numbers[0] for key, numbers in table.items() if key[0] == name])
            for table in halves.values()
        )
        print_row(name, *(f"{median:.3f}" for median in medians), widths=(44,), width=7)


def main(quick=False, n_seeds=4):
    """Measure, print both halves and whether the choice holds."""
    names = [*TRUTHS, *REAL]
    fill(names[2:3] if quick else names, 2 if quick else n_seeds)
    halves = [collect(half) for half in (0, 1)]
    if not all(half[_DEFAULT] for half in halves):
        return
    print_medians({v: {**halves[0][v], **halves[1][v]} for v in VARIANTS})
    chosen_on = report(halves[0], "Chosen on: even seeds")
    reported = report(halves[1], "Reported on: odd seeds")
    chosen = min(chosen_on, key=lambda variant: chosen_on[variant][0])
    error, _, _, seconds = reported[chosen]
    goal = "what is chosen on the even seeds is no more than 3 % below the default on the odd"
    print_goal(goal, f"{chosen}: {error:.3f} x the error, {seconds:.2f} x the time", error > 0.97)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    main(options.quick, options.seeds)
