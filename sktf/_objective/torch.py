"""The objective on any device of PyTorch; the only module that imports torch."""

import numpy as np

from sktf._objective.objective import Objective, loss_terms, sort_cells


class TorchObjective(Objective):
    """The objective by autograd on any device; on the CPU the oracle of ``FusedObjective``."""

    def __init__(self, factorization, observations, loss, *, device, dtype):
        import torch

        columns, values, weights, _ = sort_cells(factorization, observations)
        self._torch = torch
        self._options = {"dtype": getattr(torch, dtype), "device": torch.device(device)}
        self.factorization, self.loss_function = factorization, loss
        self._rows = torch.as_tensor(np.column_stack(columns), device=device)
        self._values = torch.as_tensor(values, **self._options)
        self._weights = torch.as_tensor(weights, **self._options)

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
        losses = self.loss_function.at(product.sum(dim=1), self._values)
        return (self._weights * losses).sum()

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
        return loss_terms(factors, *cells, self.loss_function)
