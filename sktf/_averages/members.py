"""Members of an ensemble: their fits, beside each other, and what each knows of a cell."""

import re

import numpy as np
from sklearn.utils.parallel import delayed

from sktf._averages.jobs import one_by_one
from sktf._averages.predictive import Predictive
from sktf._cells.record import holding_back
from sktf._models.base import BaseCompletion
from sktf._objective.links import link_of

# Members whose share of unexplained variance on held-out cells exceeds that of the median member
# by this factor are left out of the mean.
_FAILED = 3


def fit_all(members, data, told, n_jobs):
    """Put fitted members in the place of members; what they warn of is added to ``told``.

    Of members whose warnings differ in numbers alone, one tells.
    """
    fits = [delayed(_fit)(number, member, data) for number, member in enumerate(members)]
    for number, member, messages in one_by_one(n_jobs, ordered=False)(fits):
        members[number] = member
        known = set(map(_wording, told))
        told += [message for message in messages if _wording(message) not in known]


def _wording(message):
    """Return a warning without its numbers."""
    return type(message), re.sub(r"-?\d[\d.e+-]*", "#", str(message))


def _fit(number, member, data):
    """Fit a member; return it and its warnings."""
    with holding_back() as held:
        return number, member.fit(**data), held


def variance_within(member, X, exponent):
    """Return the variance of each cell that a member knows of, in units of 4**exponent."""
    if isinstance(member, BaseCompletion):
        variance, loss = member._variance_of_rows(X, exponent), link_of(member)
        return variance if loss is None else variance * loss.slope(member.predict(X)) ** 2
    if isinstance(member, Predictive):
        return np.ldexp(member.predict(X, return_std="mean")[1], -exponent) ** 2
    return np.zeros(len(X))


def n_good(scores):
    """Return how many members, of scores in descending order, did not fail."""
    unexplained = 1 - scores
    if np.isnan(unexplained).any():
        return len(scores)
    return int((unexplained <= _FAILED * np.median(unexplained)).sum())
