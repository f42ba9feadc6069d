"""Processes that tests borrow as the ranks of a group; to start them takes seconds."""

import multiprocessing
import tempfile
from pathlib import Path

import numpy as np

from sktf import CPCompletion, DeepCPCompletion, DeepMatrixCompletion, PosteriorCompletion


class Pool:
    """Processes that wait for tasks; any of them make a group."""

    def __init__(self, n_processes):
        context = multiprocessing.get_context("spawn")
        self._pipes, self.processes = [], []
        for _ in range(n_processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self.processes.append(process)

    def run(self, members, function, *args):
        """Return what ``function(rank, size, *args)`` returns on every rank of a new group.

        An exception is returned as text, and None of a process that was killed.
        """
        with tempfile.TemporaryDirectory() as folder:
            pipes = [self._pipes[member] for member in members]
            for rank, pipe in enumerate(pipes):
                pipe.send((function, rank, len(pipes), str(Path(folder, "store")), args))
            return [_received(pipe) for pipe in pipes]

    def close(self):
        """End the processes."""
        for process in self.processes:
            process.kill()
            process.join()


def _received(pipe):
    try:
        return pipe.recv()
    except (EOFError, ConnectionError):
        return None


def _serve(pipe):
    import torch.distributed as dist

    while task := pipe.recv():
        function, rank, size, store, args = task
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
        try:
            found = function(rank, size, *args)
        except BaseException as error:  # KeyboardInterrupt is an answer too
            found = f"{type(error).__name__}: {error}"
        dist.destroy_process_group()
        pipe.send(found)


def shard(n_rows, rank, size):
    """Return the rows of a rank: of two unequal shares, of four one empty."""
    shares = {1: [1], 2: [1, 2], 3: [2, 1, 2], 4: [2, 0, 3, 1]}[size]
    cuts = np.cumsum([0, *shares]) * n_rows // sum(shares)
    return slice(cuts[rank], cuts[rank + 1])


def sparse_cells(seed=0, noise=0.05, shape=(40, 30, 20), n_cells=1200):
    """Return rows and values of cells of a tensor of rank 2, 5 % of it: components grow."""
    rng = np.random.RandomState(seed)
    X = np.column_stack([rng.randint(size, size=n_cells) for size in shape])
    factors = [rng.standard_normal((size, 2)) for size in shape]
    y = np.prod([f[column] for f, column in zip(factors, X.T, strict=True)], axis=0).sum(axis=1)
    return X, y + noise * rng.standard_normal(len(y))


def many_cells():
    """Return rows and values of so many cells that components grow on a sample of them."""
    return sparse_cells(shape=(200, 150, 130), n_cells=180_000)


def sums_of_effects():
    """Return rows and values of cells that are largely sums of a term per index."""
    X, y = sparse_cells()
    rng = np.random.RandomState(1)
    return X, 5 + y + sum(rng.standard_normal(40)[column] for column in X.T)


def table():
    """Return rows and values of a noisy table of rank 2, of so many cells that components grow."""
    rng = np.random.RandomState(0)
    X = np.argwhere(rng.random_sample((150, 120)) < 0.9)
    left, right = rng.standard_normal((150, 2)), rng.standard_normal((120, 2))
    y = (left[X[:, 0]] * right[X[:, 1]]).sum(axis=1)  # whose bits depend on no threads of BLAS
    return X, y + 0.1 * rng.standard_normal(len(X))


def model_of(name, **told):
    """Return an estimator of the table of cases, and the cells it is fitted to."""
    constant = {"init": "gaussian", "init_scale": 0.3, "step": "constant", "learning_rate": 0.3}
    plain = {"loss": "squared", "max_iter": 150, "early_stopping": False, "tol": 0.0}
    wide = {"init": "balanced", "init_scale": 0.2, "loss": "squared", "max_iter": 40}
    models = {
        "CP": (lambda: CPCompletion(random_state=0, **told), sparse_cells),
        "sampled": (lambda: CPCompletion(random_state=0, **told), many_cells),
        "DeepCP": (lambda: DeepCPCompletion(depth=1, random_state=0, **told), sparse_cells),
        "unfolded": (
            lambda: DeepMatrixCompletion(row_modes=(0,), random_state=0, max_iter=100, **told),
            sparse_cells,
        ),
        # Of fewer steps what is left of the descent multiplies rounding.
        "matrix": (lambda: DeepMatrixCompletion(max_iter=100, random_state=0, **told), table),
        "additive": (
            lambda: CPCompletion(offset="additive", random_state=0, **told),
            sums_of_effects,
        ),
        "constant step": (
            lambda: CPCompletion(4, random_state=0, **constant, **plain, **told),
            sparse_cells,
        ),
        "another device": (
            lambda: CPCompletion(
                4, random_state=0, device="cpu:0", **constant, **plain | {"max_iter": 20}, **told
            ),
            sparse_cells,
        ),
        "sleepers": (lambda: CPCompletion(80, random_state=0, **wide, **told), sparse_cells),
        "posterior": (
            lambda: PosteriorCompletion(
                CPCompletion(**told), n_components=3, n_samples=3, n_warmup=4, n_chains=2,
                random_state=0,
            ),
            sparse_cells,
        ),
    }  # fmt: skip
    make, cells = models[name]
    return make(), *cells()
