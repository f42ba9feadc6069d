"""Counts, and yes or no, drawn from known means, and fits to them."""

import numpy as np
from scipy.special import expit

from sktf import CPCompletion
from sktf._objective.links import LINKS
from sktf.datasets import dense_from_factors

SHAPE = (12, 14, 7)


def draw(loss, shape=SHAPE, rank=2, seen=0.7, size=1.0, terms=0.0, seed=0):
    """Seen cells and values, hidden ones, and the means of these."""
    rng = np.random.default_rng(seed)
    eta = np.zeros(shape)
    if rank:
        eta = dense_from_factors([rng.uniform(-1, 1, (n, rank)) for n in shape])
        eta *= size / eta.std()
    for effect in np.ix_(*(terms * rng.standard_normal(n) for n in shape)):
        eta = eta + effect
    mean = np.exp(1 + eta) if loss == "poisson" else expit(eta)
    y = rng.poisson(mean) if loss == "poisson" else rng.random(shape) < mean
    X, out = np.argwhere(np.ones(shape)), rng.random(mean.size) >= seen
    y, mean = y.ravel().astype(float), mean.ravel()
    return X[~out], y[~out], X[out], y[out], mean[out]


def deviance(loss, y, mean):
    return float(LINKS[loss].deviance(y, mean).mean())


def fitted(loss, X, y, **options):
    return CPCompletion(**({"shape": SHAPE, "loss": loss, "random_state": 0} | options)).fit(X, y)
