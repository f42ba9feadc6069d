"""The objective on any device of PyTorch; the only module that imports torch."""

from functools import partial
from itertools import accumulate
from operator import mul

import numpy as np

from sktf._objective.objective import Objective, loss_terms, sort_cells

# Numbers that one array of rows read by cells has at most: 128 MiB in double precision.
_CHUNK = 2**24


class TorchObjective(Objective):
    """The objective on any device, on the CPU an oracle of ``FusedObjective``.

    Cells are passed over in parts: prefix products forward, suffix products backward. Autograd sees
    how theta makes the factors, and losses of what is predicted, so that memory beyond the cells is
    that of one part.
    """

    def __init__(self, factorization, observations, loss, *, device, dtype):
        import torch

        columns, values, weights, _ = sort_cells(factorization, observations)
        self._torch = torch
        self._options = {"dtype": getattr(torch, dtype), "device": torch.device(device)}
        self.factorization, self.loss_function = factorization, loss
        self._rows = torch.as_tensor(np.array(columns, np.int64), device=device)
        self._values = torch.as_tensor(values, **self._options)
        self._weights = torch.as_tensor(weights, **self._options)

    def from_numpy(self, theta):
        """Copy a NumPy vector to the device."""
        return self._torch.tensor(theta, **self._options)

    def to_numpy(self, theta):
        """Return theta as a NumPy vector."""
        return theta.detach().cpu().numpy()

    def _passes(self, stacked):
        """Yield for each part of the cells its rows, what they read, prefix products and losses."""
        n_cells = max(1, _CHUNK // stacked.shape[1])
        for start in range(0, len(self._values), n_cells):
            part = slice(start, start + n_cells)
            rows = self._rows[:, part]
            read = [stacked.index_select(0, row) for row in rows]
            before = [*accumulate(read, mul)]
            weights = self._weights[part] if len(self._weights) > 1 else self._weights
            loss = partial(self._part_of_loss, self._values[part], weights)
            yield rows, read, before, loss

    def _part_of_loss(self, values, weights, predicted):
        return (weights * self.loss_function.at(predicted, values)).sum()

    def _stacked(self, theta):
        return self._torch.cat(self.factorization.forward(theta)[0])

    def __call__(self, theta):
        """Return the loss and its gradient at theta."""
        theta = theta.detach().requires_grad_()
        factors = self._stacked(theta)
        with self._torch.no_grad():
            loss, gradient = self._at_factors(factors)
        return loss, self._torch.autograd.grad(factors, theta, gradient)[0]

    def _at_factors(self, stacked):
        """Return the loss and its gradient at stacked factors."""
        # This sum repeats bit for bit on all devices; that of index_add does not.
        summed = self._torch.ops.aten.embedding_dense_backward
        total, gradient = 0.0, self._torch.zeros_like(stacked)
        for rows, read, before, loss in self._passes(stacked):
            value, slopes = self._with_slopes(loss, before[-1].sum(dim=1))
            total, after = total + value, slopes[:, None]
            for n in range(len(rows) - 1, 0, -1):
                gradient += summed(after * before[n - 1], rows[n], len(stacked), -1, False)
                after = after * read[n]
            gradient += summed(after.expand_as(read[0]), rows[0], len(stacked), -1, False)
        return total, gradient

    def _with_slopes(self, loss, predicted):
        with self._torch.enable_grad():
            total = loss(predicted.requires_grad_())
            return total.item(), self._torch.autograd.grad(total, predicted)[0]

    def loss(self, theta):
        """Return the loss alone."""
        with self._torch.no_grad():
            passes = self._passes(self._stacked(theta))
            return sum(loss(before[-1].sum(dim=1)).item() for _, _, before, loss in passes)

    def terms(self, factors):
        """Return what each cell adds to the loss of given factors (NumPy, any width)."""
        cells = (self.to_numpy(array) for array in (self._rows.T, self._values, self._weights))
        return loss_terms(factors, *cells, self.loss_function)
