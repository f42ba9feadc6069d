"""What models share whose components are all combinations of a few columns."""

from math import prod

import numpy as np

from sktf._objective.components import component_norms, unit_columns

# Most entries of the factors, or of their Gram matrices; a copy takes 1 GiB in float64.
_MAX_ENTRIES = 2**27


def units_and_norms(factors, n_blocks):
    """Return columns of norm 1, and norms whose power ``n_blocks`` is that of the components."""
    norms = component_norms(factors) ** (1 / n_blocks)
    return [unit_columns(factor) for factor in factors], norms


def check_components(shape, n_components):
    """Return the number of components, unless their matrices would not fit in memory."""
    n_entries = max(sum(shape), len(shape) * n_components) * n_components
    if n_entries > _MAX_ENTRIES:
        raise ValueError(
            f"{n_components:.3g} components for sizes {tuple(shape)} need "
            f"{n_entries / 2**27:.2g} GiB; lower ranks or n_components."
        )
    return n_components


def repeats(ranks):
    """Return 0/1 matrices (r, R) that repeat columns, R the number of combinations of all."""
    indices = np.indices(ranks).reshape(len(ranks), prod(ranks))
    return [np.eye(rank)[:, index] for rank, index in zip(ranks, indices, strict=True)]


def constant_norm(shape, mean, n_blocks):
    """Norm of each of ``n_blocks`` blocks whose product is the constant tensor |mean|."""
    return (abs(mean) * np.sqrt(float(prod(shape)))) ** (1 / n_blocks)
