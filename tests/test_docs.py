"""The pages of docs/ say what the code does: their examples run, and what they name is there."""

import doctest
import re
from inspect import signature
from pathlib import Path

import pytest
from cases.pinned import shows_digits

import sktf
from sktf import plotting

ROOT = Path(__file__).parents[1]
GUIDE = sorted({*ROOT.glob("docs/guide/*.rst")} - {ROOT / "docs/guide/index.rst"})
PAGES = sorted({*ROOT.glob("docs/*.rst"), *ROOT.glob("docs/guide/*.rst")})


def name_of(path):
    """Return the id of a page in a parametrized test."""
    return str(path.relative_to(ROOT))


@shows_digits
@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if ">>> " in p.read_text("utf-8")], ids=name_of)
def test_examples_print_what_the_page_shows(page):
    """From top to bottom, in one namespace; a warning that is not shown is an error."""
    options = doctest.NORMALIZE_WHITESPACE | doctest.REPORT_ONLY_FIRST_FAILURE
    assert doctest.testfile(str(page), module_relative=False, optionflags=options).failed == 0


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_tests_that_a_page_names_exist(page):
    """Written as ``tests/test_x.py::test_name``, or ``test_name``."""
    for path, name in re.findall(
        r"``(?:tests/([\w/]+\.py)::)?(test_\w+)``", page.read_text("utf-8")
    ):
        sources = ROOT.glob(f"tests/{path or '**/test_*.py'}")
        assert any(f"def {name}(" in source.read_text("utf-8") for source in sources), name


@pytest.mark.parametrize("page", GUIDE, ids=name_of)
def test_a_page_of_the_guide_draws_a_picture(page):
    """A display of the package, drawn as the documentation is built."""
    plots = re.split(r"\.\. plot::", page.read_text("utf-8"))[1:]
    assert any("Display.from_" in plot for plot in plots)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_picture_is_told_in_words(page):
    """For who cannot see it; code that draws nothing is marked so."""
    found = re.findall(r"(?m)^\.\. (?:plot|figure)::.*\n(?:   :.*\n)*", page.read_text("utf-8"))
    assert not [options for options in found if not re.search(":(alt|nofigs):", options)]


def test_every_display_draws_in_the_guide():
    """Whoever looks for a picture of their fit finds it there."""
    text = "".join(page.read_text("utf-8") for page in GUIDE)
    assert not [name for name in plotting.__all__ if f"{name}.from_" not in text]


CHOOSING = (ROOT / "docs/guide/choosing.rst").read_text("utf-8")
ROWS = re.findall(
    r"   \* - (``(?:.|\n)*?)\n     - .*\n     - ((?:.|\n)*?)(?=\n   \*|\n\n)",
    CHOOSING.split(".. _methods:")[1],
)
KINDS = {
    name: cls
    for name, cls in ((name, getattr(sktf, name)) for name in sktf.__all__)
    if hasattr(cls, "predict") and not hasattr(cls, "predict_proba")
}


@pytest.mark.parametrize("methods, who", ROWS, ids=lambda text: text[:30])
def test_the_table_of_methods_says_which_class_has_them(methods, who):
    """A method, an attribute, or a parameter of ``predict``; of completion estimators."""
    named = set(re.findall("``(.*?)``", who)) & KINDS.keys()
    expected = KINDS.keys() - named if who.startswith("all") else named
    for name in re.findall(r"``(?:predict\()?(\w+)", methods):
        has = {
            kind
            for kind, cls in KINDS.items()
            if hasattr(cls, name) or name in signature(cls.predict).parameters
        }
        assert has == expected, name


def test_the_table_of_methods_is_read_whole():
    assert len(ROWS) == 8
