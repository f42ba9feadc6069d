"""Helpers of several files of tests."""

SHAPE = (7, 6, 5)


def with_index(X, value, dtype=float):
    """Return X with one index, row 3 of mode 1, replaced."""
    X = X.astype(dtype)
    X[3, 1] = value
    return X
