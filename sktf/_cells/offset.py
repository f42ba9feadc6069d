"""What is taken off the values before descent, and the scale of what is left."""

from typing import NamedTuple

import numpy as np
from scipy.sparse.linalg import LinearOperator, lsqr

from sktf._cells.unfolding import find_sides, to_cells

# "auto" takes the mean off where it exceeds this many standard deviations: a component that holds
# such a level has converged, relative to it, before the rest is worth a step. Below, components
# hold it as well as an offset does, and one that multiplies needs it.
LEVEL = 10
# Relative tolerances of additive terms, of up to so many cells and of more.
_EXACT, _FINE, _MANY = 1e-12, 1e-5, 10**5
# Differences of equal values leave rounding errors of this size, nothing to descend on.
ROUNDING = 1e-12
_LEAST = np.nextafter(0.0, 1.0).item()
# Newton steps of an offset below a link, no term moving further in one of them, until they do not.
_NEWTON, _FARTHEST, _STILL = 50, 2.0, 1e-8
# Values whose squares are held at once.
_CHUNK = 2**20


class Offset(NamedTuple):
    """``level + sum_n terms[n][i_n]``, in data units, and ``scale``, the RMS of what is left.

    The scale is 1 where it was not asked for, and 0 where nothing is left to descend on.
    """

    level: float
    terms: tuple
    scale: float

    def at(self, coords, known=True):
        """Offset of each cell; an index that is not ``known`` contributes nothing."""
        total = np.full(len(coords), self.level)
        known = np.broadcast_to(known, coords.shape)
        for mode, term in enumerate(self.terms):
            total += np.where(known[:, mode], term[coords[:, mode]], 0.0)
        return total


class Moments(NamedTuple):
    """What an offset without terms is fitted to, where the values are not held at once.

    ``unit`` is a power of two near the largest absolute value; ``mean``, ``square`` and ``spread``,
    the mean squares about 0 and about the mean, are in this unit, ``low`` and ``high`` are not.
    """

    unit: float
    low: float
    high: float
    mean: float
    square: float
    spread: float

    @classmethod
    def of(cls, blocks):
        """Return those of blocks of values; no square over- or underflows."""
        rows = []
        for values in blocks:
            # That of zeros is the least: it is nowhere the largest, unless all values are zero.
            unit = _unit(largest(values) or _LEAST)
            part = values / unit
            mean = part.mean()
            squares = (part**2).sum(), ((part - mean) ** 2).sum()
            rows.append((len(part), unit, values.min(), values.max(), mean, *squares))
        if not rows:
            raise ValueError("There are no rows to read.")
        n, units, lows, highs, means, squares, spreads = np.transpose(rows)
        shares, unit = units / units.max(), units.max()
        mean = n @ (means * shares) / n.sum()
        square = sum(squares * shares**2) / n.sum()
        spread = (spreads @ shares**2 + n @ (means * shares - mean) ** 2) / n.sum()
        return cls(*map(float, (unit, lows.min(), highs.max(), mean, square, spread)))

    def offset(self, kind, scale):
        """Return what ``fit_offset`` returns, the mean in the place of an additive offset."""
        if kind == "auto":
            kind = "mean" if abs(self.mean) > LEVEL * np.sqrt(self.spread) else None
        level, square = (0.0, self.square) if kind is None else (self.mean, self.spread)
        if max(self.high / self.unit - level, level - self.low / self.unit) <= ROUNDING:
            return Offset(self.unit * level, (), 0.0)
        rms = _above_zero(self.unit * np.sqrt(square)) if scale else 1.0
        return Offset(self.unit * level, (), rms)


def _above_zero(rms):
    """Return a root mean square, not rounded to zero where values are the smallest there are."""
    return max(float(rms), _LEAST)


def _unit(size):
    """Return a power of two near a size."""
    return 2.0 ** (np.frexp(size)[1] - 1)


def fit_offset(observations, kind, scale, tol=None):
    """Fit the offset ``kind`` (None, "auto", "mean" or "additive"); ``scale`` is a bool.

    ``tol`` is the relative tolerance of additive terms; None: rounding, or, of many cells, what
    their noise leaves undecided by far.
    """
    coords, values, weights, _ = observations
    if tol is None:
        tol = tolerance(len(values))
    # In units of a power of two near the largest value, no square over- or underflows.
    unit = _unit(largest(values))
    values = values / unit
    mean = observations._replace(values=values).mean()
    if kind == "auto":
        std = np.sqrt(_mean_square(values, weights, mean))
        kind = "mean" if np.abs(mean) > LEVEL * std else None
    level = mean if kind is not None else 0.0
    terms = _additive_terms(observations, values - level, tol) if kind == "additive" else ()
    values -= Offset(level, terms, 1.0).at(coords) if terms else level
    if largest(values) <= ROUNDING:
        rms = 0.0
    else:
        rms = _above_zero(unit * np.sqrt(_mean_square(values, weights))) if scale else 1.0
    return Offset(float(unit * level), tuple(unit * term for term in terms), rms)


