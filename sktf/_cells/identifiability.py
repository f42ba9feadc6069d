"""What the observed cells cannot say, whatever the model: a warning before a fit."""

from math import prod

import numpy as np

from sktf._cells.record import warn
from sktf._cells.unfolding import side_sizes

# Parts that share no index with the rest are strays while they hold no more of the cells.
_STRAY = 0.05
# Share of the fibers of a mode that may be empty beyond what chance leaves.
_EMPTY = 0.1
# Fibers, drawn at random, that tell what chance leaves.
_N_FIBERS = 4096


class CompletionWarning(UserWarning):
    """The observed cells do not settle what a completion estimator predicts.

    Its text names the reason, and a remedy. ``fit`` gives it where

    * the cells determine no component, whatever the rank ("Under-determined at any rank"),
    * held-out cells find components no better than the offset ("Nothing was learned"),
    * indices have no cells ("No cell tells of ..."), or whole fibers have none,
    * predictions leave the range of the observed values, or dwarf it,
    * held-out cells want more components than ``n_components`` or ``hidden`` allow,
    * the members of an ensemble find different ranks ("Rank not identified"), or the chains of a
      posterior do not agree,
    * a checkpoint cannot be written any more, of a fit that goes on,

    and ``predict`` where labels are new to it. The page :doc:`/faq` tells what to do about each.
    To silence it:

    >>> import warnings
    >>> from sktf import CompletionWarning
    >>> warnings.simplefilter("ignore", CompletionWarning)
    """

    __module__ = "sktf"


def warn_of_cells(observations, frame, stacklevel):
    """Warn of indices without cells, and where the cells determine no component.

    ``stacklevel`` is that of the caller of fit, seen from here.
    """
    kept = all(seen is None for seen in frame.stored)
    warn_unseen(observations, kept, stacklevel + 1)
    full = side_sizes(frame.shape, frame.groups)
    warn_under_determined(observations.rows_read(frame), frame.groups, full, stacklevel + 1)


def warn_unseen(observations, kept, stacklevel):
    """Warn where indices inside the shape have no cell, in one count for each mode.

    ``kept`` tells that they have rows all the same, which stay at the start.
    """
    sizes = observations.shape
    counts = [np.count_nonzero(count) for count in observations.row_counts(sizes)]
    unseen = [
        f"{size - count} of the {size} indices of mode {mode}"
        for mode, (count, size) in enumerate(zip(counts, sizes, strict=True))
        if count < size
    ]
    if unseen:
        predicted = (
            "left of the start" if kept else "what the others of the mode predict on average"
        )
        warn(
            f"No cell tells of {', '.join(unseen)}: what is predicted there is {predicted}. Where "
            "indices have gaps, encode them; rows for new ones are learned by extend.",
            CompletionWarning,
            stacklevel + 1,
        )


def warn_empty_fibers(observations, stacklevel):
    """Warn where far more fibers are without any cell than single missing cells would leave.

    Held-out cells are then single ones of the other fibers, and say nothing of these. ``m`` cells
    whose indices are independent leave a fiber of length ``d`` empty that has the share ``p`` of
    them, the product of those of its indices, with about the probability ``(1 - m p / d)^d``.
    """
    if len(observations.shape) < 3:
        return
    fibers = observations.fibers()
    seen = [count[count > 0] for count in observations.row_counts(observations.shape)]
    found = _emptier_than_chance(fibers, seen, len(observations.values))
    if found:  # of fewer cells, some observed twice, chance leaves more
        found = _emptier_than_chance(fibers, seen, observations.about_distinct())
    if found:
        warn(
            f"Whole fibers have no cell ({', '.join(found)}), but the cells held out are single "
            "ones: validation_score_ tells nothing of these fibers. Hold out whole ones: "
            "cross-validate with sktf.model_selection.FiberKFold, or give X_val.",
            CompletionWarning,
            stacklevel + 1,
        )


def _emptier_than_chance(fibers, seen, n_cells):
    """Return along which modes more fibers are empty than chance leaves of so many cells.

    ``fibers`` are those with cells, ``seen`` how many cells each index has that has some.
    """
    rng, found = np.random.RandomState(0), []
    for mode, n_fibers in enumerate(fibers):
        length, counts = len(seen[mode]), [*seen[:mode], *seen[mode + 1 :]]
        empty = 1 - n_fibers / prod(map(len, counts))
        shares = [rng.choice(count / count.sum(), _N_FIBERS) for count in counts]
        drawn = n_cells * np.prod(shares, axis=0)
        by_chance = np.mean((1 - np.minimum(drawn / length, 1)) ** length)
        if empty - by_chance > _EMPTY:
            found.append(f"{empty:.0%} of the fibers along mode {mode}")
    return found


def warn_under_determined(cells, groups, full, stacklevel):
    """Warn where even a component of rank one is not determined by the cells.

    Parameters
    ----------
    cells : Observations
        The observed cells, as the factorization reads them.
    groups : tuple of tuple of int
        The modes that each of its factors reads.
    full : list of int
        How many indices these have, with those without cells.
    stacklevel : int
        That of the caller of fit, seen from here.

    Notes
    -----
    Two marks, each in O(n_observed): fewer distinct cells than a rank-one tensor has free
    parameters, ``sum_n I_n - (N - 1)`` over the ``I_n`` indices seen; and a graph of indices, two
    of which are joined when a cell has both, that falls into parts with 5 % of the cells outside
    the largest: between parts every component has a free scale.
    """
    if len(cells.shape) < 2:
        return  # one mode: each index is a cell of its own, and determined by it
    sizes, n_parts, outside = _parts(cells)
    n_free = sum(sizes) - len(sizes) + 1
    # The first rows mostly hold enough distinct cells, and counting these takes a sort.
    n_cells = cells.take(slice(0, 4 * n_free)).n_distinct()
    if n_cells < n_free:
        n_cells = cells.n_distinct()
    found = []
    if n_cells < n_free:
        found.append(
            f"{n_cells} distinct cells are fewer than the {n_free} free parameters of one component"
        )
    if outside > _STRAY:
        found.append(
            f"the cells fall into {n_parts} parts that share no index, {outside:.0%} of them "
            "outside the largest; cells between the parts are not determined"
        )
    if found:
        counts = ", ".join(
            f"{size} of {full} indices of {_name(group)}"
            for size, full, group in zip(sizes, full, groups, strict=True)
        )
        warn(
            f"Under-determined at any rank: {'; '.join(found)} (seen: {counts}). Observe more "
            "cells, drop indices with few of them, or merge indices.",
            CompletionWarning,
            stacklevel + 1,
        )


def _name(group):
    """Return what the modes of a factor are called in a message."""
    modes = ", ".join(map(str, group))
    return f"mode {modes}" if len(group) == 1 else f"modes ({modes})"


def _parts(cells):
    """Return how many indices each mode has seen, and of the graph of indices the parts.

    Of these, how many there are, and the share of the cells outside the largest.
    """
    counts, labels = cells.row_counts(cells.shape), cells.joined_indices()
    n_seen = [*map(np.count_nonzero, counts)]
    in_part = np.bincount(labels[: cells.shape[0]], weights=counts[0])
    return n_seen, np.count_nonzero(in_part), 1 - in_part.max() / len(cells.values)
