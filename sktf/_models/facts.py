"""What a fitted model says of its cells, offset, components and end: rows and tables."""

from functools import reduce
from math import prod

import numpy as np

from sktf._models.summary import is_known
from sktf._objective.links import link_of

# Components, or members, that are told one by one.
_MOST = 10
# Rows of a factor that are worked on at once.
_CHUNK = 2**12
# Squares of differences beside those of values that are rounding.
_EQUAL = 1e-24
_ENDS = {
    "converged": "converged",
    "held_out": "stopped on held-out cells",
    "max_iter": "stopped at max_iter",
    "callback": "stopped by a callback",
    "interrupted": "interrupted",
}


def record_of(model):
    """Return the record of a fit; of a model that was pickled before there were any, none."""
    return getattr(model, "_record", {})


def known(**rows):
    """Return rows, with spaces for underscores in their names, of the values that are known."""
    return [(name.replace("_", " "), value) for name, value in rows.items() if is_known(value)]


def rows_of_cells(model):
    """Return how many cells the fit has seen."""
    record = record_of(model)
    distinct = record.get("n_distinct")
    return known(
        measurements=record.get("n_measurements"),
        cells=record.get("n_cells"),
        distinct_cells=distinct,
        share_of_the_tensor=None if distinct is None else distinct / prod(model.shape_),
    )


def table_of_modes(model):
    """Return for each mode its size and how many cells its indices have."""
    names = getattr(model, "feature_names_in_", [None] * len(model.shape_))
    counts = record_of(model).get("counts", [None] * len(model.shape_))
    pairs = zip(names, model.shape_, counts, strict=True)
    return [
        {"mode": mode, "name": name and str(name), "size": size, **_of_counts(count, size)}
        for mode, (name, size, count) in enumerate(pairs)
    ]


def _of_counts(count, size):
    if count is None:
        return {}
    fewest, most = int(count.min()), int(count.max())
    told = {"seen": len(count), "unseen": size - len(count)}
    return told | {"fewest cells": fewest, "median": float(np.median(count)), "most": most}


def rows_of_offset(model):
    """Return what was taken off the values, and what they were divided by."""
    kind = "additive" if model.offset_terms_ else "mean" if model.offset_ else "none"
    level = None if kind == "none" else float(model.offset_)
    return known(offset=kind, level=level, scale=float(model.scale_))


def rows_of_rank(model):
    """Return the rank, and how many components there are that are not zero."""
    return known(rank=model.rank_, components=int(np.count_nonzero(model.component_norms_)))


def rows_of_held_out(model):
    """Return what held-out cells say of the fit: R^2, or where there is none the error."""
    record, score = record_of(model), getattr(model, "validation_score_", None)
    losses = getattr(model, "validation_scores_", None)
    error = None if losses is None else model.scale_ * float(np.sqrt(losses["loss"].min()))
    share = "held-out R^2" if link_of(model) is None else "held-out D^2"
    named = {share: score, "standard error": record.get("score_error")}
    named |= {"held-out RMSE": error, "held-out cells": record.get("n_held_out")}
    return known(**named)


def rows_of_end(model):
    """Return how the fit ended, after how many iterations and seconds."""
    n_iter = getattr(model, "n_iter_", None)
    ended = record_of(model).get("ended")
    if ended is None and hasattr(model, "converged_"):
        ended = "converged" if model.converged_ else "max_iter"
    seconds = getattr(model, "_seconds", None)
    return known(end=_ENDS.get(ended), iterations=n_iter, seconds=seconds)


def rows_of_extension(model):
    """Return what the model has learned after the fit."""
    found = record_of(model).get("extended", {})
    told = [f"{n} of mode {mode}" for mode, n in sorted(found.items())]
    text = f"{', '.join(told)}; other modes and held-out figures are those of the fit before"
    return known(new_indices=text if told else None)


