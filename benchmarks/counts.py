"""Counts, and yes or no: held-out deviance, rank and seconds beside pyttb and one-hot regressions.

    python benchmarks/counts.py [--quick] [--first-seed 5000] [problem ...]

Log-means, or logits, are a level and components of entries uniform about zero, of standard
deviation 0.8, or 2. pyttb's ``gcp_opt`` is told the number of components, one more for the level
that its model has not, and takes the best of three starts by its own loss; regressions see one
column for each index of each mode. Deviances are means over 20,000 hidden cells, seconds those of
one processor.
"""

import argparse
import os
import time
import warnings

os.environ.setdefault("SKTF_BENCHMARK_THREADS", "1")

import common  # noqa: F401  pins the threads
import numpy as np
import peers
from common import print_goal, print_row, print_title
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, PoissonRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sktf import CPCompletion
from sktf.datasets import dense_from_factors

_STARTS, _HIDDEN = 3, 20_000
# Cells from which on seconds are a goal.
_MANY = 100_000
# Kind, shape, rank, share seen and mean of the counts, by name.
PROBLEMS = {
    f"{kind}, rank {rank}, {seen:.0%} of {'x'.join(map(str, shape))} seen"
    + (f", mean {mean}" if mean else ""): (kind, shape, rank, seen, mean)
    for kind, shape, rank, seen, mean in [
        ("poisson", (60, 50, 40), 2, 0.05, 0.5),
        ("poisson", (60, 50, 40), 3, 0.05, 5),
        ("poisson", (60, 50, 40), 5, 0.05, 20),
        ("poisson", (60, 50, 40), 2, 0.2, 0.5),
        ("poisson", (60, 50, 40), 5, 0.2, 20),
        ("poisson", (160, 125, 100), 3, 0.05, 5),
        ("logistic", (60, 50, 40), 2, 0.2, None),
        ("logistic", (160, 125, 100), 3, 0.05, None),
    ]
}


def make(kind, shape, rank, seen, mean, seed):
    """Return seen cells, hidden cells, their values, and the means of the hidden ones."""
    rng = np.random.default_rng(seed)
    eta = dense_from_factors([rng.uniform(-1, 1, (size, rank)) for size in shape])
    eta *= (0.8 if mean else 2.0) / eta.std()
    means = expit(eta) if mean is None else np.exp(eta) * (mean / np.exp(eta).mean())
    drawn = rng.permutation(eta.size)[: int(seen * eta.size) + _HIDDEN]
    X, at = np.transpose(np.unravel_index(drawn, shape)), means.ravel()[drawn]
    y = rng.random(len(at)) < at if mean is None else rng.poisson(at)
    out = np.arange(len(at)) < _HIDDEN
    return X[~out], y[~out].astype(float), X[out], y[out].astype(float), at[out]


def deviance(kind, y, mean):
    """Return the mean deviance of counts, or twice the log loss of yes and no."""
    if kind == "poisson":
        mean = np.maximum(mean, 1e-30)
        return 2 * np.mean(y * np.log(np.where(y > 0, y, 1) / mean) - y + mean)
    mean = np.clip(mean, 1e-15, 1 - 1e-15)
    return -2 * np.mean(y * np.log(mean) + (1 - y) * np.log1p(-mean))


def ours(kind, shape, X, y, rank, seed):
    """The defaults: no rank is told."""
    model = CPCompletion(shape=shape, loss=kind, random_state=seed).fit(X, y)
    return model.predict, model.rank_


