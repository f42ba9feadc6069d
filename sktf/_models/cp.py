"""CP completion: an entry is ``sum_r prod_n w_r^n[i_n]`` and theta is the factors themselves."""

from dataclasses import dataclass
from math import sqrt
from numbers import Integral

import numpy as np
from sklearn.utils._param_validation import Interval

from sktf._docs import documented
from sktf._models.gradient import GradientDescentCompletion
from sktf._models.starts import component_start
from sktf._objective.factorization import Factorization, choose_components, pack, padded


class CPFactorization(Factorization):
    """R components, each an outer product of one vector per mode."""

    theta_is_factors, separable = True, True

    def __init__(self, shape, n_components):
        super().__init__(shape, n_components, [(size, n_components) for size in shape])

    def forward(self, theta):
        return self.unpack(theta), None

    def pullback(self, theta, memory, gradients):
        return pack(gradients)

    def start(self, rng, init, scale, mean):
        factors = [mean + scale * rng.standard_normal(block) for block in self.blocks]
        return pack(balance(factors) if init == "balanced" else factors)

    def grown_within(self, bases, n_components, rng, start):
        model = CPFactorization(self.shape, n_components)
        core = CPFactorization([basis.shape[1] for basis in bases], n_components)
        drawn = zip(bases, core.unpack(core.start(rng, *start)), strict=True)
        return model, pack([sqrt(len(V) / V.shape[1]) * V @ factor for V, factor in drawn])

    def narrowed(self, n_components):
        return type(self)(self.shape, n_components)

    @property
    def most_components(self):
        return self.n_components

    def embed(self, factors):
        return pack([padded(factor, self.n_components) for factor in factors])


def balance(factors):
    """Rescale the columns of every component to equal norms, keeping their product."""
    norms = np.array([np.linalg.norm(factor, axis=0) for factor in factors])
    target = np.exp(np.log(norms).mean(axis=0))
    return [factor * (target / norm) for factor, norm in zip(factors, norms, strict=True)]


@documented(measured="``component_norms`` (column r is component r of ``factors_``)")
@dataclass(eq=False, repr=False)
class CPCompletion(GradientDescentCompletion):
    """CP completion by gradient descent from a small start; the rank is found, not given.

    The tensor is ``sum_r w_r^1 o ... o w_r^N`` with more components than it needs. Descent
    from near zero grows them one after another and stops needing more once the cells fit:
    the norm of a component moves like ``ds/dt = N gamma s^(2 - 2/N)`` [1]_.

    Parameters
    ----------
    n_components : int, default=None
        Number R of components; a cap, not the answer. None: as many as an ``init`` of arrays
        has, or else as the distinct cells trained on can tell apart (cells over the sum of the
        mode sizes), at least 10, and never more than the product of all modes but the largest;
        in a race of random starts at most 30, while components that grow on a sample know no
        other bound. A `CompletionWarning` tells where a cap of yours binds.
    {shape ... random_state}

    Other Parameters
    ----------------
    {max_iter ... dtype}
    init : {"auto", "gaussian", "balanced"} or list of ndarray, default="auto"
        For researchers, as what follows: the start. "gaussian": entries of the factors are
        N(init_mean, init_scale^2), on the scaled data. "balanced": the same, then all vectors of a
        component get the same norm. "auto": Gaussian starts, of each three one of positive mean and
        two of zero mean (see ``n_init``). A list: one factor (shape[n], R) per mode.
    init_scale : float, default=None
        Standard deviation of the factor entries. None: grows with the order N so that plateaus
        stay short, ``0.02^(2 / (N - 1))`` for N >= 3; in a positive start a tenth of the
        default mean.
    init_mean : float, default=None
        Mean of the factor entries. None: 0; in a positive start 0.3, more from order 5 on.
    {loss ... measures}

    Attributes
    ----------
    {rank_ ... converged_}

    See Also
    --------
    DeepCPCompletion : Square matrices before every vector; stronger pull to low rank.
    CPALSCompletion : The explicit baseline, alternating least squares.

    Notes
    -----
    From 15,000 cells on, and from 500 on where less than 6 % of a tensor of order 3 or more is seen
    (with the losses of counts and of yes or no sooner: :doc:`/guide/counts`), components grow a few
    at a time from small starts inside the leading subspaces of a sample of the cells [2]_, and are
    polished on all cells by ridge regressions of the rows of each factor, which minimize
    ``sum_e w_e (y_e - T_e)^2 + penalty * sum_n |factors[n]|^2``; held-out cells choose the penalty.
    Otherwise, starts race and are averaged. Any of ``init``, ``init_scale``, ``init_mean``,
    ``step``, ``learning_rate``, ``record_every``, ``measures`` and ``warm_start`` that is not the
    default asks for descent on all cells, and so do ``prune=False`` and ``loss="squared"`` or
    ``"huber"``.

    References
    ----------
    .. [1] N. Razin, A. Maman and N. Cohen, "Implicit regularization in tensor factorization",
       ICML 2021, arXiv:2102.09972.
    .. [2] C. Cai, G. Li, H. V. Poor and Y. Chen, "Nonconvex low-rank tensor completion from noisy
       data", NeurIPS 2019, arXiv:1911.04436.

    Examples
    --------
    >>> from sktf import CPCompletion
    >>> from sktf.datasets import make_low_rank, sample_entries
    >>> tensor, _ = make_low_rank((15, 15, 15), 2, random_state=0)
    >>> X, y = sample_entries(tensor, 0.2, random_state=0)
    >>> model = CPCompletion(random_state=0).fit(X, y)
    >>> model.rank_
    2
    """

    __module__ = "sktf"

    n_components: int | None = None

    _grows, _starts_positive, _streams = True, True, True
    _parameter_constraints = {
        **GradientDescentCompletion._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
    }

    def _factorization(self, sizes, n_cells):
        n_components = choose_components(self.n_components, self.init, sizes, n_cells)
        return CPFactorization(sizes, n_components)

    def _most_components(self):
        return self.n_components

    def _default_start(self, kind, order):
        return component_start(kind, order)


def cp_like(estimator):
    """Return a CP estimator with the parameters that it shares with another."""
    shared = set(CPCompletion._get_param_names()) & set(estimator._get_param_names())
    return CPCompletion(**{name: getattr(estimator, name) for name in shared})
