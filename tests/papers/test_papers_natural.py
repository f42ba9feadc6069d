"""Natural data as a tensor of binary pixels (Razin, Maman and Cohen, 2021): low rank fits them.

By Adam, as in the paper: no law is tested.
"""

from math import inf

import numpy as np
import pytest
from cases.experiments import adam
from sklearn.datasets import load_digits

from sktf._cells.validation import Observations
from sktf._models.cp import CPFactorization
from sktf._objective.cpu import FusedObjective
from sktf._objective.losses import ClippedSquare


class MeanSquare:
    """Mean square of predictions at cells, any of which may occur many times."""

    def __init__(self, cells, values):
        self.order = cells.shape[1]
        self.factorization = CPFactorization((2,) * self.order, 1)
        observations = Observations(cells, values, np.ones(len(cells)), (2,) * self.order)
        self.objective = FusedObjective(self.factorization, observations, ClippedSquare(inf))
        self.half = 1.0  # of adam: the mean square as it is


def rank_one_errors(cells, labels, n_train, seed):
    """Train and test error of the best tensor of rank one, in units of the variance of labels.

    Labels are 2 and 0; errors are divided by 4, those of test cells clipped at 4 before.
    """
    problem = MeanSquare(cells[:n_train], labels[:n_train])
    rng = np.random.default_rng(seed)
    theta = 1 + 1e-3 * rng.standard_normal(problem.factorization.n_parameters)
    theta = adam(problem, theta, 2e-3, 3000)
    factors = np.array(problem.factorization.unpack(theta))[:, :, 0]
    predictions = factors[np.arange(problem.order), cells].prod(axis=1)
    squares = (predictions - labels) ** 2
    share = labels.mean() / 2
    scale = 4 * share * (1 - share)
    return squares[:n_train].mean() / scale, squares[n_train:].clip(max=4).mean() / scale


def sixes(seed):
    """64 binary pixels of every image, 2 where it is a six and 0 otherwise, shuffled."""
    images, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(digits))
    return (images[order] >= 8).astype(np.int64), np.where(digits[order] == 6, 2.0, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_digits_are_nearly_of_rank_one(seed):
    """One component leaves less than a fifth of the variance, of 1,400 images and of the rest."""
    train, test = rank_one_errors(*sixes(seed), 1400, seed)
    assert train < 0.2 and test < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("random", ["labels", "pixels"])
def test_noise_is_not_of_rank_one(random):
    """With permuted labels or random pixels more than three quarters remain: so it can fail."""
    rng = np.random.default_rng(0)
    pixels, labels = sixes(0)
    if random == "labels":
        labels = rng.permutation(labels)
    else:
        pixels = rng.integers(0, 2, pixels.shape)
    assert rank_one_errors(pixels, labels, 1400, 0)[0] > 0.75
