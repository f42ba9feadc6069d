"""Held-out error on real tensors and ratings: the defaults against peers at their best.

    python benchmarks/practice.py [--splits N] [--quick] [problem ...]

All methods see the same cells of the same splits, and nothing else, but for the rows "rank of the
test set": these peers are given the rank that is best on the hidden cells. "rank searched" is a
choice by a tenth of the seen cells. Ranks are tried with two starts each (kinetics: one start for
each of the ranks 4, 8, 12 and 20). Seconds are those of one processor, searches included.
Results are kept in ``benchmarks/_cache/practice.csv``, so that a run goes on where it ended;
delete the file to begin anew, pass ``--splits 0`` to print the tables.
"""

import argparse
import csv
import os
import time
import warnings
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TQDM_DISABLE", "1")

import common  # noqa: F401  pins the threads
import numpy as np
from common import print_goal, print_row, print_title
from race import _dense, _read_off, _searched
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import KNNImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sktf import (
    CompletionEnsemble,
    CompletionWarning,
    CPALSCompletion,
    CPCompletion,
    datasets,
)
from sktf.metrics import normalized_rmse

_CACHE = Path(__file__).parent / "_cache" / "practice.csv"
_FIRST_SEED = 1000
_ENSEMBLE, _DEFAULT = "CompletionEnsemble()", "CPCompletion()"
_TOLD, _SEARCHED = ", rank of the test set", ", rank searched"
_ADDITIVE = "CompletionEnsemble(CPCompletion(offset='additive'))"


class Split(NamedTuple):
    """Seen and hidden cells."""

    X: np.ndarray
    y: np.ndarray
    X_hidden: np.ndarray
    y_hidden: np.ndarray
    shape: tuple
    seed: int


class Problem(NamedTuple):
    """Where the cells come from and which of them are hidden."""

    load: callable
    hidden: float
    pattern: dict
    n_splits: int = 10
    order: int = 4
    ranks: tuple = (1, 2, 3, 4, 6, 8, 10, 14, 20)
    n_starts: int = 2

    def split(self, number):
        """Return the split of this number."""
        seed = _FIRST_SEED + number
        X, y, shape = self.load(seed)
        X, X_hidden, y, y_hidden = datasets.split_entries(
            X, y, self.hidden, random_state=seed, **self.pattern
        )
        return Split(X, y, X_hidden, y_hidden, shape, seed)


def _il2(hidden, **pattern):
    return Problem(lambda seed: datasets.load_il2(), hidden, pattern)


def _covid(hidden, **pattern):
    return Problem(lambda seed: datasets.load_covid19_serology(), hidden, pattern, order=3)


_DOSES = {"pattern": "fibers", "mode": 2}
_LIGANDS = {"pattern": "blocks", "block_shape": (1, 1, None, 4)}
_SAMPLES = {"pattern": "blocks", "block_shape": (73, 1, None)}
_RATINGS = "ratings 300 x 200, 80 % seen"
#: The problems whose defaults are measured against the rank of the test set.
_REAL = ("IL-2, 50 % seen", "IL-2, 10 % seen", "COVID-19, 50 % seen", "kinetics, 5 % seen")
PROBLEMS = {
    _REAL[0]: _il2(0.5),
    _REAL[1]: _il2(0.9),
    "IL-2, half of the dose curves seen": _il2(0.5, **_DOSES),
    "IL-2, half of the blocks seen": _il2(0.5, **_LIGANDS),
    _REAL[2]: _covid(0.5),
    "COVID-19, half of the receptor fibers seen": _covid(0.5, **_DOSES),
    "COVID-19, 70 % of the blocks seen": _covid(0.3, **_SAMPLES),
    _REAL[3]: Problem(lambda seed: datasets.load_kinetic(), 0.95, {}, 3, 4, (4, 8, 12, 20), 1),
    _RATINGS: Problem(lambda seed: datasets.make_ratings(random_state=seed), 0.2, {}, order=2),
}


