"""Once components and basin are known: alternating ridge regressions of all rows of all modes.

A row solves its normal equations, the other factors fixed: a Newton step of each block, of which
a few sweeps do what gradient descent needs hundreds of steps for. Rows that may not be negative
descend in their entries instead. Additive terms are columns that the other modes read as ones,
fitted jointly.
"""

from itertools import islice
from math import inf
from typing import Any, NamedTuple

import numpy as np

from sktf._descent.pruning import compressions, mean_factors
from sktf._descent.race import as_good
from sktf._objective.components import component_norms, sum_of_products
from sktf._objective.devices import cells_by_row
from sktf._objective.nonnegative_rows import descend_rows
from sktf._objective.row_equations import others_of

# A sweep that changes the held-out error by a smaller share is the last one, of so many at most.
_LITTLE, _SWEEPS = 1e-3, 30
# Penalties that are tried are so many times one another, at first and then; so many at most.
_TIMES, _FINE, _PENALTIES = 3.0, 3**0.5, 6
# Where the parameters are a smaller share of the cells, a penalty is not worth a search.
_FEW = 0.05
# The multiple of the natural penalty that is tried first: of a strong one, components that have not
# yet reached their size would die. Sweeps that do for components between which more will grow.
_WEAK, _ROUGH_SWEEPS = 1 / 3, 8
# Passes over the entries of a row that may not be negative, at most: fifty leave no less error.
_PASSES = 10
# Relative to the trace of a matrix, what keeps it invertible.
_RIDGE = 1e-9
# Of more cells those in the order of one mode are held at once: to sort them is less than a sweep.
_MANY = 2**22
# Fewer components are polished where they leave at most so many times the squares, in so many
# sweeps, until so many numbers of them in a row are no better.
_WITHIN_REACH, _GLANCE, _BEYOND = 1.5, 3, 3
# A component of a smaller share of the largest is dead: under a penalty sweeps square its share.
_DEAD = 1e-9


class Model(NamedTuple):
    """Factors, and one additive term a mode or none, on the scaled data.

    No entry of the factors of a ``nonnegative`` model is below zero, nor becomes so. Below the link
    of a ``loss`` there may be a ``level`` beside them.
    """

    factors: list
    terms: tuple
    nonnegative: bool = False
    level: float | None = None
    loss: Any = None

    @property
    def n_components(self):
        """Number of components."""
        return self.factors[0].shape[1]

    def beside(self, others):
        """Return the model with more components."""
        pairs = zip(self.factors, others, strict=True)
        return self._replace(factors=[np.hstack(pair) for pair in pairs])

    def alive(self):
        """Return the model without dead components; if all are, they stay."""
        norms = component_norms(self.factors)
        dead = norms < _DEAD * norms.max(initial=0.0)
        if not dead.any():
            return self
        return self._replace(factors=[factor[:, ~dead] for factor in self.factors])

    def at_most(self, n_components):
        """Return the model, or the one with so many components that comes near it."""
        if self.n_components <= n_components:
            return self
        found = list(islice(compressions(self.factors, self.nonnegative), n_components))
        one = [factor[:, :1] for factor in self.factors]  # of zeros there is no compression
        return self._replace(factors=found[-1] if found else one)

    def beyond(self, before, share):
        """Return the model as far beyond this one as a share of the way from another."""

        def further(mine, theirs):
            return [new + share * (new - old) for new, old in zip(mine, theirs, strict=True)]

        factors = further(self.factors, before.factors)
        if self.nonnegative:
            factors = [np.maximum(factor, 0.0) for factor in factors]
        return self._replace(factors=factors, terms=tuple(further(self.terms, before.terms)))

    def at(self, coords):
        """Return the predictions of cells."""
        total = sum_of_products(self.factors, coords)
        for mode, term in enumerate(self.terms):
            total += term[coords[:, mode]]
        return total + self.level if self.level else total

    def squares(self, cells):
        """Return the squared error, or deviance, of each cell, times its share of the weights."""
        shares, predicted = cells.weights / cells.weights.sum(), self.at(cells.coords)
        if self.loss is not None:
            return shares * self.loss.at(predicted, cells.values)
        return shares * (predicted - cells.values) ** 2

    def error(self, cells):
        """Return the mean squared error over cells."""
        return float(self.squares(cells).sum())


