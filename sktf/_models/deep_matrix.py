"""Deep matrix completion: the end-to-end matrix is ``W_N ... W_1`` (Arora et al., 2019).

As components, its two factors are ``W_N ... W_2`` and ``W_1^T``: the matrix is never formed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from sktf._cells.unfolding import matrix_groups
from sktf._docs import documented
from sktf._models.cp import cp_like
from sktf._models.gradient import GradientDescentCompletion
from sktf._models.multilinear import truncations
from sktf._models.parameters import one_for_each
from sktf._models.starts import Start
from sktf._objective.components import (
    component_norms,
    entropy_rank,
    product_singular_values,
    svd_factors,
    unit_columns,
)
from sktf._objective.factorization import Factorization, given_blocks, like, pack

# Up to this many cells of the matrix the default width is that of the matrix.
_FULL_WIDTH_CELLS = 2**22
# The default width of larger matrices.
_WIDTH = 64
# Size of the product where components start to grow, as a share of the norm of data of RMS 1.
_GROWN = 1e-3


class MatrixFactorization(Factorization):
    """theta holds ``W_1`` (h_1, columns), ..., ``W_N`` (rows, h_(N-1))."""

    def __init__(self, shape, widths):
        rows, columns = shape
        sizes = [columns, *widths, rows]
        blocks = list(zip(sizes[1:], sizes[:-1], strict=True))
        super().__init__(shape, sizes[1], blocks)

    def forward(self, theta):
        """Factors, and the products ``W_N ... W_j`` for j = N, ..., 2."""
        first, *others = self.unpack(theta)
        products = [like(theta, np.eye(self.shape[0]))] if not others else [others[-1]]
        for layer in reversed(others[:-1]):
            products.append(products[-1] @ layer)
        return [products[-1], first.T], products

    def pullback(self, theta, memory, gradients):
        _, *others = self.unpack(theta)
        left, right = gradients
        pulled = [right.T]
        # left is the gradient at P_j = P_(j+1) W_j; memory holds P_N, ..., P_2.
        for j, layer in enumerate(others[:-1]):
            before = memory[-2 - j]
            pulled.append(before.T @ left)
            left = left @ layer.T
        if others:
            pulled.append(left)
        return pack(pulled)

    def start(self, rng, init, scale, mean):
        draw = {"gaussian": self._gaussian, "balanced": self._balanced, "identity": self._identity}
        layers = draw[init](rng, scale)
        if mean:
            layers = [w + c for w, c in zip(layers, self._constant(mean), strict=True)]
        return pack(layers)

    def narrowed(self, n_components):
        return MatrixFactorization(self.shape, [n_components] * (len(self.blocks) - 1))

    def grown_within(self, bases, n_components, rng, start):
        model, n_inner = self.narrowed(n_components), len(self.blocks) - 1
        left, right = bases
        core = MatrixFactorization((left.shape[1], right.shape[1]), [n_components] * n_inner)
        scale = _GROWN * np.sqrt(float(self.shape[0]) * self.shape[1])
        first, *inner, last = core.unpack(core.start(rng, "gaussian", scale, 0.0))
        return model, pack([first @ right.T, *inner, left @ last])

    @property
    def most_components(self):
        # A single layer only learns cells by heart, and pruning would fill in the others.
        return min(min(block) for block in self.blocks) if len(self.blocks) > 1 else 0

    def embed(self, factors):
        """Balanced layers of the product."""
        left, right = svd_factors(*factors)
        values = component_norms([left, right])
        return pack(self._layers(unit_columns(left), values, unit_columns(right)))

    def near(self, factors):
        """The leading singular triplets of the product."""
        triplets = svd_factors(*factors)
        return self.embed([factor[:, : self.most_components] for factor in triplets])

    def _gaussian(self, rng, scale):
        """Entries of the product have RMS ``scale / sqrt(n)``, n the geometric mean size."""
        depth = len(self.blocks)
        n = np.sqrt(float(self.shape[0]) * self.shape[1])
        fan_in = [n, *(block[1] for block in self.blocks[1:])]
        return [
            scale ** (1 / depth) / np.sqrt(fan) * rng.standard_normal(block)
            for fan, block in zip(fan_in, self.blocks, strict=True)
        ]

    def _balanced(self, rng, scale):
        """The product is a Gaussian matrix of entry RMS ``scale``, its layers balanced."""
        rows, columns = self.shape
        width = min(rows, columns, *(block[0] for block in self.blocks))
        core = np.linalg.svd(rng.standard_normal((width, width)))
        left = np.linalg.qr(rng.standard_normal((rows, width)))[0] @ core[0]
        right = np.linalg.qr(rng.standard_normal((columns, width)))[0] @ core[2].T
        values = scale * np.sqrt(float(rows) * columns) / width * core[1]
        return self._layers(left, values, right)

    def _identity(self, rng, scale):
        """Every layer is ``scale^(1/N)`` times the (rectangular) identity."""
        root = scale ** (1 / len(self.blocks))
        return [root * np.eye(*block) for block in self.blocks]

    def _constant(self, mean):
        """Balanced layers whose product has all entries equal to ``mean``."""
        rows, columns = self.shape
        left, right = np.full((rows, 1), rows**-0.5), np.full((columns, 1), columns**-0.5)
        return self._layers(left, np.array([mean * np.sqrt(float(rows) * columns)]), right)

    def _layers(self, left, values, right):
        """Balanced layers of the product ``left diag(values) right^T``."""
        roots = np.abs(values) ** (1 / len(self.blocks))
        inner = [np.eye(block[0], len(values)) for block in self.blocks[:-1]]
        ends = [right, *inner, left * np.sign(values)]
        return [(out * roots) @ into.T for into, out in pairwise(ends)]


@dataclass(kw_only=True, eq=False, repr=False)
class _Sides:
    """Parameters, a base of their own so that signatures name them before those of all models."""

    hidden: int | Sequence[int] | None = None
    row_modes: Sequence[int] = (0,)


@documented(measured="``singular_values`` (descending)")
@dataclass(eq=False, repr=False)
class DeepMatrixCompletion(GradientDescentCompletion, _Sides):
    """Matrix completion by gradient descent on a product of ``depth`` matrices.

    The matrix is ``W_N ... W_1``. From a small balanced start its singular values move like
    ``ds/dt = -N s^(2 - 2/N) <G, u v^T>``: large ones run ahead, and more so the deeper the
    product, so that a few singular values fit the cells before the rest has moved [1]_. Tensors
    of any order are unfolded by ``row_modes``.

    Parameters
    ----------
    depth : int, default=3
        Number N of matrices. 1 is descent on the matrix itself: unobserved cells stay put.
    hidden : int or sequence of int, default=None
        Inner widths, one for all or ``depth - 1`` from ``W_1`` on. None: those of an ``init`` of
        arrays, or else the smaller side of the matrix, which never constrains the rank; above
        2**22 cells at most 64, which does, so that memory stays proportional to rows plus
        columns. Where components grow (see the notes of `CPCompletion`), from 500 cells on if the
        layers would have more than 100,000 parameters, as narrow as these are.
    row_modes : tuple of int, default=(0,)
        The modes that index rows; the others index columns. A side of several modes with more
        than 2**20 index combinations stores only those observed; the others predict the offset.
    {shape ... random_state}

    Other Parameters
    ----------------
    {max_iter ... dtype}
    init : {"auto", "gaussian", "balanced", "identity"} or list of ndarray, default="auto"
        For researchers, as what follows: the start, on the scaled data. "gaussian": independent
        entries, the product having entries of RMS ``init_scale / sqrt(n)`` (n the geometric mean of
        the sides). "balanced": a Gaussian product of entry RMS ``init_scale`` with ``W_{j+1}^T
        W_{j+1} = W_j W_j^T``. "identity": each layer ``init_scale^(1/N) I``. "auto": Gaussian
        starts, of each three one of positive mean, and, of tensors of order 3 or more, the
        components that `CPCompletion` finds (see the notes). A list: the layers ``W_1`` to ``W_N``
        (the way to entries of one standard deviation in all layers).
    init_scale : float, default=None
        Scale of the end-to-end product. None: 1e-4.
    init_mean : float, default=None
        Mean of the entries of the product, added as a balanced constant matrix. None: 0, and
        0.1 in a positive start.
    {loss ... measures}

    Attributes
    ----------
    singular_values_ : ndarray of shape (R,)
        Singular values of the completed matrix in the units of y, without the offset.
    effective_rank_ : float
        Exponential of the entropy of the normalized singular values.
    layers_ : list of ndarray
        ``W_1`` to ``W_N``, on the scaled data, as ``fit`` left them.
    {rank_ ... converged_}

    See Also
    --------
    NuclearNormCompletion : The explicit baseline, convex.

    Notes
    -----
    An unfolded tensor has few cells a row or a column, and forgets which of these share an index.
    Where cells are held out of a tensor of order 3 or more, `CPCompletion` with the same parameters
    is fitted to the same cells, and its components are unfolded: balanced layers of their product.
    Descent goes on from there, as far as held-out cells want, and the fit is kept where its
    held-out error is within one standard error of that from the other starts. A side of several
    modes then has a row for every combination of indices, up to 2**20 of them. This asks for
    ``depth`` of 2 or more; the parameters that ask for plain descent in the notes of `CPCompletion`
    do so here.

    References
    ----------
    .. [1] S. Arora, N. Cohen, W. Hu and Y. Luo, "Implicit regularization in deep matrix
       factorization", NeurIPS 2019, arXiv:1905.13655.

    Examples
    --------
    >>> from sktf import DeepMatrixCompletion
    >>> from sktf.datasets import make_low_rank, sample_entries
    >>> matrix, _ = make_low_rank((30, 30), 2, random_state=0)
    >>> X, y = sample_entries(matrix, 0.4, random_state=0)
    >>> DeepMatrixCompletion(depth=3, random_state=0).fit(X, y).rank_
    2
    """

    __module__ = "sktf"

    depth: int = 3

    @property
    def _grows(self):
        return self.depth > 1

    _parameter_constraints = {
        **GradientDescentCompletion._parameter_constraints,
        "depth": [Interval(Integral, 1, None, closed="left")],
        "hidden": [Interval(Integral, 1, None, closed="left"), "array-like", None],
        "row_modes": ["array-like"],
        "init": [StrOptions({"auto", "gaussian", "balanced", "identity"}), list, tuple],
    }

    def _mode_groups(self, order):
        return matrix_groups(self.row_modes, order)

    def _factorization(self, sizes, n_cells):
        return MatrixFactorization(sizes, self._widths(sizes))

    def _most_components(self):
        return None if self.hidden is None else int(np.min(self.hidden))

    def _lender(self):
        return cp_like(self) if self._grows else None

    def _models_of(self, sizes, factors):
        model = self._factorization(sizes, None)
        if self.hidden is not None:
            return [model]
        values = component_norms(svd_factors(*factors))
        return [model.narrowed(width) for (width,) in truncations([values])]

    def _widths(self, sizes):
        n_inner = self.depth - 1
        if self.hidden is None and not isinstance(self.init, str):
            return [max([1, *layer.shape[:1]]) for layer in given_blocks(self.init)[:n_inner]]
        if self.hidden is None:
            large = sizes[0] * sizes[1] > _FULL_WIDTH_CELLS
            return [min(*sizes, _WIDTH) if large else min(sizes)] * n_inner
        return one_for_each(self.hidden, n_inner, "hidden", f"widths for depth={self.depth}")

    def _default_start(self, kind, order):
        return Start("gaussian", 1e-4, 0.1 if kind == "positive" else 0.0)

    def _measures(self, factors):
        return {"singular_values": product_singular_values(*factors)}

    def _components(self, factors, frame, counts):
        attributes = super()._components(factors, frame, counts)
        values = attributes["component_norms_"]
        return attributes | {"singular_values_": values, "effective_rank_": entropy_rank(values)}

    def _model_attributes(self, factorization, theta):
        return {"layers_": [layer.copy() for layer in factorization.unpack(theta)]}