def als_fit(solver, shape, X, y, rank, seed):
    """Alternating least squares from one start; tensorly's, or over the seen cells."""
    model = CPALSCompletion(rank, shape=shape, solver=solver, n_init=1, random_state=seed)
    return model.fit(X, y).predict


def pyttb_fit(shape, X, y, rank, seed, max_iter=300):
    """GCP with its Gaussian loss, a mask and L-BFGS-B, on data of RMS 1."""
    import pyttb
    from pyttb.gcp.optimizers import LBFGSB

    rms = np.sqrt(np.mean(y**2))
    tensor, mask = (pyttb.tensor(np.asfortranarray(a)) for a in _dense(X, y / rms, shape))
    np.random.seed(seed)  # noqa: NPY002  pyttb draws from the global state
    loss, optimizer = pyttb.gcp.fg_setup.Objectives.GAUSSIAN, LBFGSB(maxiter=max_iter)
    model = pyttb.gcp_opt(tensor, rank, loss, optimizer, mask=mask, printitn=0)[0]
    first, *others = model.factor_matrices
    return _read_off([rms * first * model.weights, *others])


def myfm_fit(shape, X, y, rank, seed):
    """Bayesian factorization machine, 100 Gibbs sweeps, one group of variances for each mode."""
    from myfm import MyFMRegressor

    encoder = OneHotEncoder(categories=[np.arange(size) for size in shape])
    model = MyFMRegressor(rank, random_seed=seed)
    model.fit(encoder.fit_transform(X), y, n_iter=100, group_shapes=list(shape))
    return lambda X: model.predict(encoder.transform(X))


def additive_fit(shape, X, y, ridge, seed):
    """One number for each index of each mode."""
    encoder = OneHotEncoder(categories=[np.arange(size) for size in shape])
    return make_pipeline(encoder, Ridge(ridge)).fit(X, y).predict


def surprise_fit(name, shape, X, y, setting, seed):
    """SVD or SVD++ of scikit-surprise; predictions are clipped to the range of the ratings."""
    import pandas
    import surprise

    table = pandas.DataFrame({"row": X[:, 0], "column": X[:, 1], "value": y})
    reader = surprise.Reader(rating_scale=(float(y.min()), float(y.max())))
    data = surprise.Dataset.load_from_df(table, reader).build_full_trainset()
    model = getattr(surprise, name)(**setting, random_state=seed).fit(data)
    return lambda X: np.array([model.predict(*cell).est for cell in X.tolist()])


def _unfolded(shape):
    """Return the function from cells to rows and columns; the first half of the modes are rows."""
    half = len(shape) // 2
    halves = (slice(None, half), slice(half, None))
    return lambda X: tuple(np.ravel_multi_index(tuple(X[:, h].T), shape[h]) for h in halves)


def soft_impute_fit(shape, X, y, share, seed, n_iter=100):
    """SoftImpute: singular values lowered by a share of the largest, missing cells filled in."""
    place, level = _unfolded(shape), y.mean()
    half = len(shape) // 2
    seen = np.zeros((np.prod(shape[:half]), np.prod(shape[half:])))
    seen[place(X)] = y - level
    low, threshold = np.zeros_like(seen), share * np.linalg.norm(seen, 2)
    for _ in range(n_iter):
        before, low[place(X)] = low.copy(), seen[place(X)]
        left, values, right = np.linalg.svd(low, full_matrices=False)
        low = left * np.maximum(values - threshold, 0) @ right
        if np.linalg.norm(low - before) < 1e-3 * np.linalg.norm(before):
            break
    return lambda X: level + low[place(X)]


