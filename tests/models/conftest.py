"""Fixtures of several files of tests."""

import pytest


@pytest.fixture
def path(tmp_path):
    """Return the path of a file that is not there yet."""
    return str(tmp_path / "fit.ckpt")
