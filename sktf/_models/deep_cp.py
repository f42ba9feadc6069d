"""Deep CP: k square matrices before every vector of every component.

An entry is ``sum_r prod_n (A_k^{n,r} ... A_1^{n,r} w_r^n)[i_n]`` (Hariz, Kadri, Ayache, Moakher
and Artieres, 2022); k = 0 is CP.
"""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from sklearn.utils._param_validation import Interval

from sktf._docs import documented
from sktf._models.cp import CPFactorization
from sktf._models.gradient import GradientDescentCompletion
from sktf._models.narrow_deep_cp import NarrowDeepCPFactorization
from sktf._models.starts import component_start
from sktf._objective.factorization import Factorization, choose_components, pack, padded


class DeepCPFactorization(Factorization):
    """theta holds the vectors of every mode, then the matrices of every mode.

    A block of vectors has shape (d_n, R), a block of matrices (k, R, d_n, d_n).
    """

    separable = True

    def __init__(self, shape, n_components, depth):
        vectors = [(size, n_components) for size in shape]
        matrices = [(depth, n_components, size, size) for size in shape]
        super().__init__(shape, n_components, vectors + matrices)
        self.depth, self.theta_is_factors = depth, depth == 0

    def forward(self, theta):
        """Factors, and per mode the vectors (R, d_n, 1) before and after each matrix."""
        blocks, order = self.unpack(theta), len(self.shape)
        memory = []
        for vectors, matrices in zip(blocks[:order], blocks[order:], strict=True):
            stages = [vectors.T[:, :, None]]
            for matrix in matrices:
                stages.append(matrix @ stages[-1])
            memory.append(stages)
        return [stages[-1][:, :, 0].T for stages in memory], memory

    def pullback(self, theta, memory, gradients):
        vectors, matrices = [], []
        blocks = self.unpack(theta)[len(self.shape) :]
        for block, stages, gradient in zip(blocks, memory, gradients, strict=True):
            after = gradient.T[:, :, None]
            pulled = np.empty_like(block)
            for i in reversed(range(self.depth)):
                pulled[i] = after * stages[i].swapaxes(1, 2)
                after = block[i].swapaxes(1, 2) @ after
            vectors.append(after[:, :, 0].T)
            matrices.append(pulled)
        return pack(vectors + matrices)

    def start(self, rng, init, scale, mean):
        """Entries of a matrix are drawn as those of its vector, over ``sqrt(d_n)``.

        All blocks of a mode then have the same expected Frobenius norm.
        """
        vectors = self.blocks[: len(self.shape)]
        drawn = [mean + scale * rng.standard_normal(block) for block in vectors]
        for block in self.blocks[len(self.shape) :]:
            drawn.append((mean + scale * rng.standard_normal(block)) / np.sqrt(block[-1]))
        return pack(self._balance(drawn) if init == "balanced" else drawn)

    def grown_within(self, bases, n_components, rng, start):
        if not self.depth:
            return CPFactorization(self.shape, n_components).grown_within(
                bases, n_components, rng, start
            )
        widths = [basis.shape[1] for basis in bases]
        model = NarrowDeepCPFactorization(self.shape, n_components, self.depth, widths)
        return model, model.start_within(rng, bases, start.scale)

    def narrowed(self, n_components):
        return DeepCPFactorization(self.shape, n_components, self.depth)

    @property
    def most_components(self):
        return self.n_components

    def embed(self, factors):
        """Every matrix is a multiple of the identity, of the norm of its vector."""
        theta = np.zeros(self.n_parameters)  # of which only the diagonals are written to
        blocks, order = self.unpack(theta), len(self.shape)
        for factor, vectors, matrices in zip(factors, blocks[:order], blocks[order:], strict=True):
            padding, diagonal = padded(factor, self.n_components), np.arange(len(factor))
            root = np.sqrt(len(factor))
            scale = (np.linalg.norm(padding, axis=0) / root) ** (1 / (self.depth + 1))
            vectors[:] = padding / np.where(scale > 0, scale, 1.0) ** self.depth
            matrices[:, :, diagonal, diagonal] = scale[:, None]
        return theta

    def settled(self, factors):
        # A theta has as many numbers as the squares of the sizes: it is made to go on from.
        if not self.depth:
            return self.embed(factors)
        return [padded(factor, self.n_components) for factor in factors]

    def _balance(self, blocks):
        """Rescale all blocks of every component to one norm, keeping their product."""
        order = len(self.shape)
        norms = [np.linalg.norm(vectors, axis=0)[None] for vectors in blocks[:order]]
        norms += [np.linalg.norm(matrices, axis=(2, 3)) for matrices in blocks[order:]]
        target = np.exp(np.log(np.concatenate(norms)).mean(axis=0))
        vectors = [b * (target / n[0]) for b, n in zip(blocks[:order], norms[:order], strict=True)]
        matrices = [
            b * (target / n)[:, :, None, None]
            for b, n in zip(blocks[order:], norms[order:], strict=True)
        ]
        return vectors + matrices


