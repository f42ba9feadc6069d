"""Displays show the numbers they are given: lines are the trace, bars are the factors."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from sktf.plotting import FactorsDisplay, PredictionErrorDisplay, TrajectoryDisplay

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

pytestmark = pytest.mark.filterwarnings("error")


class Fitted(BaseEstimator):
    """An estimator that has nothing but the given fitted attributes."""

    def fit(self, **attributes):
        """Take the attributes."""
        vars(self).update(attributes)
        return self


def make_trace(tops=(10.0, 6.0, 3.0), n_components=20, n_records=40, quantity="component_norms"):
    """Return a staircase: one sigmoid per top, the other components near zero."""
    iteration = np.arange(n_records) * 10
    norms = np.full((n_records, n_components), 1e-3)
    for column, top in enumerate(tops):
        norms[:, column] = top / (1 + np.exp(5.0 * (column + 1) - iteration / 20))
    loss = np.exp(-iteration / 50)
    return {"iteration": iteration, "time": 0.1 * iteration, "loss": loss, quantity: norms}


def make_factors(shape=(13, 4, 40), n_components=3):
    """Return random factors, the components in descending order."""
    rng = np.random.default_rng(0)
    factors = [rng.standard_normal((size, n_components)) for size in shape]
    factors[0] *= np.linspace(9, 1, n_components)
    return factors


def heights(ax):
    """Return the heights of the bars of `ax`."""
    return np.array([patch.get_height() for patch in ax.patches])


def texts(ax):
    """Return the texts beside `ax`."""
    return [text.get_text() for text in ax.texts]


@pytest.fixture(autouse=True)
def close_figures():
    """Leave no figure behind; drawing them first brings out the warnings of a bad layout."""
    yield
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
    plt.close("all")


def test_import_is_light():
    """Importing the module does not import matplotlib."""
    code = "import sys, sktf.plotting; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_prediction_error_display_is_scikit_learns():
    """Observed against predicted values need no display of our own."""
    assert PredictionErrorDisplay.__module__.startswith("sklearn.")


@pytest.mark.parametrize("quantity", ["component_norms", "singular_values"])
@pytest.mark.parametrize("x_scale", ["linear", "log"])
@pytest.mark.parametrize("against", ["iteration", "time"])
def test_trajectory_lines_are_the_trace(against, x_scale, quantity):
    """Each line holds one column of the trace against the chosen horizontal axis."""
    trace = make_trace(quantity=quantity)
    estimator = Fitted().fit(trace_=trace)
    display = TrajectoryDisplay.from_estimator(estimator, against=against, x_scale=x_scale)
    assert display.axes_.shape == (2,)
    assert display.figure_ is display.axes_[0].figure
    assert len(display.lines_) == 20
    for line, norms in zip(display.lines_, trace[quantity].T, strict=True):
        assert_array_equal(line.get_xdata(), trace[against])
        assert_array_equal(line.get_ydata(), norms)
    (loss,) = display.loss_lines_
    assert_array_equal(loss.get_ydata(), trace["loss"])
    assert display.axes_[1].get_yscale() == "log"
    assert {ax.get_xscale() for ax in display.axes_} == {"symlog" if x_scale == "log" else "linear"}


@pytest.mark.parametrize(("n_highlighted", "expected"), [(10, "012"), (2, "01"), (0, "")])
def test_components_that_grow_are_highlighted(n_highlighted, expected):
    """Numbers stand beside the components that grew, and a count for the others."""
    display = TrajectoryDisplay(trace=make_trace()).plot(n_highlighted=n_highlighted)
    ax = display.axes_[0]
    assert "".join(sorted(text for text in texts(ax) if text.isdigit())) == expected
    (others,) = ax.get_legend().get_texts()
    count = 20 - len(expected)
    assert others.get_text() == (f"{count} others" if expected else f"{count} in all")


def test_labels_keep_apart():
    """Labels of components that end at the same norm are in order and don't overlap."""
    trace = make_trace(tops=np.linspace(5, 4.9, 10), n_records=200)
    display = TrajectoryDisplay(trace=trace).plot()
    display.figure_.canvas.draw()
    labels = [text for text in display.axes_[0].texts if text.get_text().isdigit()]
    labels.sort(key=lambda label: int(label.get_text()))
    # The extent of the text alone, without the leader line of the annotation.
    boxes = [matplotlib.text.Text.get_window_extent(label) for label in labels]
    assert len(boxes) == 10
    assert all(lower.y1 <= upper.y0 for upper, lower in itertools.pairwise(boxes))


