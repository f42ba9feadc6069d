"""Growth and polish below a link: Newton steps of all rows of all modes, in place of regressions.

A deviance has near a linear predictor a square of its own, that of iteratively reweighted least
squares (P. McCullagh and J. A. Nelder, "Generalized Linear Models", 2nd edition, 1989, section
2.5): rows solve its normal equations, and one that would raise its deviance goes a part of the way.
"""

import numpy as np

from sktf._descent.growth import GrowingRun
from sktf._descent.polish import Polish, ridge
from sktf._objective.linked_rows import move_rows, working_cells
from sktf._objective.row_equations import CellsByRow, others_of, solve_rows

# Standard deviations above its mean from which on a value pulls components that grow no more: as
# with the Huber loss, single large ones would capture the descent.
_FAR = 10
# The level moves no further in one step. What has a smaller share of the mean curvature is flat:
# the Newton step of a cell would lose all digits.
_FARTHEST, _FLAT, _LEAST = 2.0, 1e-9, 1e-200
# A longer step may leave so many times the deviance of the cells that are fitted.
_WORSE = 1.1


class LinkedRun(GrowingRun):
    """A growing model below a link: what it predicts is added where more components grow."""

    def _left(self):
        both = self._sample, self._growth.looked_at
        return *(_beside(self.theta, cells) for cells in both), 1.0


def _beside(model, cells):
    """Return cells as more components see them, none of which may outweigh all others."""
    y, eta = cells.values[:, 0], cells.values[:, 1] + model.at(cells.coords)
    mean = model.loss.mean(eta)
    most = mean + _FAR * np.sqrt(model.loss.variance(mean)) + 1
    return cells._replace(values=np.column_stack([np.minimum(y, most), eta]))


class LinkedPolish(Polish):
    """What ``Polish`` is, of cells whose values have two columns, y and what is added to eta.

    A sweep lowers ``sum_e w_e deviance_e + penalty * |entries|^2``, mode by mode.
    """

    def _by_row(self, mode):
        """Return the cells in the order of a mode, their numbers as values."""
        if mode not in self._kept:
            numbers = self._cells._replace(values=np.arange(self._n_cells, dtype=np.float64))
            cells = CellsByRow.of(numbers, mode)
            self._kept[mode] = cells._replace(values=cells.values.astype(np.int64))
        return self._kept[mode]

    def _may_go_to(self, far, model):
        # Held-out counts that are all zero would have any mean fall for ever.
        return far.error(self._cells) <= _WORSE * model.error(self._cells)

    def sweep(self, model, penalty):
        eta = model.at(self._cells.coords) + self._cells.values[:, 1]
        means = model.loss.mean(eta)
        for mode in range(len(model.factors)):
            model = self._step(model, (eta, means), mode, penalty)
        return model if model.level is None else self._leveled(model, eta)

    def _leveled(self, model, eta):
        """Return the model after a Newton step of the level."""
        y, weights = self._cells.values[:, 0], self._cells.weights
        wanted = model.loss.inside(np.average(y, weights=weights), len(y))
        slope = np.average(model.loss.mean(eta), weights=weights) - wanted
        curvature = np.average(model.loss.curvature(eta), weights=weights) / 2
        move = np.clip(-slope / max(curvature, _FLAT * wanted), -_FARTHEST, _FARTHEST)
        return model._replace(level=model.level + float(move))

    def _step(self, model, at, mode, penalty):
        """Return the model after a step of the rows of a mode; eta and means of cells follow."""
        factors, terms, n = list(model.factors), list(model.terms), model.n_components
        edges, read, numbers, weights = self._by_row(mode)
        penalties = np.array([penalty.factors] * n + [*penalty.terms[mode : mode + 1]])
        others, values, number = (
            others_of(factors, terms, mode),
            self._cells.values,
            model.loss.number,
        )
        working, curvatures = np.empty((2, self._n_cells))
        flat = max(_FLAT * float(np.mean(model.loss.variance(at[1]))), _LEAST)
        cells = number, numbers, *at, values, model.level or 0.0, weights, flat
        working_cells(*cells, working, curvatures)
        rows = np.column_stack([factors[mode], *terms[mode : mode + 1]])
        cells = CellsByRow(edges, read, working, curvatures)
        solved = solve_rows(cells, others, ridge(penalties), [rows])
        steps = edges, numbers, read, np.concatenate(others), rows, solved - rows, penalties
        move_rows(number, *steps, values, weights, *at)
        factors[mode] = rows[:, :n]
        terms[mode : mode + 1] = [rows[:, n]] if terms else []
        return model._replace(factors=factors, terms=tuple(terms))
