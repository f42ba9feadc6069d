"""Ctrl-C in an ensemble: the members so far are the ensemble, and the interrupt goes on."""

import warnings

import numpy as np
import pytest
from cases.ensembles import Interrupted
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import cross_val_score

from sktf import CompletionEnsemble, CPCompletion

X, Y = np.zeros((4, 3), int), np.zeros(4)


def interrupted(ensemble, X=X, y=Y):
    """Return the ensemble after a fit that Ctrl-C has ended, and what members predict."""
    with pytest.raises(KeyboardInterrupt):
        ensemble.fit(X, y)
    return [member.value_ for member in getattr(ensemble, "estimators_", [])]


def make(n_jobs=None, **options):
    """Return an ensemble of four members, one of which is interrupted; member i predicts i."""
    return CompletionEnsemble(Interrupted(**options), n_estimators=4, n_jobs=n_jobs, random_state=0)


@pytest.mark.parametrize(("reaches", "members"), [(True, [0, 1, 2]), (False, [0, 1])])
def test_members_so_far_are_the_ensemble(reaches, members):
    """The third is interrupted and counts if it has reached a state; the last never begins."""
    ensemble = make(reaches=reaches)
    assert interrupted(ensemble) == members
    assert_array_equal(ensemble.validation_scores_, [0.9, 0.8, 0.7][: len(members)])
    n_good = ensemble.n_average_
    assert_allclose(ensemble.predict(X), np.mean(members[:n_good]))
    assert (ensemble.rank_, ensemble.rank_agreement_) == (1, 1.0)


def test_no_more_are_averaged_than_there_are():
    """Three were asked for."""
    ensemble = make(at=1).set_params(n_average=3)
    assert interrupted(ensemble) == [0, 1] and ensemble.n_average_ == 2
    assert_allclose(ensemble.predict(X), 0.5)
    assert_allclose(ensemble.to_dense(), 0.5)


def test_an_interrupt_before_any_member_leaves_what_was_there():
    """Nothing, or the older fit."""
    ensemble = make(at=0, reaches=False)
    assert interrupted(ensemble) == []
    ensemble.set_params(estimator__at=None).fit(X, Y)
    assert interrupted(ensemble.set_params(estimator__at=0)) == [0, 1, 2, 3]


PROCESSES = [pytest.param(name, marks=pytest.mark.slow) for name in ("loky", "multiprocessing")]


@pytest.mark.parametrize("backend", ["threading", *PROCESSES])
def test_what_has_come_back_from_jobs_is_the_ensemble(backend):
    """Two at a time: when the last is interrupted, the first two at least have ended.

    Those of joblib's old processes come back all together or not at all.
    """
    ensemble = make(n_jobs=2, at=3, reaches=False, seconds=0.0 if backend == "threading" else 0.5)
    with parallel_config(backend):
        found = interrupted(ensemble)
    assert found in ([[]] if backend == "multiprocessing" else [[0, 1], [0, 1, 2]])


def test_an_interrupted_member_of_gradient_descent(small_tensor):
    """The second of three members stops at its fifth record; a third isn't begun, nothing warns."""
    X, y = small_tensor
    calls = []

    def impatient(factors):
        calls.append(1)
        if len(calls) == n_whole + 5:
            raise KeyboardInterrupt
        return 0

    n_whole = 10**9
    settings = dict(max_iter=3000, record_every=10, measures={"calls": impatient})
    member = CPCompletion(4, **settings, early_stopping=False, tol=1e-3)
    ensemble = CompletionEnsemble(member, n_estimators=3, random_state=0)
    whole = ensemble.fit(X, y).estimators_
    first = next(m for m in whole if m.random_state == ensemble._members()[0].random_state)
    n_whole = len(first.loss_curve_)
    calls.clear()
    with warnings.catch_warnings(), pytest.raises(KeyboardInterrupt):
        warnings.simplefilter("error")
        ensemble.fit(X, y)
    assert [m.converged_ for m in ensemble.estimators_] == [True, False]
    assert np.isfinite(ensemble.predict(X)).all()
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        cross_val_score(ensemble, X, y, cv=3)
    assert len(calls) <= n_whole + 6
