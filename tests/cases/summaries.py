"""Helpers of several files of tests."""

import re
import warnings
from functools import cache

import numpy as np
import pandas as pd
from conftest import ESTIMATORS, low_rank_entries
from sklearn.base import clone

from sktf import (
    CompletionEnsemble,
    CPALSCompletion,
    CPCompletion,
    PosteriorCompletion,
)

SHAPE, NAMES = (8, 6, 5), ["ligand", "<b>dose</b>", "a name that is longer than a column"]
SMALL = CPCompletion(3, n_init=2, max_iter=200, random_state=0)
AVERAGES = [
    CompletionEnsemble(SMALL, n_estimators=2, random_state=0),
    CompletionEnsemble(
        estimators=[("als", CPALSCompletion(2, n_init=1, solver="sparse")), ("cp", SMALL)],
        random_state=0,
    ),
    PosteriorCompletion(SMALL, n_components=2, n_samples=4, n_warmup=4, random_state=0),
]
ALL = [*ESTIMATORS, *AVERAGES]


def cells():
    """Return a named table of cells, some of them twice, and values; index 7 has no cell."""
    X, y = low_rank_entries((7, 6, 5), 2, 0.6)
    X, y = np.vstack([X, X[:9]]), np.append(y, y[:9])
    return pd.DataFrame(X, columns=NAMES), y


def with_shape(estimator):
    """Return a copy that knows the shape, itself or by its members."""
    estimator = clone(estimator)
    names = [name for name in estimator.get_params() if re.search(r"(^|__)shape$", name)]
    return estimator.set_params(**dict.fromkeys(names, SHAPE))


@cache
def all_fitted():
    """Return every estimator, fitted to the same cells."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [with_shape(estimator).fit(*cells()) for estimator in ALL]


def told(model):
    """Return the rows of a summary as a dict."""
    return dict(model.summary().rows)
