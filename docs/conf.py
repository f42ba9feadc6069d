"""How the documentation is built: ``make docs``, offline where ``SKTF_DOCS_OFFLINE`` is set."""

import os
import re
from inspect import getdoc, isclass, isfunction, ismodule
from pathlib import Path

# Before numpy is imported: scripts of the gallery run side by side, each on one thread.
for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ[f"{library}_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "agg"

import sktf  # noqa: E402

HERE = Path(__file__).parent

project = "sktf"
author = "The sktf developers"
copyright = "2026, The sktf developers"
version = release = sktf.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "matplotlib.sphinxext.plot_directive",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
# A gallery built before may hold pages of scripts that are gone.
pages = [page.relative_to(HERE / "gallery") for page in HERE.glob("gallery/**/plot_*.rst")]
examples = HERE.parent / "examples"
gone = [f"gallery/{page}" for page in pages if not (examples / page.with_suffix(".py")).exists()]
exclude_patterns = ["_build", "_templates", *gone]
suppress_warnings = ["config.cache"]
default_role = "obj"
# What is said to be in sktf must be there; names of other packages resolve online only.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!sktf).*")]

html_theme = "pydata_sphinx_theme"
html_title = f"sktf {version}"
html_theme_options = {
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 7,
}
# No list of sections beside pages that have none.
alone = "install tutorial faq glossary comparison comparison_tables symbols extending"
html_sidebars = {page: [] for page in alone.split()}
html_static_path = ["_static"]
html_css_files = ["sktf.css"]
html_show_sourcelink = False

autosummary_generate = True
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"
numpydoc_show_class_members = False
# Every public function and method says what it does, and names just the parameters it has.
numpydoc_validation_checks = {"GL08", "PR01", "PR02", "RT03", "SS01", "SS03"}
numpydoc_validation_exclude = {r"\.(Entries|Rates)$"}  # tuples, whose fields are attributes

intersphinx_mapping = {
    "python": ("https://docs.python.org/3", None),
    "numpy": ("https://numpy.org/doc/stable", None),
    "sklearn": ("https://scikit-learn.org/stable", None),
    "tensorly": ("https://tensorly.org/stable", None),
}
if os.environ.get("SKTF_DOCS_OFFLINE"):
    intersphinx_mapping = {}

ISSUES = {
    "tensorly": "tensorly/tensorly",
    "tensorlib": "tensorlib/tensorlib",
    "tensortools": "neurostatslab/tensortools",
    "pyttb": "sandialabs/pyttb",
    "genten": "sandialabs/GenTen",
    "transdim": "xinychen/transdim",
    "sklearn": "scikit-learn/scikit-learn",
    "cell2cell": "earmingol/cell2cell",
    "fancyimpute": "iskandr/fancyimpute",
    "surprise": "NicolasHug/Surprise",
    "implicit": "benfred/implicit",
    "cornac": "PreferredAI/cornac",
    "pyfm": "coreylynch/pyFM",
    "fastfm": "ibayer/fastFM",
}
extlinks = {
    name: (f"https://github.com/{repository}/issues/%s", f"{repository.split('/')[1]}#%s")
    for name, repository in ISSUES.items()
}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"^(?!plot_)",
    "subsection_order": ["../examples/practice", "../examples/papers"],
    "within_subsection_order": "FileNameSortKey",
    "doc_module": ("sktf",),
    "reference_url": {"sktf": None},
    "backreferences_dir": "generated/backreferences",
    "parallel": 2,
    "notebook_extensions": set(),
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    # Not the text of what the last line of a block happens to return, such as a legend.
    "capture_repr": ("_repr_html_",),
}
# Pictures of the guide are drawn by the code above them, which tests/test_docs.py runs as well.
plot_include_source = True
plot_html_show_source_link = False
plot_html_show_formats = False
plot_formats = [("png", 120)]
plot_rcparams = {"savefig.bbox": "tight"}

_INHERITED = (
    "Methods that estimators have of scikit-learn, such as ``score``, ``set_params`` and "
    "``set_fit_request``, are documented by `scikit-learn "
    "<https://scikit-learn.org/stable/modules/generated/sklearn.base.RegressorMixin.html>`__. "
    "Which estimator to take: :doc:`/guide/choosing`. What a word means: :doc:`/glossary`."
)


