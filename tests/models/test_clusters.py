"""Searches on the workers of Dask and Ray; neither is needed otherwise, nor installed by us."""

import warnings

import joblib
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from sktf import CPCompletion

pytestmark = pytest.mark.slow


def search():
    """Return a search of two candidates, and its cells."""
    rng = np.random.RandomState(0)
    X = np.argwhere(rng.random_sample((9, 8, 7)) < 0.6)
    y = np.prod(
        [rng.standard_normal(size)[column] for size, column in zip((9, 8, 7), X.T, strict=True)], 0
    )
    model = CPCompletion(shape=(9, 8, 7), n_init=1, max_iter=50, random_state=0)
    return GridSearchCV(model, {"n_components": [1, 2]}, cv=2), X, y


def scores(backend):
    """Return the scores of the search by a backend of joblib; None: of this process."""
    grid, X, y = search()
    with warnings.catch_warnings(action="ignore"), joblib.parallel_config(backend or "sequential"):
        return grid.fit(X, y).cv_results_["mean_test_score"]


@pytest.mark.filterwarnings("ignore")  # what clusters warn of is theirs
def test_dask():
    """The scores of two workers are those of one process."""
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster):
        np.testing.assert_array_equal(scores("dask"), scores(None))


@pytest.mark.filterwarnings("ignore")
def test_ray():
    """The scores of two workers are those of one process."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from ray.util.joblib import register_ray

    register_ray()
    ray.init(num_cpus=2, include_dashboard=False)
    try:
        np.testing.assert_array_equal(scores("ray"), scores(None))
    finally:
        ray.shutdown()
