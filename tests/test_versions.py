"""What a report of a bug says is what is there."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
import scipy
import sklearn
from threadpoolctl import threadpool_limits

import sktf
from sktf import _versions

HEAVY = ("torch", "tensorly", "cvxpy", "matplotlib", "pandas", "polars", "xarray")


@pytest.fixture
def printed(capsys):
    """Return a function that returns what is printed, as a dictionary."""

    def read():
        sktf.show_versions()
        lines = [line.split(": ", 1) for line in capsys.readouterr().out.splitlines()]
        return {line[0].strip(): line[1] for line in lines if len(line) == 2}

    return read


def test_versions_are_those_of_the_packages(printed):
    """As the packages themselves say when they are imported."""
    said = printed()
    assert said["sktf"] == sktf.__version__
    assert said["python"].startswith(platform.python_version())
    assert said["executable"] == sys.executable
    for name, package in {"numpy": np, "scipy": scipy, "numba": numba}.items():
        assert said[name] == package.__version__
    assert said["scikit-learn"] == sklearn.__version__
    assert all(said[name] for name in HEAVY)


def test_threads_are_those_in_force(printed):
    """Cores, threads of numba, and those of every BLAS."""
    with threadpool_limits(1):
        said = printed()
    assert said["cores"] == str(os.cpu_count())
    assert said["numba threads"] == str(numba.config.NUMBA_NUM_THREADS)
    pools = [value for name, value in said.items() if name.startswith(("openblas", "mkl"))]
    assert pools and all(value.startswith("1, version") for value in pools)


def test_a_package_that_is_not_there_is_said_so(printed, monkeypatch):
    """Which is no error."""
    monkeypatch.setattr(_versions, "_PACKAGES", ["no-such-package"])
    assert printed()["no-such-package"] == "not installed"


def test_optional_packages_are_looked_up_and_not_imported():
    """They take seconds to import, and may be what is broken."""
    code = "import sys, sktf; sktf.show_versions(); print('loaded', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(sktf.__file__).parent.parent,
        timeout=120,
        check=True,
    )
    assert not set(HEAVY) & set(done.stdout.split("loaded", 1)[1].split())
