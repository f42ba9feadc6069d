"""Helpers of several files of tests."""

import numpy as np
from conftest import low_rank_entries

from sktf import CPCompletion, PosteriorCompletion

SHAPE = (12, 10, 8)


def noisy(seed=0, noise=0.1, shape=SHAPE, seen=0.5):
    """Return seen cells of a tensor of rank 2, of variance 1, and hidden ones without noise."""
    X, y = low_rank_entries(shape, 2, 1.0, seed)
    y, rng = y / y.std(), np.random.RandomState(seed)
    drawn = rng.permutation(len(y))[: int(seen * len(y))]
    hidden = np.setdiff1d(np.arange(len(y)), drawn)
    return X[drawn], y[drawn] + noise * rng.standard_normal(len(drawn)), X[hidden], y[hidden]


def small(**options):
    """Return short chains from a small fit."""
    settings = {"estimator": CPCompletion(4, shape=SHAPE, n_init=2), "n_components": 3}
    settings |= {"n_samples": 8, "n_warmup": 10, "n_chains": 2, "random_state": 0}
    return PosteriorCompletion(**(settings | options))
