"""Objective and normal equations of cells that lie on several ranks: one sum a step, or a block."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sktf._objective.cpu import n_threads, takes_long
from sktf._objective.devices import make_objective
from sktf._objective.distributed import Each, Kept
from sktf._objective.objective import Objective
from sktf._objective.row_equations import CellsByRow

# Numbers of the normal equations that are added up at once: 64 MiB.
_BLOCK = 2**23


def _at_least_one(cells):
    """Return cells, or one in their place whose weight is taken as zero."""
    if len(cells.values):
        return cells
    one = np.zeros((1, len(cells.shape)), np.int32), np.zeros(1), np.broadcast_to(1.0, 1)
    return type(cells)(*one, cells.shape)


def _make(cells, factorization, loss, device, dtype):
    cells = _at_least_one(cells)
    return make_objective(factorization, cells, loss, device=device, dtype=dtype)


def _with_loss(objective, loss):
    return objective.with_loss(loss)


def _split(objective, theta, some, others):
    return objective.split(theta, some, others)[0]


def _step(objective, share, theta):
    """Return the gradient and the loss, times the share of the weights that this rank has."""
    loss, gradient = objective(objective.from_numpy(theta))
    found = np.empty(len(theta) + 1)
    found[:-1], found[-1] = objective.to_numpy(gradient), loss
    found *= share
    return found


def _loss(objective, share, theta):
    return [share * objective.loss(objective.from_numpy(theta))]


class SpreadObjective(Objective):
    """The objective of ``SpreadCells``: the mean over the cells of all ranks.

    A step broadcasts theta, and adds up one buffer: the gradient, the loss and the status.
    """

    def __init__(self, cells, factorization, loss, *, device, dtype):
        self.factorization, self.loss_function, self._device = factorization, loss, str(device)
        self._ranks, self._n_cells = cells.ranks, len(cells.values)
        shares = np.array(cells.weight_sums) / sum(cells.weight_sums)
        self._shares = Each([*map(float, shares)])
        self._hold(_make, cells.kept, factorization, loss, Kept("device"), dtype)

    def _hold(self, function, *args):
        self._kept = self._ranks.keep(function, *args)
        self._mine = self._ranks.mine(self._kept)

    def _like(self, factorization, loss, function, *args):
        """Return another objective of the same cells."""
        other = object.__new__(SpreadObjective)
        vars(other).update(vars(self), factorization=factorization, loss_function=loss)
        other._hold(function, self._kept, *args)
        return other

    def with_loss(self, loss):
        """Return the same objective with another loss; the cells are shared."""
        return self._like(self.factorization, loss, _with_loss, loss)

    @property
    def is_long(self):
        """Whether a gradient of all components takes long, and some may be left out of it."""
        return self._device == "cpu" and takes_long(self.factorization, self._n_cells)

    def split(self, theta, some, others):
        """Return the objective of some components beside others at rest, and theta of these."""
        whole, told = self.factorization, (theta, some, others)
        split = self._like(whole.narrowed(len(some)), self.loss_function, _split, *told)
        return split, whole.columns(theta, some)

    def from_numpy(self, theta):
        """Copy a NumPy vector to the device of rank 0."""
        return self._mine.from_numpy(theta)

    def to_numpy(self, theta):
        """Return theta as a NumPy vector."""
        return self._mine.to_numpy(theta)

    def __call__(self, theta):
        """Return the loss and its gradient at theta."""
        theta = self.to_numpy(theta)
        found = self._ranks.sum(len(theta) + 1, _step, self._kept, self._shares, theta)
        return float(found[-1]), self.from_numpy(found[:-1])

    def loss(self, theta):
        """Return the loss alone."""
        return float(self._ranks.sum(1, _loss, self._kept, self._shares, self.to_numpy(theta))[0])


def _by_row(cells, mode, dtype):
    return CellsByRow.of(_at_least_one(cells), mode, dtype)


def _equations(cells, others, rows, share):
    """Return moments and half of the symmetric matrices of some rows, a line each."""
    part = cells._replace(edges=cells.edges[rows.start : rows.stop + 1])
    half = np.triu_indices(others[0].shape[1])

    def lined_up(grams, moments):
        return share * np.hstack([moments, grams[:, half[0], half[1]]])

    return part.solve(others, lined_up)


def _itself(others):
    return others


class SpreadRows:
    """What ``CellsByRow`` is, of cells that lie on several ranks."""

    def __init__(self, cells, mode, dtype):
        self._ranks, self._n_rows = cells.ranks, cells.shape[mode]
        self._kept = self._ranks.keep(_by_row, cells.kept, mode, dtype)
        mean = sum(cells.weight_sums) / sum(cells.counts)
        means = np.array(cells.weight_sums) / np.maximum(cells.counts, 1) / mean
        self._shares = Each([*map(float, means)])

    def solve(self, others, solve, each=()):
        """Return a row for every row of the mode (``row_equations.solve_rows``)."""
        n = others[0].shape[1]
        width, sent = n + n * (n + 1) // 2, self._ranks.keep(_itself, others)
        per_block, solved = max(1, _BLOCK // width), []
        for start in range(0, self._n_rows, per_block):
            rows = slice(start, min(start + per_block, self._n_rows))
            told = self._kept, sent, rows, self._shares
            lines = self._ranks.sum((rows.stop - start) * width, _equations, *told)
            of_these = [array[rows] for array in each]
            solved += _solved(lines.reshape(-1, width), n, solve, of_these)
        return np.concatenate(solved)


def _solved(lines, n, solve, each):
    """Return the solutions of lines of normal equations, in parts, on all threads of rank 0."""
    half = np.triu_indices(n)

    def work(part):
        grams = np.empty((len(lines[part]), n, n))
        grams[:, half[0], half[1]] = grams[:, half[1], half[0]] = lines[part, n:]
        return solve(grams, lines[part, :n], *(array[part] for array in each))

    size = -(-len(lines) // n_threads())
    parts = [slice(start, start + size) for start in range(0, len(lines), size)]
    with ThreadPoolExecutor(n_threads()) as pool:
        return [*pool.map(work, parts)]
