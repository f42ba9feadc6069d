"""Small portions of the fuzzer and of the soak tests of ``benchmarks/``, which run alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Each compiles a little, and starts processes of its own.
pytestmark = pytest.mark.slow


def run(*command):
    """Run a script of ``benchmarks/`` with one thread, and hold it to what it promises."""
    environment = os.environ | {"SKTF_BENCHMARK_THREADS": "1", "PYTHONPATH": str(ROOT)}
    script, *options = command
    command = [sys.executable, str(ROOT / "benchmarks" / script), *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_case_ends_well_or_says_what_to_do():
    """The first cases of ``benchmarks/fuzz.py``: estimators, parameters and data of all kinds."""
    pytest.importorskip("polars")
    assert "0  findings" in run("fuzz.py", "--cases", "150")


@pytest.mark.parametrize("part", ["threads", "processes", "mutations"])
def test_fits_elsewhere_have_the_same_bits(part):
    """Eight threads, processes that start in any way; damaged files that are refused."""
    assert "met" in run("soak.py", part, "--quick")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc, which is Linux's")
def test_fits_leave_nothing_behind():
    """No memory, threads or open files: 63 fits of nine kinds."""
    assert "met" in run("soak.py", "fits", "--quick")
