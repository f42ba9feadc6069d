"""Rows of factors that few cells tell of, or none: they are drawn to the mean row of their mode."""

import numpy as np

# Cells that the mean row counts as, of which held-out cells choose.
_STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
# A row of so many cells keeps 99 % of what parts it from the mean row, whatever the strength.
_MANY = 400


def with_mean_row(factor, counts):
    """Return the factor and, as its last row, the mean of the rows that have cells."""
    seen = counts > 0
    mean = factor[seen].mean(axis=0) if seen.any() else np.zeros(factor.shape[1])
    return np.vstack([factor, mean])


def in_units(factors, exponent):
    """Return factors whose product is in units of 2**exponent, of which each has a share."""
    share, left = divmod(exponent, len(factors))
    return [np.ldexp(factor, -share - (n < left)) for n, factor in enumerate(factors)]


def drawn_to_mean(factors, counts, strength):
    """Return factors whose rows of m cells keep ``m / (m + strength)`` of what parts them from it.

    A row without cells, which descent leaves at its start, becomes the mean row.
    """
    drawn = []
    for factor, count in zip(factors, counts, strict=True):
        mean = with_mean_row(factor, count)[-1]
        kept = (count / np.maximum(count + strength, 1e-300))[:, None]
        drawn.append(np.where(kept == 1, factor, mean + kept * (factor - mean)))
    return drawn


def any_are_rare(counts):
    """Whether some rows have cells, but so few that it counts how they are drawn to the mean."""
    return any(((count > 0) & (count < _MANY)).any() for count in counts)


def choose_strength(factors, counts, terms):
    """Return the strength of least held-out error, 0 unless it is less by a standard error.

    ``terms`` gives what each held-out cell adds to the error of factors.
    """
    plain = terms(drawn_to_mean(factors, counts, 0.0))
    tried = [(terms(drawn_to_mean(factors, counts, strength)), strength) for strength in _STRENGTHS]
    least, strength = min(tried, key=lambda pair: pair[0].sum())
    gain = plain - least
    return strength if gain.sum() > np.sqrt(len(gain)) * gain.std() else 0.0


def row_covariance(factor, counts):
    """Return the covariance of the rows that have cells, about the mean row that stands last."""
    left = factor[:-1][counts > 0] - factor[-1]
    return left.T @ left / max(len(left), 1)


def variance_of_rows(rows, counts, cells, noise):
    """Return the variance of predictions that comes of rows with few cells, or none.

    Rows of a mode are taken for draws of covariance C about its mean row. Of m cells, read with d
    (the product of what the other modes read) and noise of variance s, ``v = d . C d`` leaves
    about the share ``s / (s + m v)``: all where m is 0. With ``M_n = f_n f_n^T + share_n C_n`` the
    second moment of the prediction is the sum over the Hadamard product of all ``M_n``.
    """
    read = [factor[column] for factor, column in zip(rows, cells.T, strict=True)]
    moments = 1.0
    for side, (factor, count) in enumerate(zip(rows, counts, strict=True)):
        others = [f for n, f in enumerate(read) if n != side] or [np.ones_like(read[side])]
        others = np.prod(others, axis=0)
        covariance, told = row_covariance(factor, count), np.append(count, 0)[cells[:, side]]
        open_ = np.einsum("ir,rs,is->i", others, covariance, others)
        share = noise / np.maximum(noise + told * open_, 1e-300)
        share = np.where(told == 0, 1.0, share)
        moments = moments * (
            read[side][:, :, None] * read[side][:, None] + share[:, None, None] * covariance
        )
    mean = np.prod(read, axis=0).sum(axis=1)
    return np.maximum(moments.sum(axis=(1, 2)) - mean**2, 0.0)
