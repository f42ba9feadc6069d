"""Helpers of several files of tests."""

from time import sleep

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, clone

from sktf import (
    CompletionEnsemble,
    CPCompletion,
)

SHAPE = (7, 6, 5)


# Settings under which scikit-learn's checks take seconds, as those of tests/conftest.py.
SMALL = CPCompletion(n_components=4, offset="additive", n_init=2, max_iter=300, random_state=0)


class Stub(RegressorMixin, BaseEstimator):
    """Predicts its seed everywhere; score and rank are looked up in the order of fits."""

    def __init__(self, scores, ranks=(1, 1, 1, 1, 1), random_state=None):
        self.scores, self.ranks, self.random_state = scores, ranks, random_state

    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None):
        rng = np.random.RandomState(0)
        seeds = rng.randint(np.iinfo(np.int32).max, size=len(self.scores)).tolist()
        number = seeds.index(self.random_state)
        self.validation_score_, self.rank_ = self.scores[number], self.ranks[number]
        self.value_, self.weighted_ = float(number), sample_weight is not None
        self.shape_, self.n_features_in_ = SHAPE, 3
        return self

    def predict(self, X):
        return np.full(len(X), self.value_)

    def to_dense(self):
        return np.full(SHAPE, self.value_)


class Interrupted(Stub):
    """The fit of one number is interrupted, ``reaches`` its state or not, after a while."""

    def __init__(self, at=2, reaches=True, seconds=0.0, random_state=None):
        super().__init__((0.9, 0.8, 0.7, 0.6), random_state=random_state)
        self.at, self.reaches, self.seconds = at, reaches, seconds

    def fit(self, X, y, **data):
        fitted = clone(self)
        Stub.fit(fitted, X, y)
        if fitted.value_ == self.at:
            sleep(self.seconds)
            if self.reaches:
                Stub.fit(self, X, y)
            raise KeyboardInterrupt
        return Stub.fit(self, X, y)


def small_ensemble(**options):
    """Return three fits of three starts each."""
    member = CPCompletion(4, shape=(12, 10, 8), n_init=3, tol=1e-4)
    return CompletionEnsemble(member, **{"n_estimators": 3, "random_state": 0} | options)
