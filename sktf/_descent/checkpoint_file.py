"""A checkpoint as a file: numbers, text and arrays, no code; it is whole, or it is not read.

A line that names the format, the length of a JSON text, this text, the arrays that it refers to as
``.npy`` one after another, and a checksum of all that.
"""

import json
import os
from hashlib import blake2b
from io import BytesIO
from itertools import groupby
from pathlib import Path

import numpy as np

_NAME, _FORMAT, _CHECKSUM = b"sktf checkpoint ", 1, 32


def write_checkpoint(path, content):
    """Replace a file by one with this content, at once: whoever looks finds the one or the other.

    Parameters
    ----------
    path : str
        The file; beside it, until it is whole, lies one whose name ends in ".part".
    content : dict
        Dicts, lists, tuples, numbers, strings, None and arrays, inside one another.

    Raises
    ------
    OSError
        Where it cannot be written; the file stays as it was.
    """
    part = f"{path}.part"
    try:
        with open(part, "wb") as file:
            _write(file, content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    _settle_folder(os.path.dirname(path))


def read_checkpoint(path):
    """Return the content of a file, None where there is none.

    Raises
    ------
    ValueError
        When the file is no whole checkpoint in this format.
    """
    try:
        with open(path, "rb") as file:
            name = file.readline(64)
            _check_format(name)
            rest = memoryview(file.read())
    except FileNotFoundError:
        return None
    whole, checksum = rest[:-_CHECKSUM], rest[-_CHECKSUM:]
    total = blake2b(name, digest_size=_CHECKSUM)
    total.update(whole)
    if total.digest() != checksum:
        raise ValueError("the file is damaged, or only a part of it is there.")
    return _read(BytesIO(whole))


def _check_format(line):
    """Raise where a first line is not that of a checkpoint that can be read here."""
    number = line.removeprefix(_NAME).removesuffix(b"\n")
    if not (line.startswith(_NAME) and number.isdigit()):
        raise ValueError("the file is no checkpoint of sktf." if line else "the file is empty.")
    if int(number) != _FORMAT:
        raise ValueError(
            f"the file is in format {int(number)} and this version of sktf reads {_FORMAT}."
        )


class _Summed:
    """Writes to a file and adds up a checksum of what it writes."""

    def __init__(self, file):
        self._file, self._sum = file, blake2b(digest_size=_CHECKSUM)

    def write(self, data):
        self._sum.update(data)
        self._file.write(data)

    def end(self):
        self._file.write(self._sum.digest())


def _write(file, content):
    arrays = []
    text = json.dumps(_plain(content, arrays, {})).encode()
    summed = _Summed(file)
    summed.write(b"%s%d\n%s" % (_NAME, _FORMAT, len(text).to_bytes(8, "little")))
    summed.write(text)
    for array in arrays:
        np.lib.format.write_array(summed, array, allow_pickle=False)
    summed.end()


def _read(file):
    text = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    arrays = []
    while file.tell() < len(file.getbuffer()):
        arrays.append(np.lib.format.read_array(file, allow_pickle=False))
    return _original(text, arrays)


def _plain(item, arrays, numbers):
    """Return an item as JSON can tell it, its arrays by their number, each put once in a list."""
    if isinstance(item, dict):
        return {"dict": [[key, _plain(value, arrays, numbers)] for key, value in item.items()]}
    if isinstance(item, tuple):
        return {"tuple": [_plain(part, arrays, numbers) for part in item]}
    if isinstance(item, list):
        if item and all(type(part) is dict and part for part in item):
            tables = [_table([*rows]) for _, rows in groupby(item, tuple)]
            return {"rows": [_plain(table, arrays, numbers) for table in tables]}
        return [_plain(part, arrays, numbers) for part in item]
    if isinstance(item, np.generic):
        return {"scalar": _plain(np.asarray(item), arrays, numbers)["array"]}
    if hasattr(item, "dtype"):
        if id(item) not in numbers:
            numbers[id(item)] = len(arrays)
            arrays.append(item if isinstance(item, np.ndarray) else item.detach().cpu().numpy())
        return {"array": numbers[id(item)]}
    return item


def _original(item, arrays):
    """Return what ``_plain`` was given."""
    if isinstance(item, list):
        return [_original(part, arrays) for part in item]
    if not isinstance(item, dict):
        return item
    ((kind, told),) = item.items()
    if kind == "dict":
        return {key: _original(value, arrays) for key, value in told}
    if kind == "rows":
        return [row for table in _original(told, arrays) for row in _rows(table)]
    if kind == "tuple":
        return tuple(_original(part, arrays) for part in told)
    return arrays[told] if kind == "array" else arrays[told][()]


def _table(rows):
    """Return dicts of the same names, such as records, as columns: name, what it is, its values.

    An array of its own for every number would take a hundred times the room.
    """
    return [(name, *_column([row[name] for row in rows])) for name in rows[0]]


def _column(values):
    kinds = {*map(type, values)}
    if kinds in ({int}, {float}):
        return "numbers", np.array(values)
    if kinds == {np.ndarray} and len({(value.dtype, value.shape) for value in values}) == 1:
        return "arrays", np.array(values)
    return "others", values


def _rows(table):
    """Return the dicts that ``_table`` was given."""
    names, kinds, columns = zip(*table, strict=True)
    take_apart = {"numbers": np.ndarray.tolist, "arrays": _parts, "others": list}
    columns = [take_apart[kind](column) for kind, column in zip(kinds, columns, strict=True)]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _parts(array):
    return [array[n, ...] for n in range(len(array))]


def _settle_folder(folder):
    """Have the new name written to the disk, where the system can be told to."""
    try:
        number = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folder
        return
    try:
        os.fsync(number)
    except OSError:  # nor do some network drives
        pass
    finally:
        os.close(number)
