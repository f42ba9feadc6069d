"""Tensors of which components grow on samples."""

import numpy as np


def draw(shape, rank, n_cells, noise, seed, n_hidden=20_000):
    """Return noisy cells of RMS 1, and hidden ones without noise."""
    rng = np.random.default_rng(seed)
    factors = [rng.standard_normal((size, rank)) for size in shape]
    X = np.stack([rng.integers(0, size, n_cells + n_hidden) for size in shape], axis=1)
    y = np.prod([f[X[:, n]] for n, f in enumerate(factors)], axis=0).sum(axis=1)
    y /= y.std()
    return X[:n_cells], y[:n_cells] + noise * rng.standard_normal(n_cells), X[n_cells:], y[n_cells:]


def error(model, X, y):
    return np.sqrt(np.mean((model.predict(X) - y) ** 2)) / y.std()
