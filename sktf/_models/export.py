"""A fitted model as a dense tensor, and as tensorly's ``CPTensor`` with its offset."""

from math import prod

import numpy as np

from sktf._cells.unfolding import is_large, side_sizes
from sktf._cells.validation import check_dense
from sktf._objective.components import component_norms, unit_columns

# Cells of a dense tensor that are computed at once.
_CHUNK = 2**20


def dense_tensor(shape, predict):
    """Return the tensor of what is predicted of all cells, ``coords -> values``."""
    check_dense(shape, "predict the cells you need instead")
    dense = np.empty(prod(shape))
    for start in range(0, dense.size, _CHUNK):
        linear = np.arange(start, min(start + _CHUNK, dense.size))
        dense[linear] = predict(np.column_stack(np.unravel_index(linear, shape)))
    return dense.reshape(shape)


def cp_tensor(factors):
    """Return factors of shape (n_m, R) as a ``CPTensor``: unit columns, norms as weights."""
    import tensorly as tl
    from tensorly.cp_tensor import CPTensor

    norms = component_norms(factors)
    factors = [unit_columns(factor[:, norms > 0]) for factor in factors]
    with tl.backend_context("numpy", local_threadsafe=True):
        return CPTensor((norms[norms > 0], factors))


def offset_components(frame):
    """Return factors of the offset: a component for the level, and one for the terms of a mode."""
    sizes = side_sizes(frame.shape, frame.groups)
    for size, group in zip(sizes, frame.groups, strict=True):
        if is_large(size, group):
            raise ValueError(f"offset=True: modes {group} have {size} indices, too many to export.")
    columns = [[np.full(size, 1.0) for size in sizes] for _ in range(bool(frame.offset.level))]
    for constant in columns:
        constant[0] *= frame.offset.level
    for mode, term in enumerate(frame.offset.terms):
        side = next(n for n, group in enumerate(frame.groups) if mode in group)
        group = frame.groups[side]
        indices = np.unravel_index(np.arange(sizes[side]), [frame.shape[m] for m in group])
        component = [np.full(size, 1.0) for size in sizes]
        component[side] = term[indices[group.index(mode)]]
        columns.append(component)
    return [
        np.column_stack([column[n] for column in columns]) if columns else np.empty((size, 0))
        for n, size in enumerate(sizes)
    ]
