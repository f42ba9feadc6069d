"""CP-ALS and Ctrl-C: what was reached is kept, and the interrupt goes on."""

import numpy as np
import pytest
from sklearn.base import clone

from sktf import CPALSCompletion
from sktf._baselines import sparse_als, tensorly
from sktf.datasets import make_low_rank, sample_entries

# Fits of a few sweeps are the point here.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def problem(size=0.4):
    """Return some cells of a tensor of rank 2."""
    tensor, _ = make_low_rank((12, 11, 10), 2, random_state=0)
    return sample_entries(tensor, size, random_state=0)


@pytest.fixture(params=["sparse", "tensorly"])
def impatient(request, monkeypatch):
    """Return a function that lets a solver do so many sweeps of all its runs before Ctrl-C.

    Each solver is caught before it has seen the end of its next sweep.
    """
    owner, name, n_before = {
        # Once for each of three modes.
        "sparse": (sparse_als, "solve_rows", lambda sweeps, _: 3 * sweeps),
        # Once for each sweep, and before the first of a run.
        "tensorly": (tensorly._ObservedError, "__call__", lambda sweeps, runs: sweeps + runs),
    }[request.param]
    original, calls = getattr(owner, name), []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == limits[0]:
            raise KeyboardInterrupt
        return original(*args)

    limits = [0]
    monkeypatch.setattr(owner, name, interrupted)

    def after(n_sweeps, n_runs):
        calls.clear()
        limits[0] = n_before(n_sweeps, n_runs) + 1

    after.solver = request.param
    return after


def interrupted_fit(model, X, y):
    """Return the model after a fit that Ctrl-C has ended."""
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    return model


@pytest.mark.parametrize("n_sweeps", [1, 4, 9])
def test_ctrl_c_keeps_the_sweeps_of_a_start(impatient, n_sweeps):
    """As many whole sweeps as there were: the model of so large a ``max_iter``."""
    X, y = problem()
    model = CPALSCompletion(2, solver=impatient.solver, n_init=1, tol=0.0, random_state=0)
    expected = clone(model).set_params(max_iter=n_sweeps).fit(X, y)
    impatient(n_sweeps, 1)
    interrupted_fit(model, X, y)
    assert model.n_iter_ == n_sweeps and not model.converged_
    assert vars(model).keys() == vars(expected).keys()
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))


@pytest.mark.parametrize("n_ranks", [1, 2, 3])
def test_ctrl_c_in_a_search_keeps_the_best_rank_so_far(impatient, n_ranks):
    """In the ranks 1, 2 and 4, two starts of ten sweeps each, and in what follows the search."""
    X, y = problem(size=0.7)
    model = CPALSCompletion((1, 2, 4), solver=impatient.solver, n_init=2, max_iter=10, tol=0.0)
    model.set_params(random_state=0)
    impatient(20 * n_ranks + 3, 2 * n_ranks + 1)
    interrupted_fit(model, X, y)
    tried = (1, 2, 4)[: n_ranks + 1]
    scores = model.validation_scores_
    np.testing.assert_array_equal(scores["n_components"], tried)
    assert model.n_components_ == tried[scores["loss"].argmin()] and not model.converged_
    residual = (model.predict(X) - y) / model.scale_
    np.testing.assert_allclose(model.loss_, np.mean(residual**2), rtol=1e-9)
    assert model.n_iter_ == (3 if n_ranks == 3 else 10)


def test_ctrl_c_keeps_a_start_that_has_ended(impatient):
    """The first start is the better one here; two sweeps of the second are far from it."""
    X, y = problem()
    model = CPALSCompletion(2, solver=impatient.solver, n_init=2, max_iter=30, tol=0.0)
    model.set_params(random_state=0)
    expected = clone(model).set_params(n_init=1).fit(X, y)
    impatient(32, 2)
    interrupted_fit(model, X, y)
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))
    assert model.n_iter_ == 30 and not model.converged_


def test_ctrl_c_in_the_first_sweep_leaves_what_was_there(impatient):
    """No fit, or the older one."""
    X, y = problem()
    model = CPALSCompletion(2, solver=impatient.solver, n_init=1, max_iter=5, random_state=0)
    impatient(0, 1)
    assert not hasattr(interrupted_fit(model, X, y), "shape_")
    impatient(10**9, 0)
    expected = model.fit(X, y).predict(X)
    impatient(0, 1)
    interrupted_fit(model, X, 3 - y)
    np.testing.assert_array_equal(model.predict(X), expected)
