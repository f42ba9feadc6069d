"""Warnings of fits inside another fit: caught, and told once by it."""

import warnings
from contextlib import contextmanager
from threading import current_thread, main_thread

from sktf._cells.record import warn


@contextmanager
def catching():
    """Catch warnings, all of a process at once: not from one thread beside others."""
    if current_thread() is not main_thread():
        yield []
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # the filters of the user are for what is told at the end
        yield caught


def tell_once(messages, stacklevel):
    """Warn of every message that differs; ``stacklevel`` as seen from here."""
    for message in {(type(message), str(message)): message for message in messages}.values():
        warn(message, None, stacklevel + 1)
