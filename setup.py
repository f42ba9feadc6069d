"""Absolute links for the README on a package index; all other metadata is in setup.cfg."""

from pathlib import Path

from setuptools import setup

DOCS = "https://sktf.readthedocs.io/en/stable"

readme = Path("README.md").read_text(encoding="utf-8")
readme = readme.replace("](docs/", f"]({DOCS}/_images/")
setup(long_description=readme.replace("](examples)", f"]({DOCS}/gallery/index.html)"))
