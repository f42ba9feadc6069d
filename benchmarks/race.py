"""Error on hidden cells and seconds: the estimators against peers with their rank search.

    python benchmarks/race.py [--quick]

Everyone is told the seen cells and nothing else. A peer takes its rank from a list, by the error on
a tenth of the seen cells held out, best of two starts each, and is fitted once more on all of
them; the search ends after two ranks without progress. All of that is in its time, as all starts
are in ours. A peer is beaten where one of our rows is at least as good (within 2 %) in less time.
"""

import argparse
import time
import warnings

import common
import numpy as np
from common import print_goal, print_row, print_title
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning

from sktf import CPALSCompletion, CPCompletion, datasets
from sktf.metrics import normalized_rmse

_RANKS = (1, 2, 3, 4, 6, 8, 10, 14, 20)


def _searched(fit, X, y, settings, n_starts=2):
    """Return the predictor of the ``fit(X, y, setting, seed)`` that is best on held-out cells."""
    out = np.random.default_rng(0).permutation(len(y)) < len(y) // 10
    best, errors = (np.inf, None, None), []
    for setting in settings:
        for seed in range(n_starts):
            predict = fit(X[~out], y[~out], setting, seed)
            error = float(np.mean((predict(X[out]) - y[out]) ** 2))
            errors.append(error)
            best = min(best, (error, setting, seed), key=lambda tried: tried[0])
        if np.argmin(errors) // n_starts + 2 < len(errors) // n_starts:
            break
    return fit(X, y, *best[1:])


def _dense(X, y, shape):
    tensor, mask = np.zeros(shape), np.zeros(shape)
    tensor[tuple(X.T)], mask[tuple(X.T)] = y, 1.0
    return tensor, mask


def _read_off(factors):
    return lambda X: np.prod([f[c] for f, c in zip(factors, X.T, strict=True)], axis=0).sum(1)


def pyttb_search(shape):
    """GCP with its Gaussian loss, a mask and L-BFGS-B."""

    def fit(X, y, rank, seed):
        import pyttb
        from pyttb.gcp.optimizers import LBFGSB

        tensor, mask = _dense(X, y, shape)
        np.random.seed(seed)  # noqa: NPY002  pyttb draws from the global state
        model = pyttb.gcp_opt(
            pyttb.tensor(np.asfortranarray(tensor)),
            rank,
            pyttb.gcp.fg_setup.Objectives.GAUSSIAN,
            LBFGSB(maxiter=300),
            mask=pyttb.tensor(np.asfortranarray(mask)),
            printitn=0,
        )[0]
        return _read_off([model.factor_matrices[0] * model.weights, *model.factor_matrices[1:]])

    return lambda X, y: _searched(fit, X, y, _RANKS)


def surprise_search(shape):
    """scikit-surprise's SVD: offsets and factors by stochastic descent, tuned over three sizes."""

    def fit(X, y, n_factors, seed):
        import pandas
        from surprise import SVD, Dataset, Reader

        table = pandas.DataFrame({"row": X[:, 0], "column": X[:, 1], "value": y})
        reader = Reader(rating_scale=(float(y.min()), float(y.max())))
        data = Dataset.load_from_df(table, reader).build_full_trainset()
        model = SVD(n_factors=n_factors, random_state=seed).fit(data)
        return lambda X: np.array([model.predict(*cell, clip=False).est for cell in X.tolist()])

    return lambda X, y: _searched(fit, X, y, (2, 20, 100), 1)


def ridge_als_search(shape, n_sweeps=15):
    """Alternating ridge regressions on the seen cells around their mean, after ``implicit``."""

    def rows_of(fixed, matrix, ridge):
        found = np.zeros((matrix.shape[0], fixed.shape[1]))
        for row, (start, stop) in enumerate(zip(matrix.indptr, matrix.indptr[1:], strict=False)):
            design = fixed[matrix.indices[start:stop]]
            gram = design.T @ design + ridge * np.eye(fixed.shape[1])
            found[row] = np.linalg.solve(gram, design.T @ matrix.data[start:stop])
        return found

    def fit(X, y, setting, seed):
        rank, ridge = setting
        level = y.mean()
        cells = csr_array((y - level, tuple(X.T)), shape=shape)
        flipped, right = cells.T.tocsr(), np.random.default_rng(seed).random((shape[1], rank))
        for _ in range(n_sweeps):
            left = rows_of(right, cells, ridge)
            right = rows_of(left, flipped, ridge)
        predict = _read_off([left, right])
        return lambda X: level + predict(X)

    settings = [(rank, ridge) for rank in (2, 5, 10) for ridge in (0.1, 1.0, 10.0)]
    return lambda X, y: _searched(fit, X, y, settings, 1)


