"""Factors, drawn."""

import numpy as np
import pytest
from cases.plotting import Fitted, heights, make_factors
from numpy.testing import assert_allclose, assert_array_equal

from sktf.plotting import (
    FactorsDisplay,
)

matplotlib = pytest.importorskip("matplotlib")


plt = pytest.importorskip("matplotlib.pyplot")


pytestmark = pytest.mark.filterwarnings("error")


def test_factors_are_unit_columns_with_settled_signs():
    """Panels hold unit factors whose product with the norm is the component."""
    factors = make_factors()
    display = FactorsDisplay(factors=factors).plot()
    assert display.axes_.shape == (3, 3)
    for row, axes in enumerate(display.axes_):
        drawn = [heights(axes[0]), heights(axes[1]), axes[2].lines[-1].get_ydata()]
        columns = [factor[:, row] for factor in factors]
        norm = np.prod([np.linalg.norm(column) for column in columns])
        component = norm * np.einsum("i,j,k->ijk", *drawn)
        assert_allclose(component, np.einsum("i,j,k->ijk", *columns), atol=1e-12)
        assert all(values[np.abs(values).argmax()] > 0 for values in drawn[:2])
        assert_allclose([np.linalg.norm(values) for values in drawn], 1.0)
        assert axes[0].get_ylabel() == f"component {row}\nnorm {norm:.3g}"


def test_factors_of_an_estimator():
    """The estimator's rank, norms and feature names are the defaults; arguments beat them."""
    names = np.array(["user", "item", "day"], dtype=object)
    norms = np.array([7.0, 5.0, 0.0])
    factors = make_factors()
    before = [factor.copy() for factor in factors]
    estimator = Fitted().fit(
        factors_=factors, component_norms_=norms, rank_=2, feature_names_in_=names
    )
    display = FactorsDisplay.from_estimator(estimator)
    assert [ax.get_xlabel() for ax in display.axes_[-1]] == ["user", "item", "day"]
    assert [ax.get_ylabel()[-6:] for ax in display.axes_[:, 0]] == ["norm 7", "norm 5"]
    assert all(map(np.array_equal, factors, before))
    display = FactorsDisplay.from_estimator(estimator, n_components=3, mode_names="abc")
    assert display.axes_.shape == (3, 3)
    assert display.axes_[-1, 0].get_xlabel() == "a"


def test_labels_of_an_estimator():
    """Those it was fitted to stand at the ticks; factors of several modes have none."""
    labels = [np.arange(13), np.array(["none", "LPS", "anti-CD3", "PMA"]), np.arange(40)]
    known = {"component_norms_": np.ones(3), "rank_": 1, "categories_": labels}
    estimator = Fitted().fit(factors_=make_factors(), **known)
    last = FactorsDisplay.from_estimator(estimator).axes_[-1]
    assert [text.get_text() for text in last[1].get_xticklabels()] == labels[1].tolist()
    last = FactorsDisplay.from_estimator(estimator, labels=[None, "abcd", None]).axes_[-1]
    assert [text.get_text() for text in last[1].get_xticklabels()] == list("abcd")
    unfolded = Fitted().fit(factors_=make_factors((13, 160)), **known)
    assert FactorsDisplay.from_estimator(unfolded).axes_.shape == (1, 2)


def test_columns_share_their_scale_and_take_labels():
    """One vertical scale per mode; labels at their indices, thinned where there are many."""
    labels = [None, ["none", "LPS", "anti-CD3", "PMA"], [f"d{i}" for i in range(40)]]
    display = FactorsDisplay(factors=make_factors(), labels=labels).plot()
    for column in display.axes_.T:
        assert len({ax.get_ylim() for ax in column}) == 1
    last = display.axes_[-1]
    assert [text.get_text() for text in last[1].get_xticklabels()] == labels[1]
    thinned = [text.get_text() for text in last[2].get_xticklabels()]
    assert thinned == [f"d{tick:.0f}" for tick in last[2].get_xticks()]
    assert len(thinned) <= 12


def test_zero_components_can_be_drawn():
    """A component of norm zero is flat, not NaN."""
    display = FactorsDisplay(factors=[0 * factor for factor in make_factors()]).plot()
    assert_array_equal(heights(display.axes_[0, 0]), 0.0)


@pytest.mark.parametrize(
    ("constructor", "options", "message"),
    [
        ({}, {"n_components": 0}, "between 1 and 3; got 0"),
        ({}, {"n_components": 4}, "between 1 and 3; got 4"),
        ({"mode_names": ["a", "b"]}, {}, "got 2 mode names"),
        ({"labels": [None, "abc", None]}, {}, r"labels for \[13, 3, 40\]"),
        ({"labels": [None]}, {}, r"labels for \[13\]"),
    ],
)
def test_factors_errors(constructor, options, message):
    """Counts that do not match are named."""
    with pytest.raises(ValueError, match=message):
        FactorsDisplay(factors=make_factors(), **constructor).plot(**options)
    assert plt.get_fignums() == []