def knn_fit(shape, X, y, setting, seed):
    """Mean of the most similar rows, or columns, of the unfolded tensor."""
    (n_neighbors, along_columns), place, half = setting, _unfolded(shape), len(shape) // 2
    table = np.full((np.prod(shape[:half]), np.prod(shape[half:])), np.nan)
    table[place(X)] = y - y.mean()
    table = table.T if along_columns else table
    filled = KNNImputer(n_neighbors=n_neighbors, keep_empty_features=True).fit_transform(table)
    filled = filled.T if along_columns else filled
    return lambda X: y.mean() + filled[place(X)]


def ours(estimator):
    """Return the method that fits an estimator of this package."""

    def predict(split):
        inner = estimator.estimator if isinstance(estimator, CompletionEnsemble) else estimator
        inner.set_params(shape=split.shape)
        estimator.set_params(random_state=split.seed)
        return estimator.fit(split.X, split.y).predict(split.X_hidden)

    return predict


def searched(fit, settings, n_starts=1):
    """Return the method that takes its setting from a tenth of the seen cells."""
    return lambda split: _searched(partial(fit, split.shape), split.X, split.y, settings, n_starts)(
        split.X_hidden
    )


def told(fit, settings, n_starts):
    """Return the method that takes its setting from the hidden cells.

    Of several starts the one with the lowest training loss counts.
    """

    def fitted(split, setting):
        tried = [fit(split.shape, split.X, split.y, setting, seed) for seed in range(n_starts)]
        return min(tried, key=lambda predict: np.mean((predict(split.X) - split.y) ** 2))

    def predict(split):
        found = (fitted(split, setting)(split.X_hidden) for setting in settings)
        return min(found, key=lambda values: np.mean((values - split.y_hidden) ** 2))

    return predict


def methods(problem):
    """Return {name: Split -> predictions}; ours first."""
    found = {_DEFAULT: ours(CPCompletion()), _ENSEMBLE: ours(CompletionEnsemble(CPCompletion()))}
    if problem.order == 2:
        additive = {"offset": "additive"}
        found["CPCompletion(offset='additive')"] = ours(CPCompletion(**additive))
        found[_ADDITIVE] = ours(CompletionEnsemble(CPCompletion(**additive)))
        for name, label in {"SVD": "SVD", "SVDpp": "SVD++"}.items():
            found[f"surprise {label}, defaults"] = searched(partial(surprise_fit, name), [{}])
        found["surprise SVD, searched"] = searched(partial(surprise_fit, "SVD"), _SVD_SETTINGS)
    solvers = {
        "CP-ALS of tensorly": partial(als_fit, "tensorly"),
        "CP-ALS on seen cells": partial(als_fit, "sparse"),
        "pyttb gcp_opt": pyttb_fit,
    }
    for name, fit in solvers.items():
        found[name + _SEARCHED] = searched(fit, problem.ranks, problem.n_starts)
        found[name + _TOLD] = told(fit, problem.ranks, problem.n_starts)
    found["myFM" + _SEARCHED] = searched(myfm_fit, (3, 8, 20))
    found["SoftImpute, searched"] = searched(soft_impute_fit, (0.5, 0.3, 0.2, 0.1, 0.05, 0.02))
    found["KNNImputer, searched"] = searched(knn_fit, list(product((5, 10, 20), (False, True))))
    found["additive bias, searched"] = searched(additive_fit, (0.1, 1.0, 10.0))
    return found


_SVD_SETTINGS = [
    {"n_factors": n_factors, "reg_all": reg, "n_epochs": n_epochs}
    for n_factors, reg, n_epochs in product((2, 20), (0.02, 0.1), (20, 60))
]


def read_cache(path):
    """Return {key: numbers}; the two last columns are the numbers."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {tuple(row[:-2]): tuple(map(float, row[-2:])) for row in csv.reader(file)}


def write_cache(path, key, numbers):
    """Append one line."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a", newline="") as file:
        csv.writer(file).writerow([*key, *numbers])


