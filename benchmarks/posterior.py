"""The mean of Gibbs chains against single fits, ensembles and peers, and what its intervals cover.

    python benchmarks/posterior.py [--splits N] [--data FOLDER] [--quick] [problem ...]

All methods see the same cells of the same splits. myFM runs 200 sweeps on values of variance 1, its
rank searched on a tenth of the seen cells; so are rank and penalty of cmfrec, which takes matrices
only. The problems named "fibers" hide whole fibers: there LRTC-TNN takes its setting from a tenth
of the seen fibers, and of our methods counts the one that does best in three folds of seen fibers.
Public data are read from FOLDER (see ``public_data.py``) and left out without; frappe goes without
the ensemble, which takes ten minutes there.
Results are kept in ``benchmarks/_cache/posterior.csv``, so that a run goes on where it ended; pass
``--splits 0`` to print the tables.
"""

import argparse
import csv
import time
import warnings
from functools import partial
from itertools import product
from pathlib import Path

import common  # noqa: F401  pins the threads
import numpy as np
import peers
from common import print_goal, print_row, print_title
from lrtc_tnn import SETTINGS, lrtc_tnn_fit
from posterior_problems import LARGE, problems
from practice import write_cache

from sktf import (
    CompletionEnsemble,
    CPCompletion,
    DeepTuckerCompletion,
    PosteriorCompletion,
    datasets,
)
from sktf.model_selection import FiberKFold

_CACHE = Path(__file__).parent / "_cache" / "posterior.csv"
_POSTERIOR, _SINGLE = "PosteriorCompletion()", "CPCompletion()"
_ENSEMBLE, _TUCKER = "CompletionEnsemble()", "DeepTuckerCompletion()"
_MYFM, _CMFREC, _LRTC = "myFM, searched", "cmfrec, searched", "LRTC-TNN, searched"
_CHOSEN = "best of ours by folds of fibers"
#: An index is rare with so many seen cells; intervals are counted at so many hidden cells, and
#: judged where so many are of rare indices.
_RARE, _MOST_COUNTED, _JUDGED = 3, 20_000, 30
#: Numbers kept of every fit.
_NUMBERS = ("error", "wall", "processor", "std", "quantiles", "rare std", "rare quantiles", "rare")


def warm():
    """Import the peers and load what is compiled, so that no first fit is charged for it."""
    peers.load(("cmfrec", "myfm", "pandas"))
    for shape in ((20,) * 3, (100,) * 3):
        tensor, _ = datasets.make_low_rank(shape, 2, random_state=0)
        X, y = datasets.sample_entries(tensor, 20_000 if len(tensor) > 20 else 800, random_state=0)
        with warnings.catch_warnings(action="ignore"):
            PosteriorCompletion(random_state=0).fit(X, y)


def ours(estimator, split):
    """Return an estimator of this package, fitted to the seen cells."""
    inner = "estimator" in estimator.get_params()
    estimator.set_params(random_state=split.seed)
    estimator.set_params(**{"estimator__shape" if inner else "shape": split.shape})
    return estimator.fit(split.X, split.y)


_OURS = {
    _SINGLE: lambda: CPCompletion(),
    _POSTERIOR: lambda: PosteriorCompletion(CPCompletion()),
    _ENSEMBLE: lambda: CompletionEnsemble(CPCompletion()),
    _TUCKER: lambda: DeepTuckerCompletion(),
}
_RANKS = 5, 10, 20
# Of cmfrec, ranks and penalties.
_SETTINGS = list(product((3, 6, 12), (1.0, 3.0, 10.0, 30.0, 100.0)))


def _fit_ours(name, problem, split):
    return ours(_OURS[name](), split)


def _fit_myfm(problem, split):
    """Search on values of mean 0 and variance 1, as its priors want them."""
    mean, std = split.y.mean(), split.y.std()
    fit = partial(peers.myfm_fit, n_iter=200)
    predict = peers.search(fit, split.shape, split.X, (split.y - mean) / std, _RANKS)
    return lambda X: mean + std * predict(X)


def _fit_cmfrec(problem, split):
    return peers.search(peers.cmfrec_fit, split.shape, split.X, split.y, _SETTINGS)


def _fit_lrtc(problem, split):
    groups = datasets.entry_groups(split.X, **problem.pattern)
    out = np.random.default_rng(0).permutation(groups.max() + 1) < (groups.max() + 1) // 10
    return peers.search(lrtc_tnn_fit, split.shape, split.X, split.y, SETTINGS, out=out[groups])


def methods(problem):
    """Return {name: (Problem, Split) -> fitted model or predictor}."""
    fibers = problem.kind == "fibers"
    left_out = {_TUCKER: not problem.scaled, _ENSEMBLE: not problem.ensemble}
    found = {name: partial(_fit_ours, name) for name in _OURS if not left_out.get(name)}
    if fibers:
        return {**found, _LRTC: _fit_lrtc}
    found[_MYFM] = _fit_myfm
    return {**found, _CMFREC: _fit_cmfrec} if problem.kind == "ratings" else found


