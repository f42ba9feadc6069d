"""What is said of an X, y or array that cannot be read: what arrived, where, and the remedy.

Looked for once reading has failed, so that reading costs nothing; the first error is chained.
"""

import re
from contextlib import contextmanager

import numpy as np
from scipy.sparse import issparse

_ROWS = (
    "fit takes rows of indices, one for each known cell, and their values; predict takes such "
    "rows. To fill an array, table or sparse matrix: filled = sktf.complete(array); for rows of "
    "its cells: X, y = entries_from_dense(matrix), from sktf.datasets."
)
# What scikit-learn, NumPy and pandas say of blank and infinite entries.
_NOT_FINITE = re.compile(r"contains (NaN|infinity)|NAType|value of NA|missing values")


@contextmanager
def explained(explain, *tables):
    """Raise ``explain(error, *tables)`` in place of an error of the block, unless that is None."""
    try:
        with np.errstate(invalid="ignore"):  # of infinite values, which are an error
            yield
    except (TypeError, ValueError) as error:
        try:
            better = explain(error, *tables)
        except Exception:  # whatever a foreign object raises, the first error says more
            better = None
        if better is None:
            raise
        raise better from error


def about_rows(error, source, X, *y):
    """Return what to raise about rows of indices named ``source``, and their values if given."""
    targets = _targets(source, y)
    return (
        _first(_not_loaded(error, *table) for table in [(source, X), *targets])
        or _no_table(error, source, X)
        or _not_rows(error, X, *y)
        or _unequal(error, source, X, *y)
        or _complex(error, [(source, X), *targets])
        or _first(_not_finite(error, *table) for table in [(source, X), *targets])
        or _labels(error, source, X)
        or _first(_no_values(error, *table) for table in targets)
    )


def about_labels(error, source, X, *y):
    """Return what to raise about rows of labels, and their values if given."""
    targets = _targets(source, y)
    return (
        _first(_not_loaded(error, *table) for table in [(source, X), *targets])
        or _no_table(error, source, X)
        or _not_rows(error, X, *y)
        or _unequal(error, source, X, *y)
        or _complex(error, targets)
        or _first(_not_finite(error, *table) for table in targets)
        or _first(_no_values(error, *table) for table in targets)
    )


def _targets(source, y):
    return [(source.replace("X", "y"), values) for values in y]


def about_weights(error, weights):
    """Return what to raise about the weights of rows."""
    return _like(
        error,
        f"sample_weight: {str(error).rstrip('.')}. Give one finite number for each row, none of "
        "them negative, and zero for rows that count as absent.",
    )


def about_features(error, table):
    """Return what to raise about a table whose columns are features."""
    if not re.search("infinity", str(error)):
        return None
    return _like(error, f"{error} Replace such values by NaN, which is filled, or by numbers.")


def about_array(error, array):
    """Return what to raise about an array whose cells are to be listed."""
    return _not_loaded(error, "array", array) or _first(
        _like(
            error,
            f"Column {mode if name is None else repr(name)} of array holds no numbers ({error}). "
            "Leave labels out, or make them the index of the table, as set_index of pandas does.",
        )
        for mode, (name, column) in enumerate(columns_of(array))
        if np.asarray(column).dtype.kind in "OUS" and not _holds_numbers(column)
    )


def as_floats(array):
    """Return what a user gave as float64, NaN where it is blank: None, NaN or NA of pandas."""
    array = np.asarray(array)
    if array.dtype.kind in "cmM":
        raise TypeError(f"The array has dtype {array.dtype}; expected numbers.")
    if array.dtype.kind == "O":
        array = np.where(np.asarray(_BLANK(array), bool), np.nan, array)
    return array.astype(np.float64, copy=False)


def is_blank(value):
    """Whether a value is None, NaN, NaT or NA of pandas."""
    try:
        return value is None or bool(value != value)
    except TypeError:  # NA of pandas is neither equal to itself nor unequal
        return True


_BLANK = np.frompyfunc(is_blank, 1, 1)


def _first(found):
    return next((error for error in found if error is not None), None)


def _like(error, text):
    """Return an error of the same kind."""
    return TypeError(text) if isinstance(error, TypeError) else ValueError(text)


