"""Non-negative least squares of many rows by coordinate descent: compiled, with a NumPy twin.

A row f lowers ``f G f / 2 - m f`` entry by entry, each set to its best value that is not negative
while the others rest (A. Cichocki and A.-H. Phan, "Fast local algorithms for large scale
nonnegative matrix and tensor factorizations", IEICE Transactions on Fundamentals E92-A, 2009).
"""

import numpy as np
from numba import config

from sktf._compile import compiled
from sktf._objective.lanes import SUMS

# A pass over the entries of a row is its last if it moves them by less than this share of their
# length, both measured by the diagonal of G.
_LITTLE = 1e-6


@compiled(fastmath=set(SUMS))
def descend_rows(grams, moments, n_bounded, n_passes, rows):
    """Descend from ``rows``, which are overwritten, in at most ``n_passes`` over their entries.

    ``grams`` (n_rows, R, R) are their matrices, or one (1, R, R) for all, ``moments`` (n_rows, R)
    their right sides; the first ``n_bounded`` entries may not be negative.
    """
    n = rows.shape[1]
    for i in range(len(rows)):
        gram, row = grams[min(i, len(grams) - 1)], rows[i]
        left = moments[i] - gram @ row
        for _ in range(n_passes):
            moved, length = 0.0, 0.0
            for r in range(n):
                curvature, before = gram[r, r], row[r]
                if curvature > 0:
                    after = before + left[r] / curvature
                    if r < n_bounded and after < 0:
                        after = 0.0
                    move = after - before
                    if move != 0:
                        row[r] = after
                        for c in range(n):
                            left[c] -= move * gram[r, c]
                    moved += curvature * move * move
                    length += curvature * after * after
            if moved <= _LITTLE**2 * length:
                break


def descend_rows_numpy(grams, moments, n_bounded, n_passes, rows):
    """Do as ``descend_rows`` does, in NumPy, without an early end."""
    for _ in range(n_passes):
        for r in range(rows.shape[1]):
            curvature = grams[:, r, r]
            left = moments[:, r] - (grams[:, r] * rows).sum(axis=1)
            moves = np.divide(left, curvature, where=curvature > 0, out=np.zeros(len(rows)))
            moved = rows[:, r] + moves
            rows[:, r] = np.maximum(moved, 0.0) if r < n_bounded else moved


if config.DISABLE_JIT:  # type: ignore[attr-defined]
    descend_rows = descend_rows_numpy