def error_of(problem, y, predicted):
    """Return the RMSE, of assays and fibers in standard deviations of the hidden values."""
    rmse = float(np.sqrt(np.mean((predicted - y) ** 2)))
    return rmse / float(np.std(y)) if problem.scaled else rmse


def coverage(model, split, noise):
    """Return the shares of hidden cells inside central 90 % intervals, all and rare ones."""
    rng = np.random.default_rng(0)
    rows = rng.permutation(len(split.y_hidden))[:_MOST_COUNTED]
    X, y = split.X_hidden[rows], split.y_hidden[rows] + noise * rng.standard_normal(len(rows))
    mean, std = model.predict(X, return_std=True)
    low, high = model.predict_quantiles(X, [0.05, 0.95])
    inside = np.column_stack([np.abs(y - mean) <= 1.645 * std, (low <= y) & (y <= high)])
    counts = [
        np.bincount(column, minlength=size)[hidden]
        for column, hidden, size in zip(split.X.T, X.T, split.shape, strict=True)
    ]
    rare = np.min(counts, axis=0) <= _RARE
    of_rare = inside[rare].mean(axis=0) if rare.any() else (np.nan, np.nan)
    return *inside.mean(axis=0), *of_rare, int(rare.sum())


def measure(problem, split, fit):
    """Return the numbers of one fit."""
    start, processor = time.perf_counter(), time.process_time()
    with warnings.catch_warnings(action="ignore"):
        model = fit(problem, split)
        predicted = getattr(model, "predict", model)(split.X_hidden)
        seconds = time.perf_counter() - start, time.process_time() - processor
        covered = (np.nan,) * 4 + (0,)
        if isinstance(model, PosteriorCompletion):
            covered = coverage(model, split, problem.noise)
    return error_of(problem, split.y_hidden, predicted), *seconds, *covered


def folds_of_fibers(problem, split, fit):
    """Return the mean error of a method over three folds of the seen fibers."""
    folds = FiberKFold(3, mode=problem.mode, random_state=split.seed)
    errors = []
    for train, test in folds.split(split.X, split.y):
        part = split._replace(
            X=split.X[train],
            y=split.y[train],
            X_hidden=split.X[test],
            y_hidden=split.y[test],
        )
        errors.append(measure(problem, part, fit)[0])
    return float(np.mean(errors))


def read():
    """Return {(problem, split, method): {what: number}}."""
    if not _CACHE.exists():
        return {}
    with _CACHE.open(newline="") as file:
        return {
            (row[0], int(row[1]), row[2]): dict(zip(_NUMBERS, map(float, row[3:]), strict=True))
            for row in csv.reader(file)
        }


def fill(found, n_splits):
    """Measure what the cache lacks."""
    done = read()
    for number, (name, problem) in product(range(max(10, n_splits or 0)), found.items()):
        if number >= (problem.n_splits if n_splits is None else n_splits):
            continue
        split = problem.split(number)
        for method, fit in methods(problem).items():
            if (name, number, method) not in done:
                write_cache(_CACHE, (name, number, method), measure(problem, split, fit))
            key = name, number, _fold_name(method)
            if problem.kind == "fibers" and method != _LRTC and key not in done:
                error = folds_of_fibers(problem, split, fit)
                write_cache(_CACHE, key, (error, *(np.nan,) * 6, 0))


def _fold_name(method):
    return f"{method}, folds of fibers"


def collect(name, problem):
    """Return {method: {what: array over the splits that all methods have}}."""
    done = {key[1:]: numbers for key, numbers in read().items() if key[0] == name}
    splits = sorted({number for number, _ in done})
    names = list(methods(problem))
    if problem.kind == "fibers":
        names += [_fold_name(method) for method in names if method != _LRTC]
    shared = [n for n in splits if all((n, method) in done for method in names)]
    table = {
        method: {what: np.array([done[n, method][what] for n in shared]) for what in _NUMBERS}
        for method in names
    }
    return with_chosen(table) if problem.kind == "fibers" and shared else table


def with_chosen(table):
    """Return the table with the row of our method that folds of fibers have chosen."""
    names = [method for method in table if _fold_name(method) in table]
    folds = np.array([table.pop(_fold_name(method))["error"] for method in names])
    chosen = folds.argmin(axis=0)
    rows = {
        what: np.array([table[names[k]][what] for k in range(len(names))])[
            chosen, np.arange(len(chosen))
        ]
        for what in _NUMBERS
    }
    return {**table, _CHOSEN: rows}


