"""The shape of the code: which folder imports which, what a fit loads, what is public."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sktf

FOLDER = Path(sktf.__file__).parent
# What each folder, or module at the top, may import of the others.
ARROWS = {
    "_docs": set(),
    "_compile": set(),
    "_cells": {"_compile"},
    "_objective": {"_compile", "_cells"},
    "_descent": {"_objective"},
    "_models": {"_docs", "_cells", "_objective", "_descent"},
    "_averages": {"_docs", "_cells", "_objective", "_descent", "_models"},
    "_baselines": {"_docs", "_cells", "_objective", "_models"},
    "datasets": {"_docs", "_cells"},
    "_filling": {"_docs", "_cells", "_models", "_averages", "datasets"},
    "metrics": {"_cells", "_objective", "_baselines", "datasets"},
    "model_selection": {"_cells", "datasets"},
    "dynamics": {"_cells", "_objective", "_models"},
    "plotting": {"_docs", "_cells", "_objective", "datasets", "metrics"},
    "_versions": set(),
}
# Who may import what, of the packages that not everybody may.
OWNERS = {
    "torch": {"_objective/torch", "_objective/devices", "_objective/distributed"},
    "tensorly": {"_baselines/tensorly", "_models/export", "datasets/real"},
    "cvxpy": {"_baselines/nuclear"},
    "matplotlib": {"plotting/base", "plotting/trajectory"},
    "pyarrow": {"datasets/files"},
    "pandas": {"_descent/recording", "_filling/filler", "_filling/tables", "_models/labeled"},
    "numba": {
        "_compile",
        "_versions",
        "_objective/kernels",
        "_objective/lanes",
        "_objective/cpu",
        "_objective/nonnegative_rows",
        "_objective/row_equations",
        "_objective/row_sums",
        "_objective/linked_rows",
    },
}
# Packages that only a function may import: `import sktf.<module>` does without them.
LAZY = {"torch", "tensorly", "cvxpy", "matplotlib", "pandas", "pyarrow"}
PATHS = sorted(path for path in FOLDER.rglob("*.py") if path != FOLDER / "__init__.py")
FILES = {path.relative_to(FOLDER).with_suffix("").as_posix(): path for path in PATHS}

every_file = pytest.mark.parametrize("file", FILES)


def room(file):
    """The folder of a file, or the module itself at the top."""
    return file.split("/")[0]


def imports(path):
    """Packages imported anywhere in a file, those at its top, and (module, name) of ours."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    anywhere, ours = set(), set()

    def visit(node, found):
        if isinstance(node, ast.Import):
            found.update(name.name.split(".")[0] for name in node.names)
            ours.update((n.name, None) for n in node.names if n.name.startswith("sktf."))
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            found.add(node.module.split(".")[0])
            if node.module.split(".")[0] == "sktf":
                ours.update((node.module, name.name) for name in node.names)

    for node in ast.walk(tree):
        visit(node, anywhere)
    functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    within = {c for n in ast.walk(tree) if isinstance(n, functions) for c in ast.walk(n)}
    at_the_top = set()
    for node in ast.walk(tree):
        if node not in within:
            visit(node, at_the_top)
    return anywhere - {"sktf"}, at_the_top - {"sktf"}, ours


def rooms_of(ours):
    """The rooms that imports lead to."""
    return {(name if module == "sktf" else module.split(".")[1]) for module, name in ours}


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


def test_every_room_is_in_the_table():
    """A new folder is put in the table before anything else; few files stand at the top."""
    assert {room(file) for file in FILES} == set(ARROWS)
    assert len([file for file in FILES if "/" not in file]) < 12


def test_folders_import_downwards():
    """The table has no circle: a folder imports those above it in the table, or fewer."""
    order = list(ARROWS)
    for name, below in ARROWS.items():
        assert below <= set(order[: order.index(name)]), name


@every_file
def test_imports_follow_the_arrows(file):
    """Of the package as a whole a module takes public names or modules only."""
    _, _, ours = imports(FILES[file])
    assert rooms_of(ours) - {room(file), "__version__"} <= ARROWS[room(file)]


def test_files_of_a_folder_import_each_other_without_a_circle():
    """So that each can be read after those it stands on."""
    graph = {
        file: {module[5:].replace(".", "/") for module, _ in imports(path)[2]} & set(FILES)
        for file, path in FILES.items()
    }
    while leaves := {file for file, below in graph.items() if not below}:
        graph = {file: below - leaves for file, below in graph.items() if file not in leaves}
    assert not graph


@every_file
def test_private_names_stay_in_their_file(file):
    """What another file needs has a name without underscore."""
    private = {(m, n) for m, n in imports(FILES[file])[2] if n and n[0] == "_" and m != "sktf"}
    assert not private


@every_file
def test_only_their_owners_import_heavy_packages(file):
    """A few files each; and never while `sktf.<module>` is imported."""
    anywhere, at_the_top, _ = imports(FILES[file])
    assert not {package for package in anywhere & set(OWNERS) if file not in OWNERS[package]}
    assert not at_the_top & LAZY


def test_owners_do_import_their_packages():
    """So that the rules above speak of something."""
    for package, files in OWNERS.items():
        for file in files:
            assert package in imports(FILES[file])[0], f"{file} does not import {package}"


@every_file
def test_files_are_short_and_say_what_they_own(file):
    """At most 400 lines, after a docstring."""
    text = FILES[file].read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    assert ast.get_docstring(ast.parse(text))


def test_reading_of_imports(tmp_path):
    """The reader behind these tests sees every form of import, and what is inside functions."""
    sample = tmp_path / "sample.py"
    sample.write_text(
        "import numpy.linalg as la\n"
        "from sktf import metrics\n"
        "from sktf._cells.frame import x\n"
        "import sktf.datasets\n"
        "try:\n    import yaml\nexcept ImportError:\n    pass\n"
        "def f():\n    from torch.nn import functional\n"
        "class C:\n    def g(self):\n        import cvxpy\n"
    )
    anywhere, at_the_top, ours = imports(sample)
    assert anywhere == {"numpy", "yaml", "torch", "cvxpy"}
    assert at_the_top == {"numpy", "yaml"}
    assert rooms_of(ours) == {"metrics", "_cells", "datasets"}


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
    # scikit-learn may import pandas, and pandas pyarrow.
    assert not (LAZY - {"pandas", "pyarrow"}) & set(loaded)
