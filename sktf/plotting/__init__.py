"""Displays in scikit-learn's manner, one a file; matplotlib is imported only to draw.

For observed against predicted values scikit-learn's own display is re-exported:
``PredictionErrorDisplay.from_estimator(model, X, y, kind="actual_vs_predicted")``.
"""

from sklearn.metrics import PredictionErrorDisplay

from sktf.plotting.agreement import AgreementDisplay
from sktf.plotting.calibration import CalibrationDisplay
from sktf.plotting.factors import FactorsDisplay
from sktf.plotting.rank_curve import RankCurveDisplay
from sktf.plotting.slices import SliceDisplay
from sktf.plotting.trajectory import TrajectoryDisplay

__all__ = [
    "AgreementDisplay", "CalibrationDisplay", "FactorsDisplay", "PredictionErrorDisplay",
    "RankCurveDisplay", "SliceDisplay", "TrajectoryDisplay",
]  # fmt: skip


def __dir__():
    return __all__
