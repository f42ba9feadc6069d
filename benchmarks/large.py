"""Many cells, and tensors of which few are seen: time, error and rank of the defaults.

    python benchmarks/large.py [--seeds N] [--most 100000000] [--quick] [section ...]

Sections: time (against compiled ALS told 20 components, which stops on held-out cells, and against
SPLATT, tensorly and pyttb, see ``large_peers.py``), sparse (tensors that no random start finds),
frontier (cells needed against the size of the modes), ratings (against cmfrec with three penalties,
where it is installed), deep (depths against ``CPCompletion``), pines (Indian Pines of 2 % of its
cells). Tensors are products of normal factors of RMS 1 with noise of 0.1; errors are NRMSE to the
truth at hidden cells, figures medians over seeds. Results of "time" and "frontier" are drawn in
``docs/large.png``.
"""

import argparse
import time
import warnings
from pathlib import Path

import common
import large_peers
import numpy as np
from common import print_goal, print_row, print_title

from sktf import CPCompletion, DeepCPCompletion, DeepMatrixCompletion, datasets
from sktf._cells.validation import Observations
from sktf._descent.polish import Model, Penalty, Polish
from sktf._descent.progress import Progress

_PICTURE = Path(__file__).parents[1] / "docs" / "large.png"
_FIRST_SEED = 4000
_N_HIDDEN = 50_000
#: Shape, rank and cells; seconds are compared from row to row.
_TIMES = (
    ((100,) * 3, 5, 20_000),
    ((300,) * 3, 5, 200_000),
    ((1000, 900, 110), 5, 1_000_000),
    ((1000,) * 3, 5, 10_000_000),
    ((2000,) * 3, 5, 100_000_000),
)
_BESIDE_PEERS = (((100,) * 3, 5, 100_000), *_TIMES[:3])
#: Shape, rank, cells, and in how many of ten seeds it is found.
_SPARSE = (
    ((200,) * 3, 3, 20_000, 9),
    ((300,) * 3, 5, 54_000, 9),
    ((1000, 900, 110), 5, 120_000, 9),
    ((100,) * 3, 3, 5400, 8),
    ((40,) * 4, 3, 12_000, 7),
)
_FRONTIER = (50, 100, 200, 400)
_FOUND = 0.1
_WIDE = {"widths": (42,)}
_OURS = "CPCompletion(), told nothing"


def draw(shape, rank, n_cells, seed, dtype=np.float64):
    """Return X, y, hidden X and the truth there; drawn in parts, so that 10^8 cells fit."""
    rng = np.random.default_rng(seed)
    factors = [rng.standard_normal((size, rank)).astype(dtype) for size in shape]
    n_all = n_cells + _N_HIDDEN
    X = np.empty((n_all, len(shape)), np.int32)
    y = np.zeros(n_all, dtype)
    for n, size in enumerate(shape):
        X[:, n] = rng.integers(0, size, n_all, dtype=np.int32)
    for start in range(0, n_all, 2**22):
        part = slice(start, start + 2**22)
        rows = [factor[X[part, n]] for n, factor in enumerate(factors)]
        y[part] = np.prod(rows, axis=0).sum(axis=1)
    y /= y[:_N_HIDDEN].std()
    truth = y[n_cells:].copy()
    y[:n_cells] += dtype(0.1) * rng.standard_normal(n_cells, dtype=dtype)
    return X[:n_cells], y[:n_cells], X[n_cells:], truth


def nrmse(truth, predicted):
    """Return the error over the deviation of the truth."""
    return float(np.sqrt(np.mean((predicted - truth) ** 2)) / truth.std())


def fit(model, shape, X, y, **settings):
    """Return the fitted model and the seconds that it took."""
    model.set_params(shape=shape, random_state=0, **settings)
    start = time.perf_counter()
    with warnings.catch_warnings(action="ignore"):
        model.fit(X, y)
    return model, time.perf_counter() - start


def als(shape, X, y, seed, n_components=20):
    """Return the model of compiled ALS from a normal start, and the seconds that it took.

    A tenth of the cells is held out; sweeps end with five in a row that are not better there.
    """
    start, rng = time.perf_counter(), np.random.default_rng(seed)
    cells = Observations(X, y.astype(np.float64), np.broadcast_to(1.0, len(y)), shape)
    out = rng.random(len(y)) < 0.1
    held_out = cells.take(out)
    polish = Polish(cells.take(~out), held_out, Progress())
    factors = [0.3 * rng.standard_normal((size, n_components)) for size in shape]
    model = best = Model(factors, ())
    least, since = np.inf, 0
    while since < 5:
        model = polish.sweep(model, Penalty(1e-6, ()))
        error = model.error(held_out)
        since = 0 if error < (1 - 1e-4) * least else since + 1
        best, least = (model, error) if error < least else (best, least)
    return best, time.perf_counter() - start


