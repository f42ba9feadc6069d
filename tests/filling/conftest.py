"""Small data with gaps, of which all is known."""

import numpy as np
import pytest

from sktf import CPCompletion
from sktf.datasets import make_low_rank


@pytest.fixture
def quick():
    """Return an estimator that fits in no time; it need not be good."""
    return CPCompletion(2, n_init=1, max_iter=50, tol=1e-3, random_state=0)


@pytest.fixture
def tensor():
    """Return a tensor of rank 2, 8 x 7 x 6, and a copy of which 40 % is NaN."""
    truth, _ = make_low_rank((8, 7, 6), 2, random_state=0)
    hidden = np.random.RandomState(0).random_sample(truth.shape) < 0.4
    return truth, np.where(hidden, np.nan, truth)
