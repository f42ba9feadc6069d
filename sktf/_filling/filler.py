"""What fills gaps, whatever they are gaps of: one fit to the known cells, and its predictions."""

from inspect import signature
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone

from sktf._averages.jobs import with_inner
from sktf._averages.posterior import PosteriorCompletion
from sktf._models.cp import CPCompletion
from sktf._models.inner import parameters_named
from sktf._models.ranks import refuse_ranks

# Cells that are predicted at once.
_CHUNK = 2**20


class Filled(NamedTuple):
    """What was filled, its deviations if asked for, and the model if one was fitted."""

    values: Any
    std: Any = None
    model: Any = None

    def each(self, wrap):
        """Return the arrays as another kind of data."""
        std = None if self.std is None else wrap(self.std)
        return Filled(wrap(self.values), std, self.model)


class Filler(NamedTuple):
    """How gaps are filled: an unfitted estimator, what is set in it, and what is asked of it."""

    estimator: Any
    given: dict
    return_std: bool
    return_model: bool

    def fill(self, X, y, dense, labels=None):
        """Fill the NaN of an array in place with what a fit to the cells X, y predicts.

        The deviations are 0 where the array had values; without NaN there is a model only where
        one is asked for. Of modes with ``labels``, a dict of these by name, the model knows them.
        """
        if not len(y):
            raise ValueError(
                "No cell has a value, so that nothing tells of the missing ones; give some values."
            )
        missing = np.flatnonzero(np.isnan(dense))
        std = np.zeros(dense.shape) if self.return_std else None
        if not (len(missing) or self.return_model):
            return Filled(dense, std)
        model = self.fitted(_named(X, labels), y, dense.shape, encode=labels is not None)
        for start in range(0, len(missing), _CHUNK):
            linear = missing[start : start + _CHUNK]
            cells = np.column_stack(np.unravel_index(linear, dense.shape))
            predicted = model.predict(_named(cells, labels), **self._asked())
            dense.reshape(-1)[linear] = predicted[0] if self.return_std else predicted
            if self.return_std:
                std.reshape(-1)[linear] = predicted[1]
        return Filled(dense, std, model)

    def _asked(self):
        return {"return_std": True} if self.return_std else {}

    def fitted(self, X, y, shape, *, encode=False):
        """Return a copy of the estimator, also of those inside it, fitted to cells of a shape."""
        model, given = clone(self.estimator), {"shape": shape, "encode": encode, **self.given}
        for name in model.get_params():
            last = name.rsplit("__", 1)[-1]
            if last in given:
                model.set_params(**{name: given[last]})
        return model.fit(X, y)


def filler(estimator, return_std, return_model, **given):
    """Return what fills gaps; ``given`` is set in the estimator where it is not None."""
    if estimator is None:
        estimator = PosteriorCompletion() if return_std else CPCompletion()
    if isinstance(estimator, type) or not hasattr(estimator, "predict"):
        raise TypeError(
            f"estimator={estimator!r}: pass an instance of an estimator, such as CPCompletion()."
        )
    if return_std and "return_std" not in signature(estimator.predict).parameters:
        raise TypeError(
            f"{type(estimator).__name__} tells no standard deviations; pass "
            "PosteriorCompletion(...) or CompletionEnsemble(...), or leave return_std=False."
        )
    refuse_ranks(estimator, "what fills gaps")
    estimator = with_inner(clone(estimator))
    given = {name: value for name, value in given.items() if value is not None}
    if "clip" in given and not parameters_named(estimator, "clip"):
        raise TypeError(f"{type(estimator).__name__} has no parameter clip; leave clip=None.")
    return Filler(estimator, given, return_std, return_model)


def _named(cells, labels):
    """Return cells as a table of their labels, if there are any."""
    if labels is None:
        return cells
    import pandas as pd

    named = pd.Categorical.from_codes
    columns = zip(cells.T, labels.items(), strict=True)
    return pd.DataFrame({name: named(codes, _plain(known)) for codes, (name, known) in columns})


def _plain(known):
    """Return an index as one of its values, where it has categories, which have another order."""
    return known.astype(known.categories.dtype) if hasattr(known, "categories") else known


def usable(labels):
    """Return labels, an index of pandas for each mode by its name, if an estimator can use them."""
    plain = all(
        isinstance(name, str) and known.nlevels == 1 and known.is_unique and not known.hasnans
        for name, known in labels.items()
    )
    infinite = plain and any(known.isin([np.inf, -np.inf]).any() for known in labels.values())
    return labels if plain and not infinite else None
