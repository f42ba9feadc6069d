"""How many threads linear algebra may use during a fit."""

from contextlib import contextmanager
from threading import Lock

from threadpoolctl import OpenBLASController, ThreadpoolController

_lock = Lock()
_state: dict = {"fits": 0, "before": {}}


@contextmanager
def one_blas_thread():
    """Keep BLAS on one thread while any fit runs: bits depend on threads, small products lose.

    Where a limit is the process's, fits that overlap share it and the last one lifts it.
    """
    own, shared = {}, _state["before"]
    with _lock:
        for library in ThreadpoolController().select(user_api="blas").lib_controllers:
            before = own if _has_limits_of_threads(library) else shared
            before.setdefault(library.filepath, (library, library.num_threads))
        _set((library, 1) for library, _ in (*own.values(), *shared.values()))
        _state["fits"] += 1
    try:
        yield
    finally:
        with _lock:
            _set(own.values())
            _state["fits"] -= 1
            if _state["fits"] == 0:
                _set(shared.values())
                shared.clear()


def _has_limits_of_threads(library):
    layer = getattr(library, "threading_layer", None)
    return library.internal_api == "mkl" or layer == "openmp"


def _set(limits):
    """Set the threads of libraries from any thread: threadpoolctl 3.8 obeys only the first."""
    obey = getattr(OpenBLASController, "clear_controlling_thread", lambda force: None)
    obey(force=True)
    for library, n_threads in limits:
        library.set_num_threads(n_threads)
    obey(force=True)
