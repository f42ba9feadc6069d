"""Compiled passes over the observed entries, each beside its NumPy twin; all of numba is here.

Factors come stacked, shape (sum of mode sizes, R), and a cell comes as its row numbers in that
matrix, shape (n_observed, order). Sorted cells share the products of their leading modes: these
are formed once per run of equal leading rows, and so are the gradients that flow back through
them, which leaves three passes over R per cell whatever the order. Any other sequence of cells
gives the same sums, only slower. Kernels release the GIL and run no threads of their own.
"""

import numpy as np
from numba import njit

# Sums over components may be reassociated (the compiler then uses vector registers); the
# order is fixed at compile time, so the bits do not depend on the number of threads.
_SUMS = {"reassoc", "contract", "nsz"}


@njit(nogil=True, cache=True, fastmath=_SUMS)
def cp_pass(rows, values, weights, delta, F, G):
    """Add the gradient at stacked factors F to G; return the loss.

    ``sum_e weights_e * loss(sum_r prod_n F[rows_en, r] - values_e)`` with the loss of
    ``ClippedSquare(delta)``; time O(n_observed * order * R).
    """
    # One body: calls would count references to every row, which costs more than the sums.
    n_observed, order = rows.shape
    n_components, last = F.shape[1], order - 1
    # Constants of another type would make the sums of float32 ones of float64, at half the speed.
    zero, two = F.dtype.type(0), F.dtype.type(2)
    prefix = np.ones((order, n_components), F.dtype)
    flow = np.zeros((order, n_components), F.dtype)
    product, into = prefix[last], flow[last]
    loss = 0.0
    for e in range(n_observed + 1):
        change = 0
        while 0 < e < n_observed and change < last and rows[e, change] == rows[e - 1, change]:
            change += 1
        # The run of equal leading rows has ended: its gradients flow back through them.
        for n in range(last - 1, change - 1, -1):
            if e == 0:
                break
            row = rows[e - 1, n]
            factor, gradient, before, inner, outer = F[row], G[row], prefix[n], flow[n + 1], flow[n]
            for r in range(n_components):
                gradient[r] += inner[r] * before[r]
                outer[r] += inner[r] * factor[r]
                inner[r] = zero
        if e == n_observed:
            break
        for n in range(change, last):
            factor, before, after = F[rows[e, n]], prefix[n], prefix[n + 1]
            for r in range(n_components):
                after[r] = before[r] * factor[r]
        factor, gradient = F[rows[e, last]], G[rows[e, last]]
        prediction = zero
        for r in range(n_components):
            prediction += product[r] * factor[r]
        residual = prediction - values[e]
        clipped = min(max(residual, -delta), delta)
        loss += weights[e] * clipped * (two * residual - clipped)
        slope = two * weights[e] * clipped
        for r in range(n_components):
            gradient[r] += slope * product[r]
            into[r] += slope * factor[r]
    return loss


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


@njit(nogil=True, cache=True)
def sort_pass(keys, n_keys, sequence):
    """Return ``sequence`` sorted stably by ``keys[sequence]``, whole numbers below ``n_keys``.

    Counts, then places: time and memory O(n_observed + n_keys).
    """
    ends = np.zeros(n_keys + 1, np.int64)
    for key in keys:
        ends[key + 1] += 1
    for key in range(n_keys):
        ends[key + 1] += ends[key]
    placed = np.empty_like(sequence)
    for e in sequence:
        placed[ends[keys[e]]] = e
        ends[keys[e]] += 1
    return placed


def sort_pass_numpy(keys, n_keys, sequence):
    """Do as ``sort_pass`` does, in NumPy: time O(n log n), memory whatever ``n_keys`` is."""
    return sequence[np.argsort(keys[sequence], kind="stable")]


def lexicographic(columns):
    """Return the sequence that sorts rows of whole numbers, given by columns, the first foremost.

    Equal rows keep their order. Columns of large gaps are sorted by comparison.
    """
    n_rows = len(columns[0])
    sequence = np.arange(n_rows, dtype=np.int32 if n_rows < 2**31 else np.int64)
    for keys in reversed(columns):
        n_keys = int(keys.max(initial=-1)) + 1
        sort = sort_pass if n_keys <= 4 * n_rows else sort_pass_numpy
        sequence = sort(np.ascontiguousarray(keys), n_keys, sequence)
    return sequence


@njit(nogil=True, cache=True, fastmath=_SUMS)
def cp_loss(rows, values, weights, delta, F):
    """Return the loss of ``cp_pass`` without its gradient."""
    n_observed, order = rows.shape
    n_components, last = F.shape[1], order - 1
    zero, two = F.dtype.type(0), F.dtype.type(2)
    prefix = np.ones((order, n_components), F.dtype)
    product = prefix[last]
    loss = 0.0
    for e in range(n_observed):
        change = 0
        while e > 0 and change < last and rows[e, change] == rows[e - 1, change]:
            change += 1
        for n in range(change, last):
            factor, before, after = F[rows[e, n]], prefix[n], prefix[n + 1]
            for r in range(n_components):
                after[r] = before[r] * factor[r]
        factor = F[rows[e, last]]
        prediction = zero
        for r in range(n_components):
            prediction += product[r] * factor[r]
        residual = prediction - values[e]
        clipped = min(max(residual, -delta), delta)
        loss += weights[e] * clipped * (two * residual - clipped)
    return loss


def cp_loss_numpy(rows, values, weights, delta, F):
    """Do as ``cp_loss`` does, in NumPy."""
    residual = F[rows].prod(axis=1).sum(axis=1) - values
    clipped = residual.clip(-delta, delta)
    return float(weights @ (clipped * (2 * residual - clipped)))