@pytest.mark.parametrize("truth", [[10, 6, 3], 5.0, []])
def test_truth_lines(truth):
    """Each true value is one horizontal line."""
    display = TrajectoryDisplay.from_estimator(Fitted().fit(trace_=make_trace()), truth=truth)
    levels = [line.get_ydata()[0] for line in display.truth_lines_]
    assert_array_equal(levels, np.ravel(truth))


def test_validation_loss_is_drawn_and_named():
    """A validation loss is a second line of the lower panel."""
    trace = make_trace()
    trace["validation_loss"] = 2 * trace["loss"]
    display = TrajectoryDisplay(trace=trace).plot()
    assert_array_equal(display.loss_lines_[1].get_ydata(), trace["validation_loss"])
    assert sorted(texts(display.axes_[1])) == ["training", "validation"]


@pytest.mark.parametrize("x_scale", ["linear", "log"])
@pytest.mark.parametrize("case", ["zero", "infinite", "missing", "two records", "no time"])
def test_odd_traces_are_drawn_without_warning(case, x_scale):
    """Zeros, overflow, gaps, and very short traces neither fail nor warn."""
    trace = make_trace()
    trace["validation_loss"] = trace["loss"].copy()
    if case == "zero":
        trace = {key: 0 * array if "i" not in key[0] else array for key, array in trace.items()}
    elif case == "infinite":
        trace["loss"][-3:] = trace["component_norms"][-3:] = np.inf
    elif case == "missing":
        trace["validation_loss"][:] = np.nan
    elif case == "two records":
        trace = {key: array[[0, -1]] for key, array in trace.items()}
    else:
        trace["iteration"] = 0 * trace["iteration"]
    TrajectoryDisplay(trace=trace).plot(x_scale=x_scale).figure_.canvas.draw()


def test_one_component():
    """A model of one component has one line and no count of others."""
    display = TrajectoryDisplay(trace=make_trace(tops=(4.0,), n_components=1)).plot()
    assert len(display.lines_) == 1
    assert display.axes_[0].get_legend().get_texts() == []


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"against": "epoch"}, "against='epoch'"),
        ({}, {"x_scale": "sqrt"}, "x_scale='sqrt'"),
        ({"time": None}, {"against": "time"}, "needs 'time'"),
        ({"loss": None}, {}, "'loss'"),
        ({"component_norms": None}, {}, "'singular_values'"),
        ({"loss": np.ones(1)}, {}, "at least 2 records.*smaller record_every"),
    ],
)
def test_trajectory_errors(change, options, message):
    """Unknown options and unusable traces are named."""
    trace = {key: array for key, array in (make_trace() | change).items() if array is not None}
    with pytest.raises(ValueError, match=message):
        TrajectoryDisplay(trace=trace).plot(**options)
    assert plt.get_fignums() == []


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


@pytest.mark.parametrize(
    ("display", "grid"),
    [
        (TrajectoryDisplay(trace=make_trace()), (2, 1)),
        (FactorsDisplay(factors=make_factors()), (3, 3)),
    ],
)
def test_given_axes_are_used(display, grid):
    """Displays draw on the axes they get, if there are as many as panels."""
    figure, axes = plt.subplots(*grid, figsize=(8, 6))
    assert display.plot(axes) is display
    assert display.figure_ is figure
    assert_array_equal(display.axes_.ravel(), axes.ravel())
    with pytest.raises(ValueError, match="must hold .* axes; got 1"):
        display.plot(axes.ravel()[0])


@pytest.mark.parametrize("display", [TrajectoryDisplay, FactorsDisplay])
def test_from_estimator_needs_a_fitted_estimator(display):
    """Unfitted estimators, and those with nothing to draw, are told apart."""
    with pytest.raises(NotFittedError):
        display.from_estimator(Fitted())
    with pytest.raises(ValueError, match="Fitted has no (trace|factors)_ to draw"):
        display.from_estimator(Fitted().fit(offset_=1.0))
