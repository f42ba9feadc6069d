"""A classifier of cells: labels, probabilities, and what it refuses."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit
from sklearn.base import clone, is_classifier
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.multiclass import OneVsRestClassifier

from sktf import (
    CompletionClassifier,
    CompletionEnsemble,
    CPALSCompletion,
    CPCompletion,
    NuclearNormCompletion,
)

SHAPE = (15, 12, 6)
MODEL = CompletionClassifier(CPCompletion(shape=SHAPE), random_state=0)
pytestmark = pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")


@pytest.fixture
def answers():
    """Cells, and 0 or 1 of log-odds of rank 1."""
    rng = np.random.default_rng(0)
    signs = [rng.choice([-1, 1], size) * rng.uniform(0.5, 1.5, size) for size in SHAPE]
    odds = 2.5 * np.einsum("i,j,k->ijk", *signs)
    X = np.argwhere(rng.random(SHAPE) < 0.8)
    return X, (rng.random(len(X)) < expit(odds[tuple(X.T)])).astype(int)


@pytest.mark.parametrize("labels", [("no", "yes"), (1, 2), (False, True), (-1.0, 1.0)])
def test_any_two_labels_are_the_same_fit(answers, labels):
    """The second in sorted order is yes; its probability is what the estimator predicts."""
    X, y = answers
    expected = CPCompletion(shape=SHAPE, loss="logistic", random_state=0).fit(X, y).predict(X)
    model = clone(MODEL).fit(X, np.array(labels)[y])
    assert model.classes_.tolist() == list(labels) and is_classifier(model)
    assert_array_equal(model.predict_proba(X)[:, 1], expected)
    assert_array_equal(model.predict(X), np.array(labels)[(expected > 0.5).astype(int)])
    assert model.score(X, np.array(labels)[y]) > 0.6


def test_log_odds_are_in_the_order_of_probabilities(answers):
    """And of the sign of the prediction; rows of probabilities add up to 1."""
    X, y = answers
    model = clone(MODEL).fit(X, y)
    chances, odds = model.predict_proba(X), model.decision_function(X)
    assert_allclose(chances.sum(axis=1), 1)
    assert_allclose(expit(odds), chances[:, 1], rtol=1e-9)
    assert_array_equal(odds > 0, model.predict(X) == 1)
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X), chances)


def test_tables_held_out_cells_weights_and_folds(answers):
    """What the estimator takes, the classifier passes on."""
    X, y = answers
    table = pd.DataFrame(X.astype(str), columns=["person", "item", "day"])
    model = CompletionClassifier(CPCompletion(encode=True), random_state=0)
    labels = np.where(y, "yes", "no")
    weights = np.r_[0, np.ones(len(y) - 1)]
    model.fit(table, labels, weights, X_val=table[:50], y_val=labels[:50])
    assert model.feature_names_in_.tolist() == ["person", "item", "day"]
    assert model.n_features_in_ == 3
    # Folds of rows in a row have indices without cells; shuffled ones have none.
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    assert cross_val_score(clone(MODEL), X, y, scoring="roc_auc", cv=folds).min() > 0.6


def test_ensembles_and_more_classes(answers):
    """A mean of probabilities, and one classifier for each class against the rest."""
    X, y = answers
    ensemble = CompletionEnsemble(CPCompletion(shape=SHAPE, loss="logistic"), n_estimators=2)
    model = CompletionClassifier(ensemble, random_state=0).fit(X, y)
    members = [member.predict(X) for member in model.estimator_.estimators_]
    assert_allclose(model.predict_proba(X)[:, 1], np.mean(members, axis=0))
    three = OneVsRestClassifier(clone(MODEL)).fit(X, y + (X[:, 0] > 7))
    assert three.predict_proba(X).shape == (len(X), 3)


@pytest.mark.parametrize(
    ("model", "y", "message"),
    [
        (MODEL, [0, 1, 2, 0], "Only binary classification is supported.*not 3"),
        (MODEL, [1, 1, 1, 1], "two classes, yes and no, not 1"),
        (MODEL, [0.1, 0.2, 0.3, 0.4], "Unknown label type"),
        (MODEL, None, "requires y to be passed"),
        (CompletionClassifier(CPALSCompletion(1)), [0, 1, 1, 0], 'has no loss="logistic"'),
        (CompletionClassifier(NuclearNormCompletion()), [0, 1, 1, 0], 'has no loss="logistic"'),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_is_not_yes_or_no_is_refused(model, y, message):
    """With the remedy, and nothing half fitted."""
    model = clone(model)
    with pytest.raises(ValueError, match=message):
        model.fit([[0, 0], [0, 1], [1, 0], [1, 1]], y)
    assert not hasattr(model, "classes_")


def test_a_held_out_label_that_is_new_is_refused(answers):
    """It is neither yes nor no."""
    X, y = answers
    with pytest.raises(ValueError, match="y_val holds a label that y has not"):
        clone(MODEL).fit(X, y, X_val=X[:20], y_val=y[:20] + 1)
