"""How many threads linear algebra may use during a fit."""

from contextlib import contextmanager
from threading import Lock

from threadpoolctl import threadpool_limits

_lock = Lock()


_state: dict = {"fits": 0, "limits": None}


@contextmanager
def one_blas_thread():
    """Keep BLAS on one thread while any fit runs: bits depend on threads, small products lose.

    The limit is the process's, so fits that overlap share it and the last one lifts it.
    """
    with _lock:
        _state["fits"] += 1
        if _state["fits"] == 1:
            _state["limits"] = threadpool_limits(1, user_api="blas")
    try:
        yield
    finally:
        with _lock:
            _state["fits"] -= 1
            if _state["fits"] == 0:
                _state["limits"].restore_original_limits()
