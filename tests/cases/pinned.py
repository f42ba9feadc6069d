"""Whether the versions are those of constraints.txt, whose last digits the pages show."""

from importlib.metadata import version
from pathlib import Path

import pytest

PINS = (Path(__file__).parents[2] / "constraints.txt").read_text("utf-8").split()

shows_digits = pytest.mark.skipif(
    not {f"{name}=={version(name)}" for name in ("numpy", "scipy", "numba")} <= {*PINS},
    reason="other versions than those of constraints.txt round otherwise",
)
