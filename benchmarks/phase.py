"""How many cells it takes: share of seeds recovered over fraction seen and true rank.

    python benchmarks/phase.py [--seeds N] [--quick] [--sizes]

``CPCompletion()`` is told no rank. Its peers are told the true one, and start again and again
until they have used as many seconds, one start at least; their best training loss counts. The
last of them is no package but the strongest form that we found of pyttb's descent: L-BFGS on the
seen cells alone, in runs of 150 iterations from uniform and from normal starts in turn.
A seed is recovered where the NRMSE on the unseen cells is below 0.1; nobody sees noise. Results
are kept in ``benchmarks/_cache/phase.csv``, so that a run goes on where it ended; ``--seeds 0``
draws ``docs/phase.png`` from them.

``--sizes`` prints instead how many of ten seeds of n x n x n, rank 3, are recovered for growing n
at equal cells for each free parameter: the default, and the strongest alternating least squares
that we found, compiled and told the rank, its ridge lowered in steps, best of ten starts by
training loss.
"""

import argparse
import time
import warnings
from itertools import product
from pathlib import Path

import common  # noqa: F401  pins the threads
import numpy as np
from common import print_goal, print_row, print_title
from peers import Components, load, pyttb_fit
from practice import read_cache, write_cache
from scipy.optimize import minimize
from scipy.sparse import csr_array

from sktf import CPALSCompletion, CPCompletion, datasets
from sktf._cells.validation import Observations
from sktf._descent.polish import Model, Penalty, Polish
from sktf._descent.progress import Progress
from sktf.metrics import normalized_rmse

