"""Deep CP whose inner widths are narrow: what grows of it inside leading subspaces.

An entry is ``sum_r prod_n (V_n B_k^{n,r} ... B_1^{n,r} w_r^n)[i_n]`` at the start, V_n the basis of
a subspace; then ``V_n B_k`` moves as one matrix, d_n by the width. From such a start descent on the
square matrices of ``DeepCPFactorization`` with k = 1 goes the same way: rows of A and w stay in the
subspace, whatever moves.
"""

from math import sqrt

import numpy as np

from sktf._objective.factorization import Factorization, pack


class NarrowDeepCPFactorization(Factorization):
    """theta holds per mode vectors (h_n, R), inner matrices (k - 1, R, h_n, h_n) and (R, d_n, h_n).

    Parameters
    ----------
    shape, n_components, depth
        Those of ``DeepCPFactorization``; the depth k is at least 1.
    widths : list of int
        The widths h_n.
    """

    def __init__(self, shape, n_components, depth, widths):
        blocks = []
        for size, h in zip(shape, widths, strict=True):
            blocks += [(h, n_components), (depth - 1, n_components, h, h), (n_components, size, h)]
        super().__init__(shape, n_components, blocks)
        self._depth, self._widths = depth, widths

    def _modes(self, theta):
        blocks = self.unpack(theta)
        return [blocks[n : n + 3] for n in range(0, len(blocks), 3)]

    def forward(self, theta):
        """Factors, and per mode the vectors (R, h_n, 1) before each matrix."""
        factors, memory = [], []
        for vectors, inner, last in self._modes(theta):
            stages = [vectors.T[:, :, None]]
            for matrix in inner:
                stages.append(matrix @ stages[-1])
            factors.append((last @ stages[-1])[:, :, 0].T)
            memory.append(stages)
        return factors, memory

    def pullback(self, theta, memory, gradients):
        pulled = []
        for (_, inner, last), stages, gradient in zip(
            self._modes(theta), memory, gradients, strict=True
        ):
            after = gradient.T[:, :, None]
            of_last = after * stages[-1].swapaxes(1, 2)
            after, of_inner = last.swapaxes(1, 2) @ after, np.empty_like(inner)
            for i in reversed(range(self._depth - 1)):
                of_inner[i] = after * stages[i].swapaxes(1, 2)
                after = inner[i].swapaxes(1, 2) @ after
            pulled += [after[:, :, 0].T, of_inner, of_last]
        return pack(pulled)

    def start(self, rng, init, scale, mean):
        """Not drawn but inside subspaces: see ``start_within``."""
        raise NotImplementedError

    def start_within(self, rng, bases, scale):
        """Draw a start of the size that entries of standard deviation ``scale`` have.

        All blocks of a component have one expected norm, and a factor the one that it has in
        ``DeepCPFactorization``: ``scale^(k + 1) sqrt(d_n)``.
        """
        drawn, k = [], self._depth
        for basis, (vectors, inner, _) in zip(bases, self._modes_of_blocks(), strict=True):
            size, h = basis.shape
            norm = (scale ** (k + 1) * sqrt(size) * h ** (k / 2)) ** (1 / (k + 1))
            core = norm / h * rng.standard_normal((self.n_components, h, h))
            drawn.append(norm / sqrt(h) * rng.standard_normal(vectors))
            drawn.append(norm / h * rng.standard_normal(inner))
            drawn.append(basis @ core)
        return pack(drawn)

    def _modes_of_blocks(self):
        return [self.blocks[n : n + 3] for n in range(0, len(self.blocks), 3)]
