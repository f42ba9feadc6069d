"""Hierarchical tensor factorization: a binary tree of modes (Razin, Maman and Cohen, 2022).

With ``T_n[:, r]`` column r of the matrix of leaf n, an interior node v of children a and b makes
the tensors ``T_v[..., s] = sum_r W_v[r, s] T_a[..., r] o T_b[..., r]``; that of the root is the
model. As components: one for each combination of the terms r of the lowest pairs.
"""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from sklearn.utils._param_validation import Interval

from sktf._docs import documented
from sktf._models import expansion
from sktf._models.gradient import GradientDescentCompletion
from sktf._models.starts import component_start
from sktf._objective.components import count_above, matricization_values, stack_padded
from sktf._objective.factorization import Factorization, given_blocks, like, pack

# The default number of local components, and that of components, are at most these.
_MOST_WIDTH, _MOST_COMPONENTS = 30, 64


def mode_tree(order):
    """Return the nodes of the mode tree as (modes, children), the root last.

    Neighbors are paired level by level, and an odd last one moves up; ``children`` are the
    numbers of two earlier nodes, none for the leaves, which come first.
    """
    nodes = [((mode,), ()) for mode in range(order)]
    level = list(range(order))
    while len(level) > 1:
        pairs = list(zip(level[::2], level[1::2], strict=False))
        nodes += [(nodes[a][0] + nodes[b][0], (a, b)) for a, b in pairs]
        level = [*range(len(nodes) - len(pairs), len(nodes)), *level[2 * len(pairs) :]]
    return nodes


class HierarchicalFactorization(Factorization):
    """theta holds a matrix per node of the tree: (d_n, R) of a leaf, (R, R), (R, 1) of the root.

    The tree above the lowest pairs is contracted to a small tensor over their terms and, where
    the order is odd, the index of the last mode, which then carries it; else the first does.
    """

    def __init__(self, shape, width):
        order = len(shape)
        self._tree = mode_tree(order)
        self._n_pairs, self._odd = divmod(order, 2)
        rows = [*shape, *[width] * (len(self._tree) - order)]
        blocks = [*((size, width) for size in rows[:-1]), (rows[-1], 1)]
        super().__init__(shape, expansion.check_components(shape, width**self._n_pairs), blocks)
        self._repeats = expansion.repeats([width] * self._n_pairs)

    def _upper(self):
        """Return (node, children) of the nodes above the lowest pairs."""
        first = len(self.shape) + self._n_pairs
        return [(node, self._tree[node][1]) for node in range(first, len(self._tree))]

    def forward(self, theta):
        made = self.unpack(theta)  # by a leaf or a lowest pair, its own matrix
        for node, (a, b) in self._upper():
            made[node] = _products(made[a], made[b]) @ made[node]
        onto = [like(theta, repeat) for repeat in self._repeats for _ in range(2)]
        factors = [made[n] @ to for n, to in enumerate(onto)]
        memory = made, onto, [*factors]
        if self._odd:
            return [*factors, made[-1].reshape(-1, self.shape[-1]).T], memory
        return [factors[0] * made[-1].T, *factors[1:]], memory

    def pullback(self, theta, memory, gradients):
        made, onto, factors = memory
        at_factors = list(gradients)
        if self._odd:
            top = at_factors.pop().T.reshape(-1, 1)
        else:
            top = (gradients[0] * factors[0]).sum(axis=0)[:, None]
            at_factors[0] = gradients[0] * made[-1].T
        pulled = {n: at @ to.T for n, (at, to) in enumerate(zip(at_factors, onto, strict=True))}
        pulled[len(made) - 1] = top
        matrices = self.unpack(theta)
        for node, (a, b) in reversed(self._upper()):
            at_products = (pulled[node] @ matrices[node].T).reshape(len(made[a]), *made[b].shape)
            pulled[node] = _products(made[a], made[b]).T @ pulled[node]
            pulled[a] = (at_products * made[b]).sum(axis=1)
            pulled[b] = (at_products * made[a][:, None]).sum(axis=0)
        return pack([pulled[node] for node in range(len(made))])

    def start(self, rng, init, scale, mean):
        """All weight vectors of a local component are drawn with about the same norm."""
        size, order = np.exp(np.mean(np.log(self.shape))), len(self.shape)
        spread = [1.0] * order + [np.sqrt(size / block[1]) for block in self.blocks[order:]]
        drawn = [
            scale * share * rng.standard_normal(block)
            for share, block in zip(spread, self.blocks, strict=True)
        ]
        if init == "balanced":
            self._balance(drawn)
        norm = expansion.constant_norm(self.shape, mean, len(drawn))
        for leaf in drawn[:order]:
            leaf[:, 0] += norm / np.sqrt(len(leaf))
        for interior in drawn[order:]:
            interior[0, 0] += norm
        if mean < 0:
            drawn[-1][:, 0] *= -1
        return pack(drawn)

    def _balance(self, matrices):
        """Give column r of the children of a node the norm of its row r, from the root down."""
        for (_, children), matrix in zip(self._tree[::-1], matrices[::-1], strict=True):
            for child in children:
                norms = np.linalg.norm(matrices[child], axis=0)
                matrices[child] *= np.linalg.norm(matrix, axis=1) / norms

    @property
    def most_components(self):
        return self.blocks[0][1]

    def embed(self, factors):
        """Interior matrices are diagonal; all weight vectors of a component have one norm."""
        units, norms = expansion.units_and_norms(factors, len(self._tree))
        if len(self._tree) == 1:
            return pack(unit * norms for unit in units)
        diagonal = [np.diag(norms)] * (len(units) - 2) + [norms[:, None]]
        theta, leaves = np.zeros(self.n_parameters), [unit * norms for unit in units]
        for block, small in zip(self.unpack(theta), leaves + diagonal, strict=True):
            block[: small.shape[0], : small.shape[1]] = small
        return theta


