"""How many threads BLAS has during fits, whichever thread fits."""

import warnings
from threading import Event, Thread, local

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

from sktf import CPCompletion
from sktf._cells import subspaces
from sktf._cells import threads as module
from sktf._cells.threads import one_blas_thread


def _blas_threads():
    """Return the limits of all libraries but those that were built without threads."""
    libraries = [lib for lib in threadpool_info() if lib["user_api"] == "blas"]
    return {lib["num_threads"] for lib in libraries if lib.get("threading_layer") != "disabled"}


def _in_a_thread(function):
    """Return what a function returns in another thread, while this one waits."""
    found = []
    thread = Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


@pytest.fixture
def three_threads():
    """BLAS has three threads, and what it had before afterwards."""
    with threadpool_limits(3, user_api="blas"):
        yield


def _during_a_fit():
    with one_blas_thread():
        return _blas_threads()


def test_a_fit_in_another_thread_has_one_thread(three_threads):
    """Threadpoolctl 3.8 obeys the first thread that sets limits, here the fixture's, alone."""
    for _ in range(2):
        assert _during_a_fit() == {1}
        assert _in_a_thread(_during_a_fit) == {1}
        assert _blas_threads() == {3}


@pytest.mark.parametrize("first_in_main", [True, False])
def test_the_last_of_overlapping_fits_lifts_the_limit(three_threads, first_in_main):
    """Whichever thread it is in, and however long the others live."""
    began, may_end, ended = Event(), Event(), []

    def fit_in_a_thread():
        with one_blas_thread():
            began.set()
            may_end.wait(10)
            ended.append(_blas_threads())

    thread = Thread(target=fit_in_a_thread)
    if first_in_main:
        with one_blas_thread():
            thread.start()
            assert began.wait(10)
        assert _blas_threads() == {1}
    else:
        thread.start()
        assert began.wait(10)
    with one_blas_thread():
        if not first_in_main:
            may_end.set()
            thread.join(10)
        assert _blas_threads() == {1}
    may_end.set()
    thread.join(10)
    assert ended == [{1}]
    assert _blas_threads() == {3}


def test_others_may_set_limits_from_any_thread_after_a_fit():
    """Also while the thread that fitted lives."""
    _during_a_fit()

    def limited():
        with threadpool_limits(3, user_api="blas"):
            return _blas_threads()

    assert _in_a_thread(limited) == {3}


class _OfThreads:
    """A library, as MKL, of which each thread has a limit of its own: four before it is set."""

    check_symbols, filepath = ("MKL_Set_Num_Threads_Local",), "of_threads"

    def __init__(self):
        self._limits = local()

    @property
    def num_threads(self):
        return getattr(self._limits, "n", 4)

    def set_num_threads(self, n):
        self._limits.n = n


@pytest.fixture
def library(monkeypatch):
    """The only library there is."""
    library = _OfThreads()

    class Controller:
        def select(self, **wanted):
            self.lib_controllers = [library]
            return self

    monkeypatch.setattr(module, "ThreadpoolController", Controller)
    monkeypatch.setitem(module._state, "of_threads", {})
    return library


def test_threads_of_a_fit_are_limited_where_limits_are_those_of_threads(library, monkeypatch):
    """Those of subspaces, of row-wise equations and of a race."""
    found, leading, solve = [], subspaces._all_leading, np.linalg.solve

    def noted(function):
        return lambda *args: found.append(library.num_threads) or function(*args)

    monkeypatch.setattr(subspaces, "_all_leading", noted(leading))
    monkeypatch.setattr(np.linalg, "solve", noted(solve))
    rng = np.random.default_rng(0)
    X = rng.integers(0, 30, (2000, 3))
    y = np.prod(rng.standard_normal((30, 3))[X, [0, 1, 2]], axis=1)
    with warnings.catch_warnings(action="ignore"):
        CPCompletion(random_state=0).fit(X, y)
        CPCompletion(shape=(30,) * 3, random_state=0).fit(X[:600], y[:600])
    assert set(found) == {1}
    assert library.num_threads == 4


def test_an_error_amid_the_limits_leaves_none(three_threads, monkeypatch):
    """Of a library that cannot be set."""
    library = _OfThreads()

    def refuse(n):
        raise OSError("no")

    library.set_num_threads = refuse
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers

    class Controller:
        def select(self, **wanted):
            self.lib_controllers = [library, *libraries]
            return self

    with monkeypatch.context() as patch:
        patch.setitem(module._state, "of_threads", {})
        patch.setattr(module, "ThreadpoolController", Controller)
        with pytest.raises(OSError, match="no"), one_blas_thread():
            pass
    assert module._state["fits"] == 0
    assert _during_a_fit() == {1}
    assert _blas_threads() == {3}


def test_every_fit_limits_its_own_thread_where_limits_are_those_of_threads(library):
    """And lifts its own limit, though others run on."""
    began, may_end, found = Event(), Event(), []

    def fit_in_a_thread():
        with one_blas_thread():
            began.set()
            found.append(library.num_threads)
            may_end.wait(10)
            found.append(library.num_threads)
        found.append(library.num_threads)

    thread = Thread(target=fit_in_a_thread)
    with one_blas_thread():
        thread.start()
        assert began.wait(10)
        assert library.num_threads == 1
    assert library.num_threads == 4
    may_end.set()
    thread.join(10)
    assert found == [1, 1, 4]
