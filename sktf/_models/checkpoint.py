"""The checkpoint of one call of fit: whose it is, when it is refused, and how it is written."""

import os
from hashlib import blake2b
from numbers import Integral, Real
from pathlib import Path
from threading import get_ident
from zlib import crc32

import numpy as np
from sklearn.utils import check_random_state

from sktf import __version__
from sktf._cells.identifiability import CompletionWarning
from sktf._cells.record import outside, warn
from sktf._descent.checkpoint_file import read_checkpoint, write_checkpoint
from sktf._descent.journal import JOURNAL, Journal, NoJournal

# Bytes of an array that have a sum of their own.
_CHUNK = 2**16
# Parameters that change nothing of what is found.
_OF_NO_ACCOUNT = {"checkpoint", "verbose"}
# What a fit with warm_start goes on from.
_WARM = ("_theta", "_theta_offset", "_counts", "_stored", "_n_cells", "_grown")
# The longest text of a parameter that an error repeats.
_SHORT = 40
_REMEDY = "Delete the file to fit anew, or give this fit a path of its own."


class Checkpoint:
    """A context in which one call of fit goes on from a file, and is kept there.

    Parameters
    ----------
    estimator : GradientDescentCompletion
        Its ``checkpoint`` is the path; with None nothing is read or written.
    """

    def __init__(self, estimator):
        self._estimator, self._told, self._home = estimator, estimator.checkpoint, get_ident()
        self._path = None if self._told is None else os.path.realpath(os.fsdecode(self._told))
        self._journal, self._content, self._mark = NoJournal(), {}, None
        self._trouble, self._is_made = None, False

    def __enter__(self):
        self._outer = JOURNAL.set(self._journal)
        return self

    def __exit__(self, kind, error, traceback):
        JOURNAL.reset(self._outer)
        self._journal.close()
        if kind and self._is_made and self._journal.is_empty:
            Path(self._path).unlink(missing_ok=True)
        self._tell_trouble()

    def begin(self, name, cells, given=None):
        """Return the random state to draw from, once a file is there that is of this fit.

        Parameters
        ----------
        name : str
            The argument of fit that tells which cells or sums there are.
        cells, given : Observations or Measurements
            What to fit, and what the user holds out, or None.
        """
        rng = check_random_state(self._estimator.random_state)
        if self._path is None:
            return rng
        mine = _identity(self._estimator, rng) | _data(name, cells, given)
        try:
            found = read_checkpoint(self._path)
            drawn = rng.get_state(legacy=False)
            self._content = found or {"fit": mine, "random_state": drawn, "pages": []}
            self._refuse_another(mine)
            write_checkpoint(self._path, self._content)
            self._is_made = found is None
        except OSError as error:
            raise type(error)(
                f"checkpoint={self._told!r} cannot be read or written: {error.strerror}. Give a "
                "file in a folder that is there and may be written to."
            ) from error
        except ValueError as error:
            raise ValueError(f"checkpoint={self._told!r}: {error} {_REMEDY}") from error
        self._mark, self._journal = _mark(self._path), Journal(self._content["pages"], self._write)
        JOURNAL.set(self._journal)
        if self._estimator.random_state is None and not self._is_made:
            rng = np.random.RandomState(0)
            rng.set_state(self._content["random_state"])
        return rng

    def _refuse_another(self, mine):
        theirs = self._content["fit"]
        names = [name for name in mine | theirs if mine.get(name) != theirs.get(name)]
        if names:
            told = "; ".join(_difference(name, theirs.get(name), mine.get(name)) for name in names)
            raise ValueError(f"the file is of another fit, which differs in {told}.")

    def _write(self):
        try:
            if _mark(self._path) not in (self._mark, None):
                raise OSError("another fit has written to it")
            write_checkpoint(self._path, self._content)
            self._mark = _mark(self._path)
        except OSError as error:
            self._trouble = self._trouble or error
        if get_ident() == self._home:
            self._tell_trouble()

    def _tell_trouble(self):
        """Warn, once, that the file could not be written."""
        if isinstance(self._trouble, OSError):
            why, self._trouble = self._trouble.strerror or self._trouble, "told"
            warn(
                f"checkpoint={self._told!r} could not be written: {why}. The fit goes on, and "
                "tries again; the file is as it was before.",
                CompletionWarning,
                outside(),
            )


