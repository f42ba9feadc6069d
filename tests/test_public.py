"""What users import: names, where pickles look for them, docstrings, types."""

import doctest
import inspect
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sktf

MODULES = ["datasets", "dynamics", "metrics", "model_selection", "plotting"]
CLASSES = [name for name in sktf.__all__ if name not in MODULES]
PUBLIC = [("sktf", name) for name in CLASSES]
PUBLIC += [(f"sktf.{module}", name) for module in MODULES for name in getattr(sktf, module).__all__]


def public(module, name):
    """The object behind a public name."""
    return getattr(sys.modules[module], name)


@pytest.mark.parametrize("module", ["sktf", *(f"sktf.{name}" for name in MODULES)])
def test_dir_lists_what_is_public_and_no_more(module):
    """In sorted order, so that a name is added in one place."""
    listed = sys.modules[module].__all__
    assert dir(sys.modules[module]) == sorted(listed)
    assert listed == sorted(listed)


def test_unknown_names_are_attribute_errors():
    """As of any module."""
    with pytest.raises(AttributeError, match="No sktf attribute nothing"):
        _ = sktf.nothing


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_pickles_name_the_public_path(module, name):
    """A file may move; what was pickled before still loads."""
    thing = public(module, name)
    if inspect.isclass(thing) and not thing.__module__.startswith("sklearn"):
        assert thing.__module__ == module
        assert pickle.loads(pickle.dumps(thing)) is thing


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_examples_of_public_names_run_when_pasted(module, name):
    """pytest looks for doctests by ``__module__``, which is the public path of these classes."""
    thing = public(module, name)
    if (thing.__module__ or "").startswith("sklearn"):
        pytest.skip("scikit-learn tests its own examples")
    tests = doctest.DocTestFinder().find(thing, name, module=False, globs={})
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in tests:
        assert runner.run(test).failed == 0
    assert any(test.examples for test in tests), f"{name} has no example"


@pytest.mark.parametrize("name", [n for n in CLASSES if n != "CompletionWarning"])
def test_parameters_are_documented_in_the_order_of_the_signature(name):
    """What every user sets first, then the descent, then what is for researchers."""
    estimator = getattr(sktf, name)
    text = re.split(r"\n(?:Attributes|Returns)\n", inspect.cleandoc(estimator.__doc__))[0]
    documented = re.findall(r"(?m)^(\w+) : ", text)
    assert documented == list(inspect.signature(estimator).parameters)
    assert not re.search(r"(?m)^ *\{\w+( \.\.\. \w+)?\},?$", estimator.__doc__)


USER = """
import numpy as np

from sktf import CPCompletion, CompletionEnsemble, DeepMatrixCompletion
from sktf.datasets import load_il2, split_entries

X, y, shape = load_il2()
X, X_hidden, y, y_hidden = split_entries(X, y, test_size=0.5, random_state=1)
model = CPCompletion(shape=shape, random_state=1, dtype=np.float32).fit(X, y)
print(model.score(X_hidden, y_hidden), model.rank_)
CompletionEnsemble(DeepMatrixCompletion(depth=2, hidden=(3,)), n_estimators=3)
"""
MISTAKES = {
    "misspelt": ("CPCompletion(n_componentz=3)\n", "n_componentz"),
    "type": ('CPCompletion(max_iter="many")\n', "max_iter"),
    "unknown class": ("from sktf import CPCompletions\n", "CPCompletions"),
}


def check_types(code, folder):
    """Return what mypy prints of a page of a user's code, outside the package."""
    page = folder / "page.py"
    page.write_text(code)
    settings = ["--ignore-missing-imports", "--cache-dir", str(folder.parent / "mypy")]
    root = str(Path(sktf.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *settings, str(page)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"MYPYPATH": root},
        timeout=300,
    )
    return done.stdout


@pytest.mark.slow
def test_type_checkers_see_the_classes(tmp_path):
    """The README's example passes; a misspelt parameter does not."""
    assert "Success" in check_types(USER, tmp_path)
    for code, word in MISTAKES.values():
        said = check_types(USER + code, tmp_path)
        assert "error" in said and word in said
