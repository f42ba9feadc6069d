"""Cells that are read block by block, never all at once, and X and y that lie in files."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import numpy as np

from sktf._cells.offset import Moments
from sktf._cells.sorting import count_each

# Rows of a block.
BLOCK = 2**20
# Cells in files that are few enough to be read into memory.
FEW = 2**20
_REMEDY = "Read it into memory first, with np.asarray, if it fits."


class StoredCells:
    """Cells in files, looked through once.

    Parameters
    ----------
    pieces : callable
        Without arguments: yields the cells in order, piece by piece, as (indices, values).
    order : int
        The number of modes.

    Attributes
    ----------
    counts : list of ndarray
        How many cells each index of each mode has.
    moments : Moments
        Those of the values.
    """

    # Whether they lie in memory.
    held = False

    def __init__(self, pieces: Callable[[], Iterator], order: int):
        self._pieces, self.order = pieces, order
        self.counts = [np.zeros(0, np.int64)] * order
        with closing(self._read()) as blocks:
            self.moments = Moments.of(map(self._counted, blocks))
        self.n_rows = int(self.counts[0].sum())

    def _counted(self, block):
        """Count the indices of a block, and return its values."""
        for mode, column in enumerate(block[0].T):
            counts = count_each(column, len(self.counts[mode]))
            counts[: len(self.counts[mode])] += self.counts[mode]
            self.counts[mode] = counts
        return block[1]

    def _read(self):
        """Yield the cells in blocks of as many rows; the next one is read ahead."""
        return ahead(_of_equal_length(self._pieces()))

    def blocks(self):
        """Yield indices and values in blocks; raise where they are not those looked through."""
        n_left = self.n_rows
        with closing(self._read()) as blocks:
            for coords, values in blocks:
                n_left -= len(values)
                _refuse_changed(n_left < 0 or _are_beyond(coords, self.shape))
                yield coords, values
        _refuse_changed(n_left > 0)

    @property
    def shape(self):
        """Largest index of each mode plus one."""
        return tuple(map(len, self.counts))


class HeldCells(StoredCells):
    """What ``StoredCells`` are, of cells in memory: arrays that are looked at block by block."""

    held = True

    def __init__(self, coords, values):
        def pieces():
            for start in range(0, len(values), BLOCK):
                part = slice(start, start + BLOCK)
                yield coords[part], values[part]

        super().__init__(pieces, coords.shape[1])

    def _read(self):
        return self._pieces()

    blocks = _read


class Stored:
    """X or y of cells in files; ``chunks`` yields its arrays, ``np.asarray`` reads all of it."""

    def __init__(self, cells, part):
        self.cells, self.part = cells, part
        self.shape = (cells.n_rows, cells.order)[: 2 - part]
        self.ndim, self.dtype = len(self.shape), np.dtype((np.int32, np.float64)[part])

    def __len__(self):
        return self.shape[0]

    def __repr__(self):
        return f"<{'Xy'[self.part]} in files, shape {self.shape}, {self.dtype}>"

    def chunks(self):
        """Yield the arrays of which it consists, in order."""
        with closing(self.cells.blocks()) as blocks:
            yield from (block[self.part] for block in blocks)

    def __getitem__(self, rows):
        name = "Xy"[self.part]
        raise TypeError(f"{name} lies in files, and no rows are taken out of it. {_REMEDY}")

    def __array__(self, dtype=None, copy=None):
        if copy is False:
            raise ValueError("To read what lies in files is to copy it.")
        whole, start = np.empty(self.shape, dtype or self.dtype), 0
        for chunk in self.chunks():
            whole[start : start + len(chunk)] = chunk
            start += len(chunk)
        return whole


def refuse_stored(array, name):
    """Raise where an array of a user lies in files, which would all be read."""
    if isinstance(array, Stored):
        raise TypeError(
            f"{name} lies in files and is not read as a whole by itself: fit, predict and score of "
            f"CPCompletion take it so, X and y of one open_entries together. {_REMEDY}"
        )


def _are_beyond(coords, shape):
    return any(column.max() >= size for column, size in zip(coords.T, shape, strict=True))


def _refuse_changed(changed):
    if changed:
        raise ValueError("The files have changed since open_entries; open them again.")


def ahead(blocks):
    """Yield blocks while a thread reads the next one."""
    with closing(blocks), ThreadPoolExecutor(1) as pool:
        read = partial(pool.submit, next, blocks, None)
        coming = read()
        while (block := coming.result()) is not None:
            coming = read()
            yield block


def _of_equal_length(pieces):
    """Yield pairs of arrays of as many rows each, the last of what is left."""
    with closing(pieces):
        kept, n_kept = [], 0
        for piece in pieces:
            start, n = 0, len(piece[1])
            while n_kept + n - start >= BLOCK:
                stop = start + BLOCK - n_kept
                yield _joined([*kept, _part(piece, start, stop)])
                kept, n_kept, start = [], 0, stop
            if start < n:
                kept.append(_part(piece, start, n))
                n_kept += n - start
        if kept:
            yield _joined(kept)


def _part(piece, start, stop):
    return tuple(array[start:stop] for array in piece)


def _joined(pieces):
    """Return pairs of arrays joined, contiguous."""
    if len(pieces) == 1:
        return tuple(map(np.ascontiguousarray, pieces[0]))
    return tuple(map(np.concatenate, zip(*pieces, strict=True)))
