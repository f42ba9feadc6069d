"""Fits of labels: those of their numbers, and what they keep of the labels."""

import numpy as np
import pandas as pd
import pytest
from conftest import low_rank_entries
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.preprocessing import OrdinalEncoder

from sktf import CompletionWarning, CPCompletion

# Short runs are the point here; what they end with is tested where it matters.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.filterwarnings("ignore:Nothing was learned:sktf.CompletionWarning")
def test_a_fit_of_labels_is_that_of_their_numbers(estimator, small_tensor):
    """Bit for bit, in every estimator; a clone and another fit forget the labels."""
    X, y = small_tensor
    names = np.array(list("gfedcba"))  # from last to first
    frame = pd.DataFrame(names[X], columns=["user", "item", "day"])
    labeled = clone(estimator).set_params(encode=True).fit(frame, y)
    codes = OrdinalEncoder().fit_transform(frame)
    expected = estimator.fit(codes, y)
    assert_array_equal(labeled.predict(frame), expected.predict(codes))
    assert [c.tolist() for c in labeled.categories_] == [sorted(set(frame[c])) for c in frame]
    assert labeled.shape_ == tuple(map(len, labeled.categories_))
    assert not hasattr(labeled.set_params(encode=False).fit(X, y), "categories_")


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_a_fit_that_fails_keeps_the_labels_of_the_one_before(estimator, small_tensor):
    """As it keeps everything else."""
    X, y = small_tensor
    estimator.set_params(encode=True).fit(np.array(list("abcdefg"))[X], y)
    before = [c.tolist() for c in estimator.categories_]
    with pytest.raises(ValueError, match="clip"):
        estimator.set_params(clip=(2, 1)).fit(np.array(list("tuvwxyz"))[X], y)
    assert [c.tolist() for c in estimator.categories_] == before


def test_held_out_labels(small_tensor):
    """X_val is read as X; a label that X has not is named."""
    X, y = small_tensor
    names = np.array(list("abcdefg"))[X]
    fits = [
        CPCompletion(3, encode=encode, random_state=0).fit(
            T[::2], y[::2], X_val=T[1::2], y_val=y[1::2]
        )
        for T, encode in ((names, True), (X, False))
    ]
    assert_array_equal(fits[0].predict(names), fits[1].predict(X))
    names[7, 1] = "z"
    with pytest.raises(ValueError, match="Row 3 of X_val has the label 'z' in mode 1, which fit h"):
        fits[0].fit(names[::2], y[::2], X_val=names[1::2], y_val=y[1::2])


def test_a_warm_start_goes_on_with_the_labels_it_had():
    """Data that lack a label keep the numbers of the others; a new label is refused."""
    X, y = low_rank_entries((7, 6, 5), 2, 0.8)
    names = np.array(list("abcdefg"))[X]
    options = dict(early_stopping=False, warm_start=True, n_init=1, max_iter=30, random_state=0)
    fits = [CPCompletion(2, encode=e, shape=(7, 6, 5), **options) for e in (True, False)]
    some = X[:, 0] > 0
    for model_, table_ in zip(fits, (names, X), strict=True):
        model_.fit(table_, y)
        with pytest.warns(CompletionWarning, match="1 of the 7 indices of mode 0"):
            model_.fit(table_[some], y[some])
    assert_array_equal(fits[0].predict(names), fits[1].predict(X))
    names[4, 2] = "z"
    with pytest.raises(ValueError, match="Row 4 of X has the label 'z' in mode 2.*warm_start=F"):
        fits[0].fit(names, y)


def test_measurements_have_no_labels():
    """Of fit_measurements."""
    with pytest.raises(ValueError, match="encode=True: A measures tensors without labels"):
        CPCompletion(2, encode=True).fit_measurements(np.ones((3, 2, 2)), np.ones(3))
