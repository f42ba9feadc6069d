"""One gradient of a CP completion loss: the compiled pass against PyTorch, tensorly and pyttb.

    python benchmarks/gradient.py [--quick] [--most 10000000] [--goal-only]

A cell in eight is seen, all modes have one size, cells are sorted for every contender. tensorly's
row is one sweep of its masked CP-ALS, which improves every factor once; both it and pyttb hold the
dense tensor and drop out where that has more than 2**24 cells. Where a contender takes over
30 seconds it drops out of the larger problems.
"""

import argparse

import common
import numpy as np
from common import print_goal, print_row, print_title, time_in_turn

_MOST_DENSE = 2**24
# Cells of a chunk, whose gathered rows stay in cache.
_CHUNK = 2**13


class Case:
    """Cells and factors of one size."""

    def __init__(self, observed, order, components, dtype):
        self.size = max(2, round((8 * observed) ** (1 / order)))
        self.observed, self.order, self.components, self.dtype = observed, order, components, dtype
        rng = np.random.default_rng(0)
        linear = np.sort(rng.integers(0, self.size**order, observed))
        self.coords = np.stack(np.unravel_index(linear, self.shape), axis=1)
        self.values = rng.standard_normal(observed).astype(dtype)
        self.factors = [
            rng.standard_normal((self.size, components)).astype(dtype) for _ in self.shape
        ]

    @property
    def shape(self):
        return (self.size,) * self.order

    def dense(self):
        """Return the tensor, zero where unseen, and the number of times each cell was seen."""
        tensor, seen = np.zeros(self.shape, self.dtype), np.zeros(self.shape, self.dtype)
        np.add.at(seen, tuple(self.coords.T), 1)
        np.add.at(tensor, tuple(self.coords.T), self.values)
        return np.divide(tensor, seen, where=seen > 0, out=tensor), seen


def compiled(case):
    """The objective that the estimators descend on."""
    from sktf._cells.validation import Observations
    from sktf._models.cp import CPFactorization
    from sktf._objective.cpu import FusedObjective
    from sktf._objective.losses import ClippedSquare

    cells = Observations(case.coords, case.values, np.ones(case.observed), case.shape)
    model = CPFactorization(case.shape, case.components)
    objective = FusedObjective(model, cells, ClippedSquare(np.inf), dtype=case.dtype)
    theta = np.concatenate([factor.ravel() for factor in case.factors])
    return lambda: model.unpack(objective(theta)[1])


def torch_autograd(case):
    """Gathered rows, their product, and autograd."""
    import torch

    columns, values = torch.tensor(case.coords.T.copy()), torch.tensor(case.values)

    def gradient():
        leaves = [torch.tensor(factor, requires_grad=True) for factor in case.factors]
        product = leaves[0][columns[0]]
        for leaf, column in zip(leaves[1:], columns[1:], strict=True):
            product = product * leaf[column]
        loss = ((product.sum(1) - values) ** 2).mean()
        return torch.autograd.grad(loss, leaves)

    return gradient


def _pull_back(factors, columns, values, scatter):
    """Products forward and backward without a tape; ``scatter(mode, rows)`` adds rows up."""
    rows = [f.index_select(0, column) for f, column in zip(factors, columns, strict=True)]
    prefix = [rows[0].new_ones(())]
    for row in rows:
        prefix.append(prefix[-1] * row)
    suffix = prefix.pop().sum(1, keepdim=True) - values[:, None]
    for mode in reversed(range(len(rows))):
        scatter(mode, prefix[mode] * suffix)
        suffix = suffix * rows[mode]


def torch_gather(case, n_chunks=1):
    """index_select forward, index_add backward."""
    import torch

    parts = [
        (torch.tensor(coords.T.copy()), torch.tensor(values))
        for coords, values in zip(
            np.array_split(case.coords, n_chunks),
            np.array_split(case.values, n_chunks),
            strict=True,
        )
    ]
    factors = [torch.tensor(factor) for factor in case.factors]

    def gradient():
        gradients = [torch.zeros_like(factor) for factor in factors]
        for columns, values in parts:
            _pull_back(
                factors,
                columns,
                values,
                lambda mode, rows, columns=columns: gradients[mode].index_add_(
                    0, columns[mode], rows
                ),
            )
        return [g.mul_(2 / case.observed) for g in gradients]

    return gradient


