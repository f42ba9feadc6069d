"""``complete``: from data with gaps to data without, in one call."""

from functools import partial

from sktf._cells.record import holding_back, tell_once
from sktf._filling.arrays import complete_array
from sktf._filling.filler import filler
from sktf._filling.labeled import complete_dataset, complete_labeled
from sktf._filling.tables import complete_long, complete_wide


def complete(
    data,
    estimator=None,
    *,
    values=None,
    cells="missing",
    return_std=False,
    return_model=False,
    clip=None,
    random_state=None,
):
    """Fill the gaps of an array, table or labeled array.

    An estimator is fitted to the known cells and predicts the missing ones; the known ones stay
    exactly what they were.

    Parameters
    ----------
    data : array-like, SciPy sparse array, DataFrame, DataArray or Dataset
        Two modes or more; it is not changed. Of an array, NaN and None are missing, as is what a
        masked array masks; zeros are values, and True and False are 1 and 0. Of a sparse one what
        is not stored is missing, while stored zeros are values. Wide tables, of pandas or polars,
        hold numbers alone; without ``values`` a long table of numbers is read as a wide one. The
        variables of a Dataset of xarray are filled one by one. Values become float64, which rounds
        whole numbers beyond 2**53.
    estimator : estimator object, default=None
        Any completion estimator. A copy is fitted, with the ``shape`` of the data. None:
        ``CPCompletion()``, or with ``return_std`` ``PosteriorCompletion()``.
    values : hashable, default=None
        For a long table, with a row for each known cell: the column of values. All other columns
        are modes, of labels of any kind. A row of a blank value is a missing cell, and that of
        several rows of the same cell is their mean.
    cells : {"missing", "all"}, default="missing"
        The rows of the long table that comes back: cells without a value, of all combinations of
        labels, or all cells.
    return_std : bool, default=False
        Whether to return the standard deviations of what was predicted, as the estimator tells
        them, and 0 where there was a value.
    return_model : bool, default=False
        Whether to return the fitted estimator. It knows the labels of the data, as one with
        ``encode=True`` does, where the names of all modes are different strings ("row" and
        "column" in place of none) and the labels of each are unique, of one level, and neither
        blank nor infinite. Else, and of plain arrays and wide tables of polars, its cells are
        positions.
    clip : {"range"} or (float, float), default=None
        Bounds of what is predicted, set in the estimator. None: as it has them.
    random_state : int, RandomState instance or None, default=None
        Set in the estimator and in those inside it, where they have one. None: as they have it.

    Returns
    -------
    filled : object of the kind of ``data``
        The same shape and labels, float64; an ndarray for masked and sparse arrays and lists. For
        a long table one with the columns of the modes and ``values``, one row for each of
        ``cells``, in the order of the labels. Of a Dataset, variables without gaps come back as
        they are.
    std : object of the same kind
        With ``return_std``; for a long table a column ``<values>_std`` of ``filled`` instead.
    model : estimator object, or dict
        With ``return_model``; for a Dataset a dictionary of the variables that had gaps. Without
        gaps no estimator is fitted unless it is asked for.

    Raises
    ------
    ValueError
        When no cell has a value, when there are fewer than two modes, when a value is infinite,
        when a label of a long table is blank or infinite, when the completed array would have more
        than 2**30 cells (fit an estimator then, and predict the cells you need), or for what the
        estimator raises.
    TypeError
        When a column or variable holds no numbers, ``values`` or ``cells`` is given for what is no
        long table, or the estimator has no ``return_std``.

    See Also
    --------
    CompletionImputer : In pipelines, for tables whose columns are features of different units.

    Examples
    --------
    >>> import numpy as np
    >>> import sktf
    >>> array = np.outer(np.arange(1.0, 7.0), [1.0, 2.0, 3.0, 4.0])
    >>> array[1, 2] = array[4, 0] = np.nan
    >>> sktf.complete(array, random_state=0)[[1, 4]].round(2)
    array([[ 2.,  4.,  6.,  8.],
           [ 5., 10., 15., 20.]])

    A long table, with rows for known cells:

    >>> import pandas as pd
    >>> known = ~np.isnan(array)
    >>> rows, columns = np.nonzero(known)
    >>> table = pd.DataFrame({"dose": rows + 1, "cell": list("abcd"[i] for i in columns)})
    >>> table["response"] = array[known]
    >>> sktf.complete(table, values="response", random_state=0).round(2)
       dose cell  response
    0     2    c       6.0
    1     5    a       5.0

    With standard deviations, of a labeled array:

    >>> import xarray as xr
    >>> labeled = xr.DataArray(array, dims=["dose", "cell"], coords={"cell": list("abcd")})
    >>> filled, std = sktf.complete(labeled, return_std=True, random_state=0)
    >>> filled.dims, float(std.sel(dose=0, cell="a"))
    (('dose', 'cell'), 0.0)
    """
    complete_data = _way(data, values, cells)
    how = filler(estimator, return_std, return_model, clip=clip, random_state=random_state)
    with holding_back() as held:
        filled, std, model = complete_data(data, filler=how)
    tell_once(held, 2)
    answer = [filled]
    if std is not None:
        answer.append(std)
    if return_model:
        answer.append(model)
    return answer[0] if len(answer) == 1 else tuple(answer)


def _way(data, values, cells):
    """Return the function that fills data of this kind."""
    if cells not in ("missing", "all"):
        raise ValueError(f'cells={cells!r}: expected "missing" or "all".')
    is_table = _is(data, "pandas", "DataFrame") or _is(data, "polars", "DataFrame")
    if is_table and values is not None:
        return partial(complete_long, values=values, everything=cells == "all")
    if values is not None or cells == "all":
        remedy = "name their column of values, values=..." if is_table else "leave both out"
        raise TypeError(
            f"values and cells are for long tables; {remedy}. The data are a {type(data).__name__}."
        )
    if is_table:
        return complete_wide
    if _is(data, "xarray", "Dataset"):
        return complete_dataset
    return complete_labeled if _is(data, "xarray", "DataArray") else complete_array


def _is(data, package, name):
    """Return whether data are of a class of a package, which is not imported for that."""
    return any(
        cls.__name__ == name and cls.__module__.split(".")[0] == package
        for cls in type(data).__mro__
    )
