"""Functions that numba compiles and keeps on disk, where a disk will have them.

``numba.njit(cache=True)`` raises on import where no folder can be written, and on the first call
where a file of its cache is damaged or the disk is full. A cache is a convenience: here what cannot
be read is compiled, what cannot be written is compiled again by the next process, with one warning.
"""

import hashlib
import inspect
import warnings
from contextlib import suppress

from numba import njit

try:
    from numba.core.caching import FunctionCache
except ImportError:  # not public: without it there is no cache
    FunctionCache = object  # type: ignore[assignment,misc]

_told: list[str] = []


def compiled(*modules, **options):
    """Return a decorator that compiles a function, which then releases the GIL.

    The copy on disk is read while the file of the function and ``modules``, those whose code is
    compiled in, are what they were; ``options`` are those of ``numba.njit``.
    """

    def decorate(function):
        dispatcher = njit(nogil=True, **options)(function)
        if hasattr(dispatcher, "_cache"):  # not with NUMBA_DISABLE_JIT
            dispatcher._cache = _open_cache(function, modules)
        return dispatcher

    return decorate


def _open_cache(function, modules):
    try:
        return _DiskCache(function, modules)
    except Exception as error:  # no folder can be written, or not the numba we know
        return _NoCache(error)


class _DiskCache(FunctionCache):
    """The cache of numba for one function; none of its errors reaches a user."""

    def __init__(self, function, modules):
        super().__init__(function)
        self._name_in_file = function.__qualname__
        self._stamp = ""
        with suppress(OSError):  # a frozen application has no sources; numba watches it as a whole
            sources = "".join(map(inspect.getsource, modules))
            self._stamp = hashlib.sha256(sources.encode()).hexdigest()

    def _index_key(self, *args):
        return super()._index_key(*args), self._stamp

    def load_overload(self, signature, *context):
        try:
            found = super().load_overload(signature, *context)
            return found if found is None or self._fits(found, signature) else None
        # Unpickling a damaged file may raise whatever there is.
        except Exception:
            return None

    def _fits(self, found, signature):
        """Return whether this is not the code of another function, which might crash."""
        same = found.fndesc.qualname == self._name_in_file
        return same and tuple(found.signature.args) == tuple(signature)

    def save_overload(self, *result):
        try:
            super().save_overload(*result)
        except Exception:
            self._save_anew(*result)

    def _save_anew(self, *result):
        """Save to an empty index, as the one that is there may be damaged."""
        try:
            self.flush()
            super().save_overload(*result)
        except Exception as error:
            # The index may name a file that was not written, and an old one of this name be there.
            with suppress(Exception):
                self.flush()
            _tell(error)


class _NoCache:
    """What stands in for a cache that cannot be opened: tells so once something is compiled."""

    cache_path = None

    def __init__(self, error):
        self._error = error

    def load_overload(self, *_):
        return None

    def save_overload(self, *_):
        _tell(self._error)

    def flush(self):
        pass


def _tell(error):
    """Warn once in a process, whichever functions are concerned."""
    if not _told:
        _told.append(str(error))
        warnings.warn(
            f"Compiled functions of sktf cannot be kept on disk ({error}): every process compiles "
            "them again, which takes about 7 seconds. Set the environment variable NUMBA_CACHE_DIR "
            "to a folder that can be written.",
            UserWarning,
            stacklevel=3,
        )