def torch_chunks(case):
    """The same, a chunk of cells at a time: its gathered rows stay in cache."""
    return torch_gather(case, -(-case.observed // _CHUNK))


def torch_csr(case):
    """index_select forward, a product with a sparse matrix of ones backward."""
    import torch

    columns, values = torch.tensor(case.coords.T.copy()), torch.tensor(case.values)
    factors = [torch.tensor(factor) for factor in case.factors]
    share = torch.full((case.observed,), 2 / case.observed, dtype=values.dtype)
    matrices = []
    for column in case.coords.T:
        cells = torch.tensor(np.argsort(column, kind="stable"))
        starts = torch.tensor(np.searchsorted(np.sort(column), np.arange(case.size + 1)))
        matrices.append(
            torch.sparse_csr_tensor(
                starts, cells, share, (case.size, case.observed), check_invariants=False
            )
        )

    def gradient():
        gradients = {}

        def scatter(mode, rows):
            gradients[mode] = matrices[mode] @ rows.expand(-1, case.components)

        _pull_back(factors, columns, values, scatter)
        return [gradients[mode] for mode in range(case.order)]

    return gradient


def tensorly_sweep(case):
    """One sweep of CP-ALS that imputes what is missing."""
    from tensorly.decomposition import parafac

    tensor, seen = case.dense()
    options = {"n_iter_max": 1, "mask": (seen > 0).astype(case.dtype), "tol": None}

    def sweep():
        start = (None, [factor.copy() for factor in case.factors])
        return parafac(tensor, case.components, init=start, **options)

    return sweep


def pyttb_gradient(case):
    """The gradient of GCP with its Gaussian loss and a mask."""
    import pyttb
    from pyttb.gcp.fg import evaluate
    from pyttb.gcp.handles import gaussian_grad

    tensor, seen = case.dense()
    model = pyttb.ktensor([np.asfortranarray(factor) for factor in case.factors])
    data, weights = pyttb.tensor(np.asfortranarray(tensor)), np.asfortranarray(seen)
    share = 1 / case.observed
    return lambda: [share * g for g in evaluate(model, data, weights, None, gaussian_grad)]


_MAKERS = {
    "compiled": compiled,
    "autograd": torch_autograd,
    "gather": torch_gather,
    "chunks": torch_chunks,
    "CSR": torch_csr,
    "tensorly": tensorly_sweep,
    "pyttb": pyttb_gradient,
}


def _fits(name, case):
    """Whether a contender can hold the problem: 2**33 bytes of gathered rows, or the tensor."""
    if name in ("tensorly", "pyttb"):
        return case.size**case.order <= _MOST_DENSE
    gathered = 3 * case.order * case.observed * case.components * np.dtype(case.dtype).itemsize
    return name in ("compiled", "chunks") or gathered <= 2**33


def _check(case, calls):
    """All contenders but tensorly compute the same gradient."""
    reference = [np.asarray(g) for g in calls["compiled"]()]
    close = 2e-3 if case.dtype == "float32" else 1e-8
    for name in calls.keys() - {"compiled", "tensorly"}:
        for ours, theirs in zip(reference, calls[name](), strict=True):
            size = np.abs(ours).max()
            np.testing.assert_allclose(np.asarray(theirs), ours, rtol=0, atol=close * size)


def run_case(case, repeats, seconds, out=frozenset()):
    """Print one row and return the times; contenders in ``out`` are left out."""
    names = [name for name in _MAKERS if name not in out and _fits(name, case)]
    calls = {name: _MAKERS[name](case) for name in names}
    if case.observed <= 10**6:
        _check(case, calls)
    times = time_in_turn(calls, repeats, seconds)
    cells = [f"{1e3 * np.median(times['compiled']):.3g}"]
    for name in list(_MAKERS)[1:]:
        cells.append(f"{common.ratio(times, name, 'compiled'):.1f} x" if name in times else "-")
    label = f"{case.observed:.0e}, {case.order}, {case.components}, {case.dtype}"
    print_row(label, *cells, width=11)
    return times


def cases(quick, most):
    """Return one case for each point of the three lines: cells, components and order."""
    base = 10**5 if quick else 10**6
    points = {
        (observed, 3, 32, "float64"): None
        for observed in 10 ** np.arange(3, 9)
        if observed <= min(most, base)
    }
    points |= {(base, 3, components, "float64"): None for components in (8, 32, 128, 256)}
    points |= {(base, order, 32, "float64"): None for order in (2, 3, 4, 5)}
    points |= {(base, 3, components, "float32"): None for components in (8, 32, 128)}
    points |= {
        (observed, 3, 16, "float32"): None
        for observed in (10**6, 10**7, 10**8)
        if base < observed <= most
    }
    return points


def goal(quick=False):
    """Print the row that the goals are about."""
    case = Case(10**6, 3, 32, "float64")
    times = run_case(case, 3 if quick else 7, 30 if quick else 90, {"tensorly", "pyttb"})
    for names, least in ((["autograd"], 40), (["gather", "chunks", "CSR"], 20)):
        slower = min(common.ratio(times, name, "compiled") for name in names)
        what = "torch autograd" if len(names) == 1 else "the best hand-written torch"
        print_goal(
            f"gradient, 1e6 cells, order 3, R = 32, float64: >= {least} x {what}",
            f"{slower:.1f} x",
            slower >= least,
        )


def main(quick=False, most=10**7, goal_only=False):
    """Print the table."""
    import torch

    torch.set_num_threads(common.THREADS)
    print_title(f"One gradient, {common.THREADS} threads: milliseconds, and how many times longer")
    print_row("cells, order, R, dtype", "compiled ms", *list(_MAKERS)[1:], width=11)
    out = set()
    for point in {} if goal_only else cases(quick, most):
        times = run_case(Case(*map(_plain, point)), 3, 6 if quick else 10, out)
        if len(point) and point[0] < 10**6:
            out |= {name for name, taken in times.items() if min(taken) > 30}
    goal(quick)


def _plain(number):
    return number if isinstance(number, str) else int(number)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller problems, a minute")
    parser.add_argument("--most", type=float, default=1e7, help="largest number of cells")
    parser.add_argument("--goal-only", action="store_true", help="only the row of the goals")
    options = parser.parse_args()
    main(options.quick, options.most, options.goal_only)