def in_time(n_seeds, most):
    """Print time, error and rank of growing problems; return [(cells, ours, ALS)]."""
    print_title("Seconds, error and rank; ALS told 20 components, held-out stop")
    print_row("", "seconds", "ALS", "error", "ALS", "rank 5 in", **_WIDE)
    table = []
    for shape, rank, n_cells in _TIMES:
        if n_cells > most:
            continue
        found, n = [], max(1, n_seeds if n_cells <= 10**6 else 1)
        small = n_cells <= 10**6
        dtype = np.float64 if small else np.float32
        for seed in range(_FIRST_SEED, _FIRST_SEED + n):
            X, y, X_hidden, truth = draw(shape, rank, n_cells, seed, dtype)
            name = {"dtype": np.dtype(dtype).name}
            model, seconds = fit(CPCompletion(), shape, X, y, **name)
            row = [seconds, nrmse(truth, model.predict(X_hidden)), model.rank_ == rank]
            peer, peer_seconds = als(shape, X, y, seed) if small else (None, np.nan)
            row += [peer_seconds, nrmse(truth, peer.at(X_hidden)) if peer else np.nan]
            found.append(row)
        ours, error, right, theirs, its_error = np.median(found, axis=0)
        n_right = f"{int(sum(row[2] for row in found))} of {n}"
        print_row(f"{shape}, {n_cells:.0e}", ours, theirs, error, its_error, n_right, **_WIDE)
        table.append((n_cells, ours, theirs, error, its_error, right))
    _print_goals_of_time({row[0]: row[1:] for row in table})
    return table


def _print_goals_of_time(rows):
    for n_cells, most in ((200_000, 2), (1_000_000, 1)):
        if n_cells in rows:
            ours, theirs, error, its_error, _ = rows[n_cells]
            figure = f"{ours / theirs:.2f} x"
            print_goal(
                f"{n_cells:.0e}: at most {most} x the time of ALS", figure, ours <= most * theirs
            )
            figure = f"{error / its_error:.2f} x"
            print_goal(f"{n_cells:.0e}: at most .6 x its error", figure, error <= 0.6 * its_error)
    for small, large, most in ((10**6, 10**7, 8), (10**7, 10**8, 12)):
        if large in rows:
            times = rows[large][0] / rows[small][0]
            met = times <= most and rows[large][4] == 1
            print_goal(
                f"{large:.0e}: at most {most} x the time of {small:.0e}", f"{times:.1f} x", met
            )


def in_peers(n_seeds, most):
    """Print time, error and memory of peers, beside those of the default."""
    print_title("Peers told R: times of their search and of its best fit over ours; error, MiB")
    print_row("", "search", "best fit", "error", "MiB", widths=(52,))
    for shape, rank, n_cells in _BESIDE_PEERS:
        if n_cells > most:
            continue
        found = {}
        for seed in range(_FIRST_SEED, _FIRST_SEED + n_seeds):
            X, y, X_hidden, truth = draw(shape, rank, n_cells, seed)
            ours = large_peers.watched(_default, shape, X, y)
            for name, peer in [(_OURS, ours), *large_peers.fits(shape, rank, X, y)]:
                row = peer and [
                    peer.searched / ours.alone,
                    peer.alone / ours.alone,
                    nrmse(truth, peer.predict(X_hidden)),
                    peer.memory,
                ]
                found.setdefault(name, []).append(row)
        for name, rows in found.items():
            figures = ["left out"] if None in rows else map(float, np.median(rows, axis=0))
            print_row(f"{shape}, {n_cells:.0e}, {name}", *figures, widths=(52,))


def _default(shape, X, y):
    return fit(CPCompletion(), shape, X, y)[0].predict


def found_in(shape, rank, n_cells, seeds):
    """Return for each seed the error, and whether the rank is right."""
    errors, right = [], []
    for seed in seeds:
        X, y, X_hidden, truth = draw(shape, rank, n_cells, seed)
        model, _ = fit(CPCompletion(), shape, X, y)
        errors.append(nrmse(truth, model.predict(X_hidden)))
        right.append(model.rank_ == rank)
    return np.array(errors), np.array(right)


