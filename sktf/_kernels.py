"""Compiled passes over the observed entries, each beside its NumPy twin; all of numba is here.

Factors come stacked, shape (sum of mode sizes, R), and a cell comes as its row numbers in that
matrix, shape (n_observed, order), sorted by the first mode. Kernels release the GIL and run no
threads of their own; gradients are added to ``G``.
"""

import numpy as np
from numba import njit

# Sums over components may be reassociated (the compiler then uses vector registers); the
# order is fixed at compile time, so the bits do not depend on the number of threads.
_SUMS = {"reassoc", "contract", "nsz"}


@njit(nogil=True, cache=True, fastmath=_SUMS)
def _pass_third_order(rows, values, weights, delta, F, G):
    """One pass for order 3; returns the loss and adds its gradient to G."""
    loss = 0.0
    for e in range(rows.shape[0]):
        i, j, k = rows[e, 0], rows[e, 1], rows[e, 2]
        a, b, c = F[i], F[j], F[k]
        ga, gb, gc = G[i], G[j], G[k]
        prediction = 0.0
        for r in range(F.shape[1]):
            prediction += a[r] * b[r] * c[r]
        residual = prediction - values[e]
        clipped = min(max(residual, -delta), delta)
        loss += weights[e] * clipped * (2 * residual - clipped)
        slope = 2 * weights[e] * clipped
        for r in range(F.shape[1]):
            sa = slope * a[r]
            ga[r] += slope * (b[r] * c[r])
            gb[r] += sa * c[r]
            gc[r] += sa * b[r]
    return loss


@njit(nogil=True, cache=True, fastmath=_SUMS)
def _pass_any_order(rows, values, weights, delta, F, G):
    """One pass for any order: prefix products forward, suffix products backward."""
    n_components, order = F.shape[1], rows.shape[1]
    prefix = np.ones((order, n_components), F.dtype)
    suffix = np.empty(n_components, F.dtype)
    loss = 0.0
    for e in range(rows.shape[0]):
        for n in range(order - 1):
            factor, before, after = F[rows[e, n]], prefix[n], prefix[n + 1]
            for r in range(n_components):
                after[r] = before[r] * factor[r]
        factor, before = F[rows[e, order - 1]], prefix[order - 1]
        prediction = 0.0
        for r in range(n_components):
            prediction += before[r] * factor[r]
        residual = prediction - values[e]
        clipped = min(max(residual, -delta), delta)
        loss += weights[e] * clipped * (2 * residual - clipped)
        slope = 2 * weights[e] * clipped
        gradient = G[rows[e, order - 1]]
        for r in range(n_components):
            gradient[r] += slope * before[r]
            suffix[r] = slope * factor[r]
        for n in range(order - 2, -1, -1):
            factor, before, gradient = F[rows[e, n]], prefix[n], G[rows[e, n]]
            for r in range(n_components):
                gradient[r] += before[r] * suffix[r]
                suffix[r] *= factor[r]
    return loss


@njit(nogil=True, cache=True, fastmath=_SUMS)
def _loss_any_order(rows, values, weights, delta, F):
    """The loss alone, for any order."""
    product = np.empty(F.shape[1], F.dtype)
    loss = 0.0
    for e in range(rows.shape[0]):
        factor = F[rows[e, 0]]
        for r in range(F.shape[1]):
            product[r] = factor[r]
        for n in range(1, rows.shape[1]):
            factor = F[rows[e, n]]
            for r in range(F.shape[1]):
                product[r] *= factor[r]
        prediction = 0.0
        for r in range(F.shape[1]):
            prediction += product[r]
        residual = prediction - values[e]
        clipped = min(max(residual, -delta), delta)
        loss += weights[e] * clipped * (2 * residual - clipped)
    return loss


def cp_pass(rows, values, weights, delta, F, G):
    """Add the gradient at stacked factors F to G; return the loss.

    ``sum_e weights_e * loss(sum_r prod_n F[rows_en, r] - values_e)`` with the loss of
    ``ClippedSquare(delta)``; time O(n_observed * order * R).
    """
    compiled = _pass_third_order if rows.shape[1] == 3 else _pass_any_order
    return compiled(rows, values, weights, delta, F, G)


def cp_pass_numpy(rows, values, weights, delta, F, G):
    """Do as ``cp_pass`` does, in NumPy."""
    gathered = F[rows]
    residual = gathered.prod(axis=1).sum(axis=1) - values
    clipped = residual.clip(-delta, delta)
    slope = 2 * weights * clipped
    for n in range(rows.shape[1]):
        others = np.delete(gathered, n, axis=1).prod(axis=1)
        np.add.at(G, rows[:, n], slope[:, None] * others)
    return float(weights @ (clipped * (2 * residual - clipped)))


def cp_loss(rows, values, weights, delta, F):
    """Return the loss of ``cp_pass`` without its gradient."""
    return _loss_any_order(rows, values, weights, delta, F)


def cp_loss_numpy(rows, values, weights, delta, F):
    """Do as ``cp_loss`` does, in NumPy."""
    residual = F[rows].prod(axis=1).sum(axis=1) - values
    clipped = residual.clip(-delta, delta)
    return float(weights @ (clipped * (2 * residual - clipped)))
