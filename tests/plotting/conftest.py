"""Fixtures of this folder."""

import pandas as pd
import pytest

from sktf import CPALSCompletion
from sktf.datasets import make_low_rank, sample_entries


@pytest.fixture(scope="module")
def fitted():
    """Return a rank-2 tensor, cells of it, and ALS fitted to them: exact to a small tolerance."""
    truth, _ = make_low_rank((6, 5, 4), 2, random_state=0)
    X, y = sample_entries(truth, 0.8, random_state=0)
    table = pd.DataFrame(X, columns=["user", "item", "day"])
    model = CPALSCompletion(4, shape=truth.shape, n_init=4, solver="sparse", random_state=0)
    return truth, table, y, model.set_params(n_components=2).fit(table, y)
