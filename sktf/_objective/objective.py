"""What objectives of observed cells share, whatever the device."""

from copy import copy

import numpy as np

from sktf._cells.sorting import lexicographic

# Cells whose products are held at once where they are not summed on the fly.
_CHUNK = 2**16


def sort_cells(factorization, observations):
    """Return stacked row numbers, an array a mode, values and weights of cells in sorted order.

    The mode with most rows comes last, so that as many cells as possible share their others.
    One weight stands for all where they are alike; the sum over the cells is 1.
    """
    coords, values, weights, _ = observations
    starts = np.concatenate([[0], np.cumsum(factorization.shape)]).astype(np.int32)
    modes = np.argsort(factorization.shape, kind="stable")
    sequence = lexicographic([coords[:, mode] for mode in modes])
    columns = [
        (coords[:, mode][sequence] + starts[mode]).astype(np.int32, copy=False) for mode in modes
    ]
    alike = (weights == weights[:1]).all()
    weights = np.full(1, 1 / len(values)) if alike else weights[sequence] / weights.sum()
    return columns, values[sequence], weights, starts


class Objective:
    """A loss over observations as a function of theta, and what a descent may know of it."""

    one_thread_problem, is_long = None, False

    def with_loss(self, loss):
        """Return the same objective with another loss; the cells are shared."""
        other = copy(self)
        other.loss_function = loss
        return other


def loss_terms(factors, rows, values, weights, loss):
    """Return what each cell adds to the loss of given factors; ``rows`` are those stacked."""
    stacked = np.concatenate(factors)
    terms = np.empty(len(values))
    for start in range(0, len(values), _CHUNK):
        part = slice(start, start + _CHUNK)
        products = stacked[rows[part, 0]]
        for column in rows[part, 1:].T:
            products *= stacked[column]
        terms[part] = loss.at(products.sum(axis=1), values[part])
    return terms * weights
