"""Components and loss over a fit, drawn."""

import itertools

import numpy as np
import pytest
from cases.plotting import Fitted, make_trace
from numpy.testing import assert_array_equal

from sktf.plotting import (
    TrajectoryDisplay,
)

matplotlib = pytest.importorskip("matplotlib")


plt = pytest.importorskip("matplotlib.pyplot")


pytestmark = pytest.mark.filterwarnings("error")


def texts(ax):
    """Return the texts beside `ax`."""
    return [text.get_text() for text in ax.texts]


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
