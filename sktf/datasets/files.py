"""Cells in files: tables of Parquet and Arrow and arrays of NumPy, read piece by piece."""

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from sktf._cells.complaints import place_of
from sktf._cells.stored import BLOCK, Stored, StoredCells
from sktf._cells.validation import MAX_ROWS, check_size
from sktf.datasets.entries import Entries

_PARQUET, _ARROW, _NUMPY = (".parquet", ".pq"), (".arrow", ".feather", ".ipc"), (".npy",)
_LARGEST = MAX_ROWS - 1
# Bytes of a column that are read from a file of Parquet at once.
_BUFFER = 2**20


def open_entries(
    paths: str | PathLike | Sequence,
    *,
    columns: Sequence[str] | None = None,
    y: str | None = None,
) -> Entries:
    """Open cells that lie in files, more than memory may hold, for ``CPCompletion``.

    The files are looked through once, for the largest indices, how many cells each index has and
    what cannot be read; ``fit`` then reads them several times more, in blocks of a million rows.

    Parameters
    ----------
    paths : str, path-like, or sequence of these
        Tables: files of Parquet (".parquet", ".pq") or of the Arrow IPC format (".arrow",
        ".feather", ".ipc"), one or several in the order of their rows. Or arrays of NumPy: a pair
        ``("X.npy", "y.npy")`` of indices (n_observed, n_modes) and values (n_observed,), or a list
        of such pairs; they are mapped into memory and left as they are.
    columns : sequence of str, default=None
        Of tables, the columns of the indices, one for each mode. None: all but ``y``.
    y : str, default=None
        Of tables, the column of the values. None: the last one.

    Returns
    -------
    X, y : array-like of shape (n_observed, n_modes) and (n_observed,)
        The indices, int32, and the values, float64: no arrays, but what ``fit``, ``predict`` and
        ``score`` of :class:`~sktf.CPCompletion` read in blocks. ``len``, ``shape`` and ``dtype``
        are those of arrays, ``chunks()`` yields the blocks as arrays, and ``np.asarray`` reads all
        into memory, as other estimators need it.
    shape : tuple of int
        Largest index of each mode plus one.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ImportError
        When a table is to be read and pyarrow is not installed.
    TypeError or ValueError
        When a file is of another kind or has no such column, when a column holds labels or dates
        (number them first), when an index is fractional, negative, blank or larger than
        134217727, or a value not finite; file and row, counted from 0, are named.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from sktf import CPCompletion
    >>> from sktf.datasets import make_low_rank, open_entries, sample_entries
    >>> tensor, _ = make_low_rank((20, 20, 20), 2, random_state=0)
    >>> X, y = sample_entries(tensor, 0.3, random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = [os.path.join(folder, name) for name in ("X.npy", "y.npy")]
    ...     for path, array in zip(paths, (X, y)):
    ...         np.save(path, array)
    ...     X, y, shape = open_entries(paths)
    ...     model = CPCompletion(shape=shape, random_state=0).fit(X, y)
    >>> X.shape, shape, model.rank_
    ((2400, 3), (20, 20, 20), 2)
    """
    tables = [_table(path, columns, y) for path in _listed(paths)]
    orders = {table.order() for table in tables}
    if len(orders) != 1:
        raise ValueError(f"paths={paths!r}: expected files of as many modes each, not {orders}.")
    cells = StoredCells(partial(_pieces, tables), *orders)
    X: Any = Stored(cells, 0)
    values: Any = Stored(cells, 1)
    return Entries(X, values, cells.shape)


def _pieces(tables):
    """Yield the pieces of all files, in order."""
    for table in tables:
        yield from table.pieces()


def _listed(paths):
    """Return a list of paths of tables, and pairs of paths of arrays."""
    if isinstance(paths, str | PathLike):
        paths = [paths]
    paths = list(paths)
    if len(paths) == 2 and all(_is_array(path) for path in paths):
        paths = [tuple(paths)]
    if not paths:
        raise ValueError("paths is empty; give one file or more.")
    return paths


def _is_array(path):
    return isinstance(path, str | PathLike) and Path(path).suffix.lower() in _NUMPY


def _table(path, columns, y):
    """Return what reads a file, or a pair of files."""
    single = isinstance(path, str | PathLike)
    for file in [path] if single else path:
        if not Path(file).is_file():
            raise FileNotFoundError(f"There is no file {fspath(file)!r}.")
    if not single:
        if len(path) != 2 or not all(map(_is_array, path)) or (columns, y) != (None, None):
            raise ValueError(
                f"{path!r}: expected a pair of X.npy and y.npy, without columns and y, which name "
                "columns of tables."
            )
        return _Arrays(*map(fspath, path))
    suffix = Path(path).suffix.lower()
    if suffix not in _PARQUET + _ARROW:
        raise ValueError(
            f"{fspath(path)!r}: expected a table that ends with one of {_PARQUET + _ARROW}, or a "
            "pair ('X.npy', 'y.npy')."
        )
    kind = _Parquet if suffix in _PARQUET else _Arrow
    return kind(fspath(path), None if columns is None else tuple(columns), y)


