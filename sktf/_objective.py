"""The problem as one function of theta, on one device; the only module that imports torch."""

from concurrent.futures import ThreadPoolExecutor
from copy import copy

import numpy as np
from numba import config as numba_config

from . import _kernels

# Multiplications that make one block worth a thread of its own.
_BLOCK_WORK = 2**19
_MAX_BLOCKS = 8
# Cells whose products are held at once where they are not summed on the fly.
_CHUNK = 2**16


def make_objective(factorization, observations, loss, *, device, dtype):
    """Return ``theta -> (loss, gradient)``: weighted mean loss over the observations."""
    kind = FusedObjective if device == "cpu" else TorchObjective
    return kind(factorization, observations, loss, device=device, dtype=dtype)


def check_device(device):
    """Raise ValueError unless arrays can be put on ``device``."""
    if device == "cpu":
        return
    try:
        import torch

        torch.zeros(1, device=device).item()  # "meta" makes tensors that hold no numbers
    except ImportError as error:
        raise ValueError(
            f"device={device!r} needs PyTorch; install the extra sktf[torch] or use device='cpu'."
        ) from error
    except (AssertionError, RuntimeError, NotImplementedError) as error:
        raise ValueError(
            f"device={device!r} cannot be used here ({str(error).splitlines()[0]}); "
            "device='cpu' always can."
        ) from error


def _sorted_rows(factorization, observations):
    """Return stacked row numbers, values and weights, the cells in lexicographic order.

    The mode with most rows comes last, so that as many cells as possible share their others.
    """
    starts = np.concatenate([[0], np.cumsum(factorization.shape)])
    modes = np.argsort(factorization.shape, kind="stable")
    columns = [observations.coords[:, mode] for mode in modes]
    sequence = _kernels.lexicographic(columns)
    rows = np.empty((len(sequence), len(modes)), np.int32)
    for n, mode in enumerate(modes):
        np.add(columns[n][sequence], starts[mode], out=rows[:, n], casting="same_kind")
    weights = observations.weights[sequence]
    weights /= weights.sum()
    return rows, observations.values[sequence], weights, starts


class FusedObjective:
    """The objective on the CPU: compiled passes over blocks of cells.

    A gradient takes ``(6 n_observed + 5 runs) R`` operations, runs being those of equal leading
    rows. Two dense products over a split of the modes would take ``6 prod(shape) R`` at a higher
    rate: at 10^4 cells, a fifth of them seen, R = 1000, both take 1 ms, so there is one kernel.

    The cells are cut into blocks by the size of the problem alone, each with a gradient buffer
    of its own, and the buffers are added in block order: the result has the same bits for any
    number of threads.
    """

    def __init__(self, factorization, observations, loss, *, device="cpu", dtype="float64"):
        rows, values, weights, starts = _sorted_rows(factorization, observations)
        self.factorization, self.loss_function, self.dtype = factorization, loss, np.dtype(dtype)
        self._splits = starts[1:-1]
        self._edges = _block_edges(rows, starts[-1], factorization.n_components)
        self._cells = rows, values.astype(self.dtype), weights.astype(self.dtype)
        n_blocks = len(self._edges) - 1
        self._stacked = np.empty((starts[-1], factorization.n_components), self.dtype)
        self._gradients = np.empty((n_blocks, *self._stacked.shape), self.dtype)
        n_threads = min(n_blocks, numba_config.NUMBA_NUM_THREADS)
        self._map = ThreadPoolExecutor(n_threads).map if n_threads > 1 else map

    def with_loss(self, loss):
        """Return the same objective with another loss; cells and buffers are shared."""
        other = copy(self)
        other.loss_function = loss
        return other

    def from_numpy(self, theta):
        """Copy a NumPy vector to the device."""
        return theta.astype(self.dtype)

    def to_numpy(self, theta):
        """Return theta as a NumPy vector."""
        return theta

    def _block(self, number):
        cells = slice(self._edges[number], self._edges[number + 1])
        return (*(array[cells] for array in self._cells), self.dtype.type(self.loss_function.delta))

    def _block_pass(self, number):
        gradient = self._gradients[number]
        gradient[:] = 0
        return _kernels.cp_pass(*self._block(number), self._stacked, gradient)

    def _block_loss(self, number):
        return _kernels.cp_loss(*self._block(number), self._stacked)

    def _stack(self, theta):
        factors, memory = self.factorization.forward(theta)
        np.concatenate(factors, out=self._stacked)
        return memory

    def __call__(self, theta):
        """Return the loss and its gradient at theta."""
        memory = self._stack(theta)
        loss = sum(self._map(self._block_pass, range(len(self._gradients))))
        gradient = self._gradients[0]
        for other in self._gradients[1:]:
            gradient += other
        factor_gradients = np.split(gradient, self._splits)
        return float(loss), self.factorization.pullback(theta, memory, factor_gradients)

    def loss(self, theta):
        """Return the loss alone."""
        self._stack(theta)
        return float(sum(self._map(self._block_loss, range(len(self._gradients)))))

    def terms(self, factors):
        """Return what each cell adds to the loss of given factors (NumPy, any width)."""
        return _terms(factors, *self._cells, self.loss_function)


