"""What a fit cannot be trusted in: warnings after it."""

import numpy as np

from sktf._cells.identifiability import CompletionWarning
from sktf._cells.record import warn
from sktf._objective.components import far_entry

# Predictions beyond this many times the largest observed value are distrusted.
_DWARFS = 10
# So are predictions outside the observed range by so many times its width, and so many errors.
_OUTSIDE, _ERRORS = 1.0, 3
# Values whose range is a smaller share of the largest are alike, and differ by rounding.
_ALIKE = 1e-6
# Cells, drawn at random, at which predictions are looked at.
_N_CELLS = 4096


def warn_far_predictions(factors, largest, stacklevel):
    """Warn, and return whether, components add up to far more than any observed value asks for.

    Parameters
    ----------
    factors : list of ndarray of shape (n_rows, R)
        The fitted factors, in the units of the data.
    largest : float
        The largest absolute value, less the offset, that was observed.
    stacklevel : int
        That of the caller of fit, seen from here.
    """
    far = far_entry(factors, _DWARFS * largest)
    if far is not None:
        warn(
            f"Predictions dwarf the data: at rows {far[0]} of factors_ the components add up to "
            f"{far[1]:.3g}, but no observed value asks for more than {largest:.3g}. Components "
            "that cancel at the observed cells do not at others: observe more cells, take fewer "
            "components, or stop earlier, on held-out cells.",
            CompletionWarning,
            stacklevel + 1,
        )
    return far is not None


def raise_diverged(estimator, iteration):
    """Raise that a descent has diverged; no adaptive step is too long, but a start may be large."""
    remedy = "lower learning_rate or use step='adaptive'"
    if estimator.step == "adaptive":
        remedy = "lower init_scale and init_mean, or the entries of init"
    raise ValueError(
        f"Gradient descent diverged at iteration {iteration} with step={estimator.step!r}, "
        f"learning_rate={estimator.learning_rate}; {remedy}."
    )


def warn_cap_binds(n_components, stacklevel):
    """Warn that held-out cells want more components than the user allows."""
    warn(
        f"n_components={n_components} (or hidden) binds: held-out cells are predicted better with "
        "more components. Raise it, or leave it at None, and as many are found as are of use.",
        CompletionWarning,
        stacklevel + 1,
    )


def warn_nothing_learned(verdict, terms, chosen, stacklevel):
    """Warn where held-out cells say that components are of no use, or no more than a mean.

    ``verdict`` is that of the held-out cells, None without any; ``terms`` are those of the offset,
    and ``chosen`` tells whether these cells chose them, which then is what was learned;
    ``stacklevel`` that of the caller of fit, seen from here.
    """
    if verdict is None or (verdict.score is None and verdict.learned):
        return
    if verdict.beats_mean and (verdict.learned or chosen):
        return
    beyond = " beyond the offset" if verdict.beats_mean and not verdict.share else ""
    another = "model" if terms else 'offset ("additive"), model'
    warn(
        f"Nothing was learned{beyond}: {_said_by(verdict)}. Observe more cells, or drop indices "
        f"with few of them; another {another} or number of starts (n_init) may do better.",
        CompletionWarning,
        stacklevel + 1,
    )


def _said_by(verdict):
    """Return why components are not believed, and how good what is predicted is without them."""
    score = "which are all alike"
    if verdict.score is not None:
        score = f"{verdict.measure} {verdict.score:.3f}"
    if verdict.learned:
        better = "held-out cells are not predicted better than by their mean, by two standard"
        return f"{better} errors ({score})"
    why = "components do not predict held-out cells better than the offset alone, by two standard "
    if not verdict.share:
        return f"{why}errors, and the offset alone is predicted ({score})"
    return (
        f"{why}errors, so that none counts for the rank. With the offset {verdict.share:.0%} of "
        f"their sum is predicted, the share that held-out cells ask for ({score})"
    )


def warn_wild_predictions(predict, shape, bounds, error, stacklevel):
    """Warn where cells are predicted far outside the range of the observed values.

    Parameters
    ----------
    predict : callable
        Coordinates of cells -> what is predicted there.
    shape : tuple of int
        The mode sizes.
    bounds : tuple of float
        The least and the largest of the observed values.
    error : float
        How far predictions are off, in units of y.
    stacklevel : int
        That of the caller of fit, seen from here.
    """
    rng, (low, high) = np.random.RandomState(0), bounds
    unit = max(high, -low) or 1.0
    if high / unit - low / unit < _ALIKE:
        return
    cells = [rng.randint(size, size=_N_CELLS) for size in shape]
    predicted = predict(np.column_stack(cells))
    least, largest = predicted.min(), predicted.max()
    with np.errstate(over="ignore"):  # where values are as small as they can be
        allowed = max(_OUTSIDE * (high / unit - low / unit), _ERRORS * error / unit)
        beyond = max(low / unit - least / unit, largest / unit - high / unit)
    if beyond > allowed:
        warn(
            f"Some cells are predicted from {least:.3g} to {largest:.3g}, but the observed values "
            f"go from {low:.3g} to {high:.3g}: few cells tell of these. Observe more cells, or "
            'bound the predictions with the parameter clip ("range", or two numbers).',
            CompletionWarning,
            stacklevel + 1,
        )
