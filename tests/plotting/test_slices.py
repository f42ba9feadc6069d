"""A slice beside what is predicted, drawn."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from sktf import CPALSCompletion
from sktf.plotting import (
    SliceDisplay,
)

matplotlib = pytest.importorskip("matplotlib")


plt = pytest.importorskip("matplotlib.pyplot")


pytestmark = pytest.mark.filterwarnings("error")


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


@pytest.mark.parametrize("dtype", ["Int64", float, object])
def test_slices_of_what_fit_takes(fitted, dtype):
    """Whole numbers of any type are drawn as those of integers."""
    _, table, y, model = fitted
    expected = SliceDisplay.from_estimator(model, table, y, at=(2,)).observed
    drawn = SliceDisplay.from_estimator(model, table.astype(dtype), list(y), at=(2,)).observed
    assert_array_equal(drawn, expected)
    with pytest.raises(ValueError, match="row 0 has 0.5 in mode 0"):
        SliceDisplay.from_estimator(model, table * 0 + 0.5, y, at=(2,))


def test_slice_colors():
    """Missing cells have one color, in no palette; panels share a scale, residuals center it."""
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


def test_slices_by_label(fitted):
    """Rows, ``at``, ticks and title are labels; the picture is that of their numbers."""
    _, table, y, model = fitted
    expected = SliceDisplay.from_estimator(model, table, y, at=(2,))
    days = np.array(["2024-01-01", "2024-01-02", "2024-01-07", "2024-02-01"], "datetime64[D]")
    named = table.assign(user="u" + table["user"].astype(str), day=days[table["day"]])
    labeled = clone(model).set_params(shape=None, encode=True).fit(named, y)
    display = SliceDisplay.from_estimator(labeled, named, y, at=[days[2]])
    for one, other in zip(display.images_, expected.images_, strict=True):
        assert_array_equal(one.get_array(), other.get_array())
    ticks = [tick.get_text() for tick in display.axes_[0].get_yticklabels()]
    assert ticks == [f"u{n}" for n in range(6)]
    assert display.figure_.get_suptitle() == "day = 2024-01-07"
    with pytest.raises(ValueError, match=r"The label 2024-03-01 is none of categories_\[2\]"):
        SliceDisplay.from_estimator(labeled, named, y, at=[np.datetime64("2024-03-01")])