def _products(a, b):
    """Products of every row of ``a`` with every row of ``b``, those of ``b`` running faster."""
    return (a[:, None] * b).reshape(-1, a.shape[1])


@documented(
    measured="``component_norms``, ``singular_values`` (n_records, n_nodes, n: of the\n"
    "matricizations by ``nodes_`` but the root, descending, padded with zeros)",
)
@dataclass(eq=False, repr=False)
class HierarchicalCompletion(GradientDescentCompletion):
    """Completion by a hierarchical tensor factorization; the rank of every node is found.

    Modes are joined in pairs up a binary tree: for four, (0, 1) and (2, 3), then all. A node
    sums R local components, each the product of one tensor per child, and hands R such sums up. The
    norm of a local component of K weight vectors moves like ``ds/dt = K gamma s^(2 - 2/K)``
    from a small balanced start, so that few of each node grow, one after another: a low
    hierarchical tensor rank, the ranks of the matricizations by the modes of each node [1]_.

    Parameters
    ----------
    n_components : int, default=None
        Number R of local components of every node; a cap, not the answer. None: that of the
        arrays given as ``init``, or else at most 30 and such that ``R^(N // 2)`` is at most 64:
        30 for order 3, 8 for order 4.
    {shape ... random_state}

    Other Parameters
    ----------------
    {max_iter ... dtype}
    init : {"auto", "gaussian", "balanced"} or list of ndarray, default="auto"
        For researchers, as what follows: the start, on the scaled data. "gaussian": entries of the
        leaves are N(0, init_scale^2), the other matrices scaled so that all weight vectors of a
        local component have about the same norm. "balanced": exactly the same norm, that of the row
        of the node's own matrix. "auto": Gaussian starts, of each three one of positive mean. A
        list: the matrices in the order of ``weights_``.
    init_scale : float, default=None
        Standard deviation of the leaf entries. None: grows with the order.
    init_mean : float, default=None
        A constant tensor of this value is added to the start, on the first local component of
        every node, all blocks of one norm. None: 0, and 0.3 in a positive start.
    {loss ... measures}

    Attributes
    ----------
    nodes_ : list of tuple of int
        The modes of every node of the tree: leaves first, the root last.
    hierarchical_rank_ : tuple of int
        For every node but the root, the number of singular values of the matricization with its
        modes as rows above ``rank_tol`` times the largest, without the offset.
    weights_ : list of ndarray
        The matrix of every node, on the scaled data, as ``fit`` left it: (shape[n], R) of a
        leaf, (R, R), and (R, 1) of the root. Weight vectors of local component r of a node are
        column r of the matrices of its children and row r of its own.
    {rank_ ... converged_}

    See Also
    --------
    DeepTuckerCompletion : One core for all modes.

    Notes
    -----
    ``rank_`` is the largest of ``hierarchical_rank_``. The components of ``factors_`` are one for
    each combination of local components of the lowest pairs, ``R^(N // 2)`` of them, which is
    also what a cell costs; their number and norms depend on the basis. Order the modes so that
    related ones are neighbors. Gradient flow conserves the differences of the squared norms of
    the weight vectors of a local component. Neighbors are paired as in the authors' code, but
    an odd last mode moves up as it is, without a matrix of its own on the way.

    References
    ----------
    .. [1] N. Razin, A. Maman and N. Cohen, "Implicit regularization in hierarchical tensor
       factorization and deep convolutional neural networks", ICML 2022, arXiv:2201.11729.

    Examples
    --------
    >>> from sktf import HierarchicalCompletion
    >>> from sktf.datasets import make_low_rank, sample_entries
    >>> tensor, _ = make_low_rank((8, 8, 8), 2, random_state=0)
    >>> X, y = sample_entries(tensor, 0.5, random_state=0)
    >>> model = HierarchicalCompletion(10, tol=1e-4, random_state=0).fit(X, y)
    >>> model.nodes_[:-1], model.hierarchical_rank_
    ([(0,), (1,), (2,), (0, 1)], (2, 2, 2, 2))
    """

    __module__ = "sktf"

    n_components: int | None = None

    _parameter_constraints = {
        **GradientDescentCompletion._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
    }

    def _factorization(self, sizes, n_cells):
        return HierarchicalFactorization(sizes, self._width(sizes))

    def _width(self, sizes):
        if self.n_components is not None:
            return self.n_components
        if not isinstance(self.init, str):
            return max([1, *(n for block in given_blocks(self.init)[-1:] for n in block.shape[:1])])
        n_pairs = len(sizes) // 2
        return max(w for w in range(1, _MOST_WIDTH + 1) if w == 1 or w**n_pairs <= _MOST_COMPONENTS)

    def _default_start(self, kind, order):
        start = component_start("zero_mean", max(2 * order - 2, 1))
        return start if kind == "zero_mean" else start._replace(mean=0.3)

    def _measures(self, factors):
        return super()._measures(factors) | {"singular_values": stack_padded(_node_values(factors))}

    def _components(self, factors, frame, counts):
        attributes = super()._components(factors, frame, counts)
        ranks = tuple(count_above(values, self.rank_tol) for values in _node_values(factors))
        return attributes | {"hierarchical_rank_": ranks, "rank_": max(ranks)}

    def _model_attributes(self, factorization, theta):
        return {
            "nodes_": [modes for modes, _ in mode_tree(len(factorization.shape))],
            "weights_": [matrix.copy() for matrix in factorization.unpack(theta)],
        }


def _node_values(factors):
    """Singular values of the matricizations by the modes of every node but the root."""
    tree = mode_tree(len(factors))
    return matricization_values(factors, [modes for modes, _ in tree[:-1] or tree])