def _measure(split, predict):
    """Return the held-out error and the seconds."""
    start = time.process_time()
    with warnings.catch_warnings():
        for category in (ConvergenceWarning, CompletionWarning, RuntimeWarning):
            warnings.simplefilter("ignore", category)
        found = predict(split)
    return float(normalized_rmse(split.y_hidden, found)), time.process_time() - start


def fill(names, n_splits):
    """Measure what the cache lacks."""
    done = read_cache(_CACHE)
    for number, name in product(range(n_splits), names):
        if number >= PROBLEMS[name].n_splits:
            continue
        split = PROBLEMS[name].split(number)
        for method, predict in methods(PROBLEMS[name]).items():
            key = (name, str(number), method)
            if key not in done:
                write_cache(_CACHE, key, _measure(split, predict))


def collect(name):
    """Return {method: array of (error, seconds)} over the splits that all methods have."""
    done = {key[1:]: numbers for key, numbers in read_cache(_CACHE).items() if key[0] == name}
    wanted = methods(PROBLEMS[name])
    numbers = sorted({split for split, _ in done}, key=int)
    shared = [n for n in numbers if all((n, method) in done for method in wanted)]
    return {method: np.array([done[n, method] for n in shared]) for method in wanted}


def print_table(name, results):
    """Print one problem, best first."""
    n_splits = len(results[_ENSEMBLE])
    print_title(f"{name}: held-out NRMSE over {n_splits} splits, and seconds")
    print_row("", "mean", "spread", "seconds", widths=(52,), width=9)
    for method in sorted(results, key=lambda method: results[method][:, 0].mean()):
        errors, seconds = results[method].T
        spread = f"{errors.std(ddof=1):.3f}" if n_splits > 1 else "-"
        cells = f"{errors.mean():.3f}", spread, f"{seconds.mean():.1f}"
        print_row(method, *cells, widths=(52,), width=9)


def _means(results, ending=""):
    return {name: r[:, 0].mean() for name, r in results.items() if name.endswith(ending)}


def _goal(goal, ours_, theirs, most, peer):
    """Print whether our error is at most ``most`` times theirs."""
    figure = f"{ours_:.4f} against {theirs:.4f} ({peer}), {ours_ / theirs - 1:+.1%}"
    print_goal(goal, figure, ours_ < theirs * most)


def print_goals_of(name, results):
    """Print the goals of one problem."""
    means = _means(results)
    if name == _RATINGS:
        for peer in ("surprise SVD, defaults", "surprise SVD++, defaults"):
            for our in (_DEFAULT, _ENSEMBLE):
                _goal(f"{name}, {our}: 1 % below", means[our], means[peer], 0.99, peer)
        return
    ensemble = means[_ENSEMBLE]
    if name in _REAL:
        peer, error = min(_means(results, _TOLD).items(), key=lambda pair: pair[1])
        _goal(f"{name}, {_ENSEMBLE}: below", ensemble, error, 1.0, peer)
        _goal(f"{name}, {_DEFAULT}: within 5 %", means[_DEFAULT], error, 1.05, peer)
    for peer, error in _means(results, _SEARCHED).items():
        _goal(f"{name}, {_ENSEMBLE}: not 3 % above", ensemble, error, 1.03, peer)


def main(quick=False, names=(), n_splits=10):
    """Measure, print a table for each problem, then the goals."""
    names = [name for name in PROBLEMS if not names or any(part in name for part in names)]
    fill(names[:2] if quick else names, 1 if quick else n_splits)
    tables = {name: collect(name) for name in names}
    tables = {name: results for name, results in tables.items() if len(results[_ENSEMBLE])}
    for name, results in tables.items():
        print_table(name, results)
    print_title("Goals of practice")
    for name, results in tables.items():
        print_goals_of(name, results)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problems", nargs="*", help="parts of the names of problems; all if none")
    parser.add_argument("--splits", type=int, default=10, help="at most; kinetics has 3")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    main(options.quick, options.problems, options.splits)
