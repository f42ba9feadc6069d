"""Averages read labels as their estimators do."""

import numpy as np
import pandas as pd
import pytest
from cases.posteriors import SHAPE, noisy
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sktf import (
    CompletionEnsemble,
    CompletionWarning,
    CPALSCompletion,
    CPCompletion,
    PosteriorCompletion,
)

# Short fits are the point here; what they end with is tested where it matters.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:(Rank not|The chains|Nothing was):sktf.CompletionWarning"),
]

NAMES = ["user", "item", "day"]


def labeled(X):
    """Return rows of indices as a frame of strings, whose order is that of the indices."""
    return pd.DataFrame({name: [f"{name}{i:02}" for i in X[:, n]] for n, name in enumerate(NAMES)})


def averages(encode):
    """Return an average of each kind."""
    inner = CPCompletion(3, encode=encode, n_init=2, max_iter=300, handle_unknown="auto")
    posterior = PosteriorCompletion(inner, n_components=3, n_samples=4, n_warmup=3, n_chains=2)
    als = CPALSCompletion(2, encode=encode, n_init=1, solver="sparse", max_iter=30)
    kinds = [("cp", inner), ("posterior", posterior), ("als", als)]
    return {
        "posterior": clone(posterior).set_params(random_state=0),
        "ensemble": CompletionEnsemble(inner, n_estimators=2, random_state=0),
        "of posteriors": CompletionEnsemble(posterior, n_estimators=2, random_state=0),
        "kinds": CompletionEnsemble(estimators=kinds, random_state=0),
    }


@pytest.fixture(scope="module")
def data():
    """Return cells, as numbers and as labels, and values."""
    X, y, _, _ = noisy()
    return X, labeled(X), y


@pytest.fixture(scope="module", params=["posterior", "ensemble", "of posteriors", "kinds"])
def pair(request, data):
    """Return an average fitted to labels, and one fitted to their numbers."""
    X, table, y = data
    fits = averages(True)[request.param], averages(False)[request.param]
    return fits[0].fit(table, y), fits[1].fit(X, y)


def test_an_average_of_labels_is_that_of_their_numbers(pair, data):
    """Bit for bit, with all that it predicts."""
    X, table, _ = data
    labels, numbers = pair
    cells, rows = X[:50], table[:50]
    for one, other in zip(
        labels.predict(rows, return_std=True), numbers.predict(cells, return_std=True), strict=True
    ):
        assert_array_equal(one, other)
    if hasattr(labels, "sample_y"):
        assert_array_equal(labels.sample_y(rows, 3), numbers.sample_y(cells, 3))
        some = [0.1, 0.9]
        assert_array_equal(
            labels.predict_quantiles(rows, some), numbers.predict_quantiles(cells, some)
        )
    assert_array_equal(labels.to_dense(), numbers.to_dense())
    assert labels.shape_ == SHAPE
    assert [c.tolist() for c in labels.categories_] == [sorted(set(table[n])) for n in NAMES]
    frame = labels.predict_frame(rows, return_std=True)
    assert [*frame] == [*NAMES, "prediction", "std"] and frame.index.equals(rows.index)
    assert_array_equal(frame["prediction"], numbers.predict(cells))
    for member in getattr(labels, "estimators_", None) or [labels.estimator_]:
        assert [c.tolist() for c in member.categories_] == [c.tolist() for c in labels.categories_]
        named = hasattr(member, "feature_names_in_")
        assert np.isfinite(member.predict(rows if named else rows.to_numpy())).all()


def test_new_labels_are_told_of_once(pair, data):
    """Whatever the number of members; what they get is the mean of all others, or its draws."""
    labels, _ = pair
    rows = data[1][:2].assign(user=["zoe", "user03"])
    message = r"1 label of column 'user' \(mode 0\) is new: 'zoe'\. "
    with pytest.warns(CompletionWarning, match=message) as caught:
        mean, std = labels.predict(rows, return_std=True)
    assert len(caught) == 1 and caught[0].filename == __file__
    for name in "predict_frame", "predict_quantiles", "sample_y":
        options = {"quantiles": [0.5]} if name == "predict_quantiles" else {}
        if hasattr(labels, name):
            with pytest.warns(CompletionWarning, match=message) as caught:
                getattr(labels, name)(rows, **options)
            assert [warning.filename for warning in caught] == [__file__]
    at = [sorted(set(data[1][name])).index(rows[name][0]) for name in NAMES[1:]]
    # Exact of components; the mean row of a draw is drawn, so that chains are off by a part of y's
    # deviation, 1.
    members = getattr(labels, "estimators_", [labels])
    exact = all(isinstance(member, CPCompletion) for member in members)
    assert_allclose(mean[0], labels.to_dense()[:, *at].mean(), atol=1e-9 if exact else 0.5)
    assert std[0] > std[1]


@pytest.mark.parametrize("encode", [False, True])
def test_the_descent_knows_the_names_of_modes(data, encode):
    """And tells of factors by them."""
    X, table, y = data
    frame = table if encode else pd.DataFrame(X, columns=NAMES)
    model = averages(encode)["posterior"].fit(frame, y)
    assert model.estimator_.factor_frame("item").index.name == "item"
    label = frame["item"].iloc[0]
    found, _ = model.estimator_.nearest("item", label)
    assert label not in found and set(found) < set(frame["item"])
    assert model.estimator_.encode is encode
    assert np.isfinite(model.estimator_.predict(frame)).all()
    other = model.fit(frame.to_numpy(), y).estimator_
    assert not hasattr(other, "feature_names_in_")


def test_held_out_labels(data):
    """X_val is read with the labels of X."""
    X, table, y = data
    for kind in ("posterior", "kinds"):
        fits = averages(True)[kind], averages(False)[kind]
        fits[0].fit(table[::2], y[::2], X_val=table[1::2], y_val=y[1::2])
        fits[1].fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])
        assert_array_equal(fits[0].predict(table), fits[1].predict(X))
        with pytest.raises(ValueError, match="Row 0 of X_val has the label 'zoe' in column 'user'"):
            fits[0].fit(table, y, X_val=table.assign(user="zoe"), y_val=y)


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_an_ensemble_learns_labels(data):
    """In all members; one that was fitted to numbers then has no labels."""
    X, table, y = data
    model = averages(True)["ensemble"].fit(table, y)
    model.extend(table[:3].assign(user="ann"), [1.0, 2.0, 3.0], mode="user")
    assert model.shape_ == (13, 10, 8) and model.categories_[0][-1] == "ann"
    assert np.isfinite(model.predict(table[:3].assign(user="ann"))).all()
    model.set_params(estimator__encode=False).fit(X, y)
    assert not hasattr(model, "categories_")
    assert_array_equal(model.predict(X), averages(False)["ensemble"].fit(X, y).predict(X))


def test_kinds_agree(data):
    """All read labels, or none."""
    _, table, y = data
    kinds = [("cp", CPCompletion(encode=True)), ("posterior", PosteriorCompletion())]
    with pytest.raises(ValueError, match="estimators: set encode=True in all of them, or in none"):
        CompletionEnsemble(estimators=kinds).fit(table, y)