def _terms(factors, rows, values, weights, loss):
    stacked = np.concatenate(factors)
    terms = np.empty(len(values))
    for start in range(0, len(values), _CHUNK):
        part = slice(start, start + _CHUNK)
        products = stacked[rows[part, 0]]
        for column in rows[part, 1:].T:
            products *= stacked[column]
        terms[part] = weights[part] * loss.value(products.sum(axis=1) - values[part])
    return terms


def _block_edges(rows, n_rows, n_components):
    """Cut the cells into a power of two of equal blocks, from the size of the problem alone."""
    n_observed, order = rows.shape
    most = min(n_observed * order * n_components // _BLOCK_WORK, n_observed * order // (2 * n_rows))
    n_blocks = 2 ** int(np.log2(np.clip(most, 1, _MAX_BLOCKS)))
    return np.linspace(0, n_observed, n_blocks + 1).astype(np.int64)


class TorchObjective:
    """The objective by autograd on any device; on the CPU the oracle of ``FusedObjective``."""

    def __init__(self, factorization, observations, loss, *, device, dtype):
        import torch

        rows, values, weights, _ = _sorted_rows(factorization, observations)
        self._torch = torch
        self._options = {"dtype": getattr(torch, dtype), "device": torch.device(device)}
        self.factorization, self.loss_function = factorization, loss
        self._rows = torch.as_tensor(rows, device=device)
        self._values = torch.as_tensor(values, **self._options)
        self._weights = torch.as_tensor(weights, **self._options)

    with_loss = FusedObjective.with_loss

    def from_numpy(self, theta):
        """Copy a NumPy vector to the device."""
        return self._torch.tensor(theta, **self._options)

    def to_numpy(self, theta):
        """Return theta as a NumPy vector."""
        return theta.detach().cpu().numpy()

    def _loss(self, theta):
        stacked = self._torch.cat(self.factorization.forward(theta)[0])
        # The gradient of embedding repeats bit for bit; that of stacked[rows] does not.
        embedding = self._torch.nn.functional.embedding
        product = embedding(self._rows[:, 0], stacked)
        for column in self._rows.T[1:]:
            product = product * embedding(column, stacked)
        residual = product.sum(dim=1) - self._values
        return (self._weights * self.loss_function.value(residual)).sum()

    def __call__(self, theta):
        """Return the loss and its gradient at theta."""
        theta = theta.detach().requires_grad_()
        loss = self._loss(theta)
        (gradient,) = self._torch.autograd.grad(loss, theta)
        return loss.item(), gradient

    def loss(self, theta):
        """Return the loss alone."""
        with self._torch.no_grad():
            return self._loss(theta).item()

    def terms(self, factors):
        """Return what each cell adds to the loss of given factors (NumPy, any width)."""
        cells = (self.to_numpy(array) for array in (self._rows, self._values, self._weights))
        return _terms(factors, *cells, self.loss_function)
