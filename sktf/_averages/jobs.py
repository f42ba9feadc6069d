"""Fits beside each other, as joblib runs them, and fresh estimators for them."""

import numpy as np
from sklearn.base import clone
from sklearn.utils.parallel import Parallel

from sktf._models.cp import CPCompletion
from sktf._models.inner import parameters_named


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
    shapes = parameters_named(kind, "shape")
    kind.set_params(**{name: shape for name, value in shapes.items() if value is None})
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
    for name, value in parameters_named(kind, "checkpoint").items():
        if value is not None:
            raise ValueError(
                f"{name}={value!r} is the file of a single fit, and here there are several; set "
                f"{name}=None."
            )


def reading_numbers(kind):
    """Return a fresh copy of an estimator to which the columns of X are numbers, all of them."""
    return clone(kind).set_params(**dict.fromkeys(reading_parameters(kind), False))


def reading_parameters(kind):
    """Return the parameters that tell whether X holds labels, and whether it is all of X."""
    return parameters_named(kind, "encode", "distributed")


def encodes(kind):
    """Whether the columns of X are labels to an estimator."""
    return any(parameters_named(kind, "encode").values())
