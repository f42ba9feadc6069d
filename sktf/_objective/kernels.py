"""The compiled pass over the observed entries beside its NumPy twin, and steps made of passes.

Factors come stacked, shape (sum of mode sizes, R), with columns of zeros up to whole cache lines.
Cells come in runs that share the rows of all modes but one: ``heads`` (n_runs, order - 1) are the
rows that a run shares, ``edges[k]`` to ``edges[k + 1]`` its cells, and ``tails`` (n_observed,)
the last row of every cell. Products of heads are formed once a run, those of the first heads once
for all runs in a row that share them, and so are the gradients that flow back. A batch of cells
is predicted before it updates the gradients, so that no cell waits for another. Kernels release
the GIL and run no threads of their own.
"""

from math import inf, sqrt

import numpy as np
from numba import config, njit

from sktf._compile import compiled
from sktf._objective import lanes
from sktf._objective.lanes import LINE, SUMS, load, plus_product, spread, store, total

# Cells that are predicted at once.
_BATCH = 32


@njit(inline="always")
def _count_lines(F):
    return F.shape[1] * F.itemsize // LINE


@njit(inline="always")
def _multiply(heads, k, shared, F, prefix):
    """Set ``prefix[n + 1]`` to the product of heads 0 to n, for n from ``shared`` on."""
    for n in range(shared, heads.shape[1]):
        for line in range(_count_lines(F)):
            nothing = spread(F.dtype.type(0), 1)
            factor = load(F, heads[k, n], line, 1)
            store(prefix, n + 1, line, plus_product(nothing, load(prefix, n, line, 1), factor))


@njit(inline="always")
def _sum(prefix, row, F):
    """Sum of the product of all heads with a last row."""
    sums = spread(F.dtype.type(0), 1)
    for line in range(_count_lines(F)):
        product = load(prefix, len(prefix) - 1, line, 1)
        sums = plus_product(sums, product, load(F, row, line, 1))
    return total(sums)


@njit(inline="always")
def _differentiate(tails, values, weights, delta, start, stop, F, prefix, slopes):
    """Write the slopes of the loss at the predictions of a batch and return its loss."""
    two, weight, loss = slopes.dtype.type(2), weights[0], 0.0
    for e in range(start, stop):
        if len(weights) > 1:
            weight = weights[e]
        residual = _sum(prefix, tails[e], F) - values[e]
        clipped = min(max(residual, -delta), delta)
        loss += weight * clipped * (two * residual - clipped)
        slopes[e - start] = two * weight * clipped
    return loss


@njit(inline="always")
def _flow_back(n, row, inner, line, n_lines, F, G, prefix, flow):
    """Pass the gradient ``inner`` at the product of heads 0 to n on to head n and those before."""
    before, factor = load(prefix, n, line, n_lines), load(F, row, line, n_lines)
    store(G, row, line, plus_product(load(G, row, line, n_lines), inner, before))
    store(flow, n, line, plus_product(load(flow, n, line, n_lines), inner, factor))


@njit(inline="always")
def _update(tails, start, stop, head, slopes, line, n_lines, F, G, prefix, flow):
    """Add the gradients of a batch, ``n_lines`` at a time from ``line`` on; return how far."""
    last = len(prefix) - 1
    while line + n_lines <= _count_lines(F):
        product, inner = load(prefix, last, line, n_lines), spread(F.dtype.type(0), n_lines)
        for e in range(start, stop):
            slope = spread(slopes[e - start], n_lines)
            inner = plus_product(inner, slope, load(F, tails[e], line, n_lines))
            gradient = load(G, tails[e], line, n_lines)
            store(G, tails[e], line, plus_product(gradient, slope, product))
        if last:
            _flow_back(last - 1, head, inner, line, n_lines, F, G, prefix, flow)
        line += n_lines
    return line


@compiled(lanes, fastmath=set(SUMS))
def cp_pass(heads, edges, tails, values, weights, delta, F, G):
    """Add the gradient at stacked factors F to G; return the loss.

    ``sum_e weights_e * loss(sum_r prod_n F[row_en, r] - values_e)`` with the loss of
    ``ClippedSquare(delta)``; a single weight is that of all cells. Time O(n_observed * order * R).
    """
    last, shared, loss = heads.shape[1], 0, 0.0
    prefix = np.ones((last + 1, F.shape[1]), F.dtype)
    flow, slopes = np.zeros_like(prefix), np.empty(_BATCH, F.dtype)
    for k in range(len(heads)):
        _multiply(heads, k, shared, F, prefix)
        head = heads[k, last - 1] if last else 0
        for start in range(edges[k], edges[k + 1], _BATCH):
            stop = min(start + _BATCH, edges[k + 1])
            loss += _differentiate(tails, values, weights, delta, start, stop, F, prefix, slopes)
            # Wide rows are read fastest in pieces of four lines.
            line = _update(tails, start, stop, head, slopes, 0, 4, F, G, prefix, flow)
            line = _update(tails, start, stop, head, slopes, line, 2, F, G, prefix, flow)
            _update(tails, start, stop, head, slopes, line, 1, F, G, prefix, flow)
        shared = 0
        while k + 1 < len(heads) and shared < last and heads[k, shared] == heads[k + 1, shared]:
            shared += 1
        # What has gathered at a product flows back once the next run has another one.
        for n in range(last - 2, shared - 1, -1):
            for line in range(_count_lines(F)):
                inner = load(flow, n + 1, line, 1)
                _flow_back(n, heads[k, n], inner, line, 1, F, G, prefix, flow)
                store(flow, n + 1, line, spread(F.dtype.type(0), 1))
    return loss


