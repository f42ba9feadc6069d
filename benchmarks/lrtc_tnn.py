"""LRTC-TNN, completion by truncated nuclear norms of the unfoldings, in NumPy.

X. Chen, J. Yang and L. Sun, "A nonconvex low-rank tensor completion model for spatiotemporal
traffic data imputation", Transportation Research Part C 117 (2020).
"""

from itertools import product

import numpy as np

#: Share of the singular values that is not lowered; the threshold as a share of the norm.
SETTINGS = list(product((0.05, 0.1, 0.2), (0.03, 0.1, 0.3)))
_GROWTH, _TOLERANCE = 1.05, 1e-4


def lrtc_tnn_fit(shape, X, y, setting, seed, n_iter=200):
    """Alternate thresholds of the unfoldings and filling of the missing cells (ADMM)."""
    theta, share = setting
    place, n_modes, norm = tuple(X.T), len(shape), np.linalg.norm(y)
    filled, seen = np.full(shape, y.mean()), np.zeros(shape, bool)
    filled[place], seen[place] = y, True
    duals, low, rho = np.zeros((n_modes, *shape)), filled, 1 / (n_modes * share * norm)
    for _ in range(n_iter):
        rho, before = _GROWTH * rho, low
        parts = np.array(
            [
                _truncated(filled - dual / rho, mode, 1 / (n_modes * rho), theta)
                for mode, dual in enumerate(duals)
            ]
        )
        filled = np.where(seen, filled, (parts + duals / rho).mean(axis=0))
        duals += rho * (parts - filled)
        low = parts.mean(axis=0)
        if np.linalg.norm(low - before) < _TOLERANCE * norm:
            break
    return lambda X: low[tuple(X.T)]


def _truncated(tensor, mode, threshold, theta):
    """Lower the singular values of one unfolding, but for the largest."""
    moved = np.moveaxis(tensor, mode, 0)
    wide = moved.reshape(len(moved), -1)
    tall = wide.shape[0] > wide.shape[1]
    wide = wide.T if tall else wide
    squares, left = np.linalg.eigh(wide @ wide.T)
    values = np.sqrt(np.maximum(squares, np.finfo(float).tiny))
    lowered = np.maximum(1 - threshold / values, 0)
    lowered[len(values) - int(np.ceil(theta * len(values))) :] = 1
    found = (left * lowered) @ (left.T @ wide)
    return np.moveaxis((found.T if tall else found).reshape(moved.shape), 0, mode)
