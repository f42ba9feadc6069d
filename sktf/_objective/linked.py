"""The objective of a loss with a link on the CPU: two compiled passes over blocks of cells."""

from math import inf

import numpy as np

from sktf._objective import kernels
from sktf._objective.cpu import FusedObjective


class LinkedObjective(FusedObjective):
    """The objective of a loss that is a function of the linear predictor and of the value.

    Of values with two columns, y and what an offset adds. A first pass predicts the cells of a
    block; half their slopes are residuals of the squared loss, which the second pass pulls back.
    """

    one_thread_problem, is_long = None, False

    def __init__(self, factorization, observations, loss, *, device="cpu", dtype="float64"):
        super().__init__(factorization, observations, loss, device=device, dtype=dtype)
        _, values, weights = self._cells
        self._y, self._added = np.ascontiguousarray(values.T)
        self._least = float((weights * loss.least(self._y.astype(np.float64))).sum())

    def _pass(self, blocks):
        buffers, loss = self._buffers, self.loss_function
        tails, _, weights = self._cells
        for block in blocks:
            heads, edges = self._blocks[block]
            part, edges = slice(edges[0], edges[-1]), edges - edges[0]
            each = weights if len(weights) == 1 else weights[part]
            cells, at = (heads, edges, tails[part]), np.empty(edges[-1], self.dtype)
            kernels.cp_predict(*cells, buffers.stacked, at)
            eta, y = at + self._added[part], self._y[part]
            # A descent that diverges is seen by its loss.
            with np.errstate(over="ignore", invalid="ignore"):
                total = (each * loss.cost(eta, y)).sum(dtype=np.float64)
                at -= loss.derivative(eta, y) / 2
            gradient = buffers.gradients[block]
            gradient[:] = 0
            kernels.cp_pass(*cells, at, each, self.dtype.type(inf), buffers.stacked, gradient)
            buffers.losses[block] = float(total)

    def _evaluate(self, theta):
        loss, memory = super()._evaluate(theta)
        return loss - self._least, memory