def _mark(path):
    """Return what tells a file from those that others write in its place, None without one."""
    try:
        told = os.stat(path)
    except FileNotFoundError:
        return None
    return told.st_ino, told.st_size, told.st_mtime_ns


def _identity(estimator, rng):
    """Return what makes a fit this fit, but for its data: name -> text."""
    kind, parameters = type(estimator), estimator.get_params(deep=False)
    told = {"the version of sktf": __version__, "the estimator": _qualified(kind)}
    told |= {name: _text(its) for name, its in parameters.items() if name not in _OF_NO_ACCOUNT}
    if isinstance(estimator.random_state, np.random.RandomState):
        told["random_state"] = _checksum(list(rng.get_state(legacy=False).items()))
    if estimator._goes_on():
        told["what warm_start goes on from"] = _checksum([getattr(estimator, n) for n in _WARM])
    return told


def _data(name, cells, given):
    """Return what makes data these data: name -> text."""
    names = name, "y", "sample_weight", "the sizes of the modes"
    if getattr(cells, "in_memory", True):
        told = dict(zip(names, map(_checksum, cells), strict=True))
    else:
        told = dict(zip(names[:2], _checksums_of_blocks(cells), strict=True))
    if given is not None:
        told |= {"X_val": _checksum(given.coords), "y_val": _checksum(given.values)}
    return told


def _difference(name, theirs, mine):
    texts = [text or "none" for text in (theirs, mine)]
    is_told = all(len(text) <= _SHORT and "#" not in text for text in texts)
    return f"{name} ({texts[0]} in the file, {texts[1]} now)" if is_told else name


def _text(value):
    """Return a parameter as a text that is the same in another process."""
    if isinstance(value, dict):
        return _text([[name, value[name]] for name in sorted(value)])
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return np.dtype(value).name
    if isinstance(value, Integral | Real) and not isinstance(value, bool):
        return repr(int(value) if isinstance(value, Integral) else float(value))
    if callable(value):
        return _qualified(value if hasattr(value, "__qualname__") else type(value))
    return _checksum(value) if hasattr(value, "__array__") else str(value)


def _qualified(item):
    return f"{item.__module__}.{item.__qualname__}"


def _checksum(item):
    """Return a text that other arrays, or lists and tuples of them, hardly have."""
    total = blake2b(digest_size=16)
    _add(total, item)
    return f"#{total.hexdigest()}"


def _checksums_of_blocks(stream):
    """Return the texts of the indices and of the values of cells that are not held at once."""
    totals = [blake2b(digest_size=16) for _ in range(2)]
    for block in stream.blocks():
        for total, part in zip(totals, block[:2], strict=True):
            _add(total, part)
    return [f"#{total.hexdigest()}" for total in totals]


def _add(total, item):
    if isinstance(item, list | tuple):
        total.update(b"%d items" % len(item))
        for part in item:
            _add(total, part)
    elif not hasattr(item, "__array__"):
        total.update(repr(item).encode())
    else:
        array = np.asarray(item)
        # Equal weights are one number, seen as many times as there are cells.
        array = array[:1] if array.ndim == 1 and array.strides == (0,) else array
        total.update(f"{array.shape} {array.dtype}".encode())
        rows = max(1, _CHUNK // max(1, array[:1].nbytes))
        for start in range(0, len(array), rows):
            # Six times as fast as the sum of the sums, which alone would be a short one.
            part = crc32(np.ascontiguousarray(array[start : start + rows]))
            total.update(part.to_bytes(4, "little"))
