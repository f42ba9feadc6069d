"""A classifier of cells: labels, probabilities, and what it refuses."""

import pickle
import warnings

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
    PosteriorCompletion,
)
from sktf.datasets import open_entries

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
@pytest.mark.parametrize("dtype", [None, object])
def test_any_two_labels_are_the_same_fit(answers, labels, dtype):
    """The second in sorted order is yes; its probability is what the estimator predicts."""
    X, y = answers
    expected = CPCompletion(shape=SHAPE, loss="logistic", random_state=0).fit(X, y).predict(X)
    model = clone(MODEL).fit(X, np.array(labels, dtype)[y])
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
        (MODEL, [0.1, 0.2, 0.3, 0.4], "^y: Unknown label type.*Give two labels"),
        (MODEL, np.array([0, 1, 1j, 0]), "(?s)^y: Complex data not supported.*Give two labels"),
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


@pytest.mark.parametrize(
    "estimator",
    [
        CPALSCompletion(1),
        PosteriorCompletion(),
        CompletionEnsemble(),
        CompletionEnsemble(CPALSCompletion(1)),
        CompletionEnsemble(
            estimators=[("a", CPCompletion(loss="logistic")), ("b", CPALSCompletion(1))]
        ),
    ],
)
def test_an_estimator_without_the_loss_is_not_fitted(estimator, monkeypatch):
    """It says so at once."""
    fits = []
    monkeypatch.setattr(type(estimator), "fit", lambda *data, **options: fits.append(data))
    with pytest.raises(ValueError, match='has no loss="logistic"; take one that descends'):
        CompletionClassifier(estimator).fit([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0])
    assert not fits


@pytest.mark.parametrize("which", ["y", "y_val"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 0, None], "contains NaN: row 3 has no label.*leave"),
        ([0.0, np.nan, 1.0, 1.0], "contains NaN: row 1 has no label"),
        ([0.0, 1.0, 0.0, np.inf], "contains infinity: row 3 has inf.*leave"),
        (["no", "yes", np.nan, "no"], "contains NaN: row 2 has no label"),
        (pd.Series([0, pd.NA, 1, 0], dtype="Int64"), "contains NaN: row 1 has no label"),
        (np.array(["no", 1, "no", 1], object), "mixes.*row 0 has 'no', row 1 has 1.*astype"),
        ([0, 0, "1", "1"], "mixes.*row 0 has 0, row 2 has '1'"),
    ],
)
def test_labels_that_are_blank_or_mixed_are_named(labels, message, which):
    """By row, of y or y_val."""
    X, right = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    given = {"y": right, "X_val": X, "y_val": right} | {which: labels}
    with pytest.raises(ValueError, match=rf"\b{which} {message}"):
        CompletionClassifier().fit(X, **given)


def test_cells_in_files_are_read_first(tmp_path, answers):
    """By whoever knows that they fit."""
    X, y = answers
    paths = tmp_path / "X.npy", tmp_path / "y.npy"
    for path, array in zip(paths, (X, y.astype(float)), strict=True):
        np.save(path, array)
    entries = open_entries(paths)
    with pytest.raises(TypeError, match=r"reads X and y in memory.*np.asarray\(X\)"):
        clone(MODEL).fit(entries.X, entries.y)
    model = clone(MODEL).fit(np.asarray(entries.X), np.asarray(entries.y))
    assert model.classes_.tolist() == [0, 1]


def test_warnings_name_the_line_of_the_user(answers):
    """And come once."""
    X, y = answers
    guesses = np.random.default_rng(0).integers(0, 2, len(y))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        clone(MODEL).fit(X, guesses)
    assert told and {warning.filename for warning in told} == {__file__}


@pytest.mark.parametrize("after", [1, 6])
def test_ctrl_c_keeps_the_best_state(answers, after):
    """That of the estimator, as everywhere, once it has one."""
    X, y = answers
    calls = []

    def stop(factors):
        calls.append(factors)
        if len(calls) == after:
            raise KeyboardInterrupt
        return 0.0

    model = clone(MODEL).set_params(estimator__measures={"calls": stop}, estimator__n_init=1)
    model.set_params(estimator__record_every=5)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, np.where(y, "yes", "no"))
    assert model.classes_.tolist() == ["no", "yes"] and not model.estimator_.converged_
    assert np.isfinite(model.predict_proba(X)).all() and model.n_features_in_ == 3


def test_a_held_out_label_that_is_new_is_refused(answers):
    """It is neither yes nor no."""
    X, y = answers
    with pytest.raises(ValueError, match="y_val holds a label that y has not"):
        clone(MODEL).fit(X, y, X_val=X[:20], y_val=y[:20] + 1)
