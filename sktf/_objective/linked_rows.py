"""What rows of one factor are moved by below a link, all others fixed: compiled.

The means of ``links`` stand here by the ``number`` of the loss. What is compiled here runs
uncompiled as well, and so is its own twin.
"""

from math import exp

import numpy as np
from numba import njit

from sktf._compile import compiled
from sktf._objective.lanes import SUMS

# A row goes the whole step, or so many times a part of what it has tried before, or not at all. At
# its end the slope along it is at most this share of the one at its start, turned about.
_PART, _TRIES, _STEEP = 0.25, 4, 0.5
# Beyond, the exponential is no number.
_MOST = 700.0


@njit(inline="always")
def mean_of(number, eta):
    """Return the mean of a value: of a count, or of yes or no."""
    if number == 0:
        return exp(min(eta, _MOST))
    small = exp(-abs(eta))
    return (1.0 if eta > 0 else small) / (1.0 + small)


@compiled()
def working_cells(number, numbers, eta, means, values, level, weights, flat, working, curvatures):
    """Write the working values of cells, less what is added to them, and their weights.

    With slope g and curvature h of the deviance at eta, near which it is ``h / 2`` times the square
    about ``eta - g / h``; ``flat`` is the least ``h / 2``. Cells come in the order of ``numbers``,
    and ``weights`` with them, of which one may stand for all.
    """
    weight = weights[0]
    for e in range(len(numbers)):
        at = numbers[e]
        if len(weights) > 1:
            weight = weights[e]
        mean = means[at]
        curvature = max(mean if number == 0 else mean * (1 - mean), flat)
        working[e] = eta[at] + (values[at, 0] - mean) / curvature - values[at, 1] - level
        curvatures[e] = weight * curvature


@compiled(fastmath=set(SUMS))
def move_rows(number, edges, numbers, others, F, rows, moves, penalty, values, weights, eta, means):
    """Move rows by as much of ``moves`` as is of use, and eta and means of their cells with them.

    ``edges`` and ``others`` are those of ``CellsByRow``, whose cells have the ``numbers``, and
    ``F`` the other factors, stacked, whose first columns are those of the rows. What falls is the
    weighted deviance and penalty of a row, which is convex: whoever goes no further than where its
    slope has turned and risen to less than it was has gone down.
    """
    weight, n_columns = weights[0], rows.shape[1]
    changes, there = np.empty(len(numbers)), np.empty(len(numbers))
    product = np.empty(n_columns)
    for row in range(len(rows)):
        start, stop = edges[row], edges[row + 1]
        slope = 0.0
        for r in range(n_columns):
            slope += penalty[r] * rows[row, r] * moves[row, r]
        for e in range(start, stop):
            at, change = numbers[e], 0.0
            for r in range(n_columns):
                product[r] = moves[row, r] * F[others[e, 0], r]
            for n in range(1, others.shape[1]):
                for r in range(n_columns):
                    product[r] *= F[others[e, n], r]
            for r in range(n_columns):
                change += product[r]
            if len(weights) > 1:
                weight = weights[e]
            changes[e] = change
            slope += weight * (means[at] - values[at, 0]) * change
        share = 1.0
        for _ in range(_TRIES):
            risen = 0.0
            for r in range(n_columns):
                risen += penalty[r] * (rows[row, r] + share * moves[row, r]) * moves[row, r]
            for e in range(start, stop):
                at = numbers[e]
                if len(weights) > 1:
                    weight = weights[e]
                there[e] = mean_of(number, eta[at] + share * changes[e])
                risen += weight * (there[e] - values[at, 0]) * changes[e]
            if risen <= -_STEEP * slope:
                break
            share *= _PART
        else:
            continue
        for r in range(n_columns):
            rows[row, r] += share * moves[row, r]
        for e in range(start, stop):
            eta[numbers[e]] += share * changes[e]
            means[numbers[e]] = there[e]
