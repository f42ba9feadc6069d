"""Labels in the place of indices: what the columns of X hold, and the number of each label."""

import re
from datetime import date, timedelta
from functools import partial, reduce
from itertools import repeat
from numbers import Real
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse

from sktf._cells.complaints import columns_of, is_blank, place_of
from sktf._cells.identifiability import CompletionWarning
from sktf._cells.record import outside, warn

# Types whose values compare with each other, and what they are called.
_KINDS = (
    (str, "strings"),
    ((bool, np.bool_), "booleans"),
    ((date, np.datetime64), "dates"),
    ((timedelta, np.timedelta64), "durations"),  # to Python, those of NumPy are numbers
    (Real, "numbers"),
)
# Kinds of NumPy that are sorted as they are; other labels are hashed.
_NATIVE, _TIMES = "biufmM", "mM"
_INFINITE = (np.inf, -np.inf)
# Labels that a warning names.
_NAMED = 3


class LabelTable(NamedTuple):
    """An X of labels: the distinct ones of each column in order, and the number of each row's.

    ``numbers`` has the shape of X, 0 in rows that were not read; ``source`` and ``places`` are
    what messages call X and its columns.
    """

    labels: list
    numbers: np.ndarray
    source: str
    places: list

    @classmethod
    def read(cls, X, source="X", present=None):
        """Read the rows of X that are ``present``, a mask, or all of them."""
        X = _as_table(X, source)
        columns = columns_of(X)
        places = [place_of(mode, name) for mode, (name, _) in enumerate(columns)]
        rows = np.arange(len(X)) if present is None else np.flatnonzero(present)
        labels, numbers = [], np.zeros((len(X), len(columns)), np.int64)
        for mode, (_, column) in enumerate(columns):
            known, numbers[rows, mode] = _numbered(column, rows, source, places[mode])
            labels.append(known)
        return cls(labels, numbers, source, places)

    def among(self, categories):
        """Return numbers in the order of ``categories``, -1 where a label is none of them."""
        numbers = self.numbers.copy()
        for mode, (known, labels) in enumerate(zip(categories, self.labels, strict=False)):
            self._check_type(known, mode)
            numbers[:, mode] = _find(known, labels)[numbers[:, mode]]
        return numbers

    def _check_type(self, known, mode):
        """Raise where no label of a mode compares with those known, or is a rounded one of them."""
        labels = self.labels[mode]
        if len(labels) and not (_comparable(known, labels) and _equally_precise(known, labels)):
            raise ValueError(
                f"{self.source} has {_described(labels)} in {self.places[mode]}, but fit has seen "
                f"{_described(known)} there; give labels of one type."
            )

    def grown(self, categories, mode):
        """Return categories to which those of a mode that are new have been appended."""
        known, labels = categories[mode], self.labels[mode]
        self._check_type(known, mode)
        occurs = np.bincount(self.numbers[:, mode], minlength=len(labels)) > 0
        new = labels[occurs & (_find(known, labels) < 0)]
        return [*categories[:mode], _joined(known, new), *categories[mode + 1 :]]

    def name(self, row, mode):
        """Return what a message calls the label of a row."""
        return (
            f"the label {_shown(self.labels[mode][self.numbers[row, mode]])} in {self.places[mode]}"
        )

    def refuse_new(self, numbers, remedy):
        """Raise where a label is new, a negative number."""
        if (numbers < 0).any():
            row, mode = np.argwhere(numbers < 0)[0]
            raise ValueError(
                f"Row {row} of {self.source} has {self.name(row, mode)}, which fit has not seen. "
                f"{remedy}"
            )

    def warn_new(self, numbers):
        """Warn, once, where labels are new, with how many of which mode."""
        told = []
        for mode, column in enumerate(numbers.T):
            new = np.unique(self.numbers[column < 0, mode])
            if len(new):
                some = ", ".join([_shown(self.labels[mode][n]) for n in new[:_NAMED]])
                verb = "label of {} is new" if len(new) == 1 else "labels of {} are new"
                more = ", ..." if len(new) > _NAMED else ""
                told.append(f"{len(new)} {verb.format(self.places[mode])}: {some}{more}")
        if told:
            warn(
                f"{'; '.join(told)}. Predicted is what the known ones predict on average; extend "
                "learns new ones, handle_unknown='mean' takes them without a word.",
                CompletionWarning,
                outside(),
            )


