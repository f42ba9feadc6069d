"""The normal equations of every row of one factor, all others fixed: compiled, with a NumPy twin.

With ``d_e`` the product of what cell e reads of the other factors, the row that cells E read fits
them best where ``(sum_E w_e d_e d_e^T) f = sum_E w_e y_e d_e``. Rows know nothing of each other:
blocks of them, cut by the size of the problem alone, go to threads, with the same bits for any
number of these.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numba import config as numba_config
from numba import njit

from sktf._cells.sorting import count_each
from sktf._compile import compiled
from sktf._objective import lanes
from sktf._objective.lanes import LINE, SUMS, load, plus_product, spread, store, whole_lines
from sktf._objective.pools import pool_of

# Cells whose products are formed at once.
_BATCH = 16
# Numbers in the matrices of one block of rows: 2 MiB, which a cache holds. Multiplications that
# make a block worth a thread of its own, and the most blocks for the sake of threads.
_BLOCK, _BLOCK_WORK, _MAX_BLOCKS = 2**18, 2**20, 8


class CellsByRow(NamedTuple):
    """Cells in the order of their rows in one mode.

    Those of row i lie from ``edges[i]`` to ``edges[i + 1]``; ``others`` (n_observed, order - 1)
    are the rows that they read of the other factors, stacked. One weight stands for all.
    """

    edges: np.ndarray
    others: np.ndarray
    values: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, cells, mode, dtype=np.float64, mean=None):
        """Return observations in the order of their rows in a mode.

        Their weights are over ``mean``, by default that of them all.
        """
        coords, values, weights, shape = cells
        edges = np.cumsum(np.append(0, count_each(coords[:, mode], shape[mode])))
        alike = weights.strides == (0,) or (weights == weights[:1]).all()
        if mean is None:
            weights = np.ones(1) if alike else weights / weights.mean()
        else:
            weights = (weights[:1] if alike else weights) / mean
        # A vector has no others: its cells read one row of ones.
        others = np.zeros((len(values), max(1, len(shape) - 1)), np.int32)
        starts = np.cumsum([0, *(0 if n == mode else size for n, size in enumerate(shape))])
        placed = np.empty(len(values), dtype), np.empty(len(weights), dtype)
        _place(coords, values, weights, mode, starts, edges[:-1].copy(), others, *placed)
        return cls(edges, others, *placed)

    def solve(self, others, solve, each=()):
        """Return a row for every row of the mode: see ``solve_rows``."""
        return solve_rows(self, others, solve, each)


@compiled()
def _place(coords, values, weights, mode, starts, free, others, in_order, weights_in_order):
    """Write cells where they belong; ``free`` has for each row where its next cell goes."""
    if len(weights) == 1:
        weights_in_order[0] = weights[0]
    for e in range(len(coords)):
        at, column = free[coords[e, mode]], 0
        free[coords[e, mode]] += 1
        for n in range(coords.shape[1]):
            if n != mode:
                others[at, column] = coords[e, n] + starts[n]
                column += 1
        in_order[at] = values[e]
        if len(weights) > 1:
            weights_in_order[at] = weights[e]


@njit(inline="always")
def _add_four(products, weighted, n_cells, r, line, row, grams):
    """Add the products of a batch to a line of four rows of a matrix."""
    first, second = load(grams, row, line, 1), load(grams, row + 1, line, 1)
    third, fourth = load(grams, row + 2, line, 1), load(grams, row + 3, line, 1)
    for e in range(n_cells):
        product = load(products, e, line, 1)
        first = plus_product(first, spread(weighted[e, r], 1), product)
        second = plus_product(second, spread(weighted[e, r + 1], 1), product)
        third = plus_product(third, spread(weighted[e, r + 2], 1), product)
        fourth = plus_product(fourth, spread(weighted[e, r + 3], 1), product)
    store(grams, row, line, first)
    store(grams, row + 1, line, second)
    store(grams, row + 2, line, third)
    store(grams, row + 3, line, fourth)


@compiled(lanes, fastmath=set(SUMS))
def row_equations(first, stop, edges, others, values, weights, F, grams, moments):
    """Add the cells of the rows from ``first`` to ``stop`` to matrices and right sides of these.

    ``edges ... weights`` are those of ``CellsByRow``, ``F`` the other factors, stacked in whole
    cache lines; ``grams`` holds R rows of this width for each row, ``moments`` one.
    """
    n_lines, n_columns = F.shape[1] * F.itemsize // LINE, len(grams) // len(moments)
    n_lanes = LINE // F.itemsize
    products, weighted = np.empty((2, _BATCH, F.shape[1]), F.dtype)
    nothing, weight = spread(F.dtype.type(0), 1), F.dtype.type(weights[0])
    for row in range(first, stop):
        at = row - first
        if edges[row] == edges[row + 1]:
            continue
        for start in range(edges[row], edges[row + 1], _BATCH):
            n_cells = min(_BATCH, edges[row + 1] - start)
            for e in range(n_cells):
                if len(weights) > 1:
                    weight = F.dtype.type(weights[start + e])
                value = spread(F.dtype.type(values[start + e]), 1)
                for line in range(n_lines):
                    product = load(F, others[start + e, 0], line, 1)
                    for n in range(1, others.shape[1]):
                        factor = load(F, others[start + e, n], line, 1)
                        product = plus_product(nothing, product, factor)
                    store(products, e, line, product)
                    product = plus_product(nothing, product, spread(weight, 1))
                    store(weighted, e, line, product)
                    moment = plus_product(load(moments, at, line, 1), product, value)
                    store(moments, at, line, moment)
            # Four rows of the matrix share what is read; lines left of the diagonal are mirrored.
            whole = n_columns - n_columns % 4
            for r in range(0, whole, 4):
                for line in range(r // n_lanes, n_lines):
                    _add_four(products, weighted, n_cells, r, line, at * n_columns + r, grams)
            for r in range(whole, n_columns):
                for line in range(r // n_lanes, n_lines):
                    gram = load(grams, at * n_columns + r, line, 1)
                    for e in range(n_cells):
                        product = load(products, e, line, 1)
                        gram = plus_product(gram, spread(weighted[e, r], 1), product)
                    store(grams, at * n_columns + r, line, gram)
        for r in range(n_columns):
            for c in range(r):
                grams[at * n_columns + r, c] = grams[at * n_columns + c, r]


def row_equations_numpy(first, stop, edges, others, values, weights, F, grams, moments):
    """Do as ``row_equations`` does, in NumPy."""
    n_columns = len(grams) // len(moments)
    weights = np.broadcast_to(weights, values.shape)
    for at, (start, end) in enumerate(pairwise(edges[first : stop + 1])):
        products = F[others[start:end]].prod(axis=1)
        weighted = weights[start:end, None] * products
        moments[at] += values[start:end] @ weighted
        grams[at * n_columns : (at + 1) * n_columns] += weighted.T[:n_columns] @ products


def others_of(factors, terms, mode):
    """Return what a mode reads of the other factors, and of additive terms of all modes or none.

    After the components comes a column of ones, which the term of the mode is read with, and then
    a column for the term of each other mode.
    """
    others = [n for n in range(len(factors)) if n != mode]
    if not terms:
        return [factors[n] for n in others]
    order, read = [mode, *others], []
    for n in others:
        ones = np.ones((len(factors[n]), len(terms)))
        ones[:, n] = terms[n]
        read.append(np.hstack([factors[n], ones[:, order]]))
    return read or [np.ones((1, factors[0].shape[1] + 1))]


def stack(others):
    """Return what a mode reads of the other factors, stacked, each row in whole cache lines."""
    n_columns = others[0].shape[1]
    stacked = whole_lines(1, sum(map(len, others)), n_columns, others[0].dtype)[0]
    np.concatenate(others, out=stacked[:, :n_columns])
    return stacked


def solve_rows(cells, others, solve, each=()):
    """Return a row for every row of a mode, from its normal equations.

    Parameters
    ----------
    cells : CellsByRow
        The cells in the order of this mode.
    others : list of ndarray of shape (n_rows, R)
        The other factors; of a vector, one row of ones.
    solve : callable
        ``(grams, moments, *each) -> solutions`` of a block of rows: matrices (rows, R, R) and
        right sides (rows, R); whatever length a solution has.
    each : sequence of ndarray of shape (n_rows, ...)
        Of each, ``solve`` is given what belongs to its block.
    """
    n_columns, n_rows = others[0].shape[1], len(cells.edges) - 1
    stacked = stack(others)
    width = stacked.shape[1]
    work_blocks = min(len(cells.values) * n_columns**2 // _BLOCK_WORK, _MAX_BLOCKS)
    per_block = max(1, min(_BLOCK // (n_columns * width), -(-n_rows // max(1, work_blocks))))
    blocks = iter([slice(i, min(i + per_block, n_rows)) for i in range(0, n_rows, per_block)])
    solved = {}

    def work():
        memory = whole_lines(1, per_block * (n_columns + 1), n_columns, stacked.dtype)[0]
        for rows in blocks:
            n = rows.stop - rows.start
            moments, grams = memory[:n], memory[per_block : per_block + n * n_columns]
            moments[:], grams[:] = 0, 0
            row_equations(rows.start, rows.stop, *cells, stacked, grams, moments)
            matrices = grams.reshape(n, n_columns, width)[:, :, :n_columns]
            of_these = [array[rows] for array in each]
            solved[rows.start] = solve(matrices, moments[:, :n_columns], *of_these)

    n_threads = min(numba_config.NUMBA_NUM_THREADS, -(-n_rows // per_block))
    with pool_of(n_threads) as pool:
        workers = [pool.submit(work) for _ in range(n_threads - 1)]
        work()
        for worker in workers:
            worker.result()
    return np.concatenate([solved[start] for start in sorted(solved)])