@compiled(lanes, fastmath=set(SUMS))
def cp_predict(heads, edges, tails, F, predicted):
    """Write ``sum_r prod_n F[row_en, r]`` of every cell e."""
    last, shared = heads.shape[1], 0
    prefix = np.ones((last + 1, F.shape[1]), F.dtype)
    for k in range(len(heads)):
        _multiply(heads, k, shared, F, prefix)
        for e in range(edges[k], edges[k + 1]):
            predicted[e] = _sum(prefix, tails[e], F)
        shared = 0
        while k + 1 < len(heads) and shared < last and heads[k, shared] == heads[k + 1, shared]:
            shared += 1


def cp_pass_numpy(heads, edges, tails, values, weights, delta, F, G):
    """Do as ``cp_pass`` does, in NumPy."""
    rows, cells = rows_of(heads, edges, tails), slice(edges[0], edges[-1])
    gathered = F[rows]
    residual = gathered.prod(axis=1).sum(axis=1) - values[cells]
    weights = np.broadcast_to(weights, values.shape)[cells]
    clipped = residual.clip(-delta, delta)
    slope = 2 * weights * clipped
    for n in range(rows.shape[1]):
        others = np.delete(gathered, n, axis=1).prod(axis=1)
        np.add.at(G, rows[:, n], slope[:, None] * others)
    return float(weights @ (clipped * (2 * residual - clipped)))


def cp_predict_numpy(heads, edges, tails, F, predicted):
    """Do as ``cp_predict`` does, in NumPy."""
    predicted[:] = F[rows_of(heads, edges, tails)].prod(axis=1).sum(axis=1)


# For debuggers and coverage: vectors exist in compiled code only.
if config.DISABLE_JIT:  # type: ignore[attr-defined]
    cp_pass, cp_predict = cp_pass_numpy, cp_predict_numpy


@compiled(lanes)
def cp_gradient(cells, delta, F, squares, G):
    """Add the gradient at F to G, which is zero; return the loss.

    ``cells`` are the first five arguments of ``cp_pass``. Where ``squares`` has rows, it takes the
    squares of the entries of F, and these are the factors.
    """
    if not len(squares):
        return cp_pass(*cells, delta, F, G)
    for row in range(F.shape[0]):
        for r in range(F.shape[1]):
            squares[row, r] = F[row, r] * F[row, r]
    loss = cp_pass(*cells, delta, squares, G)
    for row in range(F.shape[0]):
        for r in range(F.shape[1]):
            G[row, r] *= 2 * F[row, r]
    return loss


@compiled(lanes, fastmath=set(SUMS))
def _squares(F, gradients, per_entry, per_slope):
    """Squared lengths of the gradient, of its change and of F, each in units of its own."""
    square, change, size = 0.0, 0.0, 0.0
    for row in range(F.shape[0]):
        for r in range(F.shape[1]):
            at, now = per_entry * F[row, r], per_slope * gradients[0, row, r]
            moved = now - per_slope * gradients[1, row, r]
            square, change, size = square + now * now, change + moved * moved, size + at * at
    return square, change, size


@compiled(lanes)
def _lengths(F, gradients):
    """Lengths of the gradient, of its change and of F; no square over- or underflows."""
    square, change, size = _squares(F, gradients, 1.0, 1.0)
    if min(square, size) > 1e-200 and max(square, change, size) < 1e200:
        return sqrt(square), sqrt(change), sqrt(size)
    peak, steepest = float(np.abs(F).max()), float(np.abs(gradients).max())
    if not (1e-300 < peak < inf and 1e-300 < steepest < inf):
        return steepest, steepest, peak
    square, change, size = _squares(F, gradients, 1 / peak, 1 / steepest)
    return steepest * sqrt(square), steepest * sqrt(change), peak * sqrt(size)


@compiled(lanes, fastmath=set(SUMS))
def _move(F, gradients, eta):
    """Take a step; the gradient becomes the one before, and zeros take its place."""
    for row in range(F.shape[0]):
        for r in range(F.shape[1]):
            F[row, r] -= eta * gradients[0, row, r]
            gradients[1, row, r] = gradients[0, row, r]
            gradients[0, row, r] = 0


@compiled(lanes)
def cp_walk(n_steps, cells, delta, F, squares, gradients, rule, state, tol):
    """Take up to ``n_steps`` steps of ``Adaptive``, as ``Walk.go`` does.

    ``cells ... squares`` are those of ``cp_gradient``. ``gradients[0]`` is the gradient at F,
    ``gradients[1]`` the one before; ``rule`` the learning rate, the growth and the share of the
    length of F below which a step changes nothing; ``state`` the loss at F, the time, the last
    step size, the bound of the next, the length of the gradient before and the number of steps.
    Return whether the next step would change nothing.
    """
    learning_rate, growth, no_move = rule
    for _ in range(n_steps):
        slope, change, size = _lengths(F, gradients)
        eta = state[3]
        if state[4] > 0 and change > 0:
            eta = min(eta, learning_rate * state[2] * state[4] / change)
        if eta * slope <= no_move * size:
            return True
        _move(F, gradients, F.dtype.type(eta))
        state[0] = cp_gradient(cells, delta, F, squares, gradients[0])
        state[1], state[2], state[3], state[4] = state[1] + eta, eta, growth * eta, slope
        state[5] += 1
        if not tol <= state[0] < inf:
            break
    return False


def rows_of(heads, edges, tails):
    """Return the rows of every cell of these runs, shape (n_observed, order)."""
    heads = np.repeat(heads, np.diff(edges), axis=0)
    return np.column_stack([heads, tails[edges[0] : edges[-1]]])
