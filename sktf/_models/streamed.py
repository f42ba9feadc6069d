"""One call of fit on blocks of cells: components grow on samples, sweeps read block by block."""

import numpy as np
from sklearn.utils.validation import validate_data

from sktf._cells.identifiability import CompletionWarning
from sktf._cells.record import outside, warn
from sktf._cells.stored import FEW, HeldCells, Stored
from sktf._cells.stream import Stream
from sktf._cells.validation import check_shape
from sktf._models.holding_out import are_many
from sktf._models.sampled import SampledFitting, sample_size

# Cells of which components grow at most: a fit in memory takes more of very many rows.
_MOST_SAMPLED = 2**22
# Cells in memory that take less time block by block than at once, if so many will do to grow on.
_MANY = 2**22
_READ = "read X and y into memory with np.asarray, if they fit."


class StreamedFitting(SampledFitting):
    """What ``SampledFitting`` is, where the cells are a ``Stream``."""

    def descend(self, rng, told=True):
        wanted = super()._enough()
        if told and wanted > _MOST_SAMPLED:
            warn(
                f"Components grow on a sample of {_MOST_SAMPLED} cells, of which a fit in memory "
                f"would take {wanted} for so many rows: weak ones may not be found.",
                CompletionWarning,
                outside(),
            )
        return super().descend(rng, told)

    def _enough(self):
        return min(super()._enough(), _MOST_SAMPLED)

    def _n_rough(self):
        return min(super()._n_rough(), _MOST_SAMPLED)

    def _to_fit(self):
        where = "" if self.training.cells.held else " in files"
        n_trained, n_held_out = len(self.training.values), len(self.held_out.values)
        return f"{n_trained} cells{where} to fit, {n_held_out} held out"


def in_blocks(observations):
    """Return observations as a ``Stream``, or where these are few or no sample will do, as such."""
    held, sizes = observations.in_memory and observations.ranks is None, observations.shape
    many = held and len(observations.values) >= _MANY and observations.weights.strides == (0,)
    will_do = many and len(sizes) > 1 and sample_size(sizes) <= _MOST_SAMPLED
    if not (will_do and are_many(observations)):
        return observations
    return Stream(HeldCells(observations.coords, observations.values), sizes)


def read_stored(X, y):
    """Return X and y as arrays where they are few enough, else None."""
    check_pair(X, y)
    return (np.asarray(X), np.asarray(y)) if len(X) <= FEW else None


def check_pair(X, y):
    """Raise unless X and y lie in the same files."""
    if not isinstance(y, Stored) or y.cells is not X.cells or (X.part, y.part) != (0, 1):
        raise TypeError(
            "X lies in files, and y has to be that of the same open_entries: fit(entries.X, "
            f"entries.y). Or {_READ}"
        )


def refuse_weights(sample_weight):
    """Raise where weights are given beside files."""
    if sample_weight is not None:
        raise ValueError(f"X lies in files, which hold no sample_weight; {_READ}")


def open_stream(estimator, X, sample_weight):
    """Turn X and y in files into a ``Stream``, as ``check_observations`` does those in memory."""
    refuse_weights(sample_weight)
    if estimator.encode:
        raise ValueError(f"X lies in files, which are read as they are, but encode=True; {_READ}")
    if len(X.cells.shape) < 2:
        raise ValueError(f"X lies in files and has one mode, whose rows do not grow; {_READ}")
    shape = _check_shape(estimator.shape, X.cells.shape)
    validate_data(estimator, np.zeros((2, len(shape)), np.int32))
    vars(estimator).pop("categories_", None)
    return Stream(X.cells, shape)


def _check_shape(shape, seen):
    """Return the mode sizes, of which those seen are no larger."""
    sizes = check_shape(shape, np.array([seen]) - 1)
    for mode, (size, has) in enumerate(zip(sizes, seen, strict=True)):
        if has > size:
            raise ValueError(
                f"X has index {has - 1} in mode {mode}, which has size {size}. Give every mode its "
                "full size with the parameter shape."
            )
    return sizes


def check_streams(estimator, asks_for_nothing):
    """Raise unless components grow on samples, whatever of X lies in files."""
    if not asks_for_nothing:
        raise ValueError(
            f"X lies in files, and {type(estimator).__name__} with these parameters descends on "
            "all cells at once: leave init, init_scale, init_mean, loss, step, learning_rate, "
            "record_every, measures, prune, early_stopping and warm_start at their defaults, or "
            + _READ
        )
