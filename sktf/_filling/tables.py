"""Gaps of tables of pandas and polars: wide ones, and long ones of one row for each cell."""

import numpy as np

from sktf._cells.complaints import as_floats
from sktf._cells.labels import listed
from sktf._cells.validation import check_dense
from sktf._filling.arrays import TOO_LARGE, complete_array
from sktf._filling.filler import Filled, usable
from sktf.datasets.entries import dense_from_entries


def complete_wide(table, filler):
    """Fill a table whose cells are those of a matrix."""
    for name, column in _columns(table):
        if not _is_numeric(column):
            raise TypeError(
                f"Column {name!r} holds no numbers. Of a long table, with a row for each cell, "
                "name the column of values: values=...; of a wide one, leave such columns out, or "
                "make them its index."
            )
    return complete_array(table, filler, _axes(table)).each(lambda array: _like(table, array))


def _axes(table):
    """Return the labels of rows and columns of a table of pandas, if an estimator can use them."""
    if not _is_pandas(table):
        return None
    labels = {table.index.name or "row": table.index}
    labels[table.columns.name or "column"] = table.columns
    return usable(labels) if len(labels) == 2 else None


def _columns(table):
    """Return pairs of name and column; names may occur twice."""
    return table.items() if _is_pandas(table) else zip(table.columns, table, strict=True)


def _is_pandas(table):
    return hasattr(table, "iloc")


def _is_numeric(column):
    """Return whether a column holds numbers or truth values, or objects that may be some."""
    if not _is_pandas(column):
        return column.dtype.is_numeric() or str(column.dtype) in ("Boolean", "Null")
    if column.dtype == object:
        return not any(isinstance(value, str) for value in column)
    return column.dtype.kind in "biufc"


def _like(table, array):
    """Return a table of an array, with the labels of another."""
    if not _is_pandas(table):
        return type(table)(array, schema=table.columns, orient="row")
    import pandas as pd

    filled = pd.DataFrame(array, index=table.index, columns=table.columns)
    filled.attrs = dict(table.attrs)
    return filled


def complete_long(table, values, everything, filler):
    """Fill a table with a row for each known cell: labels of the modes, and the column ``values``.

    Its cells without a value come as a table, with ``everything`` also those with one; deviations
    are a column of it.
    """
    labels = {name: _labels(name, table[name]) for name in _mode_names(table, values)}
    X, y = np.column_stack([c.cat.codes for c in labels.values()]), _values(table, values)
    shape = tuple(len(column.cat.categories) for column in labels.values())
    check_dense(shape, TOO_LARGE)
    known = ~np.isnan(y)
    X, y = X[known].astype(np.int64), y[known]
    dense = dense_from_entries(X, y, shape)
    wanted = np.flatnonzero(np.isnan(dense) | everything)
    known = usable({name: column.cat.categories for name, column in labels.items()})
    filled = filler.fill(X, y, dense, known)
    columns = {values: filled.values.reshape(-1)[wanted]}
    if filled.std is not None:
        columns[f"{values}_std"] = filled.std.reshape(-1)[wanted]
    rows = _rows(table, labels, np.unravel_index(wanted, shape), columns)
    return Filled(rows, None, filled.model)


def _mode_names(table, values):
    """Return the names of the columns of labels, two or more beside that of values."""
    names = list(table.columns)
    if names.count(values) != 1 or len(set(names)) < len(names):
        raise ValueError(
            f"values={values!r}: expected the name of one of the columns {names}, all different."
        )
    if len(names) < 3:
        raise ValueError(
            f"The table has the columns {names}: beside that of values it needs two or more, "
            "whose labels say which cell a row is."
        )
    if f"{values}_std" in names:
        raise ValueError(f"Rename column '{values}_std', the name of the deviations.")
    return [name for name in names if name != values]


def _labels(name, column):
    """Return the labels of a mode as a categorical column of those that occur."""
    import pandas as pd

    column = column if _is_pandas(column) else pd.Series(listed(column, f"column {name!r}"))
    try:
        column = column.astype("category").cat.remove_unused_categories()
    except TypeError as error:
        raise TypeError(
            f"Column {name!r} holds what is no label ({error}); give strings, numbers or dates."
        ) from error
    blank = (column.isna() | column.isin([np.inf, -np.inf])).to_numpy()
    if blank.any():
        row = int(np.argmax(blank))
        what = "no label" if column.isna().iloc[row] else f"the label {column.iloc[row]}"
        raise ValueError(f"Row {row} has {what} in column {name!r}; leave such rows out.")
    return column


def _values(table, name):
    """Return the values of a long table as numbers, NaN where they are blank."""
    if not _is_numeric(table[name]):
        raise TypeError(f"Column {name!r}, that of values, holds no numbers.")
    values = as_floats(table[name])
    if np.isinf(values).any():
        row = int(np.argmax(np.isinf(values)))
        raise ValueError(
            f"Row {row} has the value {values[row]} in column {name!r}; leave it blank where the "
            "cell is missing."
        )
    return values


def _rows(table, labels, cells, columns):
    """Return a long table of cells by their labels, of the types that these had, and columns."""
    import pandas as pd

    columns = {
        name: pd.Categorical.from_codes(codes, dtype=column.dtype)
        for (name, column), codes in zip(labels.items(), cells, strict=True)
    } | columns
    if _is_pandas(table):
        return pd.DataFrame(columns).astype({name: table.dtypes[name] for name in labels})
    lists = {name: column.tolist() for name, column in columns.items()}
    return type(table)(lists, schema_overrides={name: table.schema[name] for name in labels})
