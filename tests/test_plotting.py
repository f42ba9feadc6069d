"""Displays show the numbers they are given: lines are the trace, bars are the factors."""

import itertools
import subprocess
import sys
from copy import copy

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from sktf import CPALSCompletion
from sktf.datasets import make_low_rank, sample_entries
from sktf.plotting import (
    AgreementDisplay,
    FactorsDisplay,
    PredictionErrorDisplay,
    RankCurveDisplay,
    SliceDisplay,
    TrajectoryDisplay,
)

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
        (SliceDisplay(observed=np.eye(3), predicted=np.ones((3, 3))), (1, 3)),
        (AgreementDisplay(predictions=np.eye(3)), (1, 2)),
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


@pytest.mark.parametrize(
    ("display", "data"),
    [
        (TrajectoryDisplay, ()),
        (FactorsDisplay, ()),
        (SliceDisplay, ([[0, 0]], [1.0])),
        (RankCurveDisplay, ([[0, 0]], [1.0])),
        (AgreementDisplay, ([[0, 0]],)),
    ],
)
def test_from_estimator_needs_a_fitted_estimator(display, data):
    """Unfitted estimators, and those with nothing to draw, are told apart."""
    with pytest.raises(NotFittedError):
        display.from_estimator(Fitted(), *data)
    with pytest.raises(ValueError, match="Fitted has no .*_ to draw"):
        display.from_estimator(Fitted().fit(offset_=1.0), *data)


@pytest.fixture(scope="module")
def fitted():
    """Return a rank-2 tensor, cells of it, and ALS fitted to them: exact to a small tolerance."""
    truth, _ = make_low_rank((6, 5, 4), 2, random_state=0)
    X, y = sample_entries(truth, 0.8, random_state=0)
    table = pd.DataFrame(X, columns=["user", "item", "day"])
    model = CPALSCompletion(4, shape=truth.shape, n_init=4, solver="sparse", random_state=0)
    return truth, table, y, model.set_params(n_components=2).fit(table, y)


@pytest.mark.parametrize(("modes", "at"), [((0, 1), (3,)), ((2, 0), (1,))])
def test_slice_panels_are_the_data(fitted, modes, at):
    """Observed cells in place, all cells predicted, their difference; the rest is missing."""
    truth, table, y, model = fitted
    display = SliceDisplay.from_estimator(model, table, y, modes=modes, at=at)
    other = ({0, 1, 2} - set(modes)).pop()
    here = table.iloc[:, other].to_numpy() == at[0]
    sheet = np.moveaxis(truth, (*modes, other), (0, 1, 2))[:, :, at[0]]
    observed, predicted, residual = (image.get_array() for image in display.images_)
    places = tuple(table.iloc[here, list(modes)].to_numpy().T)
    assert (~np.ma.getmaskarray(observed)).sum() == here.sum()
    assert_array_equal(observed[places], y[here])
    assert_allclose(predicted, model.to_dense().transpose(*modes, other)[:, :, at[0]])
    assert_allclose(residual[places], (observed - predicted)[places], atol=1e-12)
    assert_allclose(predicted[places], sheet[places], atol=0.05)
    names = [table.columns[m] for m in modes]
    assert [display.axes_[0].get_ylabel(), display.axes_[0].get_xlabel()] == names
    assert display.figure_.get_suptitle() == f"{table.columns[other]} = {at[0]}"


def test_slice_colours():
    """Missing cells have one colour, in no palette; panels share a scale, residuals centre it."""
    observed = [[1.0, np.nan], [3.0, 2.0]]
    display = SliceDisplay.from_predictions(observed, [[1.5, 9.0], [2.0, 2.0]])
    first, second, third = display.images_
    assert first.get_clim() == second.get_clim() == (1.0, 3.0)
    assert third.get_clim() == (-1.0, 1.0)
    for image in (first, third):
        gray = image.cmap(np.ma.masked_invalid([np.nan]))[0]
        assert len(set(gray[:3])) == 1
        assert not np.isclose(image.cmap(np.linspace(0, 1, 256)), gray, atol=0.02).all(axis=1).any()


