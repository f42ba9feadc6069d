"""Compiled functions do their work with any cache on disk: none, a broken one, one of others."""

import errno
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numba import config
from numba.core.caching import CacheImpl, IndexDataCacheFile

import sktf
from sktf import _compile

NAMES = ("double", "triple")
SOURCE = """
import constants
from constants import TWO
from sktf._compile import compiled

@compiled(constants)
def double(x):
    return TWO * x

@compiled(constants)
def triple(x):
    return double(x) + x
"""
FULL = OSError(errno.ENOSPC, "No space left on device")
# A folder below a file cannot be made, not even by root.
NOWHERE = {"NUMBA_CACHE_DIR": f"{__file__}/cache", "HOME": f"{__file__}/home"}
USER = """
import warnings

import numpy as np
from numba.core.caching import CacheImpl

# The folder of the package can be written by whoever runs this.
CacheImpl._locator_classes = CacheImpl._locator_classes[:1]

import sktf
import sktf.datasets, sktf.dynamics, sktf.metrics, sktf.model_selection, sktf.plotting

for name in sktf.__all__:
    getattr(sktf, name)
X = np.argwhere(np.ones((4, 3, 2)))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model = sktf.CPCompletion(2, n_init=1, max_iter=9, prune=False, random_state=0)
    predicted = model.fit(X, X.sum(axis=1) + 1.0).predict(X)
assert np.isfinite(predicted).all()
print(sum("NUMBA_CACHE_DIR" in str(w.message) for w in caught))
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function that imports a module of two compiled functions, as a process would."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(_compile, "_told", [])
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "module.py").write_text(SOURCE)
    (tmp_path / "constants.py").write_text("TWO = 2\n")

    def load():
        for name in ("constants", "module"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module("module")

    yield load
    for name in ("constants", "module"):
        sys.modules.pop(name, None)


def works(module):
    """Call the functions; return how many were read from disk."""
    assert module.triple(7) == 21 and module.double(7.0) == 14.0
    return sum(sum(getattr(module, name).stats.cache_hits.values()) for name in NAMES)


def files(tmp_path, name):
    """The files of the cache with such a name."""
    return sorted((tmp_path / "cache").rglob(name))


def test_compiled_functions_are_read_from_disk(load):
    """By the next process, whole; else the other tests would say nothing."""
    assert works(load()) == 0
    # triple holds the code of double, which is read for the floats alone.
    assert works(load()) == 2


@pytest.mark.parametrize("kind", ["*.nbi", "*.nbc"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:-1],
        lambda whole: b"not a pickle",
        lambda whole: bytes(range(256)) * 40,
        lambda whole: b"\x80\x04N.",  # the pickle of None
        lambda whole: b"cno_such_module\nname\n.",
    ],
    ids=["empty", "half", "cut", "text", "noise", "foreign", "lost module"],
)
def test_a_damaged_file_is_a_miss_and_is_mended(load, tmp_path, kind, damage):
    """Without a word: the second process compiles, the third reads what it wrote."""
    works(load())
    damaged = files(tmp_path, kind)
    assert damaged
    for file in damaged:
        file.write_bytes(damage(file.read_bytes()))
    assert works(load()) == 0
    assert works(load()) == 2


def test_the_code_of_another_function_is_a_miss(load, tmp_path):
    """Its call with other arguments could crash the process."""
    module = load()
    assert module.double(7) == 14 and module.triple(7) == 21
    of_double, of_triple = files(tmp_path, "*double*.nbc"), files(tmp_path, "*triple*.nbc")
    shutil.copy(of_double[0], of_triple[0])
    assert load().triple(7) == 21


def test_a_file_that_is_a_folder_is_survived(load, tmp_path):
    """It can be neither read nor replaced: one warning, and the result."""
    works(load())
    for file in files(tmp_path, "*.nbi"):
        file.unlink()
        file.mkdir()
    with pytest.warns(UserWarning, match="NUMBA_CACHE_DIR") as told:
        assert works(load()) == 0
    assert len(told) == 1


@pytest.mark.parametrize("what", ["_save_index", "_save_data"])
def test_a_full_disk_is_survived(load, monkeypatch, what):
    """One warning for both functions, which names the error and the remedy."""

    def fail(*_):
        raise FULL

    with monkeypatch.context() as full:
        full.setattr(IndexDataCacheFile, what, fail)
        with pytest.warns(UserWarning, match="No space left on device.*7 seconds") as told:
            works(load())
        assert len(told) == 1
        assert works(load()) == 0
    works(load())
    assert works(load()) == 2


def test_a_full_disk_leaves_no_index_to_older_code(load, tmp_path, monkeypatch):
    """An index written before the disk was full would name the file of another source."""
    works(load())
    (tmp_path / "module.py").write_text(SOURCE.replace("+ x", "+ x + 1"))

    def fail(*_):
        raise FULL

    with monkeypatch.context() as full, pytest.warns(UserWarning, match="No space left"):
        full.setattr(IndexDataCacheFile, "_save_data", fail)
        assert load().triple(7) == 22
    assert load().triple(7) == 22


def test_a_folder_that_is_gone_is_survived(load, tmp_path):
    """It was there when the module was imported."""
    module = load()
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("no folder")
    with pytest.warns(UserWarning, match="NUMBA_CACHE_DIR"):
        works(module)


def test_no_folder_at_all_is_told_once_something_is_compiled(load, monkeypatch):
    """Not on import, which compiles nothing."""
    monkeypatch.setattr(config, "CACHE_DIR", NOWHERE["NUMBA_CACHE_DIR"])
    monkeypatch.setattr(CacheImpl, "_locator_classes", CacheImpl._locator_classes[:1])
    module = load()
    with pytest.warns(UserWarning, match="no locator available.*NUMBA_CACHE_DIR") as told:
        assert works(module) == 0
    assert len(told) == 1
    module.double.recompile()


def test_another_numba_is_no_error(load, monkeypatch):
    """Where its private parts have moved there is no cache."""
    monkeypatch.setattr(_compile._DiskCache, "__init__", object.__init__)
    with pytest.warns(UserWarning, match="NUMBA_CACHE_DIR"):
        assert works(load()) == 0


def test_a_change_in_what_is_compiled_in_is_a_miss(load, tmp_path):
    """numba itself watches the file of the function alone."""
    works(load())
    (tmp_path / "constants.py").write_text("TWO = 20\n")
    module = load()
    assert module.double(7) == 140 and module.triple(7) == 147


def test_modules_without_source_are_cached_all_the_same(load, monkeypatch):
    """A frozen application has none; numba then watches its executable."""

    def fail(_):
        raise OSError("source code not available")

    monkeypatch.setattr(_compile.inspect, "getsource", fail)
    works(load())
    assert works(load()) == 2


def run(code, **environment):
    """Run code in a fresh process, warnings as errors; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=Path(sktf.__file__).parent.parent,
        env={**os.environ, **environment},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.slow
def test_a_user_who_may_write_nowhere_can_fit():
    """Every public name imports without a word; a fit, which compiles six functions, warns once."""
    assert run(USER, **NOWHERE) == ["1"]


@pytest.mark.slow
def test_a_fit_without_compilation():
    """``NUMBA_DISABLE_JIT`` takes the twins in NumPy, and no cache."""
    assert run(USER, **NOWHERE, NUMBA_DISABLE_JIT="1") == ["0"]