def table_of_components(model):
    """Return the norms of the largest components, and their shares of the variance."""
    norms = model.component_norms_[model.component_norms_ > 0]
    factors, terms = _grid(model)
    shares = variance_shares(factors, terms)
    of_terms = None if shares is None else float(shares[len(norms) :].sum())
    told = [None] * len(norms) if shares is None else shares.tolist()
    lines = [
        {"component": str(number + 1), "norm": float(norm), "share of variance": share}
        for number, (norm, share) in enumerate(zip(norms, told, strict=False))
    ]
    if len(lines) > _MOST:
        rest = lines[_MOST:]
        share = None if shares is None else sum(line["share of variance"] for line in rest)
        more = {"component": f"{len(rest)} more", "norm": None, "share of variance": share}
        lines = [*lines[:_MOST], more]
    if model.offset_terms_:
        lines.append({"component": "additive terms", "norm": None, "share of variance": of_terms})
    return lines


def _grid(model):
    """Return the components, and the additive terms, at the indices that have cells."""
    alive, frame = model.component_norms_ > 0, model._frame()
    kept = [np.flatnonzero(count) for count in model._counts]
    factors = [rows[at][:, alive] for rows, at in zip(model._rows, kept, strict=True)]
    if not model.offset_terms_:
        return factors, []
    terms = []
    for group, seen, at in zip(frame.groups, frame.stored, kept, strict=True):
        linear = at if seen is None else seen[at]
        # A side of no mode has one row, which reads no term.
        dims = [frame.shape[mode] for mode in group]
        indices = np.unravel_index(linear, dims) if dims else ()
        pairs = zip(group, indices, strict=True)
        terms.append(sum((frame.offset.terms[m][i] for m, i in pairs), np.zeros(len(at))))
    return factors, terms


def _with_terms(factor, terms, side):
    """Return a factor with a column for the terms of each side, which only on that side vary."""
    ones = np.ones(len(factor))
    return np.column_stack([factor, *(b if n == side else ones for n, b in enumerate(terms))])


def _moments(table, units):
    """Return means and covariances of columns divided by units, some rows at a time."""
    chunks = [table[start : start + _CHUNK] for start in range(0, len(table), _CHUNK)]
    mean = sum((chunk / units).sum(axis=0) for chunk in chunks) / len(table)
    squares = np.zeros((len(units), len(units)))
    for chunk in chunks:
        left = chunk / units - mean
        squares += left.T @ left
    return mean, squares / len(table)


def variance_shares(factors, terms):
    """Return the share of the variance of ``T = sum_r c_r + sum_n b_n`` that each summand has.

    That of a summand c is ``cov(c, T) / var(T)`` over all cells of the grid, so that shares add up
    to 1; one that others cancel may have a negative share. None where T does not vary.

    Parameters
    ----------
    factors : list of ndarray of shape (n_rows, R)
        Those of the components c_r.
    terms : list of ndarray of shape (n_rows,)
        The b_n, or an empty list.

    Notes
    -----
    Over a grid the indices are independent. With the means m and covariances V of the columns of
    another factor, the covariances C of products and the products M of their means become
    ``C * (V + m m^T) + M * V`` and ``M * m m^T``, without a difference of large numbers.
    """
    tables = [_with_terms(factor, terms, n) for n, factor in enumerate(factors)]
    peaks = [np.maximum(table.max(axis=0), -table.min(axis=0)) for table in tables]
    with np.errstate(over="ignore"):
        units = reduce(np.multiply, peaks)
    if not units.size or not 0 < units.max() < np.inf:
        return None
    covariances, products = 0.0, 1.0
    for table, peak in zip(tables, peaks, strict=True):
        mean, within = _moments(table, np.where(peak > 0, peak, 1.0))
        means = np.outer(mean, mean)
        covariances = covariances * (within + means) + products * within
        products = products * means
    units = units / units.max()
    variance = units @ covariances @ units
    if not variance > _EQUAL * (variance + units @ products @ units):
        return None
    return units * (covariances @ units) / variance