@dataclass(kw_only=True, eq=False, repr=False)
class Depth:
    """The parameter, a base of its own so that signatures name it before those of all models."""

    depth: int = 1


@documented(measured="``component_norms`` (column r is component r of ``factors_``)")
@dataclass(eq=False, repr=False)
class DeepCPCompletion(GradientDescentCompletion, Depth):
    """Deep CP completion: square matrices before every vector of a CP model.

    The tensor is ``sum_r prod_n (A_k^{n,r} ... A_1^{n,r} w_r^n)[i_n]``. Depth sharpens the
    preference for few components: from equal block norms the vector part s of a component
    moves like ``ds/dt = N delta s^(2 - 2/N + k)`` [1]_.

    Parameters
    ----------
    n_components : int, default=None
        Number R of components; a cap, not the answer. None: as in ``CPCompletion``.
    depth : int, default=1
        Number k of square matrices of each mode and component; 0 is exactly ``CPCompletion``.
    {shape ... random_state}

    Other Parameters
    ----------------
    {max_iter ... dtype}
    init : {"auto", "gaussian", "balanced"} or list of ndarray, default="auto"
        For researchers, as what follows: the start. "gaussian": entries of the vectors are
        N(init_mean, init_scale^2) on the scaled data, those of a matrix the same over
        ``sqrt(d_n)``: all blocks of a mode have the same expected Frobenius norm. "balanced": the
        same, then all blocks of a component get the same norm. "auto": Gaussian starts, of each
        three one of positive mean. A list: per mode the vectors (shape[n], R), then per mode the
        matrices (depth, R, shape[n], shape[n]).
    init_scale : float, default=None
        Standard deviation of the vector entries. None: grows with order and depth.
    init_mean : float, default=None
        Mean of the vector entries. None: 0, and positive in a positive start.
    {loss ... measures}

    Attributes
    ----------
    {rank_ ... converged_}

    See Also
    --------
    CPCompletion : The same without matrices.

    Notes
    -----
    A mode of size d costs ``depth * R * d^2`` parameters, so this model is for tensors of
    moderate mode sizes. Where components grow (see the notes of `CPCompletion`), the matrices
    start, and descend, inside leading subspaces, at the cost of the width of these.

    References
    ----------
    .. [1] K. Hariz, H. Kadri, S. Ayache, M. Moakher and T. Artieres, "Implicit regularization
       with polynomial growth in deep tensor factorization", 2022, arXiv:2207.08942.

    Examples
    --------
    >>> from sktf import DeepCPCompletion
    >>> from sktf.datasets import make_low_rank, sample_entries
    >>> tensor, _ = make_low_rank((10, 10, 10), 1, random_state=0)
    >>> X, y = sample_entries(tensor, 0.3, random_state=0)
    >>> DeepCPCompletion(depth=1, tol=1e-5, random_state=0).fit(X, y).rank_
    1
    """

    __module__ = "sktf"

    n_components: int | None = None

    _grows = True
    _parameter_constraints = {
        **GradientDescentCompletion._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "depth": [Interval(Integral, 0, None, closed="left")],
    }

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # scikit-learn's trial regression has ten columns; products of 20 blocks do not reach it.
        tags.regressor_tags.poor_score = True
        return tags

    def _factorization(self, sizes, n_cells):
        n_components = choose_components(self.n_components, self.init, sizes, n_cells)
        return DeepCPFactorization(sizes, n_components, int(self.depth))

    def _most_components(self):
        return self.n_components

    def _default_start(self, kind, order):
        return component_start(kind, order * (self.depth + 1))
