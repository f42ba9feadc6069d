"""One gradient on a device of PyTorch beside the compiled one on the CPU.

    python benchmarks/device.py [--device cuda] [--cells 100000000] [--components 32]

Prints how far both are apart in double precision, how many times as fast the device is as the
threads here, and what share of its memory bandwidth (that of copying an array) the gradient takes.
The bytes are those that no order of the work avoids reading and writing from memory: rows of
factors read and of their gradients added, a mode and cell, and the cells. Without a GPU, ``--device
cpu --cells 100000`` tries the program.
"""

import argparse
import time

import common
import numpy as np
from common import print_goal, print_row, print_title

from sktf._cells.validation import Observations
from sktf._models.cp import CPFactorization
from sktf._objective.cpu import FusedObjective
from sktf._objective.losses import ClippedSquare
from sktf._objective.torch import TorchObjective

_ORDER, _LEAST_TIMES, _LEAST_SHARE = 3, 50, 0.3


def cells(n_cells, rng):
    """Return random cells of a cube, of which an eighth is seen."""
    size = round((8 * n_cells) ** (1 / _ORDER))
    coords = rng.integers(0, size, (n_cells, _ORDER), dtype=np.int32)
    values = rng.standard_normal(n_cells)
    return Observations(coords, values, np.broadcast_to(1.0, n_cells), (size,) * _ORDER)


def seconds(call, wait, repeats=5):
    """Return the least time of a call, waited for."""
    call(), wait()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        call(), wait()
        taken.append(time.perf_counter() - start)
    return min(taken)


def bandwidth(torch, device, wait):
    """Return bytes a second that a copy of 256 MiB reads and writes."""
    source = torch.zeros(2**25, dtype=torch.float64, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * 8 / seconds(lambda: target.copy_(source), wait)


def main(device="cuda", n_cells=10**8, n_components=32):
    """Print the table."""
    import torch

    on_gpu = torch.device(device).type == "cuda"
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    rng = np.random.default_rng(0)
    observations = cells(n_cells, rng)
    model = CPFactorization(observations.shape, n_components)
    theta = 0.1 * rng.standard_normal(model.n_parameters)
    arguments = model, observations, ClippedSquare(np.inf)
    fused = FusedObjective(*arguments)
    other = TorchObjective(*arguments, device=device, dtype="float64")
    there = other.from_numpy(theta)
    expected, found = fused(theta)[1], other.to_numpy(other(there)[1])
    apart = np.abs(found - expected).max() / np.abs(expected).max()
    here = seconds(lambda: fused(theta), lambda: None)
    taken = seconds(lambda: other(there), wait)
    n_bytes = n_cells * (2 * _ORDER * n_components * 8 + _ORDER * 8 + 8)
    share = n_bytes / taken / bandwidth(torch, device, wait)
    print_title(f"A gradient of {n_cells:.0e} cells, {n_components} components, on {device}")
    print_row("apart", "times as fast", "of bandwidth", widths=())
    print_row(float(apart), here / taken, share, widths=())
    print_goal("apart by at most 1e-9", f"{apart:.1e}", apart <= 1e-9)
    threads = f"{common.THREADS} threads"
    met = here >= _LEAST_TIMES * taken
    print_goal(f">= {_LEAST_TIMES} x as fast as {threads}", f"{here / taken:.2g} x", met)
    print_goal(f">= {_LEAST_SHARE:.0%} of its bandwidth", f"{share:.0%}", share >= _LEAST_SHARE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="a device of PyTorch")
    parser.add_argument("--cells", type=int, default=10**8)
    parser.add_argument("--components", type=int, default=32)
    options = parser.parse_args()
    main(options.device, options.cells, options.components)
