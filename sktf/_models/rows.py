"""Rows of factors that few cells tell of, or none: they are drawn to the mean row of their mode."""

import numpy as np

# Cells that the mean row counts as, of which held-out cells choose.
_STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def with_mean_row(factor, counts):
    """Return the factor and, as its last row, the mean of the rows that have cells."""
    seen = counts > 0
    mean = factor[seen].mean(axis=0) if seen.any() else np.zeros(factor.shape[1])
    return np.vstack([factor, mean])


def drawn_to_mean(factors, counts, strength):
    """Return factors whose rows of m cells keep ``m / (m + strength)`` of what parts them from it.

    A row without cells, which descent leaves at its start, becomes the mean row.
    """
    drawn = []
    for factor, count in zip(factors, counts, strict=True):
        mean = with_mean_row(factor, count)[-1]
        kept = count / np.maximum(count + strength, 1e-300)
        drawn.append(mean + kept[:, None] * (factor - mean))
    return drawn


def choose_strength(factors, counts, terms):
    """Return the strength of least held-out error, 0 unless it is less by a standard error.

    ``terms`` gives what each held-out cell adds to the error of factors.
    """
    plain = terms(drawn_to_mean(factors, counts, 0.0))
    tried = [(terms(drawn_to_mean(factors, counts, strength)), strength) for strength in _STRENGTHS]
    least, strength = min(tried, key=lambda pair: pair[0].sum())
    gain = plain - least
    return strength if gain.sum() > np.sqrt(len(gain)) * gain.std() else 0.0


def variance_of_unseen(rows, counts, cells):
    """Return the variance of what the other rows of a mode predict, where its mean row is read.

    That of ``d . f`` over the rows f that have cells, d the product of what the other modes read.
    """
    variance = np.zeros(len(cells))
    for side, (factor, count) in enumerate(zip(rows, counts, strict=True)):
        at = np.flatnonzero(cells[:, side] == len(count))
        others = np.ones((len(at), factor.shape[1]))
        for n, other in enumerate(rows):
            if n != side:
                others *= other[cells[at, n]]
        seen = factor[:-1][count > 0]
        variance[at] += ((others @ (seen - factor[-1]).T) ** 2).mean(axis=1)
    return variance
