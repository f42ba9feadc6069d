"""The tables that tests run over: a new estimator joins ESTIMATORS and inherits its tests."""

import os
import sys

# Read by scipy when it is first imported; without it scikit-learn refuses array API dispatch
# and leaves out its array API checks. Workers of joblib inherit both.
os.environ["SCIPY_ARRAY_API"] = "1"
os.environ["MPLBACKEND"] = "agg"

import numpy as np
import pytest

from sktf import (
    CPALSCompletion,
    CPCompletion,
    DeepCPCompletion,
    DeepMatrixCompletion,
    DeepTuckerCompletion,
    HierarchicalCompletion,
    NonNegativeCPCompletion,
    NuclearNormCompletion,
)

# A page for type checkers alone, with mistakes in it.
collect_ignore = ["typing"]
# Settings under which scikit-learn's checks take seconds.
_SMALL = {"n_init": 2, "max_iter": 300, "random_state": 0}

GRADIENT_ESTIMATORS = [
    CPCompletion(n_components=4, **_SMALL),
    DeepCPCompletion(n_components=4, **_SMALL),
    DeepMatrixCompletion(max_iter=1000, random_state=0),
    DeepTuckerCompletion(record_every=10, **_SMALL),
    HierarchicalCompletion(2, record_every=10, **_SMALL),
    NonNegativeCPCompletion(n_components=4, **_SMALL),
]
ESTIMATORS = [
    *GRADIENT_ESTIMATORS,
    CPALSCompletion(n_components=4, n_init=1, max_iter=50, solver="sparse", random_state=0),
    NuclearNormCompletion(max_iter=30, tol=1e-2),
]


def name_of(estimator):
    """Return the id of an estimator in a parametrized test."""
    return type(estimator).__name__


def low_rank_entries(shape, rank, seen, seed=0):
    """Return cells drawn without replacement and their values in a Gaussian low-rank tensor."""
    rng = np.random.RandomState(seed)
    factors = [rng.standard_normal((size, rank)) for size in shape]
    X = np.argwhere(rng.random_sample(shape) < seen)
    return X, np.prod([f[column] for f, column in zip(factors, X.T, strict=True)], axis=0).sum(1)


@pytest.fixture
def small_tensor():
    """Return X and y: 60 % of a 7 x 6 x 5 tensor of rank 2, every index seen."""
    return low_rank_entries((7, 6, 5), 2, 0.6)


@pytest.fixture
def small_matrix():
    """Return X and y: 60 % of a 9 x 8 matrix of rank 1, every index seen."""
    return low_rank_entries((9, 8), 1, 0.6)


@pytest.fixture(params=ESTIMATORS, ids=name_of)
def estimator(request):
    """Return a fresh copy of each estimator of the table."""
    from sklearn.base import clone

    return clone(request.param)


@pytest.fixture(params=GRADIENT_ESTIMATORS, ids=name_of)
def gradient_estimator(request):
    """Return a fresh copy of each estimator fitted by gradient descent."""
    from sklearn.base import clone

    return clone(request.param)


@pytest.fixture(autouse=True)
def close_figures():
    """Close the figures that a test left open."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(autouse=True)
def drawn_alike():
    """Have fits without ``random_state`` draw the same numbers each time, whatever ran before."""
    from sklearn.utils import check_random_state

    drawn_from = check_random_state(None)
    before = drawn_from.get_state()
    drawn_from.seed(0)
    yield
    drawn_from.set_state(before)