def print_table(name, problem, table):
    """Print one problem, best first, and what intervals cover."""
    n_splits = len(table[_POSTERIOR]["error"])
    what = "NRMSE" if problem.scaled else "RMSE"
    print_title(f"{name}: held-out {what} and seconds (splits: {n_splits})")
    print_row("", "mean", "error", "wall", "processor", widths=(34,), width=11)
    for method in sorted(table, key=lambda method: table[method]["error"].mean()):
        errors = table[method]["error"]
        error = f"{errors.std(ddof=1) / np.sqrt(n_splits):.4f}" if n_splits > 1 else "-"
        seconds = (f"{np.median(table[method][what]):.1f}" for what in ("wall", "processor"))
        print_row(method, f"{errors.mean():.4f}", error, *seconds, widths=(34,), width=11)
    covered = covers(table)
    print_row("90 % intervals cover", "all", "rare", widths=(34,), width=11)
    for kind in ("std", "quantiles"):
        shares = (_share(covered[what]) for what in (kind, f"rare {kind}"))
        print_row(f"  by {kind}", *shares, widths=(34,), width=11)
    print(f"  cells of rare indices: {int(covered['rare'])}", flush=True)


def _share(number):
    return "-" if np.isnan(number) else f"{number:.1%}"


def covers(table):
    """Return the shares that intervals cover, over all splits; rare cells count equally."""
    numbers = table[_POSTERIOR]
    n_rare = numbers["rare"].sum()
    shares = {what: numbers[what].mean() for what in ("std", "quantiles")}
    for what in ("rare std", "rare quantiles"):
        shares[what] = np.nansum(numbers[what] * numbers["rare"]) / n_rare if n_rare else np.nan
    return {**shares, "rare": n_rare}


def print_goals_of(name, problem, table):
    """Print the goals of one problem."""
    means = {method: numbers["error"].mean() for method, numbers in table.items()}
    ours_ = means[_POSTERIOR]
    if problem.kind == "fibers":
        _below(f"{name}, {_CHOSEN}", means[_CHOSEN], means[_LRTC], 1.03, _LRTC)
    elif problem.kind == "assay":
        print_goal(f"{name}: at most {problem.most:g}", f"{ours_:.4f}", ours_ <= problem.most)
        seconds = np.median(table[_POSTERIOR]["wall"])
        goal = f"{name}: under {problem.seconds:g} s by the wall"
        print_goal(goal, f"{seconds:.1f} s", seconds < problem.seconds)
    else:
        most = 1.003 if problem.kind == "ratings" else 1.0
        _below(name, ours_, means[_MYFM], most, _MYFM)
    if _TUCKER in means:
        _below(f"{name}, {_TUCKER}", means[_TUCKER], means[_SINGLE], 1.05, _SINGLE)
    if _CMFREC in means:
        _below(name, ours_, means[_CMFREC], 1.0, _CMFREC)
    if name == LARGE:
        times = np.median(table[_POSTERIOR]["processor"] / table[_MYFM]["processor"])
        print_goal(f"{name}: at most 3 x the time of {_MYFM}", f"{times:.1f} x", times <= 3)
    _print_goals_of_intervals(name, covers(table))


def _below(name, error, theirs, most, peer):
    """Print whether an error is at most so many times, or for 1 below, that of a peer."""
    goal = f"at most {most - 1:.1%} above" if most > 1 else "below"
    figure = f"{error:.4f} against {theirs:.4f}, {error / theirs - 1:+.2%}"
    print_goal(f"{name}: {goal} {peer}", figure, error <= most * theirs)


def _print_goals_of_intervals(name, covered):
    """Print whether intervals cover what they say."""
    for rare, low, high in (("", 0.86, 0.94), ("rare ", 0.8, 0.97)):
        shares = covered[f"{rare}std"], covered[f"{rare}quantiles"]
        if rare and covered["rare"] < _JUDGED:
            continue
        goal = f"{name}: 90 % intervals cover {low:.0%} to {high:.0%}" + " of rare cells" * bool(
            rare
        )
        figure = f"{shares[0]:.1%} by std, {shares[1]:.1%} by quantiles"
        print_goal(goal, figure, all(low <= share <= high for share in shares))


def main(names=(), n_splits=None, folder=None, quick=False):
    """Measure, print a table for each problem, then the goals."""
    found = problems(folder)
    found = {
        name: problem
        for name, problem in found.items()
        if not names or any(part in name for part in names)
    }
    if quick:
        found, n_splits = dict(list(found.items())[:2]), 1
    if n_splits != 0:
        warm()
    fill(found, n_splits)
    tables = {name: collect(name, problem) for name, problem in found.items()}
    tables = {name: table for name, table in tables.items() if len(table[_POSTERIOR]["error"])}
    for name, table in tables.items():
        print_table(name, found[name], table)
    print_title("Goals of the posterior mean")
    for name, table in tables.items():
        print_goals_of(name, found[name], table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problems", nargs="*", help="parts of the names of problems; all if none")
    parser.add_argument("--splits", type=int, help="instead of 2 to 10, as the problem is large")
    parser.add_argument("--data", help="folder of public data")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    main(options.problems, options.splits, options.data, options.quick)
