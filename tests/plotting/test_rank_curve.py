"""Error against the number of components, drawn."""

from copy import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sktf.plotting import (
    RankCurveDisplay,
)

matplotlib = pytest.importorskip("matplotlib")


plt = pytest.importorskip("matplotlib.pyplot")


pytestmark = pytest.mark.filterwarnings("error")


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
