"""Fixtures of this folder."""

import pytest
from cases.ensembles import small_ensemble

from sktf.datasets import make_low_rank, sample_entries, split_entries


@pytest.fixture(scope="module")
def data():
    """Return cells for training and testing, of a tensor of rank 2 with noise."""
    tensor, _ = make_low_rank((12, 10, 8), 2, random_state=0)
    X, y = sample_entries(tensor, 0.5, noise=0.2, random_state=0)
    return *split_entries(X, y, 0.3, random_state=0), tensor


@pytest.fixture(scope="module")
def fitted(data):
    return small_ensemble().fit(data[0], data[2])
