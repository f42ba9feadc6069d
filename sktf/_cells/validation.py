"""The only module that reads a user's X and y: arrays in, trusted coordinates out."""

from math import prod

import numpy as np
from sklearn.utils import assert_all_finite, check_array, check_X_y
from sklearn.utils.validation import _check_sample_weight, _num_samples, validate_data

from sktf._cells.complaints import about_labels, about_rows, about_weights, explained
from sktf._cells.labels import LabelTable
from sktf._cells.observations import Observations
from sktf._cells.stored import refuse_stored

MAX_ROWS = 2**27
# Largest dense array that is made of entries, in cells.
MAX_DENSE = 2**30
# Values up to here leave room for the norm of a tensor of 10^10 cells.
MAX_VALUE = 1e303


def check_observations(estimator, X, y, sample_weight, shape, categories=None):
    """Turn the training input of ``fit`` into ``Observations``.

    ``categories`` are given where X holds labels: those known of each mode, or () for those of X.
    They become ``categories_`` of the estimator.
    """
    if categories is None:
        X, y = _read(estimator, X, y)
        coords, weights = _check_coordinates(estimator, X), check_weights(sample_weight, X)
        vars(estimator).pop("categories_", None)
    else:
        coords, y, weights, known = _check_labels(estimator, X, y, sample_weight, categories)
        shape = _check_label_shape(shape, coords, known)
        estimator.categories_ = known
    present = weights > 0
    # A row of weight zero is absent: its indices are neither read nor complained about.
    if not present.all():
        _check_range(np.where(present[:, None], coords, 0), check_shape(shape, coords[present]))
        coords, y, weights = coords[present], y[present], weights[present]
    shape = check_shape(shape, coords)
    _check_range(coords, shape)
    return Observations(coords, y, weights, shape)


def _check_labels(estimator, X, y, sample_weight, categories):
    """Return the coordinates of labels, y, the weights, and the labels of each mode."""
    table, weights = _labels_and_weights(X, y, sample_weight)
    numbers = table.among(categories) if len(categories) else table.numbers
    numbers[weights == 0] = 0
    X, y = _read(estimator, X, y, numbers=numbers)
    table.refuse_new(
        numbers, "Keep to the labels of the fit to go on from, or set warm_start=False."
    )
    return _check_coordinates(estimator, X), y, weights, list(categories) or table.labels


def _labels_and_weights(X, y, sample_weight):
    refuse_masked(X, "X")
    with explained(about_labels, "X", X, y):
        weights = check_weights(sample_weight, X)
        return LabelTable.read(X, "X", weights > 0), weights


def labels_of(X, y, sample_weight):
    """Return the distinct labels of each column of X, in order."""
    return _labels_and_weights(X, y, sample_weight)[0].labels


def has_rows(X, sample_weight):
    """Whether there are rows of positive weight, or what is no table at all."""
    try:
        n_rows = _num_samples(X)
    except TypeError:
        return True
    return n_rows > 0 and (sample_weight is None or bool(np.any(np.asarray(sample_weight) != 0)))


def _check_label_shape(shape, coords, categories):
    """Return how many labels each mode has, at most as many as a ``shape`` of the user."""
    sizes = tuple(map(len, categories))
    for mode, size in enumerate(sizes if shape is None else check_shape(shape, coords)):
        if size < sizes[mode]:
            raise ValueError(
                f"shape={shape!r}: mode {mode} has size {size}, but {sizes[mode]} labels; with "
                "encode=True leave shape at None."
            )
    return sizes


def _looked_up(estimator, X, *y, source="X"):
    """Return the labels of X and their numbers, -1 where new; None where fit has read indices."""
    categories = getattr(estimator, "categories_", None)
    if categories is None:
        return None, None
    table = _read_labels(X, *y, source=source)
    return table, table.among(categories)


def _read_labels(X, *y, source="X"):
    refuse_masked(X, source)
    with explained(about_labels, source, X, *y):
        return LabelTable.read(X, source)


