"""Fixtures of several files of tests."""

import pytest
from cases.sampled import draw


@pytest.fixture
def path(tmp_path):
    """Return the path of a file that is not there yet."""
    return str(tmp_path / "fit.ckpt")


@pytest.fixture(scope="module")
def sparse():
    """100^3, rank 3, 5,400 cells: half a percent, of which random starts find nothing."""
    return draw((100,) * 3, 3, 5400, 0.1, 20)