def _not_loaded(error, name, table):
    """Say how a table that is lazy, or of sparse columns, becomes one that can be read."""
    if str(error).startswith("Sparse data") and hasattr(table, "sparse"):
        why, how = "has sparse columns", "sparse.to_dense"
    elif hasattr(table, "__array__"):
        return None
    else:
        why = f"is a {type(table).__name__}, whose numbers are not there yet"
        how = _first(m for m in ("toPandas", "collect", "compute") if hasattr(table, m))
    return _like(error, f"{name} {why}; pass {name}.{how}().") if how else None


def _no_table(error, source, X):
    """Say how cells are listed, where neither a table nor an array was given."""
    if X is None or np.ndim(X) > 0:
        return None
    one = np.asarray(X, object)[()]
    return _like(error, f"{source} is no table but a {type(one).__name__}. {_ROWS}")


def _not_rows(error, X, *y):
    """Say how cells are listed, where a whole array was given in the place of rows."""
    lacking = any(values is None for values in y)
    if lacking or issparse(X) or np.ndim(X) > 2 or any(np.size(v) > len(v) for v in y):
        what = str(error).splitlines()[0].split(". ")[0].rstrip(".")
        return _like(error, f"{what}. {_ROWS}")
    return None


def _unequal(error, source, X, *y):
    """Say that rows and values are not as many."""
    if not str(error).startswith("Found input variables with inconsistent numbers"):
        return None
    target = source.replace("X", "y")
    return _like(
        error,
        f"{str(error).rstrip('.')}: {source} and {target} differ; each row of {source} needs one "
        f"value in {target}.",
    )


def _complex(error, tables):
    """Say which table is complex, without all its numbers."""
    if not str(error).startswith("Complex data not supported"):
        return None
    names = " and ".join(name for name, table in tables if np.iscomplexobj(np.asarray(table)))
    told = f"Complex data not supported: {names}; give real numbers."
    return _like(error, told) if names else None


def _not_finite(error, name, table):
    """Name the first entry of X or y that is blank or infinite, where that is the error."""
    if not _NOT_FINITE.search(str(error).splitlines()[0]):
        return None
    lacks = "no index"
    why = (
        "To fill a table with gaps: sktf.complete(table). Of rows of indices leave those rows out."
    )
    if name.startswith("y"):
        lacks, why = "no value", "Cells without a value are missing: leave those rows out."
    for mode, (column_name, column) in enumerate(columns_of(table)):
        values = as_floats(column) if _holds_numbers(column) else np.zeros(1)
        if not np.isfinite(values).all():
            row = int(np.argmin(np.isfinite(values)))
            kind, has = ("NaN", lacks) if np.isnan(values[row]) else ("infinity", values[row])
            at = "" if name.startswith("y") else f" in {place_of(mode, column_name)}"
            return ValueError(f"Input {name} contains {kind}: row {row} has {has}{at}. {why}")
    return None


def _labels(error, source, X):
    """Name the first column of X that holds no numbers."""
    for mode, (name, column) in enumerate(columns_of(X)):
        # Complex numbers have an error of their own.
        if not np.iscomplexobj(column) and not _holds_numbers(column):
            place = place_of(mode, name)
            return _like(
                error,
                f"{place[0].upper()}{place[1:]} of {source} holds no whole-number indices. An "
                "estimator reads labels and dates with encode=True; or encode them first, e.g. "
                f"with OrdinalEncoder. ({error})",
            )
    return None


def _no_values(error, name, values):
    """Say that y holds no numbers."""
    if np.iscomplexobj(values) or _holds_numbers(values):
        return None
    return _like(error, f"{name} holds no numbers, of which each row needs one. ({error})")


def place_of(mode, name):
    """Return what a message calls a column."""
    return f"mode {mode}" if name is None else f"column {name!r} (mode {mode})"


def columns_of(table):
    """Return (name, column) for each column of a table; the columns of an array have no name."""
    names = getattr(table, "column_names", getattr(table, "columns", None))
    if hasattr(table, "iloc") and names is not None:  # names may occur twice
        return [(name, table.iloc[:, mode]) for mode, name in enumerate(names)]
    if names is not None:
        return [(name, table[name]) for name in names]
    array = table if isinstance(table, np.ndarray) else np.array(table, dtype=object)
    columns = {1: [array], 2: array.T}.get(array.ndim, [])
    return [(None, column) for column in columns]


def _holds_numbers(column):
    if getattr(getattr(column, "dtype", None), "kind", "O") in "mM":
        return False
    try:
        as_floats(column)
    except (TypeError, ValueError):
        return False
    return True
