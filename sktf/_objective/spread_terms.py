"""Additive terms of cells that lie on several ranks, by the least squares of scipy's ``lsqr``.

Each rank has the part of the long vector that belongs to its cells; what is as long as the terms
lies on rank 0. The algorithm, and its names, are those of C. C. Paige and M. A. Saunders, "LSQR: an
algorithm for sparse linear equations and sparse least squares", ACM TOMS 8 (1982).
"""

from math import hypot, sqrt

import numpy as np

from sktf._cells.unfolding import to_cells

# That of ``lsqr``: beyond this condition number it ends.
_MOST_CONDITION = 1e8


class _System:
    """The rows of a least-squares problem that belong to the cells of one rank."""

    def __init__(self, cells, sides, ridge, level, unit):
        (self._sizes, stored), order = sides, len(cells.shape)
        groups = tuple((mode,) for mode in range(order))
        self._cells = to_cells(cells.coords, cells.shape, groups, stored)
        self._root = np.sqrt(cells.weights / ridge)
        self._u = self._root * (cells.values / unit - level)

    def square(self):
        return [self._u @ self._u]

    def pull_back(self, length):
        """Divide the vector by its length; return its product with the transposed matrix."""
        self._u *= 1 / length
        left, pairs = self._root * self._u, zip(self._cells.T, self._sizes, strict=True)
        return np.concatenate([np.bincount(column, left, minlength=n) for column, n in pairs])

    def push(self, terms, share):
        """Take the product with the matrix less a share of the vector; return its square."""
        parts = np.split(terms, np.cumsum(self._sizes)[:-1])
        pairs = zip(parts, self._cells.T, strict=True)
        self._u *= -share
        self._u += self._root * sum(part[column] for part, column in pairs)
        return self.square()


def spread_terms(cells, level, unit, tol):
    """Return the additive terms of ``SpreadCells`` beside a level, in a unit.

    It is the ridge regression of ``sktf._cells.offset.fit_offset``.
    """
    ranks, groups = cells.ranks, tuple((mode,) for mode in range(len(cells.shape)))
    ridge = sum(cells.weight_sums) / cells.n_distinct()
    sides = cells.find_sides(groups)
    system = ranks.keep(_System, cells.kept, sides, ridge, level, unit)
    found = _damped_least_squares(ranks, system, sum(sides[0]), tol)
    terms = tuple(np.zeros(size) for size in cells.shape)
    parts = np.split(found, np.cumsum(sides[0])[:-1])
    for term, seen, part in zip(terms, sides[1], parts, strict=True):
        term[slice(None) if seen is None else seen] = part
    return terms


def _damped_least_squares(ranks, system, n, tol):
    """Return x of least ``|A x - b|^2 + |x|^2``, as ``lsqr(A, b, damp=1, atol=tol, btol=tol)``."""
    x = np.zeros(n)
    beta = bnorm = sqrt(ranks.sum(1, _System.square, system)[0])
    v = ranks.sum(n, _System.pull_back, system, beta) if beta > 0 else x
    alpha = float(np.linalg.norm(v))
    if not alpha * beta:
        return x
    v = v / alpha
    w, rhobar, phibar, psi_square = v, alpha, beta, 0.0
    anorm = ddnorm = xxnorm = z = sn2 = 0.0
    cs2 = -1.0
    for _ in range(2 * n):
        beta = sqrt(ranks.sum(1, _System.push, system, v, alpha)[0])
        if beta > 0:
            anorm = sqrt(anorm**2 + alpha**2 + beta**2 + 1)
            v = ranks.sum(n, _System.pull_back, system, beta) - beta * v
            alpha = float(np.linalg.norm(v))
            v = v / alpha if alpha > 0 else v
        # Rotations eliminate the damping and the subdiagonal, and make of x its norm.
        rhobar1 = hypot(rhobar, 1)
        psi_square += (phibar / rhobar1) ** 2
        phibar *= rhobar / rhobar1
        rho = hypot(rhobar1, beta)
        cs, sn = rhobar1 / rho, beta / rho
        theta, rhobar = sn * alpha, -cs * alpha
        phi, phibar = cs * phibar, sn * phibar
        ddnorm += float(w @ w) / rho**2
        x, w = x + phi / rho * w, v - theta / rho * w
        rhs, gambar = phi - sn2 * rho * z, -cs2 * rho
        xnorm, gamma = sqrt(xxnorm + (rhs / gambar) ** 2), hypot(gambar, theta)
        cs2, sn2, z = gambar / gamma, theta / gamma, rhs / gamma
        xxnorm += z**2
        rnorm = sqrt(phibar**2 + psi_square)
        is_small = rnorm <= tol * (bnorm + anorm * xnorm)
        is_least = alpha * abs(sn * phi) <= tol * anorm * rnorm
        if is_small or is_least or anorm * sqrt(ddnorm) >= _MOST_CONDITION:
            break
    return x
