"""What a fit tells of itself beside what it finds: its cells, warnings, end and seconds.

Each call of fit writes into a record of its own, also inside another fit or in another thread.
"""

import sys
import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from time import perf_counter

import numpy as np

from sktf._cells.sorting import count_distinct
from sktf._cells.threads import one_blas_thread

_RECORD: ContextVar[dict | None] = ContextVar("record", default=None)
_HELD: ContextVar[list | None] = ContextVar("held", default=None)
# To tell distinct cells among more rows may take a sort that is not worth its time.
_MANY = 2**18
# Packages whose frames lie between a user and a warning.
_INNER = ("sktf", "sklearn", "contextlib")


def recorded(fit):
    """Return a ``fit`` that leaves its record as ``_record``, and its time as ``_seconds``.

    Meanwhile BLAS has one thread.
    """

    @wraps(fit)
    def wrapper(estimator, *args, **options):
        record, began = {"warnings": []}, perf_counter()
        token = _RECORD.set(record)
        try:
            with one_blas_thread():
                return fit(estimator, *args, **options)
        finally:
            _RECORD.reset(token)
            # A fit that failed leaves the record of the one before.
            if vars(estimator).get("_record") is record:
                estimator._seconds = perf_counter() - began

    return wrapper


def current_record():
    """Return the record of the fit that is going on."""
    record = _RECORD.get()
    return {"warnings": []} if record is None else record


def note(**facts):
    """Write facts into the record of the fit that is going on."""
    current_record().update(facts)


def note_cells(observations):
    """Write down how many cells a fit sees, and how many each index has that has some."""
    n_cells = len(observations.values)
    counts = [count[count > 0] for count in observations.row_counts(observations.shape)]
    n_distinct = observations.n_distinct() if n_cells <= _MANY else None
    note(n_cells=n_cells, n_distinct=n_distinct, counts=counts)


def _n_distinct(coords, shape):
    return count_distinct(coords, shape) if len(coords) <= _MANY else None


def with_extension(record, coords, shape, mode):
    """Return the record of a fit that has learned rows for indices of a mode from further cells.

    How many cells the indices of other modes have is told of the fit alone.
    """
    if "counts" not in record:
        return record
    n_each, counts = np.unique(coords[:, mode], return_counts=True)[1], [*record["counts"]]
    counts[mode] = np.append(counts[mode], n_each)
    distinct = record["n_distinct"], _n_distinct(coords, shape)
    extended = dict(record.get("extended", {}))
    extended[mode] = extended.get(mode, 0) + len(n_each)
    return record | {
        "n_cells": record["n_cells"] + len(coords),
        "n_distinct": None if None in distinct else sum(distinct),
        "counts": counts,
        "extended": extended,
    }


def outside():
    """Return the ``stacklevel``, seen from the caller, of who called sktf, or scikit-learn."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in _INNER:
        level, frame = level + 1, frame.f_back
    return level - (_RECORD.get() is not None)  # as warn counts


def warn(message, category, stacklevel):
    """Warn as ``warnings.warn`` does, and keep the text in the record of the fit.

    ``stacklevel`` does not count the frame of ``recorded``.
    """
    in_fit, held = _RECORD.get() is not None, _HELD.get()
    current_record()["warnings"].append(str(message))
    if held is None:
        warnings.warn(message, category, stacklevel + 1 + in_fit)
    else:
        held.append(message if isinstance(message, Warning) else category(message))


@contextmanager
def holding_back():
    """Hold the warnings of fits inside this context back, to tell them once: a list of them."""
    held = []
    token = _HELD.set(held)
    try:
        yield held
    finally:
        _HELD.reset(token)


def tell_once(held, stacklevel):
    """Warn of each of the warnings that differs; ``stacklevel`` as seen from here."""
    for message in {(type(message), str(message)): message for message in held}.values():
        warn(message, None, stacklevel + 1)


def give(held, stacklevel):
    """Warn of what was held back and is in the record already."""
    for message in held:
        warnings.warn(message, stacklevel=stacklevel + 1)
