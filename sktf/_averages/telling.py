"""Warnings of fits inside another fit: caught, and told once by it."""

import warnings
from contextlib import nullcontext
from threading import current_thread, main_thread


def catching():
    """Catch warnings, all of a process at once: not from one thread beside others."""
    alone = current_thread() is main_thread()
    return warnings.catch_warnings(record=True) if alone else nullcontext([])


def tell_once(messages, stacklevel):
    """Warn of every message that differs; ``stacklevel`` as seen from here."""
    for message in {(type(message), str(message)): message for message in messages}.values():
        warnings.warn(message, stacklevel=stacklevel + 1)
