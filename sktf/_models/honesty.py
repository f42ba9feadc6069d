"""What a fit cannot be trusted in: warnings after it."""

import warnings

from sktf._cells.identifiability import CompletionWarning
from sktf._objective.components import far_entry

# Predictions beyond this many times the largest observed value are distrusted.
_DWARFS = 10


def warn_far_predictions(factors, largest, stacklevel):
    """Warn where components add up to far more than any observed value asks for.

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
        warnings.warn(
            f"Predictions dwarf the data: at rows {far[0]} of factors_ the components add up to "
            f"{far[1]:.3g}, but no observed value asks for more than {largest:.3g}. Components "
            "that cancel at the observed cells do not at others: observe more cells, take fewer "
            "components, or stop earlier, on held-out cells.",
            CompletionWarning,
            stacklevel + 1,
        )