def tolerance(n_cells):
    """Return the relative tolerance of additive terms of so many cells."""
    return _EXACT if n_cells <= _MANY else _FINE


def largest(values):
    """Return the largest absolute value, without an array of these."""
    return max(values.max(), -values.min())


def fit_link_offset(observations, kind, loss, tol=None):
    """Fit the offset ``kind`` of the linear predictor below the link of a loss.

    The level is the link of the mean of y, also with "auto", since no linear predictor is zero for
    want of anything. Additive terms minimize the deviance with the ridge of the squared loss, by
    Newton's method, the level with them.
    """
    coords, y, weights, _ = observations
    tol = tol or _FINE
    mean = observations.mean()
    if loss.scaled:
        return Offset(0.0, (), mean or 1.0)
    offset = Offset(0.0 if kind is None else loss.level(mean, len(y)), (), 1.0)
    if kind != "additive":
        return offset
    wanted = loss.inside(mean, len(y))
    terms = tuple(np.zeros(size) for size in observations.shape)
    if y.min() == y.max():
        return offset._replace(terms=terms)
    for _ in range(_NEWTON):
        offset = offset._replace(terms=terms)
        eta = offset.at(coords)
        curvature = loss.curvature(eta)
        curvature = np.maximum(curvature, _EXACT * max(curvature.max(), 1e-300))
        step = -loss.derivative(eta, y) / curvature
        half = observations._replace(weights=weights * curvature / 2)
        short = wanted - np.average(loss.mean(eta), weights=weights)
        level = short / np.average(curvature / 2, weights=weights)
        level = float(np.clip(level, -_FARTHEST, _FARTHEST))
        found = _additive_terms(half, eta - offset.level + step - level, tol)
        moves = [new - old for new, old in zip(found, terms, strict=True)]
        moves = [np.clip(move, -_FARTHEST, _FARTHEST) for move in moves]
        terms = tuple(old + move for old, move in zip(terms, moves, strict=True))
        offset = offset._replace(level=offset.level + level)
        if max(abs(level), *(largest(move) for move in moves)) <= max(tol, _STILL):
            break
    return offset._replace(terms=terms)


def _mean_square(values, weights, center=0.0):
    """Return the mean square of what values are off a center, without an array of it."""
    total = 0.0
    for start in range(0, len(values), _CHUNK):
        part = slice(start, start + _CHUNK)
        total += ((values[part] - center) ** 2 * weights[part]).sum()
    return total / weights.sum()


def level_share(observations):
    """Return the share of the squares of the values that their mean holds."""
    values = observations.values / (largest(observations.values) or 1.0)
    square = _mean_square(values, observations.weights)
    mean = observations._replace(values=values).mean()
    return float(mean**2 / square) if square > 0 else 0.0


def kurtosis(observations):
    """Return the fourth central moment over the squared second; 0 where all values are equal."""
    left = observations.values - observations.mean()
    left /= largest(left) or 1.0
    squares = observations._replace(values=left**2)
    square = squares.mean()
    fourth = squares._replace(values=squares.values**2).mean()
    return fourth / square / square if square > 0 else 0.0  # its square may be too small


def _additive_terms(observations, values, tol):
    """Ridge regression of values on one indicator per index of each mode.

    Minimizes ``sum_e w_e (values_e - sum_n b_n[i_n])^2 + ridge * |b|^2``, where ``ridge`` is the
    weight of a mean cell: the sum of all weights over the number of distinct cells. It is 1
    without weights and repeated cells, and an index seen m times keeps about ``m / (m + 1)`` of
    its mean. It has the unit of the weights, so that the unit changes nothing; and a row of weight
    k and the same row k times add the same to the sum and are one cell, so that they are alike.
    """
    coords, _, weights, shape = observations
    ridge, order = weights.sum() / observations.n_distinct(), len(shape)
    groups = tuple((mode,) for mode in range(order))
    sizes, stored = find_sides(coords, shape, groups)  # indices without cells have terms 0
    cells = to_cells(coords, shape, groups, stored)
    cuts, root = np.cumsum(sizes)[:-1], np.sqrt(weights / ridge)

    def predict(terms):
        parts = np.split(terms, cuts)
        return root * sum(part[column] for part, column in zip(parts, cells.T, strict=True))

    def pull_back(left):
        pairs = zip(cells.T, sizes, strict=True)
        return np.concatenate([np.bincount(c, root * left, minlength=size) for c, size in pairs])

    design = LinearOperator((len(cells), sum(sizes)), predict, pull_back, dtype=np.float64)
    found = lsqr(design, root * values, damp=1.0, atol=tol, btol=tol)[0]
    terms = tuple(np.zeros(size) for size in shape)
    for term, seen, part in zip(terms, stored, np.split(found, cuts), strict=True):
        term[slice(None) if seen is None else seen] = part
    return terms
