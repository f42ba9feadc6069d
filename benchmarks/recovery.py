"""Recovery by the defaults: 30^3 tensors of rank 3 at the edge of what the cells determine.

python benchmarks/recovery.py [--quick] [--first-seed 800]
"""

import argparse
import warnings

import common  # noqa: F401  pins the threads
import numpy as np
from common import print_goal, print_row, print_title

from sktf import CPCompletion

# Share seen, noise as a share of the standard deviation, error to stay below, in how many of ten.
_ROWS = ((0.10, 0.0, 0.01, 9), (0.10, 0.1, 0.05, 9), (0.05, 0.1, 0.10, 9), (0.04, 0.0, 0.10, 6))


def recover(seed, seen, noise):
    """Return the error against the tensor without noise, over its deviation, and the rank."""
    rng = np.random.default_rng(seed)
    tensor = np.einsum("az,bz,cz->abc", *(rng.standard_normal((30, 3)) for _ in range(3)))
    linear = rng.permutation(tensor.size)[: int(seen * tensor.size)]
    y = tensor.ravel()[linear] + noise * tensor.std() * rng.standard_normal(len(linear))
    X = np.column_stack(np.unravel_index(linear, tensor.shape))
    with warnings.catch_warnings(action="ignore"):
        model = CPCompletion(shape=tensor.shape, random_state=seed).fit(X, y)
    return np.sqrt(np.mean((model.to_dense() - tensor) ** 2)) / tensor.std(), model.rank_


def main(quick=False, first_seed=800):
    """Print errors and ranks of every setting, and whether its goal is met."""
    n_seeds = 3 if quick else 10
    print_title(f"CPCompletion(), 30^3, true rank 3: {n_seeds} seeds from {first_seed}")
    print_row("", "median", "worst", "rank 3 in")
    for seen, noise, bound, least in _ROWS:
        fits = [recover(seed, seen, noise) for seed in range(first_seed, first_seed + n_seeds)]
        errors, ranks = map(np.array, zip(*fits, strict=True))
        name = f"{seen:.0%} seen, noise {noise:.0%}"
        print_row(name, np.median(errors), errors.max(), int((ranks == 3).sum()))
        below = int((errors < bound).sum())
        print_goal(f"{name}: error < {bound} in {least} of 10", f"{below} of {n_seeds}",
                   below * 10 >= least * n_seeds)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--first-seed", type=int, default=800)
    options = parser.parse_args()
    main(options.quick, options.first_seed)
