"""Non-negative CP, whose factors are squares of what descends: what stays, and how it grows."""

from itertools import combinations

import numpy as np

from sktf._cells.validation import finite_array
from sktf.dynamics.cp import cp_gradients
from sktf.dynamics.rates import Rates


def nonnegative_invariants(factors):
    """Return what the flow conserves of non-negative CP: ``sum_i w_r^m[i] - sum_i w_r^n[i]``.

    Parameters
    ----------
    factors : list of N ndarrays of shape (n_m, R)
        Factors ``w = v * v``, entry by entry, of which the v descend; none is negative.

    Returns
    -------
    ndarray of shape (n_pairs, R)
        Differences between the sums of the columns, for the pairs of modes: those are the squared
        norms of the v, and these differences are the `cp_invariants` of the v.

    Raises
    ------
    ValueError
        When an entry is negative or not finite.

    Examples
    --------
    >>> from sktf.dynamics import nonnegative_invariants
    >>> nonnegative_invariants([[[1.0], [2.0]], [[4.0], [0.0]]])
    array([[-1.]])
    """
    sums = [factor.sum(axis=0) for factor in _check_factors(factors)]
    return np.array([one - other for one, other in combinations(sums, 2)])


def nonnegative_growth(factors, gradient):
    """Return how fast components of non-negative CP grow, and the law for those of equal sums.

    Parameters
    ----------
    factors : list of N ndarrays of shape (n_m, R)
        Factors ``w = v * v``, entry by entry, of which the v descend; no component may be zero.
    gradient : ndarray of shape (n_1, ..., n_N)
        G, the gradient of the loss at the dense tensor.

    Returns
    -------
    Rates
        Of ``s = prod_n |w_r^n|_1``, the sum of all entries of component r. Where the columns of a
        component have equal sums, ``ds/dt = 4 N gamma s^(2 - 1/N)``,
        gamma = <-G, component / s>.

    Raises
    ------
    ValueError
        When an entry is negative or not finite, a component zero, or G of another shape.

    Notes
    -----
    With g = dl/dw at one mode, ``dv/dt = -2 v g`` and so ``dw/dt = 2 v dv/dt = -4 w g``:
    exponentiated gradient flow. The sum p of a column moves as ``dp/dt = -4 <w, g>``, which is
    4 <-G, component> in every mode alike; hence the differences of the sums stay. With all of them
    equal, ``p = s^(1/N)`` and ``ds/dt = sum_n (s / p) dp/dt = 4 N s^(1 - 1/N) gamma s``. This is
    the law of CP of order 2 N: every factor is there twice.

    Examples
    --------
    >>> import numpy as np
    >>> from sktf.dynamics import nonnegative_growth
    >>> rates = nonnegative_growth([np.full((2, 1), 0.5)] * 3, -np.ones((2, 2, 2)))
    >>> rates.value, rates.predicted, rates.error < 1e-12
    (array([1.]), array([12.]), True)
    """
    factors = _check_factors(factors)
    sums = np.array([factor.sum(axis=0) for factor in factors])
    if not sums.all():
        raise ValueError("A component is zero and stays zero; leave it out.")
    pairs = zip(factors, cp_gradients(factors, gradient), strict=True)
    moving = np.array([(-4 * factor * g).sum(axis=0) for factor, g in pairs])
    size, order = sums.prod(axis=0), len(factors)
    gamma = moving[0] / 4 / size
    return Rates(
        size, size * (moving / sums).sum(axis=0), 4 * order * gamma * size ** (2 - 1 / order)
    )


def _check_factors(factors):
    factors = [finite_array(factor, "factors") for factor in factors]
    for mode, factor in enumerate(factors):
        if factor.min(initial=0.0) < 0:
            raise ValueError(
                f"factors[{mode}] has a negative entry, {factor.min():.3g}; pass the squares of "
                "what descends."
            )
    return factors