def check_held_out(estimator, X_val, y_val, shape):
    """Turn ``X_val`` and ``y_val`` into ``Observations`` of a tensor of ``shape``, or None."""
    if X_val is None and y_val is None:
        return None
    if X_val is None or y_val is None:
        raise ValueError("X_val and y_val belong together: give both or neither.")
    labels, numbers = _looked_up(estimator, X_val, y_val, source="X_val")
    X, y = _read(estimator, X_val, y_val, "X_val", reset=False, numbers=numbers)
    if labels is not None:
        labels.refuse_new(numbers, "Leave those rows out.")
    coords = _check_coordinates(estimator, X, "X_val")
    _check_range(coords, shape, "X_val")
    return Observations(coords, y, np.ones(len(y)), shape)


def check_readable(frame, held_out):
    """Raise where no held-out cell has rows in all modes of the frame."""
    if not len(frame.read(held_out).values):
        raise ValueError(
            "No cell of X_val has indices that all have cells in X; give others, or leave X_val "
            "and y_val out."
        )


def check_cells(estimator, X, shape, handle_unknown):
    """Turn the X of ``predict`` into coordinates and a mask of what is inside ``shape``.

    The mask has the shape of the coordinates; what is outside, an index or a label that fit has
    not seen, is replaced by 0, also a negative index where ``handle_unknown`` is "mean".
    """
    labels, numbers = _looked_up(estimator, X)
    X = _read_table(estimator, X, reset=False, numbers=numbers)
    outside = np.zeros(X.shape, bool)
    if labels is not None:
        outside = X < 0
        _answer_new(labels, numbers, handle_unknown)
    elif handle_unknown == "mean" and X.dtype.kind in "if":
        outside = X < 0  # what OrdinalEncoder(unknown_value=-1) makes of a new label
    coords = _check_coordinates(estimator, np.where(outside, 0, X))
    if handle_unknown != "mean":
        _check_range(coords, shape)
    known = (coords < np.asarray(shape)) & ~outside
    return np.where(known, coords, 0), known


def _answer_new(labels, numbers, handle_unknown):
    """Raise or warn where labels are new, as ``handle_unknown`` says."""
    if handle_unknown == "error":
        labels.refuse_new(
            numbers,
            "Leave those rows out, learn rows for new labels with extend, or set "
            "handle_unknown='mean'.",
        )
    if handle_unknown == "auto":
        labels.warn_new(numbers)


def check_mode(estimator, mode, order):
    """Return the number of a mode, given by number or by its name in ``feature_names_in_``."""
    names = list(getattr(estimator, "feature_names_in_", ()))
    if isinstance(mode, str) and mode in names:
        return names.index(mode)
    if not _is_int(mode) or not 0 <= mode < order:
        named = f", or one of {names}" if names else ""
        raise ValueError(f"mode={mode!r}: expected a mode number from 0 to {order - 1}{named}.")
    return int(mode)


def check_extension(estimator, X, y, mode, shape, had):
    """Turn the input of ``extend`` into coordinates, values, the size of ``mode`` after it.

    ``had`` are the indices of the mode that have cells. Last comes what becomes of
    ``categories_``, where X holds labels.
    """
    categories, numbers, names = getattr(estimator, "categories_", None), None, None
    if categories is not None:
        names = _read_labels(X, y)
        validate_data(estimator, X, reset=False, skip_check_array=True)
        categories = names.grown(categories, mode)
        numbers = names.among(categories)
    X, y = _read(estimator, X, y, reset=False, numbers=numbers)
    if names is not None:
        names.refuse_new(numbers, "Only labels of the mode that is extended may be new.")
    coords = _check_coordinates(estimator, X)
    old = np.isin(coords[:, mode], had)
    if old.any():
        row = int(np.argmax(old))
        what = f"index {coords[row, mode]} in mode {mode}"
        raise ValueError(
            f"Row {row} of X has {names.name(row, mode) if names else what}, which had cells in "
            "fit already; extend takes indices that have none."
        )
    size = max(shape[mode], int(coords[:, mode].max()) + 1)
    sizes = (*shape[:mode], size, *shape[mode + 1 :])
    _check_sizes(sizes)
    _check_range(coords, sizes)
    return coords, y, size, {} if categories is None else {"categories_": categories}


