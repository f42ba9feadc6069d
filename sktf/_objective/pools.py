"""Threads of a fit."""

from concurrent.futures import ThreadPoolExecutor

from sktf._cells.threads import limit_this_thread


def pool_of(n_threads):
    """Return a pool of threads in each of which BLAS has one thread."""
    return ThreadPoolExecutor(n_threads, initializer=limit_this_thread)
