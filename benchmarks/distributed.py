"""Fits by 1, 2 and 4 processes on this machine: their differences, bytes, times, and a kill.

Run: python benchmarks/distributed.py [--cells 2000000]
"""

import argparse
import os
import signal
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from sktf import CPCompletion
from sktf._objective.distributed import Ranks

SHAPE, RANK, N_COMPONENTS, STEPS = (2000, 1500, 1000), 5, 8, 20


def cells(n_cells):
    """Return rows and values of a noisy tensor of rank 5."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, size, n_cells) for size in SHAPE])
    factors = [rng.standard_normal((size, RANK)) for size in SHAPE]
    y = np.prod([f[column] for f, column in zip(factors, X.T, strict=True)], axis=0).sum(axis=1)
    return X, y + 0.3 * rng.standard_normal(n_cells)


def models(*numbers):
    """Return what is fitted, by name: components that grow, and steps of descent on all cells."""
    steps = {"init": "gaussian", "step": "constant", "loss": "squared", "early_stopping": False}
    how = {"n_components": N_COMPONENTS, "tol": 0.0, "offset": None, "random_state": 0}
    of_steps = {f"{number} steps": {"max_iter": number, **steps, **how} for number in numbers}
    return {"default": {"random_state": 0}} | of_steps


def work(rank, size, folder, n_cells):
    """Fit every model to this rank's rows; rank 0 saves what it predicts and measures."""
    join(rank, size, folder)
    X, y = cells(n_cells)
    mine, found = slice(rank * n_cells // size, (rank + 1) * n_cells // size), {}
    for name, how in models(STEPS).items():
        sent, began, used = count_bytes(), time.perf_counter(), time.process_time()
        model = CPCompletion(shape=SHAPE, distributed=size > 1, **how)
        with warnings.catch_warnings(action="ignore"):  # so few steps do not converge
            model.fit(X[mine], y[mine])
        seconds, used = time.perf_counter() - began, torch.tensor([time.process_time() - used])
        dist.all_reduce(used)
        found[name] = model.predict(X[:10_000]), model.n_iter_, seconds, used.item(), sum(sent)
    if rank == 0:
        np.save(Path(folder, "found.npy"), found, allow_pickle=True)
    dist.destroy_process_group()


def join(rank, size, folder):
    """Join the group of a folder."""
    where = f"file://{Path(folder, 'store')}"
    dist.init_process_group("gloo", init_method=where, rank=rank, world_size=size)


def count_bytes():
    """Return a list to which groups add the bytes that they have sent, when they close."""
    sent, close = [], Ranks.close

    def closing(ranks):
        sent.append(ranks.bytes_sent)
        close(ranks)

    Ranks.close = closing
    return sent


def killed(rank, size, folder, n_cells):
    """Kill one rank a second after its fit began; the others save how long they took to end."""
    join(rank, size, folder)
    X, y = cells(n_cells)
    if rank == 1:
        signal.signal(signal.SIGALRM, lambda number, frame: os.kill(os.getpid(), signal.SIGKILL))
        signal.alarm(1)
        began = time.time()
        Path(folder, "began").write_text(str(began + 1))
    try:
        CPCompletion(shape=SHAPE, distributed=True).fit(X[rank::size], y[rank::size])
    except RuntimeError as error:
        Path(folder, f"ended{rank}").write_text(f"{time.time()} {error}")


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=2_000_000)
    n_cells, known = parser.parse_args().cells, {}
    print(f"{n_cells} cells of {SHAPE}; {os.cpu_count()} cores, which all processes share")
    for size in (1, 2, 4):
        with tempfile.TemporaryDirectory() as folder:
            mp.spawn(work, (size, folder, n_cells), nprocs=size)
            known[size] = np.load(Path(folder, "found.npy"), allow_pickle=True).item()
    n_parameters = sum(SHAPE) * N_COMPONENTS
    for name, (expected, *_) in known[1].items():
        for size, found in known.items():
            predicted, n_iter, seconds, used, sent = found[name]
            error = np.abs(predicted - expected).max() / np.abs(expected).max()
            print(
                f"{name:10} {size} processes: largest difference {error:.1e}, n_iter_ {n_iter}, "
                f"{seconds:.1f} s, {used:.1f} s of processors, rank 0 sent {sent / 1e6:.1f} MB"
            )
    print(f"a step as computed: {8 * (2 * n_parameters + 2) / 1e6:.3f} MB from and to rank 0")
    with tempfile.TemporaryDirectory() as folder:
        processes = mp.spawn(killed, (3, folder, n_cells), nprocs=3, join=False)
        for process in processes.processes:
            process.join()
        began = float(Path(folder, "began").read_text())
        for path in sorted(Path(folder).glob("ended*")):
            ended, text = path.read_text().split(" ", 1)
            seconds = float(ended) - began
            print(f"rank 1 killed: rank {path.name[-1]} ends {seconds:.1f} s later: {text}")


if __name__ == "__main__":
    main()
