"""The shape of the code: who imports whom, what a fit loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sktf

FOLDER = Path(sktf.__file__).parent
# A module imports modules of layers below its own, or names of its own layer further left.
LAYERS = [
    [
        "_callbacks",
        "_docs",
        "_factorization",
        "_lanes",
        "_kernels",
        "_losses",
        "_offset",
        "_rank",
        "_sides",
        "_steps",
        "_tensorly",
        "_threads",
        "_validation",
        "_descent",
    ],
    ["_walk", "_multirate", "_objective", "_trace", "_frame", "_pruning", "_schedule", "_sensing"],
    ["_base", "_identifiability", "_fitting", "_gradient"],
    ["_cp", "_deep_cp", "_deep_matrix", "_deep_tucker", "_hierarchical", "_ensemble"],
    ["_sweeps", "_als", "_nuclear"],
    ["datasets", "model_selection", "metrics", "dynamics"],
    ["_plotting", "_slice_display", "_rank_curve", "_agreement", "plotting"],
]
# Who may import what, of the packages that not everybody may.
OWNERS = {
    "torch": {"_objective"},
    "tensorly": {"_tensorly"},
    "cvxpy": {"_nuclear"},
    "matplotlib": {"_plotting", "plotting"},
    "numba": {"_kernels", "_lanes", "_objective"},
}
# Packages that only a function may import: `import sktf.<module>` does without them.
LAZY = {"torch", "tensorly", "cvxpy", "matplotlib"}
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
ORDER = [name for layer in LAYERS for name in layer]

every_module = pytest.mark.parametrize("module", MODULES)


def imports(module):
    """Top-level names imported anywhere in a module, those at its top, and siblings of ours."""
    tree = ast.parse((FOLDER / f"{module}.py").read_text(encoding="utf-8"))
    anywhere, siblings = set(), set()

    def visit(node, found):
        if isinstance(node, ast.Import):
            for name in node.names:
                top, *rest = name.name.split(".")
                siblings.update(rest[:1] if top == "sktf" else [])
                found.add(top)
        elif isinstance(node, ast.ImportFrom):
            top, *rest = (node.module or "").split(".")
            inside = [top] if node.level and top else rest[:1]
            if node.level or top == "sktf":
                siblings.update(inside or [name.name for name in node.names])
            else:
                found.add(top)

    for node in ast.walk(tree):
        visit(node, anywhere)
    within = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.walk(node)
    }
    at_the_top = set()
    for node in ast.walk(tree):
        if node not in within:
            visit(node, at_the_top)
    return anywhere, at_the_top, siblings


def run(code):
    """Run code in a fresh process; return what it prints, as words."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=FOLDER.parent,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_every_module_has_its_place():
    """A new module is put in a layer before anything else."""
    assert set(MODULES) <= set(ORDER)
    assert len(ORDER) == len(set(ORDER))


@every_module
def test_imports_point_down(module):
    """To lower layers, or to the left in the module's own: so there are no cycles."""
    _, _, siblings = imports(module)
    assert siblings <= set(MODULES) | {"__version__"}
    upwards = {name for name in siblings & set(MODULES) if ORDER.index(name) >= ORDER.index(module)}
    assert not upwards


@every_module
def test_only_their_owners_import_heavy_packages(module):
    """One module each; and numba beside the kernels where its settings are read."""
    anywhere, at_the_top, _ = imports(module)
    foreign = {package for package in anywhere & set(OWNERS) if module not in OWNERS[package]}
    assert not foreign
    assert not at_the_top & LAZY


def test_owners_do_import_their_packages():
    """So that the rules above speak of something."""
    for package, modules in OWNERS.items():
        for module in modules & set(MODULES):
            assert package in imports(module)[0], f"{module} does not import {package}"


def test_reading_of_imports(tmp_path, monkeypatch):
    """The reader behind these tests sees every form of import, and what is inside functions."""
    (tmp_path / "sample.py").write_text(
        "import numpy.linalg as la\n"
        "from . import _kernels\n"
        "from ._rank import x\n"
        "from sktf._sides import y\n"
        "import sktf.metrics\n"
        "try:\n    import yaml\nexcept ImportError:\n    pass\n"
        "def f():\n    from torch.nn import functional\n"
        "class C:\n    def g(self):\n        import cvxpy\n"
    )
    monkeypatch.setattr(sys.modules[__name__], "FOLDER", tmp_path)
    anywhere, at_the_top, siblings = imports("sample")
    assert anywhere == {"numpy", "sktf", "yaml", "torch", "cvxpy"}
    assert at_the_top == {"numpy", "sktf", "yaml"}
    assert siblings == {"_kernels", "_rank", "_sides", "metrics"}


def test_import_sktf_loads_nothing_heavy():
    """In a fresh process, where coverage tools and plugins have loaded nothing yet."""
    heavy = {"torch", "tensorly", "matplotlib", "cvxpy", "numba", "sklearn", "scipy"}
    loaded = run("import sktf, sys; print(*sys.modules)")
    assert not heavy & set(loaded)


@pytest.mark.slow
def test_a_fit_on_the_cpu_loads_no_torch():
    """Nor tensorly, matplotlib or cvxpy: they belong to exports, plots and baselines."""
    loaded = run(
        "import sys, numpy as np\n"
        "from sktf import CPCompletion\n"
        "X = np.argwhere(np.ones((5, 5, 5)))\n"
        "y = (X + 1.0).prod(axis=1)\n"
        "model = CPCompletion(3, random_state=0).fit(X, y)\n"
        "model.predict(X), model.to_dense(), model.score(X, y)\n"
        "print(*sys.modules)\n"
    )
    assert "numba" in loaded
    assert not LAZY & set(loaded)


@pytest.mark.parametrize("name", sktf.__all__)
def test_public_names_are_listed(name):
    """``dir`` shows what can be had before it is loaded."""
    assert name in dir(sktf)


def test_unknown_names_are_attribute_errors():
    """As of any module."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sktf.nothing