def _fitted(estimator):
    def fit(X, y):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return estimator.fit(X, y).predict

    return fit


def contenders(shape):
    """Return {name: (X, y) -> predictor}; ours first, then peers."""
    common_ = {"shape": shape, "random_state": 0}
    ours = {
        "CPCompletion": _fitted(CPCompletion(**common_)),
        "CPCompletion n_init=3": _fitted(CPCompletion(n_init=3, **common_)),
    }
    if len(shape) > 2:
        als = CPALSCompletion(list(_RANKS), solver="tensorly", n_init=2, **common_)
        return ours, {"tensorly": _fitted(als), "pyttb": pyttb_search(shape)}
    ours["CPCompletion additive"] = _fitted(CPCompletion(offset="additive", **common_))
    return ours, {
        "pyttb": pyttb_search(shape),
        "surprise SVD": surprise_search(shape),
        "ridge ALS": ridge_als_search(shape),
    }


def _synthetic(shape, rank, noise):
    tensor, _ = datasets.make_low_rank(shape, rank, random_state=0)
    X, y = datasets.sample_entries(tensor, 0.999, random_state=0)
    return X, y + noise * np.random.default_rng(0).standard_normal(len(y)), shape


def _ratings():
    ratings = datasets.make_ratings(random_state=0)
    return ratings[:3]


PROBLEMS = {
    "30^3, rank 3, noise .1, 10 %": (lambda: _synthetic((30,) * 3, 3, 0.1), 0.1),
    "30^3, rank 3, noise .1, 5 %": (lambda: _synthetic((30,) * 3, 3, 0.1), 0.05),
    "10^4, rank 3, noise .1, 20 %": (lambda: _synthetic((10,) * 4, 3, 0.1), 0.2),
    "IL-2, 50 %": (datasets.load_il2, 0.5),
    "IL-2, 10 %": (datasets.load_il2, 0.1),
    "COVID-19 serology, 50 %": (datasets.load_covid19_serology, 0.5),
    "kinetics, 5 %": (datasets.load_kinetic, 0.05),
    "100 x 100, rank 5, noise .1, 30 %": (lambda: _synthetic((100, 100), 5, 0.1), 0.3),
    "ratings 300 x 200, 80 %": (_ratings, 0.8),
}
_QUICK = ("30^3, rank 3, noise .1, 10 %", "IL-2, 50 %", "100 x 100, rank 5, noise .1, 30 %")


def run(name):
    """Race on one problem; return (peer, whether it was beaten, how many times faster we were)."""
    load, seen = PROBLEMS[name]
    X, y, shape = load()
    X, X_hidden, y, y_hidden = datasets.split_entries(X, y, test_size=1 - seen, random_state=0)
    results = {}
    ours, peers = contenders(shape)
    for contender, fit in (ours | peers).items():
        start = time.perf_counter()
        predict = fit(X, y)
        seconds = time.perf_counter() - start
        error = float(normalized_rmse(y_hidden, predict(X_hidden)))
        results[contender] = seconds, error
        print_row(name, contender, error, seconds, widths=(34, 22))
    outcome = []
    for peer in peers:
        seconds, error = results[peer]
        able = [results[our][0] for our in ours if results[our][1] <= 1.02 * error]
        faster = seconds / min(able) if able else 0.0
        verdict = f"{faster:.1f} x the time" if able else "none of ours is as good"
        lost = "" if faster > 1 else "   LOST"
        print_row("", f"  {peer}:", f"{verdict}{lost}", widths=(34, 22), width=26)
        outcome.append((peer, faster > 1, faster))
    return outcome


def main(quick=False):
    """Print the table and the rows that are lost."""
    # The first fit of a process loads compiled code; it is timed by memory.py.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        CPCompletion(2, n_init=1, max_iter=2).fit(np.eye(3, dtype=int), np.arange(3.0))
    print_title(f"Hidden-cell NRMSE and seconds, searches included, {common.THREADS} threads")
    lost, factors = {}, {}
    for name in _QUICK if quick else PROBLEMS:
        for peer, beaten, faster in run(name):
            factors.setdefault(peer, []).append(faster)
            if not beaten:
                lost.setdefault(peer, []).append(name)
    for peer, times in factors.items():
        figure = f"{np.median(times):.1f} x (median)"
        where = f"; lost: {', '.join(lost[peer])}" if peer in lost else ""
        print_goal(f"as good as {peer} in less time on every row", figure + where, peer not in lost)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    main(parser.parse_args().quick)