def pyttb_fit(kind, shape, X, y, rank, seed):
    """GCP at the true rank by L-BFGS-B, the best of three starts."""
    import pyttb
    from pyttb.gcp import handles
    from pyttb.gcp.optimizers import LBFGSB

    tensor, mask = np.zeros(shape, order="F"), np.zeros(shape, order="F")
    tensor[tuple(X.T)], mask[tuple(X.T)] = y, 1.0
    tensor, mask = pyttb.tensor(tensor), pyttb.tensor(mask)
    name = {"poisson": "poisson_log", "logistic": "bernoulli_logit"}[kind]
    loss = getattr(handles, name), getattr(handles, f"{name}_grad"), -np.inf
    mean_of, found = {"poisson": np.exp, "logistic": expit}[kind], []
    for start in range(_STARTS):
        np.random.seed(_STARTS * seed + start)  # noqa: NPY002  pyttb draws from the global state
        options = {"mask": mask, "printitn": 0, "init": "random"}
        solver = LBFGSB(maxiter=1000, factr=1e4)
        model = pyttb.gcp_opt(tensor, rank + 1, loss, solver, **options)[0]
        first, *others = model.factor_matrices
        predict = peers.Components([first * model.weights, *others])
        found.append((deviance(kind, y, mean_of(predict(X))), start, predict))
    predict = min(found)[2]
    return lambda X: mean_of(predict(X)), None


def one_hot_fit(kind, shape, X, y, rank, seed):
    """A regression on one column for each index of each mode."""
    encoder = OneHotEncoder(categories=[np.arange(size) for size in shape])
    if kind == "poisson":
        return make_pipeline(encoder, PoissonRegressor(alpha=1 / len(y))).fit(X, y).predict, None
    model = make_pipeline(encoder, LogisticRegression()).fit(X, y)
    return lambda X: model.predict_proba(X)[:, 1], None


def methods():
    """Return {name: fit}; pyttb where it imports."""
    found = {"CPCompletion(loss=...)": ours, "regression, one-hot": one_hot_fit}
    try:
        peers.load(("pyttb.gcp.optimizers",))
    except ImportError:
        return found
    return found | {"pyttb gcp_opt, rank told": pyttb_fit}


def measure(problem, fit, seed):
    """Return the deviance on hidden cells, that of the true means, the rank and the seconds."""
    kind, shape, rank, seen, mean = problem
    X, y, X_hidden, y_hidden, means = make(kind, shape, rank, seen, mean, seed)
    start = time.process_time()
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        predict, found = fit(kind, shape, X, y, rank, seed)
    seconds = time.process_time() - start
    told = deviance(kind, y_hidden, predict(X_hidden)), deviance(kind, y_hidden, means)
    return *told, -1 if found is None else found, seconds


def main(quick=False, names=(), first_seed=5000):
    """Print a table for each problem, and the goals."""
    seeds = range(first_seed, first_seed + (2 if quick else 10))
    for name, problem in PROBLEMS.items():
        if names and not any(part in name for part in names):
            continue
        print_title(f"{name}: hidden deviance, rank and seconds, seeds {seeds[0]} to {seeds[-1]}")
        print_row("", "median", "worst", "of the truth", "rank right", "seconds")
        told = {}
        for method, fit in methods().items():
            told[method] = np.transpose([measure(problem, fit, seed) for seed in seeds])
            found, truth, ranks, seconds = told[method]
            right = "" if ranks[0] < 0 else f"{(ranks == problem[2]).sum()}/{len(seeds)}"
            figures = (f"{x:.4g}" for x in (np.median(found), found.max(), np.median(truth)))
            print_row(method, *figures, right, f"{np.median(seconds):.2f}")
        _print_goals(told, problem, len(seeds))


def _print_goals(told, problem, n_seeds):
    found, _, ranks, seconds = told["CPCompletion(loss=...)"]
    right = (ranks == problem[2]).sum()
    print_goal("the rank in 7 of 10", f"{right}/{n_seeds}", right >= 0.7 * n_seeds)
    peer = told.get("pyttb gcp_opt, rank told")
    if peer is not None:
        near = (found <= 1.02 * peer[0]).sum()
        print_goal("within 2 % of pyttb in 9 of 10", f"{near}/{n_seeds}", near >= 0.9 * n_seeds)
    if peer is not None and np.prod(problem[1]) * problem[3] >= _MANY:
        times = np.median(peer[3] / seconds)
        print_goal("ten times faster", f"{times:.1f}", times >= 10)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problems", nargs="*", help="parts of the names of problems; all if none")
    parser.add_argument("--first-seed", type=int, default=5000)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    main(options.quick, options.problems, options.first_seed)
