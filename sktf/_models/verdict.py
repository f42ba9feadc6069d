"""What held-out cells say of a fit: its score, and whether it learned more than an offset."""

from typing import NamedTuple

import numpy as np

from sktf._cells.sorting import cell_numbers
from sktf._cells.validation import check_readable

# Standard errors by which components must be better than none to count for the rank.
_SIGNIFICANT = 2
# Fewer distinct held-out cells tell nothing.
_ENOUGH = 10
# Relative squares of differences that are rounding.
_EQUAL = 1e-24
# Predictions so many times as large as values are as wrong as any, and their fourth powers finite.
_FAR = 1e75
# Mean deviances that are.
_ALIKE = 1e-8


def check_given(given, frame, early_stopping):
    """Raise where nothing can be told by cells that are given to stop on."""
    if not early_stopping:
        raise ValueError("X_val and y_val are held out to stop on: set early_stopping=True.")
    check_readable(frame, given)
    if np.abs(given.seen_by(frame).values).max() > 1e100:  # their squares would overflow
        raise ValueError("y_val is more than 1e100 times as large as y; give both one unit.")


class Verdict(NamedTuple):
    """What held-out cells say of what is predicted: components and offset, or an offset alone.

    ``error`` is its root mean squared error, or deviance with one more event, ``error_of_mean``
    that of the mean of y, and ``score`` its R^2, and ``score_error`` the standard error of this,
    None where the cells have no spread; ``learned`` tells whether the components are of use,
    ``share`` how much of them is predicted, 1 where they are, and ``beats_mean`` whether that is
    better than the mean of y. ``squares`` are those of the errors, in one unit for all models of
    the same cells and summed over the rows of a cell: what a model leaves of it, they all have.
    ``measure`` is what the score is called.
    """

    error: float
    error_of_mean: float
    score: float | None
    score_error: float | None
    learned: bool
    share: float
    beats_mean: bool
    squares: np.ndarray
    measure: str = "R^2"


def judge(held_out, predicted, offset, mean, *, mean_will_do, doubts):
    """Return the verdict on predictions, beside the offset and the mean of y alone.

    Components are believed where they predict better than the offset, by two standard errors;
    with ``mean_will_do`` better than the mean. Otherwise this takes their place but for the share
    of the least squared error, less a standard error. Without ``doubts``, and by cells that have
    no spread or are fewer than ten, they are believed whatever they predict.
    """
    # In units of a power of two near the largest value no square over- or underflows.
    unit = 2.0 ** np.frexp(np.abs(held_out.values).max())[1]
    center = np.average(held_out.values, weights=held_out.weights)
    weights, of_cells = held_out.weights / held_out.weights.sum(), sums_of_cells(held_out)

    def units(differences):
        with np.errstate(over="ignore"):
            return np.clip(differences / unit, -_FAR, _FAR)

    def squares(at):
        return of_cells(weights * units(held_out.values - at) ** 2)

    around, level = squares(center), squares(mean)
    spread = around.sum()
    has_spread = len(around) > 1 and spread > _EQUAL
    without = mean if mean_will_do else offset
    doubts = doubts and has_spread and len(around) >= _ENOUGH
    learned = not doubts or _is_less(squares(predicted), squares(without))
    left, step = units(held_out.values - without), units(predicted - without)
    share = 1.0 if learned else share_of_step(left, step, weights, -1, of_cells)
    kept = squares(predicted if learned else without + share * (predicted - without))
    score = float(1 - kept.sum() / spread) if has_spread else None
    score_error = _error_of_ratio(kept, around) if has_spread else None
    errors = (float(unit) * float(np.sqrt(total)) for total in (kept.sum(), level.sum()))
    return Verdict(*errors, score, score_error, learned, share, _is_less(kept, level), kept)


def judge_linked(held_out, offset, components, event, *, doubts):
    """Return the verdict on a loss with a link: deviances take the place of squared errors.

    Linear predictors are an offset and components. Held-out cells are taken to have seen one more
    ``Event``, also where they have no spread. Where components are not believed, the share of them
    is kept, of tenths below 1, that leaves least, if that is less than none leaves by a standard
    error.
    """
    y, weights = held_out.values, held_out.weights / held_out.weights.sum()
    of_cells, loss = sums_of_cells(held_out), event.loss

    def deviances(eta):
        return of_cells(weights * loss.value(eta, y))

    def added(share):
        return event.added(offset + share * components, held_out)

    center = loss.level(np.average(y, weights=weights), 2**30)
    around, of_mean = (deviances(np.full(len(y), at)) for at in (center, event.level))
    spread = around.sum()
    has_spread = len(around) > 1 and spread > _ALIKE
    kept, share = deviances(offset + components), 1.0
    none, doubts = deviances(offset), doubts and len(around) >= _ENOUGH
    doubts = doubts and (has_spread or event.weight > 0)
    learned = not doubts or _is_less(kept, none, added(1), added(0))
    if not learned:
        tried = [(deviances(offset + its * components), its) for its in np.linspace(0.9, 0, 10)]
        kept, share = min(tried, key=lambda pair: pair[0].sum() + added(pair[1]))
        gain = none - kept
        if not gain.sum() + added(0) - added(share) > np.linalg.norm(gain):
            kept, share = none, 0.0
    score = float(1 - kept.sum() / spread) if has_spread else None
    score_error = _error_of_ratio(kept, around) if has_spread else None
    totals = kept.sum() + added(share), of_mean.sum()
    errors = (float(np.sqrt(max(total, 0.0))) for total in totals)
    told = score, score_error, learned, float(share), _is_less(kept, of_mean), kept
    return Verdict(*errors, *told, "D^2")


def sums_of_cells(observations):
    """Return a function that sums what rows add to, over the rows of each cell."""
    numbers = cell_numbers(observations)
    if len(numbers) == numbers.max(initial=-1) + 1:
        return lambda rows: rows
    return lambda rows: np.bincount(numbers, weights=rows)


def _error_of_ratio(squares, others):
    """Return the standard error of the ratio of two sums over cells, by the delta method."""
    total = others.sum()
    left = squares - squares.sum() / total * others
    return float(np.sqrt(np.sum(left**2)) / total)


def held_out_facts(verdict):
    """Return what a record keeps of a verdict: how many cells gave it, and the error of its R^2."""
    if verdict is None:
        return {}
    return {"n_held_out": len(verdict.squares), "score_error": verdict.score_error}


def share_of_step(left, step, weights, n_errors, of_cells):
    """Return the share of a step that leaves least, by least squares, plus so many standard errors.

    The error is that of White (1980), for squares of residuals that differ, of the sums over the
    rows of each cell (``sums_of_cells``); 0 to 1 is returned.
    """
    length = weights @ step**2
    if not length > 0:
        return 0.0
    share = weights @ (left * step) / length
    error = np.linalg.norm(of_cells(weights * step * (left - share * step))) / length
    return float(np.clip(share + n_errors * error, 0, 1))


def _is_less(squares, others, *more):
    """Whether the sum of squares is less by two standard errors of the logarithm of their ratio.

    ``more`` is what has to be added to the two sums.

    The error is that of the delta method. Differences would be judged by their largest cells:
    fits that explain 97 % of 15 heavy-tailed cells differ from none by less than two errors.
    """
    total, other = np.add((squares.sum(), others.sum()), more or 0.0)
    if not 0 < total < other:
        return bool(total < other)
    spread = (others / other - squares / total).std() * np.sqrt(len(squares))
    return bool(np.log(other / total) > _SIGNIFICANT * spread)
