"""Fits beside each other, as joblib runs them, and fresh estimators for them."""

import numpy as np
from sklearn.base import clone
from sklearn.utils.parallel import Parallel

from sktf._models.cp import CPCompletion

# What tells whether X holds labels, and whether it is all of X.
_READING = "encode", "distributed"


def one_by_one(n_jobs, *, ordered):
    """Return a Parallel that yields results as they come, or all at the end where it cannot."""
    try:
        return Parallel(n_jobs=n_jobs, return_as="generator" if ordered else "generator_unordered")
    except ValueError:  # joblib's "multiprocessing", for one
        return Parallel(n_jobs=n_jobs)


def prepared(kind, shape, rng):
    """Return a fresh copy of an estimator with a seed of its own and the shape, if it has none."""
    refuse_checkpoint(kind)
    kind = with_inner(clone(kind))
    for name, value in kind.get_params().items():
        if value is None and (name == "shape" or name.endswith("__shape")):
            kind.set_params(**{name: shape})
    if "random_state" in kind.get_params(deep=False):
        kind.set_params(random_state=int(rng.randint(np.iinfo(np.int32).max)))
    return kind


def with_inner(kind):
    """Return an estimator; the one inside it, where that is left open, is put there."""
    params = kind.get_params()
    if params.get("estimator", kind) is None and not params.get("estimators"):
        kind.set_params(estimator=CPCompletion())
    return kind


def refuse_checkpoint(kind):
    """Raise where an estimator has a checkpoint, which is of one fit, and not of several."""
    for name, value in kind.get_params().items():
        if value is not None and (name == "checkpoint" or name.endswith("__checkpoint")):
            raise ValueError(
                f"{name}={value!r} is the file of a single fit, and here there are several; set "
                f"{name}=None."
            )


def reading_numbers(kind):
    """Return a fresh copy of an estimator to which the columns of X are numbers, all of them."""
    return clone(kind).set_params(**dict.fromkeys(reading_parameters(kind), False))


def reading_parameters(kind):
    """Return those parameters of an estimator that tell how X is read."""
    return {k: v for k, v in kind.get_params().items() if k.split("__")[-1] in _READING}


def encodes(kind):
    """Whether the columns of X are labels to an estimator."""
    return any(value for name, value in kind.get_params().items() if _is_encode(name))


def _is_encode(name):
    return name == "encode" or name.endswith("__encode")
