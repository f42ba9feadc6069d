"""Components seen as a Tucker tensor: the higher-order SVD, and its truncations."""

from math import prod

import numpy as np

# The largest share of the squares that a truncation leaves.
_DROPPED = 0.01


def hosvd(factors, ranks):
    """Return core, orthonormal bases and singular values of the unfoldings of given components.

    Each mode keeps its leading directions, at most so many as its entry of ``ranks`` [1]_.

    References
    ----------
    .. [1] L. De Lathauwer, B. De Moor and J. Vandewalle, "A multilinear singular value
       decomposition", SIAM Journal on Matrix Analysis and Applications 21 (2000).
    """
    # In units of their largest entries no square over- or underflows.
    peaks = [np.abs(factor).max() or 1.0 for factor in factors]
    units = [factor / peak for factor, peak in zip(factors, peaks, strict=True)]
    grams, bases, values = [unit.T @ unit for unit in units], [], []
    for n, (unit, rank) in enumerate(zip(units, ranks, strict=True)):
        basis, inner = np.linalg.qr(unit)
        others = prod(gram for mode, gram in enumerate(grams) if mode != n)
        squares, vectors = np.linalg.eigh(inner @ others @ inner.T)
        values.append(prod(peaks) * np.sqrt(squares[::-1][:rank].clip(0)))
        bases.append(basis @ vectors[:, ::-1][:, :rank])
    *within, last = (basis.T @ factor for basis, factor in zip(bases, factors, strict=True))
    core = np.ones((1, factors[0].shape[1]))
    for inner in within:
        core = (core[:, None] * inner).reshape(-1, inner.shape[1])
    return (core @ last.T).reshape([len(its) for its in values]), bases, values


def truncations(values):
    """Return ranks, the largest first, of the directions whose singular values exceed a threshold.

    What they leave is a small share of the squares: more is no noise of the components, whatever
    a few held-out cells say.
    """
    ranks, squares = {}, (values[0] ** 2).sum()
    for threshold in [0.0, *np.sort(np.concatenate(values))]:
        dropped = sum((its[its <= threshold] ** 2).sum() for its in values)
        if dropped <= _DROPPED * squares or not ranks:
            ranks[tuple(max(1, int((its > threshold).sum())) for its in values)] = None
    return [*ranks]