def in_sparse(n_seeds):
    """Print in how many seeds sparse tensors are found, at the goals' cells and below."""
    print_title(f"Found: error < {_FOUND}; {n_seeds} seeds from {_FIRST_SEED}")
    print_row("", "found", "rank right", "median error", **_WIDE)
    seeds = range(_FIRST_SEED, _FIRST_SEED + n_seeds)
    for shape, rank, n_cells, least in _SPARSE:
        for share in (1, 0.75, 0.5):
            n = int(share * n_cells)
            errors, right = found_in(shape, rank, n, seeds)
            found = errors < _FOUND
            counts = int(found.sum()), int((found & right).sum())
            print_row(f"{shape}, rank {rank}, {n}", *counts, float(np.median(errors)), **_WIDE)
            if share == 1:
                met = counts[0] * 10 >= least * n_seeds and counts[1] * 10 >= 8 * counts[0]
                goal = f"{shape}: found in {least} of 10, rank right in 8 of 10 of these"
                print_goal(goal, f"{counts[0]} and {counts[1]} of {n_seeds}", met)


def in_frontier(n_seeds):
    """Print the fewest cells at which most seeds of n^3, rank 3, are found; return them."""
    print_title("Cells needed for n^3, rank 3: the fewest of which most seeds are found")
    print_row("n", "cells", "over n^1.5", "a parameter", **_WIDE)
    seeds, found = range(_FIRST_SEED, _FIRST_SEED + n_seeds), []
    for n in _FRONTIER:
        n_cells, last = int(16 * n**1.5), None
        while np.mean(found_in((n,) * 3, 3, n_cells, seeds)[0] < _FOUND) > 0.5:
            n_cells, last = int(n_cells / 1.2), n_cells
        print_row(n, last, last / n**1.5, last / (3 * (3 * n - 2)), **_WIDE)
        found.append((n, last))
    return found


def in_ratings():
    """Print time and error on 890,000 ratings, beside cmfrec."""
    print_title("890,000 ratings of 6,000 users and 4,000 items, rank 12 and biases: RMSE, seconds")
    X, y, shape = datasets.make_ratings(6000, 4000, 990_000, rank=12, noise=0.75, random_state=0)
    X, X_hidden, y, y_hidden = X[99_000:], X[:99_000], y[99_000:], y[:99_000]
    model, ours = fit(CPCompletion(), shape, X, y)
    error = np.sqrt(np.mean((model.predict(X_hidden) - y_hidden) ** 2))
    print_row(f"CPCompletion(), rank {model.rank_}", f"{error:.4f}", ours, **_WIDE)
    try:
        import pandas as pd
        from cmfrec import CMF
    except ImportError:
        return print("  cmfrec is not installed")
    ratings = pd.DataFrame({"UserId": X[:, 0], "ItemId": X[:, 1], "Rating": y})
    errors, theirs = [], 0.0
    for penalty in (3.0, 10.0, 30.0):
        start = time.perf_counter()
        peer = CMF(k=12, lambda_=penalty, verbose=False, nthreads=common.THREADS).fit(ratings)
        theirs += time.perf_counter() - start
        predicted = peer.predict(*X_hidden.T)
        errors.append(np.sqrt(np.mean((predicted - y_hidden) ** 2)))
        print_row(f"cmfrec, k = 12, lambda = {penalty:g}", f"{errors[-1]:.4f}", **_WIDE)
    print_row("its three fits", "", theirs, **_WIDE)
    print_goal("at most 5 x the time of cmfrec", f"{ours / theirs:.1f} x", ours <= 5 * theirs)
    share = error / min(errors) - 1
    print_goal("RMSE at most .2 % above its best", f"{share:+.2%}", share <= 0.002)