def joined_labels(tables):
    """Return the labels of each mode that any of several tables has.

    They are sorted, unless all have the same ones in an order of their own. A table is given by
    its labels.
    """
    joined = []
    for parts in zip(*tables, strict=True):
        if not all(map(partial(_alike, parts[0]), parts)):
            column = reduce(_joined, parts)[:, None]
            parts = LabelTable.read(column, "X of all processes").labels
        joined.append(parts[0])
    return joined


def _alike(labels, others):
    return labels.dtype == others.dtype and np.array_equal(labels, others)


def number_of(label, mode, categories):
    """Return the number of a label of a mode, or raise."""
    labels = LabelTable.read(np.fromiter([label], object, 1)[:, None], "label").labels[0]
    number = int(_find(categories[mode], labels)[0])
    if number < 0:
        raise ValueError(f"The label {_shown(label)} is none of categories_[{mode}].")
    return number


def _as_table(X, source):
    """Return X as a frame, or an array of two dimensions in which each entry has its own type."""
    if issparse(X):
        raise TypeError(f"Sparse data was passed for {source}, but labels are dense.")
    if hasattr(X, "__array__") and hasattr(X, "columns"):
        return X
    array = X if isinstance(X, np.ndarray) else np.array(X, dtype=object)
    if array.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {array.ndim}D array instead. Reshape your data: {source} has "
            "a row for each cell and a column for each mode."
        )
    return array


def _numbered(column, rows, source, place):
    """Return the distinct labels of a column in order, and the number of each row's.

    The order is sorted, or that of the categories of pandas.
    """
    codes = getattr(getattr(column, "cat", None), "codes", None)
    if codes is not None:
        labels, numbers = np.asarray(column.cat.categories), np.asarray(codes)[rows]
        labels = labels if labels.dtype.kind in _NATIVE else _as_array(labels.tolist())
        if labels.dtype.kind == "f":
            numbers = np.where(np.isin(numbers, np.flatnonzero(np.isinf(labels))), -1, numbers)
    else:
        values = _values(column, place)[rows]
        if values.dtype.kind in _NATIVE:
            labels, numbers = _sorted(values)
        else:
            values = values.tolist()
            _check_kinds(values, rows, source, place)
            labels, numbers = _hashed(values, source, place)
    if numbers.min(initial=0) < 0:
        row = rows[np.argmin(numbers)]
        raise ValueError(
            f"Input {source} contains NaN or infinity: row {row} has no label in {place}. Leave "
            "those rows out."
        )
    return labels, numbers


def _values(column, place):
    """Return a column as an array; dates of polars with a time zone as those of pandas."""
    if getattr(getattr(column, "dtype", None), "time_zone", None) is None:
        return np.asarray(column)
    return np.fromiter(listed(column, place), object, len(column))


def listed(column, place):
    """Return a column of polars as values of Python, which has no nanoseconds."""
    in_ns = getattr(column.dtype, "time_unit", None) == "ns"
    if in_ns and (column.to_physical() % 1000 != 0).any():
        raise ValueError(
            f"Python would round the nanoseconds of {place}; round them with "
            "dt.cast_time_unit('us'), or make them strings."
        )
    return column.to_list()


def _sorted(values):
    """Return the distinct labels, sorted, and the number of each, -1 where it is blank."""
    labels, numbers = np.unique(values, return_inverse=True)
    kept = np.isfinite(labels)
    return labels[kept], np.where(kept, np.cumsum(kept) - 1, -1)[numbers]


def _check_kinds(values, rows, source, place):
    """Raise where labels do not compare with each other, such as strings and numbers."""
    if len({_kind(type_) for type_ in set(map(type, values))}) < 2:
        return
    kinds = [None if is_blank(value) else _kind(type(value)) for value in values]
    first = next((kind for kind in kinds if kind), None)
    odd = next((n for n, kind in enumerate(kinds) if kind not in (None, first)), None)
    if odd is not None and None not in kinds:
        raise ValueError(
            f"Row {rows[odd]} of {source} has the label {_shown(values[odd])} in {place}, one of "
            f"{kinds[odd]} among {first}. Convert the column to one type, such as strings."
        )


def _hashed(values, source, place):
    """Do what ``_sorted`` does, for labels that NumPy sorts slowly or not at all."""
    if any(isinstance(value, complex) for value in values[:1]):
        raise ValueError(f"Complex data not supported: {source} in {place}.")
    try:
        distinct = sorted(v for v in dict.fromkeys(values) if not (is_blank(v) or v in _INFINITE))
    except TypeError as error:
        raise TypeError(
            f"{source} holds what is no label in {place} ({error}); give strings, numbers or dates."
        ) from error
    numbers = {label: number for number, label in enumerate(distinct)}
    found = np.fromiter(map(numbers.get, values, repeat(-1)), np.int64, len(values))
    return _as_array(distinct), found


