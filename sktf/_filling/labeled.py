"""Gaps of the labeled arrays of xarray."""

import numpy as np

from sktf._cells.complaints import as_floats
from sktf._filling.arrays import complete_array
from sktf._filling.filler import Filled, usable


def complete_labeled(array, filler):
    """Fill a DataArray; dimensions, coordinates, attributes and name are kept."""
    labels = usable({dim: array[dim].to_index() for dim in array.dims})
    filled = complete_array(array.to_numpy(), filler, labels)
    return filled.each(lambda values: array.copy(data=values))


def complete_dataset(data, filler):
    """Fill the variables of a Dataset one by one; the models are a dictionary by name."""
    found = {name: _variable(name, array, filler) for name, array in data.data_vars.items()}
    models = {name: each.model for name, each in found.items() if each.model is not None}
    filled = data.assign({name: each.values for name, each in found.items()})
    std = None
    if filler.return_std:
        std = data.assign({name: each.std for name, each in found.items()})
    return Filled(filled, std, models)


def _variable(name, array, filler):
    """Fill a variable, if it has gaps."""
    try:
        gaps = np.isnan(as_floats(array.to_numpy()))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"Variable {name!r} holds no numbers ({error}); leave it out with drop_vars, or make "
            "it a coordinate with set_coords."
        ) from error
    if not gaps.any():
        return Filled(array, array.copy(data=np.zeros(array.shape)))
    try:
        return complete_labeled(array, filler)
    except (TypeError, ValueError) as error:
        raise type(error)(f"Variable {name!r}: {error}") from error