_HERE = Path(__file__).parent
_CACHE, _PICTURE = _HERE / "_cache" / "phase.csv", _HERE.parent / "docs" / "phase.png"
_SHAPES = ((20, 20, 20), (10, 10, 10, 10))
_RANKS = (1, 3, 6)
#: Seen cells for each free parameter of the true rank, R (sum of sizes - order + 1).
_DENSITIES = (1.6, 2.0, 2.5, 3.2, 4.0, 5.6, 8.0)
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
_FIRST_SEED = 2000
_RECOVERED = 0.1
# A start that leaves this mean squared error, on data of RMS 1, has found a solution.
_SOLVED = 1e-8
_OURS = "CPCompletion(), rank not told"
_ALS, _GCP = "ALS of tensorly, true rank", "GCP of pyttb, true rank"
_LBFGS = "L-BFGS, tuned, true rank"
_METHODS = (_OURS, _ALS, _GCP, _LBFGS)
_SIZES, _SIZED_RANK, _N_HIDDEN, _N_STARTS = (50, 100, 200), 3, 20_000, 10
_SIZED_DENSITIES = (2.0, 2.5, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
_RIDGE_ALS = "compiled ALS, true rank, ten starts"
# Ridges of the starts in turn, twenty sweeps each; the last one leaves the solution as it is.
_RIDGES = ((3.0, 1.0, 0.3, 0.1, 1e-9), (1.0, 0.1, 1e-9))


def n_seen(shape, rank, density):
    """Return the number of seen cells."""
    return round(density * rank * (sum(shape) - len(shape) + 1))


def als_start(X, y, shape, rank, seed):
    """Return training loss and predictor of one start of tensorly's masked ALS."""
    model = CPALSCompletion(
        rank, shape=shape, solver="tensorly", n_init=1, max_iter=1000, tol=1e-7, random_state=seed
    ).fit(X, y)
    return model.loss_, model.predict


def gcp_start(X, y, shape, rank, seed):
    """Return training loss and predictor of one start of pyttb's GCP with a mask."""
    predict = pyttb_fit(shape, X, y, rank, seed)
    return np.mean((predict(X) - y) ** 2), predict


def lbfgs_start(X, y, shape, rank, seed):
    """Return training loss and predictor of one start of L-BFGS on the seen cells."""
    places = np.arange(len(y))
    sums = [csr_array((np.ones(len(y)), (column, places))) for column in X.T]
    used = [matrix.shape[0] for matrix in sums]
    ends = np.cumsum(used)[:-1] * rank

    def factors_of(theta):
        return [part.reshape(-1, rank) for part in np.split(theta, ends)]

    def loss(theta):
        rows = [factor[column] for factor, column in zip(factors_of(theta), X.T, strict=True)]
        residual = np.prod(rows, axis=0).sum(axis=1) - y
        others = [np.prod(rows[:n] + rows[n + 1 :], axis=0) for n in range(len(rows))]
        pairs = zip(sums, others, strict=True)
        gradients = [matrix @ (residual[:, None] * other) for matrix, other in pairs]
        return residual @ residual / 2, np.concatenate([g.ravel() for g in gradients])

    rng, size = np.random.default_rng(seed), sum(used) * rank
    # Many short runs from both kinds of start find more than few long ones from one.
    start = 0.3 * rng.standard_normal(size) if seed % 2 else rng.random(size)
    options = {"maxiter": 150}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    return 2 * found.fun / len(y), Components(factors_of(found.x))


_PEERS = {_ALS: als_start, _GCP: gcp_start, _LBFGS: lbfgs_start}


def _within(fit, seconds, seed, *data):
    """Return the predictor of the lowest training loss of the starts that fit into the time."""
    begun, best = time.process_time(), (np.inf, None)
    for number in range(1000):
        best = min(best, fit(*data, 1000 * seed + number), key=lambda found: found[0])
        if best[0] < _SOLVED or time.process_time() - begun > seconds:
            break
    return best[1]


def _cells(shape, rank, density, seed):
    """Return seen cells and unseen ones, those only of indices that were seen."""
    tensor, _ = datasets.make_low_rank(shape, rank, random_state=seed)
    X, y, _ = datasets.Entries(*datasets.entries_from_dense(tensor), shape)
    n_hidden = len(y) - n_seen(shape, rank, density)
    X, X_hidden, y, y_hidden = datasets.split_entries(X, y, n_hidden, random_state=seed)
    known = [np.isin(hidden, seen) for hidden, seen in zip(X_hidden.T, X.T, strict=True)]
    known = np.all(known, axis=0)
    return X, y, X_hidden[known], y_hidden[known]


def ours(X, y, shape, seed):
    """Return the predictor of the default."""
    return CPCompletion(shape=shape, random_state=seed).fit(X, y).predict


def measure(method, shape, rank, density, seed, allowed):
    """Return error on the unseen cells and seconds of one method."""
    X, y, X_hidden, y_hidden = _cells(shape, rank, density, seed)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if method == _OURS:
            predict = ours(X, y, shape, seed)
        else:
            predict = _within(_PEERS[method], allowed, seed, X, y, shape, rank)
    seconds = time.process_time() - start
    return float(normalized_rmse(y_hidden, predict(X_hidden))), seconds


def fill(shapes, n_seeds):
    """Measure what the cache lacks; our seconds are those that the others have."""
    done = read_cache(_CACHE)
    if n_seeds:
        load()
    for number, shape, rank, density in product(range(n_seeds), shapes, _RANKS, _DENSITIES):
        cell = str(len(shape)), str(rank), str(density), str(number)
        for method in _METHODS:
            if (*cell, method) not in done:
                allowed = done.get((*cell, _OURS), (0, 0))[1]
                how = shape, rank, density, _FIRST_SEED + number, allowed
                done[*cell, method] = measure(method, *how)
                write_cache(_CACHE, (*cell, method), done[*cell, method])


def shares(shape):
    """Return {method: share of seeds recovered, (n_ranks, n_densities)} and how many seeds."""
    cells = {}
    for (order, rank, density, number, method), (error, _) in read_cache(_CACHE).items():
        if order == str(len(shape)):
            cells.setdefault((int(rank), float(density), number), {})[method] = error
    found = np.zeros((len(_METHODS), len(_RANKS), len(_DENSITIES)))
    counts = np.zeros(found.shape[1:])
    for (rank, density, _), errors in cells.items():
        if len(errors) == len(_METHODS):
            place = _RANKS.index(rank), _DENSITIES.index(density)
            found[:, *place] += [errors[method] < _RECOVERED for method in _METHODS]
            counts[place] += 1
    tables = found / np.maximum(counts, 1)
    return dict(zip(_METHODS, tables, strict=True)), int(counts.min())


def contour(row):
    """Return the density from which on more than half of the seeds are recovered."""
    above = np.append(row < 0.5, False)
    first = int(np.flatnonzero(above).max(initial=-1)) + 1
    if first in (0, len(row)):
        return (_DENSITIES[0], np.inf)[first > 0]
    low, high = np.log(_DENSITIES[first - 1 : first + 1])
    return float(
        np.exp(low + (0.5 - row[first - 1]) / (row[first] - row[first - 1]) * (high - low))
    )


def report(shape):
    """Print the contours of one order and the goal; a contour beyond the grid counts as its end."""
    tables, n_seeds = shares(shape)
    print_title(f"{'x'.join(map(str, shape))}: cells seen where half of {n_seeds} seeds are found")
    print_row("true rank", *_RANKS, widths=(32,))
    cells = {}
    for method, table in tables.items():
        needed = np.minimum([contour(row) for row in table], _DENSITIES[-1])
        pairs = zip(_RANKS, needed, strict=True)
        cells[method] = np.array([n_seen(shape, rank, density) for rank, density in pairs])
        beyond = [">= " if density == _DENSITIES[-1] else "" for density in needed]
        row = (f"{mark}{n}" for mark, n in zip(beyond, cells[method], strict=True))
        print_row(method, *row, widths=(32,))
    for peers in ((_ALS, _GCP), (_LBFGS,)):
        ratios = cells[_OURS] / np.min([cells[peer] for peer in peers], axis=0)
        peers = " and ".join(peer.split(",")[0] for peer in peers)
        middle = float(np.exp(np.log(ratios).mean()))
        figure = ", ".join(f"{ratio:.2f}" for ratio in ratios) + f"; geometric mean {middle:.2f}"
        goal = f"order {len(shape)}: at most .75 x the cells of {peers} told the rank"
        print_goal(goal, figure, middle <= 0.75)


def sized_cells(n, density, seed):
    """Return cells of n x n x n as ``_cells`` does, which are drawn without the dense tensor."""
    rng, shape = np.random.default_rng(seed), (n,) * 3
    factors = [rng.standard_normal((n, _SIZED_RANK)) for _ in shape]
    n_cells = n_seen(shape, _SIZED_RANK, density)
    drawn = rng.choice(n**3, min(n**3, n_cells + _N_HIDDEN), replace=False)
    X = np.column_stack(np.unravel_index(drawn, shape))
    y = Components(factors)(X)
    seen, hidden = np.split(X, [n_cells])
    known = np.all([np.isin(hidden[:, m], seen[:, m]) for m in range(3)], axis=0)
    return seen, y[:n_cells], hidden[known], y[n_cells:][known]


def ridge_als_start(X, y, shape, rank, seed):
    """Return training loss and predictor of one start of compiled ALS, its ridge lowered."""
    rms = np.sqrt(np.mean(y**2))
    rng, cells = np.random.default_rng(seed), Observations(X, y / rms, np.ones(len(y)), shape)
    polish, ridges = Polish(cells, cells, Progress()), _RIDGES[seed % 2]
    model = Model([0.3 * rng.standard_normal((size, rank)) for size in shape], ())
    for ridge in ridges:
        last = np.inf
        for _ in range(100 if ridge == ridges[-1] else 20):
            model = polish.sweep(model, Penalty(ridge, ()))
            loss = model.error(cells)
            if loss < _SOLVED or abs(last - loss) < 1e-5 * loss:
                break
            last = loss
    return loss, lambda X: rms * model.at(X)


def ridge_als(X, y, shape, seed):
    """Return the predictor of the lowest training loss of its starts."""
    starts = (_N_STARTS * seed + number for number in range(_N_STARTS))
    found = (ridge_als_start(X, y, shape, _SIZED_RANK, start) for start in starts)
    return min(found, key=lambda one: one[0])[1]


def report_sizes(n_seeds):
    """Print for growing n how many seeds are recovered at equal cells for each parameter."""
    title = f"n x n x n, rank {_SIZED_RANK}: recovered of {n_seeds} seeds"
    print_title(f"{title}, by cells seen for each free parameter; seconds of one processor")
    print_row("", "n", *_SIZED_DENSITIES, "seconds", widths=(36,), width=8)
    for method, fit in ((_OURS, ours), (_RIDGE_ALS, ridge_als)):
        for n in _SIZES:
            counts, start = [], time.process_time()
            for density in _SIZED_DENSITIES:
                errors = [_sized_error(fit, n, density, seed) for seed in range(n_seeds)]
                counts.append(int(np.sum(np.array(errors) < _RECOVERED)))
            seconds = (time.process_time() - start) / (n_seeds * len(_SIZED_DENSITIES))
            print_row(method, n, *counts, seconds, widths=(36,), width=8)


def _sized_error(fit, n, density, number):
    X, y, X_hidden, y_hidden = sized_cells(n, density, _FIRST_SEED + number)
    with warnings.catch_warnings(action="ignore"):
        predict = fit(X, y, (n,) * 3, _FIRST_SEED + number)
    return normalized_rmse(y_hidden, predict(X_hidden))


def _draw_shares(axes, shape, method, table, ours):
    """Draw one panel; a column is a rank."""
    total = np.prod(shape)
    steps = np.sqrt(np.divide(_DENSITIES[1:], _DENSITIES[:-1]))
    edges = [_DENSITIES[0] / steps[0], *(steps * _DENSITIES[:-1]), _DENSITIES[-1] * steps[-1]]
    for column, (rank, row) in enumerate(zip(_RANKS, table, strict=True)):
        heights = np.array(edges) * n_seen(shape, rank, 1) / total
        sides = [column - 0.5, column + 0.5]
        image = axes.pcolormesh(sides, heights, row[:, None], vmin=0, vmax=1, cmap="cividis")
        for shares_, style in ((ours, "--"), (table, "-")):
            level = contour(shares_[column]) * n_seen(shape, rank, 1) / total
            axes.plot(sides, [level, level], style, color="white", lw=2)
    axes.set(yscale="log", xticks=range(len(_RANKS)), xticklabels=_RANKS, title=method)
    axes.set_yticks(_TICKS, [f"{tick:.0%}" for tick in _TICKS])
    axes.set_yticks([], minor=True)
    return image


def draw():
    """Draw all orders and methods into one picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    size = len(_SHAPES), len(_METHODS)
    figure, grid = pyplot.subplots(
        *size, figsize=(12, 6), sharey="row", sharex=True, layout="constrained"
    )
    for row, shape in zip(grid, _SHAPES, strict=True):
        tables, _ = shares(shape)
        for axes, (method, table) in zip(row, tables.items(), strict=True):
            image = _draw_shares(axes, shape, method, table, tables[_OURS])
        row[0].set_ylabel(f"fraction seen, {' x '.join(map(str, shape))}")
    for axes in grid[-1]:
        axes.set_xlabel("true rank")
    bar = figure.colorbar(image, ax=grid, shrink=0.6)
    bar.set_label("share of seeds recovered (NRMSE < 0.1)")
    figure.suptitle("White: half of the seeds recovered; dashed: CPCompletion()", fontsize=10)
    figure.savefig(_PICTURE, dpi=110)


def main(quick=False, n_seeds=10, orders=(3, 4)):
    """Measure, print the contours, draw the picture."""
    shapes = [shape for shape in _SHAPES if len(shape) in orders]
    fill(shapes[:1] if quick else shapes, 1 if quick else n_seeds)
    for shape in shapes:
        report(shape)
    draw()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--orders", type=int, nargs="+", default=[3, 4])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--sizes", action="store_true")
    options = parser.parse_args()
    if options.sizes:
        report_sizes(1 if options.quick else options.seeds)
    else:
        main(options.quick, options.seeds, options.orders)
