"""Losses of a linear predictor eta and a value y: deviances of counts, and of yes or no.

Both come of exponential families in their canonical form: with the cumulant ``b`` the mean of y is
``b'(eta)``, its variance ``b''(eta)``, and what a value adds to the loss is the unit deviance
``2 (b(eta) - y eta)`` less its least over eta (P. McCullagh and J. A. Nelder, "Generalized Linear
Models", 2nd edition, 1989, chapter 2). Like the squared loss it is zero where y is its own mean.

Cells of such a loss have two columns of values: y, and what the offset adds to eta.
"""

import numpy as np
from scipy.special import expit, logit

# Values below it add nothing to a deviance, and beyond the largest all digits of one are lost.
_NOTHING, _LARGEST = 1e-30, 1e15
# Least mean of a sum of parts, beside a unit of 1.
_LEAST = 1e-10
# Share of the mean of all cells below which curvatures of sums of parts grow no more.
_SMALL = 1e-3
# Mean deviances that are rounding.
_ALIKE = 1e-14


def _apply(name, array):
    """Apply a function of NumPy, or the method of a torch tensor."""
    method = getattr(array, name, None)
    if method is not None:
        return method()
    with np.errstate(over="ignore"):  # where a mean is no number its deviance tells so
        return getattr(np, name)(array)


def _entropy(y):
    """Return ``y log y``, 0 at 0; numpy and torch alike."""
    return y * _apply("log", y.clip(min=_NOTHING))


class Link:
    """What the losses share: ``name`` for users, ``number`` for compiled code, ``most`` of a y."""

    linked, name, number, remedy, most = True, "", 0, "", np.inf
    # Whether a unit is divided out, and whether components may not be negative.
    scaled, needs_parts = False, False
    # Linear predictors that are as good as zero, and the least that there may be.
    slight, lowest = 0.01, -np.inf

    def __str__(self):
        return self.name

    def cost(self, eta, y):
        """Return the deviance but for what does not depend on eta."""
        return 2 * (self.cumulant(eta) - y * eta)

    def value(self, eta, y):
        """Return the unit deviance."""
        return self.cost(eta, y) - self.least(y)

    def at(self, predicted, values):
        """Return the deviance of cells whose components add up to what is predicted."""
        return self.value(predicted + values[:, 1], values[:, 0])

    def derivative(self, eta, y):
        """Return the derivative of each deviance by eta (NumPy)."""
        return 2 * (self.mean(eta) - y)

    def slope(self, mean):
        """Return the derivative of the mean by eta."""
        return self.variance(mean)

    def curvature(self, eta):
        """Return the second derivative (NumPy)."""
        return 2 * self.variance(self.mean(eta))

    def deviance(self, y, mean):
        """Return the unit deviance of values about means, which may be on the boundary."""
        return self.value(self.link(mean), y)

    def reach(self, cells):
        """Return that no linear predictor is too large: yes for sure asks for any."""
        return np.inf

    def level(self, mean, n_cells):
        """Return eta of a mean of so many cells, finite also where it is on the boundary."""
        return float(self.link(self.inside(mean, n_cells)))

    def inside(self, mean, n_cells):
        """Return a mean, or where that is on the boundary one that is off it by half a value."""
        if 0 < mean < self.most:
            return mean
        return 0.5 / n_cells if mean <= 0 else self.most - 0.5 / n_cells

    def check(self, y, source="y", rows=None):
        """Raise where a value is none of this loss; ``rows`` are those of the user, if others."""
        bad = (y < 0) | (y > min(self.most, _LARGEST))
        if bad.any():
            at = int(np.argmax(bad))
            row = at if rows is None else rows[at]
            raise ValueError(
                f'loss="{self.name}": row {row} of {source} has {y[at]:.6g}; {self.remedy}'
            )


class Poisson(Link):
    """Counts of mean ``exp(eta)``."""

    name = "poisson"
    remedy = (
        "counts, or rates with exposures as sample_weight, go from 0 to 1e15. For other values "
        'take loss="squared".'
    )

    def cumulant(self, eta):
        return _apply("exp", eta)

    def mean(self, eta):
        with np.errstate(over="ignore"):
            return np.exp(eta)

    def variance(self, mean):
        return mean

    def link(self, mean):
        return np.log(np.maximum(mean, _NOTHING))

    def least(self, y):
        return 2 * (y - _entropy(y))

    def reach(self, cells):
        """Return how far from zero values ask components to reach."""
        return float(np.abs(self.rough(cells.values[:, 0]) - cells.values[:, 1]).max())

    def rough(self, y):
        """Return eta near which a value lies, finite at 0."""
        return np.log(y + 0.5)


class Logistic(Link):
    """No and yes, 0 and 1, or the share of yes, of mean ``1 / (1 + exp(-eta))``."""

    name, number, most = "logistic", 1, 1.0
    remedy = (
        "no is 0, yes is 1, and between them lies a share of yes, with the number of answers as "
        "sample_weight. Write (y == yes).astype(float), or take CompletionClassifier, which reads "
        "any two labels."
    )

    def cumulant(self, eta):
        size = _apply("abs", eta)
        return (eta + size) / 2 + _apply("log1p", _apply("exp", -size))

    def mean(self, eta):
        return expit(eta)

    def variance(self, mean):
        return mean * (1 - mean)

    def link(self, mean):
        # 1 less the least share that differs from it.
        return logit(np.clip(mean, _NOTHING, 1 - 2.0**-53))

    def least(self, y):
        return -2 * (_entropy(y) + _entropy(1 - y))

    def rough(self, y):
        """Return eta near which a value lies, finite at 0 and 1."""
        return logit((y + 0.1) / 1.2)


class PoissonSum(Link):
    """Counts whose mean is eta itself, a sum of parts that are not negative."""

    name, scaled, needs_parts, slight, lowest = "poisson_sum", True, True, 0.0, 0.0
    remedy = Poisson.remedy

    def cost(self, eta, y):
        mean = eta + _LEAST
        return 2 * (mean - y * _apply("log", mean))

    def least(self, y):
        return 2 * (y - _entropy(y))

    def derivative(self, eta, y):
        return 2 * (1 - y / (eta + _LEAST))

    def mean(self, eta):
        return eta

    def variance(self, mean):
        return mean

    def slope(self, mean):
        return 1.0

    def curvature(self, eta):
        """Return the second derivative as expected; means far below that of all are no less."""
        return 2 / (np.maximum(eta, _SMALL * eta.mean()) + _LEAST)

    def link(self, mean):
        return mean

    def rough(self, y):
        """Return eta near which a value lies."""
        return y


LINKS = {link.name: link() for link in (Poisson, PoissonSum, Logistic)}


def link_of(model):
    """Return the loss with a link that a model was fitted by, or None."""
    return LINKS.get(vars(model).get("_link"))


def share_of_deviance(loss, y, mean, sample_weight=None):
    """Return ``1 - D(y, mean) / D(y, mean of y)``, D the weighted sum of unit deviances."""
    weights = np.broadcast_to(1.0, len(y)) if sample_weight is None else sample_weight
    around = np.full(len(y), np.average(y, weights=weights))
    left, total = (weights @ loss.deviance(y, at) for at in (mean, around))
    return float(1 - left / total) if total > _ALIKE * weights.sum() else float(left <= total)
