"""Axes that are given, estimators that are not fitted."""

import numpy as np
import pytest
from cases.plotting import Fitted, make_factors, make_trace
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError

from sktf.plotting import (
    AgreementDisplay,
    CalibrationDisplay,
    FactorsDisplay,
    RankCurveDisplay,
    SliceDisplay,
    TrajectoryDisplay,
)

matplotlib = pytest.importorskip("matplotlib")


plt = pytest.importorskip("matplotlib.pyplot")


pytestmark = pytest.mark.filterwarnings("error")


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
        (CalibrationDisplay, ([[0, 0]], [1.0])),
    ],
)
def test_from_estimator_needs_a_fitted_estimator(display, data):
    """Unfitted estimators, and those with nothing to draw, are told apart."""
    with pytest.raises(NotFittedError):
        display.from_estimator(Fitted(), *data)
    with pytest.raises(ValueError, match="Fitted has no .* to draw"):
        display.from_estimator(Fitted().fit(offset_=1.0), *data)