def public_names(module):
    """Return the names that a module lists, or defines; not those that it has of scikit-learn."""
    own = [name for name, value in vars(module).items() if is_of(value, module.__name__)]
    listed = getattr(module, "__all__", own)
    return [name for name in listed if name[0] != "_" and is_of(getattr(module, name), "sktf")]


def is_of(value, package):
    """Return whether a class or function is defined in a package or module."""
    return (isclass(value) or isfunction(value)) and value.__module__.startswith(package)


def reference():
    """Return the page of all public names, taken from the package so that none is forgotten."""
    names = {name: getattr(sktf, name) for name in sktf.__all__}
    modules = {name: value for name, value in names.items() if ismodule(value)}
    sections = {"sktf": (sktf, [name for name in names if name not in modules])}
    for name, module in modules.items():
        sections[f"sktf.{name}"] = (module, public_names(module))
    lines = ["API reference", "=" * 13, "", _INHERITED, ""]
    for title, (module, members) in sections.items():
        lines += [title, "-" * len(title), "", getdoc(module).split("\n\nReferences\n")[0], ""]
        lines += [f".. currentmodule:: {module.__name__}", "", ".. autosummary::", "   :toctree: ."]
        lines += ["", *(f"   {member}" for member in members), ""]
    return "\n".join(lines)


def write_reference(app, config):
    """Write the page where autosummary will find it, unless it is there already."""
    page, text = HERE / "generated" / "index.rst", reference()
    page.parent.mkdir(exist_ok=True)
    if not page.exists() or page.read_text(encoding="utf-8") != text:
        page.write_text(text, encoding="utf-8")


def write_changelog(app, config):
    """Write the changelog, whose Markdown has headings, lists and code alone, for its page."""
    text = (HERE.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    text = text[text.index("## ") :].replace("`", "``")
    text = re.sub(r"(?m)^## \[(.*)\](.*)$", rf"\1\2\n{'-' * 40}", text)
    text = re.sub(r"(?m)^### (.*)$", rf"\1\n{'~' * 40}", text)
    (HERE / "generated" / "changelog.inc").write_text(text, encoding="utf-8")


def leave_out(app, what, name, obj, skip, options):
    """Leave out methods that scikit-learn documents, and bare fields of tuples."""
    of_sklearn = str(getattr(obj, "__module__", "")).startswith("sklearn.")
    return skip or of_sklearn or str(getdoc(obj)).startswith("Alias for field number")


def draw_examples(app, what, name, obj, options, lines):
    """Draw what the examples of a display draw."""
    if what == "class" and name.startswith("sktf.plotting."):
        start = lines.index("Examples") + 2
        head = [".. plot::", f"   :alt: What this example draws by {name}.", ""]
        lines[start:] = [*head, *("   " + line for line in lines[start:])]


def told_in():
    """Return, for each public name, the pages that link to it."""
    pages = {}
    first = [HERE / "install.rst", HERE / "tutorial.rst"]
    for path in [*first, *sorted(HERE.glob("guide/*.rst")), HERE / "symbols.rst"]:
        link = r":(?:class|func):`[^`]*?(sktf\.[\w.]+)>?`"
        for name in set(re.findall(link, path.read_text(encoding="utf-8"))):
            pages.setdefault(name, []).append(path.relative_to(HERE).with_suffix("").as_posix())
    return pages


def link_to_guide(app, what, name, obj, options, lines):
    """End the text of a class or function with links to the pages that tell of it."""
    if what in ("class", "function") and name in PAGES:
        lines += ["", ".. rubric:: In the guide", ""]
        lines += [f"* :doc:`/{page}`" for page in PAGES[name]]


PAGES = told_in()


def setup(app):
    app.connect("config-inited", write_reference)
    app.connect("config-inited", write_changelog)
    app.connect("autodoc-skip-member", leave_out)
    app.connect("autodoc-process-docstring", draw_examples, priority=400)  # before numpydoc
    app.connect("autodoc-process-docstring", link_to_guide, priority=600)
