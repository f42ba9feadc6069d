"""Kinds of start that a race goes through, and sizes at which components leave zero soon."""

from typing import NamedTuple

# What init="auto" goes through in turn.
KINDS = ("zero_mean", "positive", "zero_mean")


class Start(NamedTuple):
    """A kind of start: the name of an init, and its scale and mean."""

    init: str
    scale: float
    mean: float


def component_start(kind, order):
    """Return the default ``Start`` of components of this order, for data of RMS 1.

    "within" is one of zero mean inside leading subspaces: there is little but the truth to grow, so
    that it may be larger, and components leave zero sooner.
    """
    exponent = 2 / max(order - 1, 2)
    if kind != "positive":
        return Start("gaussian", (0.06 if kind == "within" else 0.02) ** exponent, 0.0)
    mean = max(0.3, 0.1**exponent)
    return Start("gaussian", 0.1 * mean, mean)
