"""Helpers of several files of tests."""

from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    KFold,
)

from sktf import CPCompletion

SHAPE = (7, 6, 5)


FOLDS = KFold(3, shuffle=True, random_state=0)


def recorded(**settings):
    """Return a CPCompletion that records every iteration."""
    defaults = dict(n_components=4, max_iter=60, record_every=1, random_state=0)
    return CPCompletion(**(defaults | settings))
