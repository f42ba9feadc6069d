"""What is built from the source: the archive that distributors test, and the wheel."""

import configparser
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

import sktf

ROOT = Path(__file__).parents[1]
FOLDERS = ("benchmarks", "docs", "examples", "sktf", "tests")
FILES = ["CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "Makefile"]
FILES += ["README.md", "SECURITY.md", "constraints.txt", "constraints-oldest.txt"]
FILES += ["pyproject.toml", "setup.cfg", "setup.py"]
# What tools leave in a checkout, by pattern, and an example of each in the tree that is built.
LEFT = ("__pycache__", "_cache", "_build", "gallery", "generated", ".*")
RUBBISH = [
    "sktf/__pycache__/kernels.cp_pass-9.py311.1.nbc",
    "tests/__pycache__/conftest.cpython-311.pyc",
    "docs/_build/html/index.html",
    "docs/gallery/plot_01.rst",
    "docs/generated/index.rst",
    "benchmarks/_cache/phase.csv",
]
BUILD = "from setuptools import build_meta as b; b.build_sdist('dist'); b.build_wheel('dist')"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the source with rubbish in it, and what is built from that in ``dist``."""
    tree = tmp_path_factory.mktemp("source") / "sktf"
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns(*LEFT))
    for file in FILES:
        shutil.copy(ROOT / file, tree / file)
    for file in RUBBISH:
        (tree / file).parent.mkdir(parents=True, exist_ok=True)
        (tree / file).write_text("left by a tool")
    subprocess.run([sys.executable, "-c", BUILD], cwd=tree, check=True, capture_output=True)
    return tree


@pytest.fixture(scope="module")
def wheel(tree):
    """The files of the wheel, by name."""
    with zipfile.ZipFile(*tree.glob("dist/*.whl")) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def metadata(wheel):
    """What a package index shows."""
    return message_from_bytes(next(wheel[n] for n in wheel if n.endswith("/METADATA")))


def source(folders):
    """The files of folders of the checkout, without what tools leave there."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file())
    names = [path.relative_to(ROOT) for path in found]
    return {n.as_posix() for n in names if not any(p in LEFT or p[0] == "." for p in n.parts)}


def test_the_source_archive_holds_the_whole_source(tree):
    """Tests, and the documents, examples, settings and benchmarks that they read."""
    with tarfile.open(*tree.glob("dist/*.tar.gz")) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    assert not (source(FOLDERS) | set(FILES)) - names
    assert not names & set(RUBBISH)


def test_the_wheel_holds_the_package_alone(wheel):
    """Every module, the stubs and the mark that it is typed."""
    package = {name for name in wheel if ".dist-info/" not in name}
    assert package == source(["sktf"])
    assert {"sktf/py.typed", "sktf/__init__.pyi"} <= package


def test_the_metadata_say_where_to_look(metadata):
    """Documentation, words to search for, and the version."""
    assert metadata["Version"] == sktf.__version__
    assert "tensor completion" in metadata["Keywords"].split(",")
    urls = dict(url.split(", ") for url in metadata.get_all("Project-URL"))
    assert {"Documentation", "Changelog"} <= set(urls)
    documentation = sktf.CPCompletion._doc_link_template.split("/en/")[0]
    assert all(url.startswith(documentation) for url in urls.values())


def test_links_of_the_description_are_absolute(metadata):
    """A package index shows the README without the files beside it."""
    text = metadata.get_payload()
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert text.startswith("# sktf") and len(links) >= 3
    assert all(link.startswith("https://") for link in links)


def test_pictures_of_the_description_are_in_the_documentation(metadata):
    """Sphinx publishes those that a page shows."""
    pages = "".join(page.read_text(encoding="utf-8") for page in ROOT.glob("docs/*.rst"))
    pictures = re.findall(r"!\[.*?\]\(\S*/_images/(\S*)\)", metadata.get_payload())
    assert pictures
    for picture in pictures:
        assert f".. figure:: {picture}\n" in pages


def floors():
    """The lowest version of each requirement in setup.cfg that ``make test-oldest`` installs."""
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    extras = settings["options.extras_require"]
    texts = [settings["options"]["install_requires"]]
    texts += [extras[name] for name in ("nuclear", "plot", "parquet", "all", "test")]
    return dict(re.findall(r"^([\w-]+)>=([\w.]+)$", "\n".join(texts), flags=re.MULTILINE))


def test_the_lowest_versions_are_those_that_are_tested():
    """But for PyTorch, whose lowest has no wheel for the CPU alone on the index."""
    pins = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w-]+)==([\w.]+)$", pins, flags=re.MULTILINE))
    assert pinned.keys() == floors().keys() - {"torch"}
    for name, floor in floors().items():
        if name != "torch":
            release, least = (list(map(int, v.split("."))) for v in (pinned[name], floor))
            assert release[: len(least)] == least, name
