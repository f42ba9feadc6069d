"""Agreement of restarts, drawn."""

from copy import copy

import numpy as np
import pytest
from cases.plotting import Fitted
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sktf import CompletionEnsemble, CPCompletion, PosteriorCompletion
from sktf.plotting import (
    AgreementDisplay,
)

matplotlib = pytest.importorskip("matplotlib")


plt = pytest.importorskip("matplotlib.pyplot")


pytestmark = pytest.mark.filterwarnings("error")


def test_agreement_is_correlation_and_norms(fitted):
    """numpy's correlations, and each member's norms and held-out error."""
    _, table, _, model = fitted
    other = copy(model)
    other.factors_ = [factor[::-1] for factor in model.factors_]
    members = [model, other, model]
    ensemble = Fitted().fit(estimators_=members, validation_scores_=np.array([0.1, 0.2, 0.3]))
    display = AgreementDisplay.from_estimator(ensemble, table)
    bare = table.to_numpy()
    every = [np.einsum("ir,jr,kr->ijk", *m.factors_)[tuple(bare.T)] for m in members]
    assert_allclose(display.image_.get_array(), np.corrcoef(every), atol=1e-12)
    for line, member in zip(display.lines_, members, strict=True):
        assert_array_equal(line.get_ydata(), member.component_norms_)
    labels = [label.get_text() for label in display.axes_[0].get_yticklabels()]
    assert labels == ["0: 0.1", "1: 0.2", "2: 0.3"]
    assert display.axes_[0].get_ylabel() == "Member: held-out R$^2$"
    written = np.array([float(text.get_text()) for text in display.axes_[0].texts])
    assert_allclose(written, np.corrcoef(every).ravel(), atol=0.0051)


def test_agreement_of_odd_members():
    """Constant predictions correlate with nothing; many members go without numbers; counts fit."""
    display = AgreementDisplay.from_predictions([[1.0, 1.0], [1.0, 2.0]])
    assert_allclose(display.image_.get_array(), [[0, 0], [0, 1]], atol=1e-12)
    assert display.axes_[0].get_ylabel() == "Member"  # no score stands beside the number
    many = AgreementDisplay.from_predictions(np.random.RandomState(0).standard_normal((12, 5)))
    assert not many.axes_[0].texts
    with pytest.raises(ValueError, match="2 members"):
        AgreementDisplay(predictions=np.eye(2), validation_scores=[1.0]).plot()
    with pytest.raises(ValueError, match="members by cells"):
        AgreementDisplay(predictions=np.ones(3)).plot()


def test_members_without_norms_show_no_norms():
    """Chains have none: their ensemble still agrees or not."""
    X = np.argwhere(np.ones((6, 5, 4)))
    y = (X + 1.0).prod(axis=1)
    chains = PosteriorCompletion(CPCompletion(1, n_init=1), n_components=1, n_samples=2, n_chains=1)
    model = CompletionEnsemble(chains, n_estimators=2, random_state=0).fit(X, y)
    display = AgreementDisplay.from_estimator(model, X)
    assert display.image_.get_array().min() > 0.99
    assert not display.lines_


def test_members_that_read_labels(fitted):
    """Cells are labels to them too."""
    _, table, y, model = fitted
    names = table.assign(day="d" + table["day"].astype(str))
    member = clone(model).set_params(encode=True, shape=None)
    ensemble = CompletionEnsemble(member, n_estimators=2, random_state=0).fit(names, y)
    drawn = AgreementDisplay.from_estimator(ensemble, names).image_.get_array()
    every = [member.predict(names) for member in ensemble.estimators_]
    assert_allclose(drawn, np.corrcoef(every), atol=1e-12)
