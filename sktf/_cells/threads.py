"""How many threads linear algebra may use during a fit."""

from contextlib import contextmanager
from threading import Lock

from threadpoolctl import OpenBLASController, ThreadpoolController

_lock = Lock()
# How many fits run, what limits of the process were before the first of them, and libraries of
# which each thread has a limit of its own.
_state: dict = {"fits": 0, "before": {}, "of_threads": {}}


@contextmanager
def one_blas_thread():
    """Keep BLAS on one thread while any fit runs: bits depend on threads, small products lose.

    Where a limit is the process's, fits that overlap share it and the last one lifts it; whoever
    sets another one meanwhile, changes it for them.
    """
    own, shared = {}, _state["before"]
    with _lock:
        _state["fits"] += 1
    try:
        with _lock:
            for library in ThreadpoolController().select(user_api="blas").lib_controllers:
                before = own if _has_limits_of_threads(library) else shared
                before.setdefault(library.filepath, (library, library.num_threads))
            _state["of_threads"].update(own)
            _set((library, 1) for library, _ in (*own.values(), *shared.values()))
        yield
    finally:
        with _lock:
            _state["fits"] -= 1
            if not _state["fits"]:
                own.update(shared)
                shared.clear()
            _set(own.values())


def limit_this_thread():
    """Keep BLAS on one thread in a thread that a fit has begun, and that ends with it."""
    for library, _ in [*_state["of_threads"].values()]:
        library.set_num_threads(1)


def _has_limits_of_threads(library):
    """Whether each thread has a limit of its own: in MKL if set so, and with OpenMP."""
    is_local = any(symbol.endswith("_Local") for symbol in library.check_symbols or ())
    return is_local or getattr(library, "threading_layer", None) == "openmp"


def _set(limits):
    """Set the threads of libraries, whichever thread this is.

    From version 3.8 on threadpoolctl obeys the first thread alone, until that gives up control.
    """
    give_up = getattr(OpenBLASController, "clear_controlling_thread", lambda force: None)
    give_up(force=True)
    for library, n_threads in limits:
        library.set_num_threads(n_threads)
    give_up(force=True)
