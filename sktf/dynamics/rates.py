"""Rates of change beside the laws that predict them, and the chain rule that measures them."""

from typing import NamedTuple

import numpy as np

from sktf._cells.validation import finite_array
from sktf._objective.factorization import pack


class Rates(NamedTuple):
    """Quantities, how fast they move along the flow, and how fast a law says they do.

    Attributes
    ----------
    value : ndarray
        The quantities: one per component or singular value, or a matrix.
    measured : ndarray
        Their time derivatives, by the chain rule from the gradients at all blocks.
    predicted : ndarray
        The right-hand side of the law.

    Examples
    --------
    >>> import numpy as np
    >>> from sktf.dynamics import Rates
    >>> measured, predicted = np.array([4.0, 2.0]), np.array([4.0, 3.0])
    >>> Rates(np.ones(2), measured=measured, predicted=predicted).error
    0.25
    """

    value: np.ndarray
    measured: np.ndarray
    predicted: np.ndarray

    @property
    def error(self):
        """Largest deviation from the law, relative to the largest predicted rate."""
        deviation = np.abs(self.measured - self.predicted).max()
        return float(deviation / max(np.abs(self.predicted).max(), np.finfo(float).tiny))


# Where pickles look for it.
Rates.__module__ = "sktf.dynamics"


def unbalancedness(invariants):
    """Return the size of the largest invariant; 0 is balanced.

    Parameters
    ----------
    invariants : list of ndarray
        `cp_invariants` or `matrix_invariants`.

    Returns
    -------
    float
        Largest absolute difference of squared norms, or largest Frobenius norm of a matrix.

    Examples
    --------
    >>> from sktf.dynamics import matrix_invariants, unbalancedness
    >>> unbalancedness(matrix_invariants([[[1.0, 0.0]], [[0.0], [2.0]]]))
    3.0
    """
    sizes = [np.linalg.norm(q, np.inf if q.ndim == 1 else "fro") for q in invariants]
    return float(max(sizes, default=0.0))


def pull_back(factorization, blocks, gradient):
    """Return the gradients at the blocks from the one at the dense tensor."""
    shape, gradient = factorization.shape, finite_array(gradient, "gradient")
    if gradient.shape != shape:
        raise ValueError(f"gradient has shape {gradient.shape}; the blocks describe {shape}.")
    theta, order, at_factors = pack(blocks), len(shape), []
    factors, memory = factorization.forward(theta)
    for mode in range(order):
        others = [part for m in range(order) if m != mode for part in (factors[m], [m, order])]
        contracted = np.einsum(gradient, range(order), *others, [mode, order], optimize=True)
        at_factors.append(contracted)
    return factorization.unpack(factorization.pullback(theta, memory, at_factors))


def push(layers, velocities):
    """Return the product of layers, the first rightmost, and its velocity."""
    product, velocity = layers[0], velocities[0]
    for layer, moving in zip(layers[1:], velocities[1:], strict=True):
        product, velocity = layer @ product, moving @ product + layer @ velocity
    return product, velocity