def in_deep():
    """Print time, error and rank of deep models over those of CPCompletion."""
    print_title("Deep models: time over that of CPCompletion, error, rank")
    print_row("", "seconds", "times", "error", "rank", **_WIDE)
    matrix = [(DeepMatrixCompletion, depth) for depth in (2, 3, 4)]
    deep = [(DeepCPCompletion, depth) for depth in (1, 2)]
    for shape, rank, n_cells, kinds in (
        ((500, 400), 5, 20_000, matrix + deep),
        ((2000, 1500), 5, 100_000, matrix + deep),
        ((200,) * 3, 3, 20_000, deep),
        ((200,) * 3, 3, 100_000, deep),
    ):
        X, y, X_hidden, truth = draw(shape, rank, n_cells, _FIRST_SEED)
        fit(CPCompletion(), shape, X, y)  # what is compiled
        plain, base = fit(CPCompletion(), shape, X, y)
        least = nrmse(truth, plain.predict(X_hidden))
        print_row(f"{shape}, CPCompletion()", base, "", least, plain.rank_, **_WIDE)
        for kind, depth in kinds:
            model, seconds = fit(kind(depth=depth), shape, X, y)
            error, times = nrmse(truth, model.predict(X_hidden)), seconds / base
            name = f"{shape}, {kind.__name__}, depth {depth}"
            print_row(name, seconds, f"{times:.1f} x", error, model.rank_, **_WIDE)
            met = times <= 5 and error <= 1.05 * least and model.rank_ == rank
            print_goal(f"{name}: at most 5 x, as good", f"{times:.1f} x, {error:.4f}", met)


def in_pines(n_seeds):
    """Print time and error on Indian Pines, 2 % seen, beside the race of random starts."""
    print_title("Indian Pines, 2 % seen: NRMSE and seconds; the race of twelve random starts")
    print_row("", "seconds", "race", "NRMSE", "race", **_WIDE)
    X, y, shape = datasets.load_indian_pines()
    rows = []
    for seed in range(_FIRST_SEED, _FIRST_SEED + n_seeds):
        seen, hidden, y_seen, y_hidden = datasets.split_entries(X, y, 0.98, random_state=seed)
        row = []
        # An explicit interval of records asks for one plain race.
        for settings in ({}, {"record_every": 10}):
            model, seconds = fit(CPCompletion(), shape, seen, y_seen, **settings)
            left = np.linalg.norm(model.predict(hidden) - y_hidden) / np.linalg.norm(y_hidden)
            row += [seconds, left]
        rows.append(row)
    ours, error, race, its_error = np.median(rows, axis=0)
    print_row(f"{n_seeds} splits", ours, race, f"{error:.4f}", f"{its_error:.4f}", **_WIDE)
    print_goal("at most a fifth of the time of the race", f"{ours / race:.2f}", ours <= race / 5)
    print_goal("no more error", f"{error / its_error - 1:+.1%}", error <= its_error)


def draw_picture(times, frontier):
    """Draw seconds over cells, and cells needed over the size of modes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    cells, ours, theirs, *_ = np.array(times).T
    left.loglog(cells, ours, "o-", label="CPCompletion(), rank not told")
    known = np.isfinite(theirs)
    left.loglog(cells[known], theirs[known], "s--", label="compiled ALS, told 20 components")
    left.set(
        xlabel="observed cells", ylabel="seconds, 2 threads", title="Order 3, rank 5, noise .1"
    )
    left.legend()
    sizes, needed = np.array(frontier, float).T
    right.loglog(sizes, needed, "o-", label="found in most seeds")
    right.loglog(sizes, needed[-1] * (sizes / sizes[-1]) ** 1.5, ":", color="gray", label="n^1.5")
    right.loglog(sizes, 3 * (3 * sizes - 2), "--", color="gray", label="free parameters")
    right.set(
        xlabel="mode size n", ylabel="observed cells", title="n x n x n, rank 3: cells needed"
    )
    right.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
    right.minorticks_off()
    right.legend()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(_PICTURE, dpi=150)


def main(sections=(), n_seeds=10, most=10**8, quick=False):
    """Measure and print the sections asked for, or all."""
    if quick:
        n_seeds, most = 1, 200_000
    wanted = sections or ("time", "sparse", "frontier", "ratings", "deep", "pines")
    X, y, *_ = draw((100,) * 3, 3, 20_000, 0)
    for dtype in ("float64", "float32"):
        fit(CPCompletion(), (100,) * 3, X, y, dtype=dtype)  # what is compiled
    als((100,) * 3, X, y, 0)
    times = None
    if "time" in wanted:
        times = in_time(min(n_seeds, 3), most)
        in_peers(min(n_seeds, 3), most)
    if "sparse" in wanted:
        in_sparse(n_seeds)
    frontier = in_frontier(min(n_seeds, 5)) if "frontier" in wanted else None
    if "ratings" in wanted and not quick:
        in_ratings()
    if "deep" in wanted:
        in_deep()
    if "pines" in wanted:
        in_pines(min(n_seeds, 3))
    if times and frontier and not quick:
        draw_picture(times, frontier)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--most", type=float, default=1e8, help="the most cells of section time")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    main(options.sections, options.seeds, options.most, options.quick)
    common.print_goals()
