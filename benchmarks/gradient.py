"""One gradient of a CP completion loss: the compiled pass against PyTorch, side by side.

    python benchmarks/gradient.py [--observed 1000000] [--order 3] [--components 32] [--threads 2]

All contenders run in turn in one process on the same threads; printed are medians and the ratio
to the compiled pass.
"""

import argparse
import os
import time

import numpy as np


def arguments():
    """Parse the command line; sizes as in the table of the documentation by default."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--observed", type=int, default=1_000_000)
    parser.add_argument("--order", type=int, default=3)
    parser.add_argument("--components", type=int, default=32)
    parser.add_argument("--size", type=int, default=200, help="size of every mode")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--dtype", choices=["float64", "float32"], default="float64")
    return parser.parse_args()


def torch_autograd(factors, coords, values):
    """Gathered rows, their product, and autograd."""
    import torch

    coords, values = torch.tensor(coords), torch.tensor(values)

    def gradient():
        leaves = [torch.tensor(factor, requires_grad=True) for factor in factors]
        product = leaves[0][coords[:, 0]]
        for mode in range(1, len(leaves)):
            product = product * leaves[mode][coords[:, mode]]
        loss = ((product.sum(1) - values) ** 2).mean()
        return torch.autograd.grad(loss, leaves)

    return gradient


def torch_by_hand(factors, coords, values):
    """index_select forward, index_add backward, no tape."""
    import torch

    coords, values = torch.tensor(coords), torch.tensor(values)
    factors = [torch.tensor(factor) for factor in factors]

    def gradient():
        rows = [f.index_select(0, coords[:, mode]) for mode, f in enumerate(factors)]
        prefix = [torch.ones_like(rows[0])]
        for row in rows:
            prefix.append(prefix[-1] * row)
        slope = (2 / len(values)) * (prefix[-1].sum(1) - values)
        suffix, gradients = slope[:, None].expand_as(rows[0]), []
        for mode in reversed(range(len(rows))):
            part = torch.zeros_like(factors[mode])
            gradients.append(part.index_add_(0, coords[:, mode], prefix[mode] * suffix))
            suffix = suffix * rows[mode]
        return gradients[::-1]

    return gradient


def compiled(factors, coords, values):
    """The objective that the estimators descend on."""
    from sktf._cp import CPFactorization
    from sktf._losses import ClippedSquare
    from sktf._objective import FusedObjective
    from sktf._validation import Observations

    shape = tuple(len(factor) for factor in factors)
    model = CPFactorization(shape, factors[0].shape[1])
    cells = Observations(coords, values, np.ones(len(values)), shape)
    objective = FusedObjective(model, cells, ClippedSquare(np.inf), dtype=values.dtype.name)
    theta = np.concatenate([factor.ravel() for factor in factors])
    return lambda: [
        g.reshape(f.shape)
        for g, f in zip(
            np.split(objective(theta)[1], np.cumsum([f.size for f in factors])[:-1]),
            factors,
            strict=True,
        )
    ]


def main():
    """Print the table."""
    options = arguments()
    os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = str(options.threads)
    import torch

    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(0)
    size, order = options.size, options.order
    coords = rng.integers(0, size, (options.observed, order))
    values = rng.standard_normal(options.observed).astype(options.dtype)
    factors = [
        rng.standard_normal((size, options.components)).astype(options.dtype) for _ in range(order)
    ]
    contenders = {
        "compiled pass": compiled(factors, coords, values),
        "PyTorch by hand": torch_by_hand(factors, coords, values),
        "PyTorch autograd": torch_autograd(factors, coords, values),
    }
    reference = [np.asarray(g) for g in contenders["PyTorch autograd"]()]
    seconds = {name: [] for name in contenders}
    for gradient in contenders.values():
        for ours, theirs in zip(gradient(), reference, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5 * np.abs(theirs).max())
    for _ in range(options.repeats):
        for name, gradient in contenders.items():
            start = time.perf_counter()
            gradient()
            seconds[name].append(time.perf_counter() - start)
    best = np.median(seconds["compiled pass"])
    print(
        f"order {order}, {options.observed:.0e} cells, R = {options.components}, {options.dtype}, "
        f"{options.threads} threads, median of {options.repeats}"
    )
    for name, times in seconds.items():
        print(f"  {name:18}{1e3 * np.median(times):10.1f} ms{np.median(times) / best:9.1f} x")


if __name__ == "__main__":
    main()
