"""Non-negative CP: every factor is the square of what descends.

An entry is ``sum_r prod_n (v_r^n[i_n])^2``.
"""

from dataclasses import dataclass, field
from numbers import Integral

import numpy as np
from sklearn.utils._param_validation import Interval

from sktf._docs import documented
from sktf._models.cp import CPFactorization
from sktf._models.gradient import GradientDescentCompletion
from sktf._models.starts import component_start
from sktf._objective.factorization import choose_components, pack

# An entry 0 could not leave it: where others of a column are positive, at least this share of the
# largest is where descent goes on from.
_LEAST = 0.01
# Spread of the entries of a small start, as a share of their mean. Entries near zero would be left
# behind by those that grow: of zero mean, 3 of 8 matrices of three parts ended with errors above
# 5 %, and with this spread 1 of 8.
_SPREAD = 0.3


class NonNegativeCPFactorization(CPFactorization):
    """R components, each an outer product of one squared vector per mode."""

    theta_is_factors, theta_is_roots, nonnegative = False, True, True

    def forward(self, theta):
        return [v * v for v in self.unpack(theta)], None

    def pullback(self, theta, memory, gradients):
        blocks = self.unpack(theta)
        return pack([2 * v * gradient for v, gradient in zip(blocks, gradients, strict=True)])

    def settled(self, factors):
        # Embedded, the zeros of a polish would be lifted.
        return factors

    def embed(self, factors):
        """Entries near zero are lifted a little, for descent to move them."""
        lifted = [np.maximum(f, _LEAST * f.max(axis=0, initial=0.0)) for f in factors]
        return super().embed([*map(np.sqrt, lifted)])


@documented(measured="``component_norms`` (column r is component r of ``factors_``)")
@dataclass(eq=False, repr=False)
class NonNegativeCPCompletion(GradientDescentCompletion):
    """CP completion whose factors are never negative: they are squares, and these descend.

    The tensor is ``sum_r w_r^1 o ... o w_r^N`` with ``w = v * v``, entry by entry, and plain
    gradient descent moves the v. This is exponentiated gradient descent of the factors,
    ``dw/dt = -4 w * dl/dw``: no entry changes its sign, small ones grow late, and from a small
    start few components and few of their entries grow [1]_ [2]_. A component of
    ``s = prod_n |w_r^n|_1`` moves like ``ds/dt = 4 N gamma s^(2 - 1/N)``, with a stronger pull to
    low rank than that of CP.

    Parameters
    ----------
    n_components : int, default=None
        Number R of components; a cap, not the answer. None: as in ``CPCompletion``, at most 30.
    {shape ... encode}
    offset : {"auto", "mean", "additive"} or None, default=None
        What is taken off the values first. None: nothing, and predictions are sums of
        non-negative parts. With any other, as in ``CPCompletion``, the parts are what lies above
        the offset, and nothing describes what lies below it.
    {scale ... random_state}

    Other Parameters
    ----------------
    max_iter : int, default=6000
        Largest number of iterations of each stage of the descent; more than in other models, since
        small entries grow late.
    {tol ... dtype}
    init : {"auto", "gaussian", "balanced"} or list of ndarray, default="auto"
        For researchers, as what follows: the start. "gaussian": entries of the v are
        N(init_mean, init_scale^2), on the scaled data. "balanced": the same, then all v of a
        component get the same norm. "auto": Gaussian starts, of each three one of larger entries
        that are nearly alike. A list: one array v (shape[n], R) per mode, whose squares
        are the factors; an entry 0 stays 0.
    init_scale : float, default=None
        Standard deviation of the entries of the v. None: 0.3 times the default mean, and a tenth
        where entries are larger.
    init_mean : float, default=None
        Mean of the entries of the v. None: the ``init_scale`` of ``CPCompletion`` at twice the
        order, and where entries are larger its positive ``init_mean``.
    {loss ... measures}

    Attributes
    ----------
    {rank_ ... converged_}

    See Also
    --------
    CPCompletion : The same with signs.

    Notes
    -----
    Values below zero are read as noise: where no offset is taken off, the least that is predicted
    is 0. The factors of a matrix are those that were found, not its singular triplets, which have
    signs; they need not be unique. Averages of fits are written with few components by
    non-negative least squares, column by column [3]_, and ``extend`` finds rows by non-negative
    least squares; with ``loss="poisson_sum"`` it raises a ValueError: fit again with the new cells.

    Components grow on a sample of the cells, and are polished on all, wherever those of
    `CPCompletion` do, but for those of ``loss="poisson_sum"``, whose starts race. They start from
    positive mean, not inside leading subspaces, whose vectors have signs. A polish solves for the
    rows by non-negative least squares, entry by entry [3]_: what grows on what is left can only
    add, and what was too large before shrinks there.

    References
    ----------
    .. [1] B. Woodworth et al., "Kernel and rich regimes in overparametrized models", COLT 2020,
       arXiv:2002.09277.
    .. [2] T. Vaskevicius, V. Kanade and P. Rebeschini, "Implicit regularization for optimal sparse
       recovery", NeurIPS 2019, arXiv:1909.05122.
    .. [3] A. Cichocki and A.-H. Phan, "Fast local algorithms for large scale nonnegative matrix and
       tensor factorizations", IEICE Transactions on Fundamentals E92-A (2009).

    Examples
    --------
    >>> import numpy as np
    >>> from sktf import NonNegativeCPCompletion
    >>> from sktf.datasets import dense_from_factors, sample_entries
    >>> rng = np.random.default_rng(0)
    >>> tensor = dense_from_factors([rng.exponential(size=(12, 2)) for _ in range(3)])
    >>> X, y = sample_entries(tensor, 0.3, random_state=0)
    >>> model = NonNegativeCPCompletion(random_state=0).fit(X, y)
    >>> model.rank_, all((factor >= 0).all() for factor in model.factors_)
    (2, True)
    """

    __module__ = "sktf"

    n_components: int | None = None
    offset: str | None = field(default=None, kw_only=True)
    max_iter: int = field(default=6000, kw_only=True)

    _grows, _starts_positive, _nonnegative = True, True, True
    _parameter_constraints = {
        **GradientDescentCompletion._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # Half of the values of scikit-learn's trial regression are negative.
        tags.regressor_tags.poor_score = True
        return tags

    def _factorization(self, sizes, n_cells):
        n_components = choose_components(self.n_components, self.init, sizes, n_cells)
        return NonNegativeCPFactorization(sizes, n_components)

    def _most_components(self):
        return self.n_components

    def _default_start(self, kind, order):
        start = component_start(kind, 2 * order)
        if start.mean:
            return start
        return start._replace(mean=start.scale, scale=_SPREAD * start.scale)
