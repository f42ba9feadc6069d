"""Held-out error of non-negative CP on spectra, an assay and exponential parts, beside peers.

    python benchmarks/nonnegative.py [--quick] [--first-seed 4000] [problem ...]

Peers are told their rank by a tenth of the seen cells; of 100,000 cells they know it. They take the
better of two starts for each rank, of the larger problems one; pyttb where it imports. Errors are
those of hidden cells over their standard deviation, of the parts without noise; seconds those of
one processor. tensorly takes up to a quarter of an hour for each seed of the larger problems.
"""

import argparse
import time
import warnings
from functools import partial

import common  # noqa: F401  pins the threads
import numpy as np
import peers
from common import print_goal, print_row, print_title

from sktf import CPCompletion, NonNegativeCPCompletion
from sktf.datasets import dense_from_factors, load_il2, load_kinetic, split_entries
from sktf.metrics import normalized_rmse

_SIGNED, _OURS = "CPCompletion()", "NonNegativeCPCompletion()"
_TENSORLY = "tensorly HALS"
_KINETIC = "kinetics, 5 % seen"


def tensorly_fit(shape, X, y, rank, seed, n_rounds=1500):
    """HALS of tensorly, alternating least squares without a mask: it is filled every 5 sweeps.

    They end where the error of the seen cells has settled to 1e-6. Data are of RMS 1. Its
    multiplicative updates, which have a mask, leave nearly twice the error.
    """
    from tensorly.cp_tensor import CPTensor
    from tensorly.decomposition import non_negative_parafac_hals

    at, rms = tuple(X.T), np.sqrt(np.mean(y**2))
    rng = np.random.default_rng(seed)
    factors = [rng.random((size, rank)) for size in shape]
    made, last = dense_from_factors(factors), np.inf
    factors[0] *= np.sqrt(np.mean((y / rms) ** 2) / np.mean(made[at] ** 2))
    for _ in range(n_rounds):
        made = dense_from_factors(factors)
        error = np.sqrt(np.mean((y / rms - made[at]) ** 2))
        if abs(last - error) < 1e-6 * error:
            break
        last, made[at] = error, y / rms
        start = CPTensor((np.ones(rank), factors))
        weights, factors = non_negative_parafac_hals(made, rank, n_iter_max=5, init=start, tol=0)
        factors = [weights * factors[0], *factors[1:]]
    return peers.Components([rms * factors[0], *factors[1:]])


def ours(Estimator, shape, X, y, seed):
    """The defaults."""
    return Estimator(shape=shape, random_state=seed).fit(X, y).predict


def searched(fit, ranks, n_starts, shape, X, y, seed):
    """The rank, and one of the starts, by a tenth of the seen cells."""
    if len(ranks) == n_starts == 1:
        return fit(shape, X, y, *ranks, seed)
    return peers.search(fit, shape, X, y, ranks, n_starts=n_starts, patience=2)


def _split(load, hidden, seed):
    X, y, shape = load()
    return shape, *split_entries(X, y, hidden, random_state=seed)


def _parts(seed):
    """Return 20 % of a 30 x 25 x 20 tensor of five exponential parts, with 10 % noise."""
    rng, shape = np.random.default_rng(seed), (30, 25, 20)
    tensor = dense_from_factors([rng.exponential(size=(size, 5)) for size in shape])
    X = np.argwhere(np.ones(shape))
    X, X_hidden, y, y_hidden = split_entries(X, tensor.ravel(), 0.8, random_state=seed)
    return shape, X, X_hidden, y + 0.1 * y.std() * rng.standard_normal(len(y)), y_hidden


def _many(shape, seed, n_cells=100_000, n_hidden=20_000):
    """Return cells, drawn with repetition, of five exponential parts, with 10 % noise."""
    rng = np.random.default_rng(seed)
    factors = [rng.exponential(size=(size, 5)) for size in shape]
    X = np.stack([rng.integers(0, size, n_cells + n_hidden) for size in shape], axis=1)
    y = peers.Components(factors)(X)
    noise = 0.1 * y.std() * rng.standard_normal(n_cells)
    return shape, X[:n_cells], X[n_cells:], y[:n_cells] + noise, y[n_cells:]


# Seed -> shape, cells and values; ranks that peers are tried with, and from how many starts each.
PROBLEMS = {
    _KINETIC: (partial(_split, load_kinetic, 0.95), (2, 4, 6, 8, 10), 1),
    "IL-2, 50 % seen": (partial(_split, load_il2, 0.5), (2, 4, 6, 8, 12, 16, 20), 2),
    "five parts, 20 % seen": (_parts, (1, 2, 3, 4, 5, 6, 8), 2),
    "100,000 cells of 100 x 100 x 100": (partial(_many, (100, 100, 100)), (5,), 1),
    "100,000 cells of 600 x 500": (partial(_many, (600, 500)), (5,), 1),
}


def methods(ranks, n_starts):
    """Return {name: function of shape, X, y and seed}."""
    found = {_SIGNED: partial(ours, CPCompletion), _OURS: partial(ours, NonNegativeCPCompletion)}
    found[_TENSORLY] = partial(searched, tensorly_fit, ranks, n_starts)
    try:
        peers.load(("pyttb.gcp.optimizers",))
    except ImportError:
        return found
    fit = partial(peers.pyttb_fit, lower=0.0)
    return found | {"pyttb gcp_opt, bound 0": partial(searched, fit, ranks, n_starts)}


def measure(load, method, seed):
    """Return the error on hidden cells and the seconds."""
    shape, X, X_hidden, y, y_hidden = load(seed)
    start = time.process_time()
    with warnings.catch_warnings(action="ignore"):
        predict = method(shape, X, y, seed)
    seconds = time.process_time() - start
    return normalized_rmse(y_hidden, predict(X_hidden)), seconds


def main(quick=False, names=(), first_seed=4000):
    """Print a table for each problem, and the goals."""
    seeds = range(first_seed, first_seed + (1 if quick else 3))
    for name, (load, *tried) in PROBLEMS.items():
        if names and not any(part in name for part in names):
            continue
        print_title(f"{name}: held-out NRMSE and seconds, seeds {seeds[0]} to {seeds[-1]}")
        print_row("", "mean", "worst", "seconds")
        errors, times = {}, {}
        for method, fit in methods(*tried).items():
            found, seconds = np.transpose([measure(load, fit, seed) for seed in seeds])
            errors[method], times[method] = found.mean(), seconds.mean()
            print_row(method, f"{found.mean():.4f}", f"{found.max():.4f}", f"{seconds.mean():.1f}")
        if name == _KINETIC:
            ratio = errors[_OURS] / errors[_SIGNED]
            print_goal("within 5 % of CPCompletion()", f"{ratio - 1:+.1%}", ratio < 1.05)
        ratio = times[_OURS] / times[_SIGNED]
        print_goal(f"{name}: at most 3 times as long as {_SIGNED}", f"{ratio:.1f}", ratio <= 3)
        ratio = errors[_OURS] / errors[_TENSORLY]
        print_goal(f"{name}: below {_TENSORLY}", f"{ratio - 1:+.1%}", ratio < 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problems", nargs="*", help="parts of the names of problems; all if none")
    parser.add_argument("--first-seed", type=int, default=4000)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    main(options.quick, options.problems, options.first_seed)