def mean_of(models):
    """Return the model whose predictions are the mean of those of several."""
    terms = zip(*(model.terms for model in models), strict=True)
    factors = mean_factors([model.factors for model in models])
    terms = tuple(np.mean(term, axis=0) for term in terms)
    level = None if models[0].level is None else float(np.mean([m.level for m in models]))
    return models[0]._replace(factors=factors, terms=terms, level=level)


class Penalty(NamedTuple):
    """Weights of the squares of all entries of factors, and of those of each term."""

    factors: float
    terms: tuple

    @classmethod
    def natural(cls, model, noise):
        """Return what makes of least squares the likeliest a posteriori, were entries normal.

        That is the mean squared error over the mean square of the entries.
        """

        def over(*entries):
            squares = np.concatenate([np.ravel(part) ** 2 for part in entries])
            return noise / max(squares.sum() / max(squares.size, 1), 1e-12)

        return cls(over(*model.factors), tuple(over(term) for term in model.terms))

    def times(self, multiple):
        """Return a multiple of it."""
        return Penalty(multiple * self.factors, tuple(multiple * term for term in self.terms))


class Polish:
    """Sweeps over the modes, on cells whose values contain the additive terms.

    A sweep lowers ``sum_e w_e (y_e - model_e)^2 + penalty * |entries|^2``, mode by mode.

    Parameters
    ----------
    cells : Observations
        The cells.
    held_out : Observations
        Cells that tell when to end, and how strong a penalty is best.
    progress : Progress
        Tells whether to stop.
    dtype : dtype
        In which the values are kept.
    n_last : int
        Cells of which these are a sample, and that last sweeps are taken on.
    """

    def __init__(self, cells, held_out, progress, dtype=np.float64, n_last=0):
        self._cells, self._dtype, self._n_cells = cells, dtype, len(cells.values)
        self._n_last = max(n_last, self._n_cells)
        self._held_out, self._progress, self._kept = held_out, progress, {}

    def _by_row(self, mode):
        """Return the cells in the order of a mode, those of many cells anew each time."""
        if mode in self._kept:
            return self._kept[mode]
        by_row = cells_by_row(self._cells, mode, self._dtype)
        if self._n_cells <= _MANY:
            self._kept[mode] = by_row
        return by_row

    def _solved(self, mode, others, solve, start):
        """Return the rows of a mode as ``solve`` makes them of their normal equations."""
        return self._by_row(mode).solve(others, solve, [start])

    def sweep(self, model, penalty):
        """Return the model after one sweep."""
        factors, terms = list(model.factors), list(model.terms)
        n = model.n_components
        for mode in range(len(factors)):
            others = others_of(factors, terms, mode)
            weights = np.array([penalty.factors] * n + [*penalty.terms[mode : mode + 1]])
            start = np.column_stack([factors[mode], *terms[mode : mode + 1]])
            solve = _above_zero(weights, n) if model.nonnegative else ridge(weights)
            solved = self._solved(mode, others, solve, start)
            factors[mode] = solved[:, :n]
            terms[mode : mode + 1] = [solved[:, n]] if terms else []
        return model._replace(factors=factors, terms=tuple(terms))

    def settle(self, model, penalty, most=_SWEEPS, bound=inf):
        """Return the model where sweeps change little on held-out cells, and its error there.

        A longer step in the direction of a sweep is taken where it pays: sweeps creep in swamps.
        An error that rises above ``bound`` ends them as well.
        """
        last = inf
        for number in range(most):
            before, model = model, self.sweep(model, penalty)
            error = model.error(self._held_out)
            if number > 1:
                far = model.beyond(before, np.sqrt(number))
                further = far.error(self._held_out)
                if further < error and self._may_go_to(far, model):
                    model, error = far, further
            is_little = not abs(error - last) > _LITTLE * error
            model = model.alive()
            if self._progress.stopped or is_little or error > max(last, bound):
                break
            last = error
        return model, error

    def _may_go_to(self, far, model):
        """Whether held-out cells, few as they may be, are to be believed that far is better."""
        return True

    def rough(self, model):
        """Return the model polished under a weak penalty, and this."""
        penalty = Penalty.natural(model, model.error(self._held_out)).times(_WEAK)
        return self.settle(model, penalty, _ROUGH_SWEEPS)[0], penalty

    def search(self, model, near=None):
        """Return the model polished under the best penalty, and this.

        ``near`` is a penalty not far from it; None: nothing is known of it.
        """
        penalty = near or Penalty.natural(model, model.error(self._held_out)).times(_WEAK)
        found = (*self.settle(model, penalty), penalty)
        if model.n_components * sum(map(len, model.factors)) >= _FEW * self._n_last:
            for times in (_FINE,) if near else (_TIMES, _FINE):
                stronger = self._follow(*found, times)
                # What is weaker than a stronger one that is better has been tried.
                is_better = stronger[1] < found[1]
                found = stronger if is_better else self._follow(*found, 1 / times)
        best, _, penalty = found
        return best, penalty

    def _follow(self, best, error, penalty, times):
        """Return what is polished best under multiples of a penalty, its error and the penalty."""
        for _ in range(_PENALTIES):
            tried = penalty.times(times)
            found, its_error = self.settle(best, tried, bound=error)
            if its_error >= error:
                break
            best, error, penalty = found, its_error, tried
        return best, error, penalty

    def prune(self, model, penalty):
        """Return the model with the fewest components that held-out cells find as good as any."""
        tried, since, least = [model], 0, inf
        bound = _WITHIN_REACH * model.error(self._held_out)
        for factors in compressions(model.factors, model.nonnegative):
            few = model._replace(factors=factors)
            if few.n_components >= model.n_components or since == _BEYOND:
                break
            if few.error(self._held_out) <= bound:
                few, error = self.settle(few, penalty, _GLANCE)
                since = since + 1 if error >= (1 - _LITTLE) * least else 0
                least = min(least, error)
                tried.append(few)
        squares = [few.squares(self._held_out) for few in tried]
        best = min(squares, key=np.sum)
        suitable = [few for few, its in zip(tried, squares, strict=True) if as_good(its, best)]
        return min(suitable, key=lambda few: few.n_components)


def ridge(penalty):
    """Return what solves blocks of normal equations; columns after the penalized ones are fixed."""

    def solve(grams, moments, _):
        matrices, right = _penalized(grams, moments, penalty)
        return np.linalg.solve(matrices, right[..., None])[..., 0]

    return solve


def _above_zero(penalty, n_bounded):
    """Return what ``ridge`` does where the first entries of a row may not be negative."""

    def solve(grams, moments, rows):
        rows = rows.copy()
        descend_rows(*_penalized(grams, moments, penalty), n_bounded, _PASSES, rows)
        return rows

    return solve


def _penalized(grams, moments, penalty):
    """Return the matrices with a penalty, double and regular, and the right sides."""
    n = len(penalty)
    diagonal = np.arange(n)
    right = (moments[:, :n] - grams[:, :n, n:].sum(axis=2)).astype(np.float64, copy=False)
    matrices = grams[:, :n, :n].astype(np.float64)
    trace = np.trace(matrices, axis1=1, axis2=2)
    matrices[:, diagonal, diagonal] += penalty + _RIDGE * trace[:, None] + 1e-30
    return matrices, right
