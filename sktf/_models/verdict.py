"""What held-out cells say of a fit: its score, and whether it learned more than an offset."""

from typing import NamedTuple

import numpy as np

# Standard errors by which components must be better than none to be believed.
_SIGNIFICANT = 2
# Relative squares of differences that are rounding.
_EQUAL = 1e-24


class Verdict(NamedTuple):
    """What held-out cells say of what is predicted: components and offset, or an offset alone.

    ``error`` is its root mean squared error, ``error_of_mean`` that of the mean of y, and
    ``score`` its R^2, None where the cells have no spread; ``learned`` tells whether the
    components are of use, ``beats_mean`` whether they predict better than the mean of y.
    """

    error: float
    error_of_mean: float
    score: float | None
    learned: bool
    beats_mean: bool


def judge(held_out, predicted, offset, mean, *, mean_will_do, doubts):
    """Return the verdict on predictions, beside the offset and the mean of y alone.

    Components are believed where they predict better than the offset, by two standard errors;
    with ``mean_will_do`` better than the mean, which takes their place otherwise. Without
    ``doubts`` they are believed whatever they predict.
    """
    # In units of a power of two near the largest value no square over- or underflows.
    unit = 2.0 ** np.frexp(np.abs(held_out.values).max())[1]
    center = np.average(held_out.values, weights=held_out.weights)
    model, offset, level, spread = (
        held_out.weights / held_out.weights.sum() * ((held_out.values - at) / unit) ** 2
        for at in (predicted, offset, mean, center)
    )
    beats_mean = _is_less(model, level)
    learned = not doubts or (beats_mean if mean_will_do else _is_less(model, offset))
    kept = model if learned else level if mean_will_do else offset
    has_spread = len(kept) > 1 and spread.sum() > _EQUAL
    score = float(1 - kept.sum() / spread.sum()) if has_spread else None
    errors = (unit * float(np.sqrt(squares.sum())) for squares in (kept, level))
    return Verdict(*errors, score, learned, beats_mean)


def _is_less(squares, others):
    """Whether the sum of squares is less by two standard errors of the logarithm of their ratio.

    The error is that of the delta method. Differences would be judged by their largest cells:
    fits that explain 97 % of 15 heavy-tailed cells differ from none by less than two errors.
    """
    total, other = squares.sum(), others.sum()
    if not 0 < total < other:
        return bool(total < other)
    spread = (others / other - squares / total).std() * np.sqrt(len(squares))
    return bool(np.log(other / total) > _SIGNIFICANT * spread)