def test_slice_defaults_to_the_one_with_most_rows(fitted):
    """Of the slices over the first two modes; a matrix has but one."""
    _, table, y, model = fitted
    display = SliceDisplay.from_estimator(model, table, y)
    count = table["day"].value_counts().max()
    assert (~np.ma.getmaskarray(display.images_[0].get_array())).sum() == count
    matrix = CPALSCompletion(1, n_init=1, random_state=0).fit(np.argwhere(np.ones((3, 2))), y[:6])
    display = SliceDisplay.from_estimator(matrix, np.argwhere(np.ones((3, 2))), y[:6])
    assert display.images_[0].get_array().shape == (3, 2) and display.title is None


def test_slice_of_float_indices(fitted):
    """As a float table of pandas or numpy holds them: the same picture."""
    _, table, y, model = fitted
    whole, floats = (
        SliceDisplay.from_estimator(model, X, y, at=(2,)).images_[0].get_array()
        for X in (table, table.astype(float))
    )
    assert_array_equal(floats, whole)
    assert np.isfinite(whole).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modes": (0, 0)}, r"modes is \(0, 0\); pass two"),
        ({"modes": (0, 3)}, "modes 0 to 2"),
        ({"at": (4,)}, r"at is \(4,\); .* sizes \(4,\)"),
        ({"at": ()}, "one index for each"),
    ],
)
def test_slice_errors(fitted, options, message):
    """What does not fit the tensor is named."""
    _, table, y, model = fitted
    with pytest.raises(ValueError, match=message):
        SliceDisplay.from_estimator(model, table, y, **options)
    with pytest.raises(ValueError, match="same shape"):
        SliceDisplay.from_predictions(np.ones((2, 2)), np.ones((2, 3)))


def test_rank_curve_is_the_error_of_truncated_models(fitted):
    """Parallel halves of a component are kept or dropped together; all kept is the model."""
    truth, table, y, model = fitted
    factors = [factor.copy() for factor in model.factors_]
    halves = copy(model)
    halves.factors_ = [np.hstack([f, f[:, :1]]) * [*np.ones(2), 1.0] for f in factors]
    halves.factors_[0][:, [0, 2]] /= 2
    X = table.to_numpy()
    for estimator in (model, halves):
        display = RankCurveDisplay.from_estimator(estimator, table, y)
        errors = display.line_.get_ydata()
        assert_array_equal(display.line_.get_xdata(), [0, 1, 2])
        for k in range(3):
            part = np.einsum("ir,jr,kr->ijk", *[f[:, :k] for f in factors])[tuple(X.T)]
            assert_allclose(errors[k], np.sqrt(np.mean((part - y) ** 2)) / y.std(), rtol=1e-9)
        assert display.rank_line_.get_xdata()[0] == model.rank_ == 2


def test_rank_curve_of_a_float_parameter():
    """Fractions stay apart, and the axis says which parameter they are of."""
    results = {
        "param_cp__init_scale": np.ma.array([0.1, 0.01, 0.1], dtype=object),
        "mean_test_score": np.array([0.5, 0.7, 0.6]),
        "std_test_score": np.zeros(3),
    }
    display = RankCurveDisplay.from_cv_results(results, param="cp__init_scale")
    assert_array_equal(display.line_.get_xydata(), [[0.01, 0.7], [0.1, 0.6]])
    assert display.ax_.get_xlabel() == "cp__init_scale"


def test_rank_curve_of_a_search():
    """Mean and deviation for each number of components, the best where others vary too."""
    results = {
        "param_cp__n_components": np.ma.array([4, 2, 2, 4], dtype=object),
        "param_cp__scale": np.ma.array([True, True, False, False], dtype=object),
        "mean_test_score": np.array([0.5, 0.7, 0.6, 0.9]),
        "std_test_score": np.array([0.1, 0.2, 0.3, 0.4]),
    }
    display = RankCurveDisplay.from_cv_results(results, param="cp__n_components", score_name="R2")
    assert_array_equal(display.line_.get_xydata(), [[2, 0.7], [4, 0.9]])
    (band,) = display.ax_.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert_allclose([heights.min(), heights.max()], [0.5, 1.3])
    assert display.ax_.get_ylabel() == "R2" and display.rank_line_ is None
    assert display.ax_.get_xlabel() == "Number of components"
    with pytest.raises(ValueError, match=r"no numbers param_n_components.*'cp__n_components'"):
        RankCurveDisplay.from_cv_results(results)
    with pytest.raises(ValueError, match="one score for each"):
        RankCurveDisplay(n_components=[1, 2], scores=[1.0]).plot()


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
