"""The objective on the CPU: compiled passes over blocks of cells, on several threads."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numba import config as numba_config

from sktf._objective import kernels
from sktf._objective.lanes import whole_lines
from sktf._objective.objective import Objective, loss_terms, sort_cells

# Multiplications that make one block worth a thread of its own.
_BLOCK_WORK = 2**21
_MAX_BLOCKS = 8
# Parameters of a model whose starts may descend side by side: 32 MiB in float64.
_MAX_BESIDE = 2**22
# Components, and multiplications of a gradient, from which on a gradient is long.
_WIDE, _LONG = 64, 2**19


class _Buffers(NamedTuple):
    """What blocks are computed in, and what a factorization reads and writes of it."""

    stacked: np.ndarray
    gradients: np.ndarray
    losses: list
    factors: np.ndarray
    factor_gradients: list
    pool: ThreadPoolExecutor


class FusedObjective(Objective):
    """The objective on the CPU: compiled passes over blocks of cells.

    A gradient takes ``(6 n_observed + 5 runs) R`` operations, runs being those of equal leading
    rows. Two dense products over a split of the modes would take ``6 prod(shape) R`` at a higher
    rate: at 10^4 cells, a fifth of them seen, R = 1000, both take 1 ms, so there is one kernel.

    The cells are cut into blocks by the size of the problem alone, each with a gradient buffer
    of its own, and the buffers are added in block order: the result has the same bits for any
    number of threads.
    """

    def __init__(self, factorization, observations, loss, *, device="cpu", dtype="float64"):
        columns, values, weights, starts = sort_cells(factorization, observations)
        self.loss_function, self.dtype = loss, np.dtype(dtype)
        self._cells = columns[-1], values.astype(self.dtype), weights.astype(self.dtype)
        self._starts, self._buffers = starts, None
        cuts = _block_cuts(len(values), len(columns), starts[-1], factorization.n_components)
        self._runs = _find_runs(columns[:-1], len(values), cuts)
        self._cut(factorization)

    def _cut(self, factorization):
        """Cut the runs into blocks; what is cut for more components may be cut for fewer."""
        self.factorization, (heads, edges) = factorization, self._runs
        size = edges[-1], heads.shape[1] + 1, self._starts[-1], factorization.n_components
        bounds = np.searchsorted(edges, _block_cuts(*size))
        self._blocks = [(heads[i:j], edges[i : j + 1]) for i, j in pairwise(bounds)]
        self.n_threads = min(len(self._blocks), numba_config.NUMBA_NUM_THREADS)

    def with_loss(self, loss):
        """Return the same objective with another loss and buffers of its own."""
        other = super().with_loss(loss)
        other._buffers = None
        return other

    @property
    def one_thread_problem(self):
        """Cells, delta, number of rows and whether factors are squares, for compiled steps.

        None where there can be none, for one thread is not enough, or theta is neither the factors
        nor their roots. Of a vector alone, the gradient at the columns of zeros that fill a line is
        not zero.
        """
        model = self.factorization
        simple = (model.theta_is_factors or model.theta_is_roots) and len(model.shape) > 1
        if not simple or len(self._blocks) > 1 or numba_config.DISABLE_JIT:
            return None
        delta = self.dtype.type(self.loss_function.delta)
        return (*self._runs, *self._cells), delta, self._starts[-1], model.theta_is_roots

    @property
    def n_beside(self):
        """How many descents in compiled steps may go on at once, each with three thetas."""
        small = self.factorization.n_parameters <= _MAX_BESIDE
        return numba_config.NUMBA_NUM_THREADS if small else 1

    @property
    def is_long(self):
        """Whether a gradient of all components takes long, and some may be left out of it."""
        return takes_long(self.factorization, len(self._cells[1]))

    def split(self, theta, some, others):
        """Return the objective of some components beside others at rest, and theta of these."""
        model, at_rest = self.factorization, self.factorization.narrowed(len(others))
        stacked = whole_lines(1, self._starts[-1], len(others), self.dtype)[0]
        factors, _ = at_rest.forward(model.columns(theta, others))
        np.concatenate(factors, out=stacked[:, : len(others)])
        tails, values, weights = self._cells
        predicted = np.empty_like(values)
        kernels.cp_predict(*self._runs, tails, stacked, predicted)
        objective = self.with_loss(self.loss_function)
        objective._cells = tails, values - predicted, weights
        objective._cut(model.narrowed(len(some)))
        return objective, model.columns(theta, some)

    def from_numpy(self, theta):
        """Copy a NumPy vector to the device."""
        return theta.astype(self.dtype)

    def to_numpy(self, theta):
        """Return theta as a NumPy vector."""
        return theta

    def _pass(self, blocks):
        """Pass over one block after another, as long as there are any."""
        delta, buffers = self.dtype.type(self.loss_function.delta), self._buffers
        for block in blocks:
            gradient = buffers.gradients[block]
            gradient[:] = 0
            arguments = *self._blocks[block], *self._cells, delta, buffers.stacked, gradient
            buffers.losses[block] = kernels.cp_pass(*arguments)

    def _evaluate(self, theta):
        """Compute loss and gradients of all blocks; the caller's thread does its share."""
        if self._buffers is None:
            self._buffers = self._new_buffers()
        factors, memory = self.factorization.forward(theta)
        np.concatenate(factors, out=self._buffers.factors)
        # Shared by the threads: one that wakes late, or is slowed down, leaves more to the others.
        blocks, pool = iter(range(len(self._blocks))), self._buffers.pool
        others = [pool.submit(self._pass, blocks) for _ in range(1, self.n_threads)]
        try:
            self._pass(blocks)
        finally:
            for other in others:
                other.result()
        return sum(self._buffers.losses), memory

    def _new_buffers(self):
        n_blocks, n_components = len(self._blocks), self.factorization.n_components
        stacked, *gradients = arrays = whole_lines(
            1 + n_blocks, self._starts[-1], n_components, self.dtype
        )
        return _Buffers(
            stacked,
            arrays[1:],
            [0.0] * n_blocks,
            stacked[:, :n_components],
            np.split(gradients[0][:, :n_components], self._starts[1:-1]),
            ThreadPoolExecutor(max(1, self.n_threads - 1)),
        )

    def __call__(self, theta):
        """Return the loss and its gradient at theta."""
        loss, memory = self._evaluate(theta)
        gradients = self._buffers.gradients
        for other in gradients[1:]:
            gradients[0] += other
        return loss, self.factorization.pullback(theta, memory, self._buffers.factor_gradients)

    def loss(self, theta):
        """Return the loss alone."""
        return self._evaluate(theta)[0]

    def terms(self, factors):
        """Return what each cell adds to the loss of given factors (NumPy, any width)."""
        tails, values, weights = self._cells
        rows = kernels.rows_of(*self._runs, tails)
        return loss_terms(factors, rows, values, weights, self.loss_function)