def _is_int(number):
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def check_rows(caller, X, *y):
    """Turn the X, or X and y, of a function named ``caller`` into int64, and float64, arrays."""
    if not y:
        return _check_coordinates(caller, _read_table(caller, X), dtype=np.int64)
    X, y = _read(caller, X, *y)
    return _check_coordinates(caller, X, dtype=np.int64), y


def check_dense(shape, remedy):
    """Raise where a dense tensor of this shape would have too many cells."""
    if prod(shape) > MAX_DENSE:
        raise ValueError(
            f"A dense tensor of shape {tuple(shape)} needs {prod(shape) / 2**27:.3g} GiB; {remedy}."
        )


def _read(caller, X, y, source="X", **options):
    """Return a user's X and y as arrays of numbers, y in float64."""
    target = source.replace("X", "y")
    refuse_masked(y, target)
    given = X, y
    X, y = _read_table(caller, X, y, source=source, y_numeric=True, **options)
    if y.dtype.kind not in "biuf":
        raise ValueError(f"{target} holds {y.dtype}; expected numbers.")
    y = y.astype(np.float64, copy=False)
    largest = max(y.max(initial=0), -y.min(initial=0))
    if not np.isfinite(largest):  # of objects scikit-learn lets None and infinity through
        with explained(about_rows, source, *given):
            assert_all_finite(y, input_name=target)
    check_size(largest, f"{target} has values")
    return X, y


def _read_table(caller, X, *y, source="X", numbers=None, **options):
    """Return a user's X, or X and y; errors name row or column, and the remedy.

    In the place of an X of labels, ``numbers`` are returned, once it is checked.
    """
    refuse_masked(X, source)
    with explained(about_rows if numbers is None else about_labels, source, X, *y):
        if numbers is not None:
            return _validated_numbers(caller, X, numbers, *y, **options)
        read = _validated(caller, X, *y, **options)
        dtype = read[0].dtype if y else read.dtype
        if dtype.kind not in "biuf":
            raise ValueError(
                f"Expected whole-number indices in {source}, not dtype {dtype}; encode labels "
                "first, e.g. with OrdinalEncoder."
            )
        return read


def _validated(caller, X, *y, **options):
    """Return X, or X and y, as scikit-learn reads them for an estimator, or a function by name."""
    if not isinstance(caller, str):
        return validate_data(caller, X, *y, **options)
    read = check_X_y if y else check_array
    return read(X, *y, estimator=caller, ensure_min_samples=0, **options)


def _validated_numbers(caller, X, numbers, *y, reset=True, **options):
    """Return the numbers of labels, or numbers and y, where X has the columns of the estimator."""
    validate_data(caller, X, *y, reset=reset, skip_check_array=True)
    read = check_X_y if y else check_array
    return read(numbers, *y, estimator=caller, **options)


def refuse_masked(array, name):
    """Raise where an array of a user has masked entries, which NumPy forgets, or lies in files."""
    refuse_stored(array, name)
    if np.ma.is_masked(array):
        raise ValueError(f"{name} has masked entries; leave those rows out.")


def check_size(largest, what):
    """Raise where numbers are so large that the norm of a tensor would overflow."""
    if largest > MAX_VALUE:
        raise ValueError(
            f"{what} as large as {largest:.3g}; beyond {MAX_VALUE:.0e} the norm of a tensor may "
            "overflow. Divide them by a constant."
        )