def _as_array(labels):
    """Return labels of one kind as an array, of their own type where NumPy has it."""
    kinds = set(map(_kind, set(map(type, labels))))
    kind = kinds.pop() if len(kinds) == 1 else None
    dtype = {"dates": "datetime64", "durations": "timedelta64"}.get(kind)
    if dtype and not getattr(labels[0], "tzinfo", None):
        return _as_times(labels, dtype)
    if kind in ("numbers", "booleans") and np.array(labels).tolist() == labels:
        return np.array(labels)
    return np.fromiter(labels, object, len(labels))


def _as_times(labels, dtype):
    """Return dates or durations in microseconds, or where these merge some in a finer unit."""
    coarse = np.array(labels, f"{dtype}[us]")
    # pandas keeps nanoseconds where NumPy does not look.
    exact = [label.to_numpy() if hasattr(label, "to_numpy") else label for label in labels]
    fine = np.array(exact, dtype)
    if (fine == coarse).all():
        return coarse
    _check_reach(fine, coarse)
    return fine


def _joined(known, new):
    """Return labels after those known, all exactly what they were."""
    if known.dtype.kind not in _TIMES:
        return _as_array([*known.tolist(), *new.tolist()])
    joined = np.concatenate([known, new])
    _check_reach(joined[: len(known)], known)
    _check_reach(joined[len(known) :], new)
    return joined


def _check_reach(fine, times):
    """Raise where dates or durations lie beyond what a finer unit reaches, and have wrapped."""
    if (fine.astype(times.dtype) != times).any():
        raise ValueError(
            f"Labels reach from {times.min()} to {times.max()}, beyond what {fine.dtype}, the "
            "unit of some, holds; round these, or convert all to strings."
        )


def _kind(type_):
    """Return what values of a type are called."""
    return next((kind for base, kind in _KINDS if issubclass(type_, base)), type_.__name__)


def _kinds(labels):
    """Return what the labels of an array are called, of each of their types."""
    named = {"b": "booleans", "M": "dates", "m": "durations"}.get(labels.dtype.kind)
    return {named} if named else {_kind(type_) for type_ in set(map(type, labels))}


def _described(labels):
    """Return what a message calls the labels of an array."""
    native = f" ({labels.dtype})" if labels.dtype.kind == "f" else ""
    # Other dates have a type of NumPy.
    zone = " with a time zone" if labels.dtype == object and _kinds(labels) == {"dates"} else ""
    return " and ".join(sorted(_kinds(labels))) + native + zone


def _comparable(known, labels):
    times = {known.dtype.kind, labels.dtype.kind} & set(_TIMES)
    same = known.dtype.kind == labels.dtype.kind
    return _kinds(known) & _kinds(labels) and (same or not times)


def _equally_precise(known, labels):
    """Whether labels find the same number in the lesser of two precisions as in their own."""
    coarse = min(known.dtype, labels.dtype, key=lambda dtype: dtype.itemsize)
    if known.dtype.kind + labels.dtype.kind != "ff" or known.dtype == labels.dtype:
        return True
    rounded = _find(known.astype(coarse), labels.astype(coarse))
    return ((rounded < 0) | (_find(known, labels) >= 0)).all()


def _find(known, labels):
    """Return the number of each label among those known, -1 where it is none of them."""
    if not _comparable(known, labels):
        return np.full(len(labels), -1)
    if known.dtype.kind in _TIMES:
        order, same = np.argsort(known), labels.astype(known.dtype)
        exact = same.astype(labels.dtype) == labels  # else it was rounded, or beyond the unit
        at = order[np.searchsorted(known, same, sorter=order).clip(max=len(known) - 1)]
        return np.where(exact & (known[at] == same), at, -1)
    numbers = {label: number for number, label in enumerate(known.tolist())}
    return np.fromiter(map(numbers.get, labels.tolist(), repeat(-1)), np.int64, len(labels))


def text_of(label):
    """Return a label as text, a date without a time of day that is zero."""
    text = str(label)
    return re.sub(r"(T00:00:00)?(\.0+)?$", "", text) if isinstance(label, np.datetime64) else text


def _shown(label):
    return repr(label) if isinstance(label, str) else text_of(label)