def takes_long(model, n_observed):
    """Whether a gradient of all components takes long, and some may be left out of it."""
    work = n_observed * len(model.shape) * model.n_components + model.n_parameters
    return model.separable and model.n_components >= _WIDE and work >= _LONG


def n_threads():
    """Return how many threads there may be."""
    return numba_config.NUMBA_NUM_THREADS


def _block_cuts(n_observed, order, n_rows, n_components):
    """Cut the cells into a power of two of equal blocks, from the size of the problem alone."""
    most = min(n_observed * order * n_components // _BLOCK_WORK, n_observed * order // (2 * n_rows))
    n_blocks = 2 ** int(np.log2(np.clip(most, 1, _MAX_BLOCKS)))
    return np.linspace(0, n_observed, n_blocks + 1).astype(np.int64)


def _find_runs(columns, n_observed, cuts):
    """Return heads and edges of the runs of equal rows in ``columns``, none across a cut."""
    new = np.zeros(n_observed, bool)
    new[cuts[:-1]] = True
    for column in columns:
        new[1:] |= column[1:] != column[:-1]
    first = np.flatnonzero(new)
    heads = np.empty((len(first), len(columns)), np.int32)
    for n, column in enumerate(columns):
        heads[:, n] = column[first]
    return heads, np.append(first, n_observed)
