"""The objective on any device of PyTorch; the only module that imports torch."""

from itertools import accumulate
from operator import mul

import numpy as np

from sktf._objective.objective import Objective, loss_terms, sort_cells

# Numbers that one array of rows read by cells has at most: 128 MiB in double precision.
_CHUNK = 2**24


class TorchObjective(Objective):
    """The objective on any device, on the CPU an oracle of ``FusedObjective``.

    Cells are passed over in parts: prefix products forward, suffix products backward. Autograd
    sees only how theta makes the factors, so that memory beyond the cells is that of one part.
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
        """Yield for each part of the cells its rows, what they read, residuals and weights."""
        n_cells = max(1, _CHUNK // stacked.shape[1])
        for start in range(0, len(self._values), n_cells):
            part = slice(start, start + n_cells)
            rows = self._rows[:, part]
            read = [stacked.index_select(0, row) for row in rows]
            before = [*accumulate(read, mul)]
            weights = self._weights[part] if len(self._weights) > 1 else self._weights
            yield rows, read, before, before[-1].sum(dim=1) - self._values[part], weights

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
        loss, gradient = 0.0, self._torch.zeros_like(stacked)
        for rows, read, before, residual, weights in self._passes(stacked):
            loss += (weights * self.loss_function.value(residual)).sum().item()
            after = (weights * self.loss_function.derivative(residual))[:, None]
            for n in range(len(rows) - 1, 0, -1):
                gradient += summed(after * before[n - 1], rows[n], len(stacked), -1, False)
                after = after * read[n]
            gradient += summed(after.expand_as(read[0]), rows[0], len(stacked), -1, False)
        return loss, gradient

    def loss(self, theta):
        """Return the loss alone."""
        with self._torch.no_grad():
            passes = self._passes(self._stacked(theta))
            terms = [weights * self.loss_function.value(left) for *_, left, weights in passes]
        return sum(term.sum().item() for term in terms)

    def terms(self, factors):
        """Return what each cell adds to the loss of given factors (NumPy, any width)."""
        cells = (self.to_numpy(array) for array in (self._rows.T, self._values, self._weights))
        return loss_terms(factors, *cells, self.loss_function)