def _check_coordinates(caller, X, source="X", dtype=np.int32):
    """Return X as whole numbers: no negative, fractional or absurdly large index."""
    name = caller if isinstance(caller, str) else type(caller).__name__
    if X.min(initial=0) < 0:
        row, mode = np.argwhere(X < 0)[0]
        raise ValueError(
            f"Negative values in data passed to {name} (input {source}): row {row} has "
            f"{X[row, mode]} in mode {mode}. {_why_negative(X[row, mode])}"
        )
    if X.dtype.kind == "f" and not np.array_equal(X, np.trunc(X)):
        row, mode = np.argwhere(np.trunc(X) != X)[0]
        raise ValueError(
            f"{name} needs whole-number indices in {source}; row {row} has {X[row, mode]} in "
            f"mode {mode}. Encode labels first, e.g. with OrdinalEncoder."
        )
    largest = np.iinfo(dtype).max - 1
    if X.size and int(X.max()) > largest:
        row, mode = np.unravel_index(X.argmax(), X.shape)
        raise ValueError(
            f"Row {row} of {source} holds index {X[row, mode]} in mode {mode}, more than "
            f"{largest}; encode that column first, e.g. with OrdinalEncoder."
        )
    return X.astype(dtype, copy=False)


def _why_negative(index):
    """Say where a negative index comes from, and what to do."""
    if index != -1:
        return "Indices count from 0; encode labels first, e.g. with OrdinalEncoder."
    return (
        "That is the code of a blank label (cat.codes of pandas) or of an unknown one "
        "(OrdinalEncoder): leave those rows out, or, for predict, set handle_unknown='mean'."
    )


def check_weights(sample_weight, X):
    """Return float64 weights, some of them positive."""
    refuse_masked(sample_weight, "sample_weight")
    if sample_weight is None:
        return np.broadcast_to(1.0, _num_samples(X))
    with explained(about_weights, sample_weight):
        weights = _check_sample_weight(
            sample_weight, X, dtype=np.float64, ensure_non_negative=True, copy=True
        )
    if not weights.any():
        raise ValueError("sample_weight is zero for every row: at least one must be positive.")
    limits = np.finfo(np.float64)
    if weights.max() > limits.max / len(weights):
        raise ValueError("sample_weight is too large to be summed; divide it by its maximum.")
    # In units of a power of two near the largest no product with a value overflows.
    weights /= 2.0 ** (np.frexp(weights.max())[1] - 1)
    weights[weights < limits.tiny] = 0  # beside the largest
    return weights


def check_shape(shape, coords):
    """Return the mode sizes: those given, or the largest index of each mode plus one."""
    order = coords.shape[1]
    if shape is None:
        sizes = tuple(int(column.max()) + 1 for column in coords.T)
    else:
        sizes = tuple(shape)
        if len(sizes) != order:
            raise ValueError(
                f"shape={shape!r} has {len(sizes)} modes but X has {order} columns; give one size "
                "for each."
            )
        for mode, size in enumerate(sizes):
            if not _is_int(size) or size < 1:
                raise ValueError(
                    f"shape={shape!r}: mode {mode} has size {size!r}; expected a positive int."
                )
        sizes = tuple(int(size) for size in sizes)
    _check_sizes(sizes)
    return sizes


def _check_sizes(sizes):
    """Raise where the modes have more rows than can be fitted."""
    if sum(sizes) > MAX_ROWS:
        mode = int(np.argmax(sizes))
        raise ValueError(
            f"Mode {mode} has size {sizes[mode]}, more rows than can be fitted; if its indices "
            "have gaps, encode that column of X first, e.g. with OrdinalEncoder."
        )


def _check_range(coords, shape, name="X"):
    """Raise where an index reaches past the size of its mode."""
    largest = [column.max(initial=-1) for column in coords.T]  # far faster than along rows
    if (np.asarray(largest) >= np.asarray(shape)).any():
        row, mode = np.argwhere(coords >= np.asarray(shape))[0]
        raise ValueError(
            f"Row {row} of {name} has index {coords[row, mode]} in mode {mode}, which has size "
            f"{shape[mode]}. Give every mode its full size with the parameter shape, or, for "
            "predict, set handle_unknown='mean'."
        )


def finite_array(values, name, remedy="remove or fill such values first"):
    """Return values as float64, refusing NaN and infinity."""
    values = np.asarray(values, dtype=np.float64)
    n_bad = values.size - np.count_nonzero(np.isfinite(values))
    if n_bad:
        raise ValueError(f"{name} has {n_bad} NaN or infinite value(s); {remedy}.")
    return values
