"""Deep Tucker: a core tensor, one matrix per mode, and square matrices before its columns.

An entry is ``sum_j G[j_1, ..., j_N] prod_n (A_k^{n,j_n} ... A_1^{n,j_n} u_{j_n}^n)[i_n]`` (Hariz,
Kadri, Ayache, Moakher and Artieres, 2024); k = 0 is Tucker. As components: one mode carries the
core, the columns of the others repeat.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from numbers import Integral

import numpy as np
from sklearn.utils._param_validation import Interval

from sktf._docs import documented
from sktf._models import expansion
from sktf._models.cp import cp_like
from sktf._models.deep_cp import DeepCPFactorization, Depth
from sktf._models.gradient import GradientDescentCompletion
from sktf._models.multilinear import hosvd, truncations
from sktf._models.parameters import one_for_each
from sktf._models.starts import component_start
from sktf._objective.components import count_above, matricization_values, stack_padded
from sktf._objective.factorization import Factorization, given_blocks, like, pack

# The default rank of a mode, and the default number of components, are at most these.
_MOST_RANK, _MOST_COMPONENTS = 30, 128
# The most components of a Tucker model that starts from those of CP.
_MOST_LENT = 1024
# Sweeps over the modes that balance slices and columns.
_SWEEPS = 50


class TuckerFactorization(Factorization):
    """theta holds the core, then of every mode columns (d, r) and matrices (k, r, d, d).

    ``carrier`` is the first mode of the largest rank; every combination of columns of the other
    modes is a component.
    """

    def __init__(self, shape, ranks, depth):
        self.carrier = int(np.argmax(ranks))
        self._modes = [
            DeepCPFactorization((size,), rank, depth)
            for size, rank in zip(shape, ranks, strict=True)
        ]
        modes = list(range(len(shape)))
        modes[0], modes[self.carrier] = modes[self.carrier], 0
        others = [ranks[mode] for mode in modes[1:]]
        blocks = [tuple(ranks), *(b for m in self._modes for b in m.blocks if prod(b))]
        super().__init__(shape, expansion.check_components(shape, prod(others)), blocks)
        self._repeats = [None, *expansion.repeats(others)]
        self._repeats[0], self._repeats[self.carrier] = self._repeats[self.carrier], None
        self._depth, self._n_in_modes = depth, len(shape) * (depth + 1)
        self._ends = np.cumsum([prod(ranks), *(m.n_parameters for m in self._modes)])

    def _cut(self, theta):
        """Return the core, and what ``DeepCPFactorization`` reads of each mode."""
        core, ends = self.unpack(theta)[0], self._ends
        return core, [theta[ends[n] : ends[n + 1]] for n in range(len(self.shape))]

    def forward(self, theta):
        core, parts = self._cut(theta)
        forwards = [mode.forward(part) for mode, part in zip(self._modes, parts, strict=True)]
        matrices = [factors[0] for factors, _ in forwards]
        unfolded = core.swapaxes(0, self.carrier).reshape(core.shape[self.carrier], -1)
        onto = [unfolded if repeat is None else like(theta, repeat) for repeat in self._repeats]
        factors = [matrix @ to for matrix, to in zip(matrices, onto, strict=True)]
        return factors, (matrices, onto, [memory for _, memory in forwards])

    def pullback(self, theta, memory, gradients):
        matrices, onto, remembered = memory
        core, parts = self._cut(theta)
        at_core = matrices[self.carrier].T @ gradients[self.carrier]
        pulled = [at_core.reshape(core.swapaxes(0, self.carrier).shape).swapaxes(0, self.carrier)]
        for n, mode in enumerate(self._modes):
            at_matrix = gradients[n] @ onto[n].T
            pulled.append(mode.pullback(parts[n], remembered[n], [at_matrix]))
        return pack(pulled)

    def start(self, rng, init, scale, mean):
        """Columns and matrices as in ``DeepCPFactorization``, core slices of the same norm."""
        ranks, order = self.blocks[0], len(self.shape)
        size, slice_size = np.exp(np.mean(np.log(self.shape))), prod(ranks) ** (1 - 1 / order)
        core = scale * np.sqrt(size / slice_size) * rng.standard_normal(ranks)
        parts = [mode.start(rng, "gaussian", scale, 0.0) for mode in self._modes]
        modes = [mode.unpack(part) for mode, part in zip(self._modes, parts, strict=True)]
        for n, (columns, matrices) in enumerate(modes if init == "balanced" else ()):
            norms = np.linalg.norm(np.moveaxis(core, n, 0).reshape(ranks[n], -1), axis=1)
            columns *= norms / np.linalg.norm(columns, axis=0)
            matrices *= (norms / np.linalg.norm(matrices, axis=(2, 3)))[..., None, None]
        norm = expansion.constant_norm(self.shape, mean, 1 + self._n_in_modes)
        core[(0,) * order] += np.copysign(norm, mean)
        for columns, matrices in modes:
            columns[:, 0] += norm / np.sqrt(len(columns))
            matrices[:, 0] += norm / len(columns)
        return pack([core, *(pack(mode) for mode in modes)])

    @property
    def most_components(self):
        return min(self.blocks[0])

    def embed(self, factors):
        """The core is diagonal; all blocks of a component have one norm."""
        order, core = len(self.shape), np.zeros(self.blocks[0])
        units, norms = expansion.units_and_norms(factors, 1 + self._n_in_modes)
        # A multiple of the identity of norm s multiplies a vector by s / sqrt(d).
        depth = self._depth
        norms *= prod(self.shape) ** (depth / 2 / (1 + self._n_in_modes))
        core[(np.arange(len(norms)),) * order] = norms
        shrinks = [norms * (norms / np.sqrt(size)) ** depth for size in self.shape]
        modes = zip(self._modes, units, shrinks, strict=True)
        return pack([core, *(mode.embed([unit * shrink]) for mode, unit, shrink in modes)])

    @property
    def width(self):
        return self.blocks[0]

    def narrowed(self, n_components):
        """Of other ranks, one per mode."""
        return TuckerFactorization(self.shape, n_components, self._depth)

    def near(self, factors):
        """The truncated higher-order SVD; slices, columns and their matrices have equal norms."""
        core, matrices, _ = hosvd(factors, self.blocks[0])
        depth = self._depth
        for _ in range(_SWEEPS):
            for n, matrix in enumerate(matrices):
                slices = np.linalg.norm(np.moveaxis(core, n, 0).reshape(len(matrix.T), -1), axis=1)
                columns = np.linalg.norm(matrix, axis=0) * len(matrix) ** (depth / 2)
                is_there = (slices > 0) & (columns > 0)
                ratio = np.where(is_there, slices, 1.0) ** (depth + 1)
                ratio = (ratio / np.where(is_there, columns, 1.0)) ** (1 / (depth + 2))
                matrices[n] = matrix * ratio
                core = np.moveaxis(np.moveaxis(core, n, -1) / ratio, -1, n)
        modes = zip(self._modes, matrices, strict=True)
        return pack([core, *(mode.embed([matrix]) for mode, matrix in modes)])


@documented(
    measured="``component_norms``, ``singular_values`` (n_records, n_modes, n: of the\nunfoldings, "
    "descending, padded with zeros)",
)
@dataclass(eq=False, repr=False)
class DeepTuckerCompletion(GradientDescentCompletion, Depth):
    """Deep Tucker completion: the multilinear rank is found, not given.

    The tensor is ``sum_j G[j_1, ..., j_N] u_{j_1}^1 o ... o u_{j_N}^N`` with a core larger than
    it needs, and ``depth`` square matrices before every column u. From a small start descent
    grows few slices of the core: a low rank of every unfolding, which may differ from mode to
    mode, where CP has one number for all [1]_.

    Parameters
    ----------
    ranks : int or sequence of int, default=None
        Largest rank of every mode, or of each; caps, not the answer, and never more than the
        mode size. None: the shape of the core given as ``init``, or else the mode sizes, at most
        30, the largest lowered until the product of all but one is at most 128: (12, 11, 11)
        for large tensors of order 3. A start from components (see the notes) may have 1024: (30,
        30, 30).
    depth : int, default=0
        Number k of square matrices of each mode and column; 0 is the Tucker model.
    {shape ... random_state}

    Other Parameters
    ----------------
    {max_iter ... dtype}
    init : {"auto", "gaussian", "balanced"} or list of ndarray, default="auto"
        For researchers, as what follows: the start, on the scaled data. "gaussian": entries of the
        columns are N(0, init_scale^2), those of matrices and core are scaled so that slices of the
        core, columns and matrices have about the same norm. "balanced": the norms of a column and
        its matrices are exactly that of the slice of the core. "auto": Gaussian starts, of each
        three one of positive mean, and the components that `CPCompletion` finds (see the notes). A
        list: the core, then of each mode its columns (shape[n], r_n) and, unless ``depth=0``, their
        matrices (depth, r_n, shape[n], shape[n]).
    init_scale : float, default=None
        Standard deviation of the column entries. None: grows with order and depth.
    init_mean : float, default=None
        A constant tensor of this value is added to the start, on the first column of each mode,
        all blocks of one norm. None: 0, and 0.3 in a positive start.
    {loss ... measures}

    Attributes
    ----------
    multilinear_rank_ : tuple of int
        For each mode the number of singular values of the unfolding above ``rank_tol`` times the
        largest, without the offset.
    core_ : ndarray
        The core G, on the scaled data, as ``fit`` left it.
    matrices_ : list of ndarray of shape (shape_[n], r_n)
        The columns of each mode, matrices applied, as ``fit`` left them.
    {rank_ ... converged_}

    See Also
    --------
    HierarchicalCompletion : A tree of such small cores.
    DeepCPCompletion : The same depth on a diagonal core.

    Notes
    -----
    ``rank_`` is the largest entry of ``multilinear_rank_``. The components of ``factors_`` are
    one for each combination of columns of all modes but one; their number and norms depend on
    the basis. That number is also what a cell costs. Gradient flow conserves
    ``||G_j||^2 - ||u_j||^2`` of every mode, G_j the slice of the core, and the differences of the
    squared norms of u_j and its matrices. The authors' code descends by Adam, which does not.

    A CP model is a Tucker model. Where cells are held out of a tensor of order 3 or more,
    `CPCompletion` with the same parameters is fitted to the same cells, and its components are
    written as a Tucker tensor, truncated by their higher-order singular value decomposition [2]_:
    held-out cells choose the rank of each mode, and how far descent goes on from there. The fit is
    kept where its held-out error is within one standard error of that from the other starts; where
    components of CP grow (see its notes), there are no others. The parameters that ask for plain
    descent there do so here.

    References
    ----------
    .. [1] K. Hariz, H. Kadri, S. Ayache, M. Moakher and T. Artieres, "Implicit regularization in
       deep Tucker factorization: low-rankness via structured sparsity", AISTATS 2024, PMLR 238.
    .. [2] L. De Lathauwer, B. De Moor and J. Vandewalle, "A multilinear singular value
       decomposition", SIAM Journal on Matrix Analysis and Applications 21 (2000).

    Examples
    --------
    >>> from sktf import DeepTuckerCompletion
    >>> from sktf.datasets import make_low_rank, sample_entries
    >>> tensor, _ = make_low_rank((10, 10, 10), 2, random_state=0)
    >>> X, y = sample_entries(tensor, 0.5, random_state=0)
    >>> DeepTuckerCompletion(ranks=6, tol=1e-4, random_state=0).fit(X, y).multilinear_rank_
    (2, 2, 2)
    """

    __module__ = "sktf"

    ranks: int | Sequence[int] | None = None
    depth: int = field(default=0, kw_only=True)

    _parameter_constraints = {
        **GradientDescentCompletion._parameter_constraints,
        "ranks": [Interval(Integral, 1, None, closed="left"), "array-like", None],
        "depth": [Interval(Integral, 0, None, closed="left")],
    }

    def _factorization(self, sizes, n_cells):
        return TuckerFactorization(sizes, self._ranks(sizes), int(self.depth))

    def _ranks(self, sizes):
        if self.ranks is None and isinstance(self.init, str):
            return default_ranks(sizes)
        if self.ranks is None:
            return given_blocks(self.init)[0].shape
        ranks = one_for_each(self.ranks, len(sizes), "ranks", "ranks, one per mode")
        return [min(rank, size) for rank, size in zip(ranks, sizes, strict=True)]

    def _default_start(self, kind, order):
        start = component_start("zero_mean", order * (self.depth + 1))
        return start if kind == "zero_mean" else start._replace(mean=0.3)

    def _lender(self):
        return cp_like(self)

    def _models_of(self, sizes, factors):
        ranks = self._ranks(sizes)
        if self.ranks is None and not self.depth:
            ranks = default_ranks([min(size, factors[0].shape[1]) for size in sizes], _MOST_LENT)
        for few in truncations(hosvd(factors, ranks)[2]):
            yield TuckerFactorization(sizes, few, int(self.depth))

    def _measures(self, factors):
        values = matricization_values(factors, [(n,) for n in range(len(factors))])
        return super()._measures(factors) | {"singular_values": stack_padded(values)}

    def _components(self, factors, frame, counts):
        attributes = super()._components(factors, frame, counts)
        values = matricization_values(factors, [(n,) for n in range(len(factors))])
        ranks = tuple(count_above(each, self.rank_tol) for each in values)
        return attributes | {"multilinear_rank_": ranks, "rank_": max(ranks)}

    def _model_attributes(self, factorization, theta):
        matrices = factorization.forward(theta)[1][0]
        return {
            "core_": factorization.unpack(theta)[0].copy(),
            "matrices_": [matrix.copy() for matrix in matrices],
        }


def default_ranks(sizes, most_components=_MOST_COMPONENTS):
    """Return the largest ranks that are nearly equal and stay in the bounds above."""
    ranks = [min(size, _MOST_RANK) for size in sizes]
    while prod(ranks) // max(ranks) > most_components:
        last = max(range(len(ranks)), key=lambda mode: (ranks[mode], mode))
        ranks[last] -= 1
    return ranks
