"""What all displays share."""

import subprocess
import sys

import pytest

from sktf.plotting import (
    PredictionErrorDisplay,
)

matplotlib = pytest.importorskip("matplotlib")


plt = pytest.importorskip("matplotlib.pyplot")


pytestmark = pytest.mark.filterwarnings("error")


def test_import_is_light():
    """Importing the module does not import matplotlib."""
    code = "import sys, sktf.plotting; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_prediction_error_display_is_scikit_learns():
    """Observed against predicted values need no display of our own."""
    assert PredictionErrorDisplay.__module__.startswith("sklearn.")