@dataclass(frozen=True)
class _Arrays:
    """A pair of arrays of NumPy."""

    X: str
    y: str

    def order(self):
        """Return how many modes there are; raise where the arrays do not belong together."""
        (X, y) = (np.load(path, mmap_mode="r") for path in (self.X, self.y))
        if X.ndim != 2 or y.shape != X.shape[:1] or not X.size:
            raise ValueError(
                f"{self.X} has shape {X.shape} and {self.y} {y.shape}; expected "
                "(n_observed, n_modes) and (n_observed,)."
            )
        return X.shape[1]

    def pieces(self):
        """Yield indices and values; the files are mapped anew, which lets go of what was read."""
        start, n_rows = 0, len(np.load(self.y, mmap_mode="r"))
        while start < n_rows:
            X, y = (
                np.load(path, mmap_mode="r")[start : start + BLOCK] for path in (self.X, self.y)
            )
            yield (
                _as_indices([None] * X.shape[1], X.T, self.X, start),
                _as_values("the array", y, self.y, start),
            )
            start += BLOCK


@dataclass(frozen=True)
class _Table:
    """A table in a file, its columns given by name or None."""

    path: str
    columns: tuple | None
    y: str | None

    def order(self):
        """Return how many modes there are."""
        return len(self._chosen(self._names())) - 1

    def _chosen(self, names):
        """Return the names of the columns of the indices, and last that of the values."""
        y = names[-1] if self.y is None else self.y
        chosen = [name for name in names if name != y] if self.columns is None else self.columns
        chosen = [*chosen, y]
        lacking = [name for name in chosen if name not in names]
        if lacking:
            raise ValueError(f"{self.path} has no column {lacking[0]!r}, but {names}.")
        unclear = [name for name in chosen if names.count(name) > 1 or chosen.count(name) > 1]
        if unclear or len(chosen) < 2:
            raise ValueError(
                f"{self.path} has the columns {names}; expected one for each mode (columns) and "
                f"another one for the values (y), each of its own name, not {chosen}."
            )
        return chosen

    def pieces(self):
        """Yield indices and values."""
        start = 0
        for batch in self._batches():
            names = self._chosen(batch.schema.names)
            # Blanks among numbers become NaN.
            *X, y = (batch.column(name).to_numpy(zero_copy_only=False) for name in names)
            yield (
                _as_indices(names[:-1], X, self.path, start),
                _as_values(f"column {names[-1]!r}", y, self.path, start),
            )
            start += batch.num_rows


class _Parquet(_Table):
    """A file of Parquet."""

    def _open(self):
        parquet = _pyarrow("parquet")
        return parquet.ParquetFile(self.path, buffer_size=_BUFFER)

    def _names(self):
        with self._open() as file:
            return file.schema_arrow.names

    def _batches(self):
        chosen = self._chosen(self._names())
        with self._open() as file:
            yield from file.iter_batches(BLOCK, columns=chosen)


class _Arrow(_Table):
    """A file of the Arrow IPC format, of which one batch is held at once."""

    def _names(self):
        with self._open() as file:
            return file.schema.names

    def _batches(self):
        with self._open() as file:
            yield from map(file.get_batch, range(file.num_record_batches))

    @contextmanager
    def _open(self):
        # What is opened by its path stays open until nothing refers to it, threads included.
        with _pyarrow("OSFile")(fspath(self.path)) as source:
            yield _pyarrow("ipc").open_file(source)


def _pyarrow(name):
    try:
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            'Files of Parquet and Arrow are read by pyarrow: pip install "sktf[parquet]".'
        ) from error
    return getattr(pyarrow, name)


def _as_indices(names, columns, path, start):
    """Return columns, which may have names, as indices; ``start`` is the row of the first."""
    whole = np.empty((len(columns[0]), len(columns)), np.int32)
    for mode, (name, column) in enumerate(zip(names, columns, strict=True)):
        _check_indices(place_of(mode, name), column, path, start)
        whole[:, mode] = column
    return whole


def _check_indices(place, column, path, start):
    """Raise unless a column has whole numbers, neither negative nor too large."""
    _check_kind(place, column, path)
    if column.dtype.kind == "f" and not np.array_equal(column, np.trunc(column)):
        row = int(np.argmax(column != np.trunc(column)))
        _refuse_row(path, start + row, place, column[row], "expected a whole number")
    if column.min(initial=0) < 0 or column.max(initial=0) > _LARGEST:
        row = int(np.argmax((column < 0) | (column > _LARGEST)))
        why = f"indices go from 0 to {_LARGEST}; number labels and numbers with gaps first"
        _refuse_row(path, start + row, place, column[row], why)


def _as_values(place, column, path, start):
    """Return a column of finite values, float64."""
    _check_kind(place, column, path)
    values = column.astype(np.float64)
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values)))
        _refuse_row(path, start + row, place, column[row], "cells without a value are missing")
    check_size(max(values.max(initial=0), -values.min(initial=0)), f"{path} has values")
    return values


def _check_kind(place, column, path):
    if column.dtype.kind not in "biuf":
        raise TypeError(
            f"{path}: {place} holds {column.dtype}; expected numbers. Write labels and dates as "
            "whole numbers first, e.g. by OrdinalEncoder or dictionary_encode of pyarrow."
        )


def _refuse_row(path, row, place, value, why):
    raise ValueError(f"{path}: row {row} has {value} in {place}; {why}. Leave such rows out.")
