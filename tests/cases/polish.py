"""Cells to polish on, and what a sweep lowers, from its formula."""

import numpy as np

from sktf._cells.validation import Observations


def gaussian(shape, n_components, seed=0):
    """Return normal factors."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((size, n_components)) for size in shape]


def observe(shape, predict, n_cells=400, noise=0.0, seed=1):
    """Return random cells; their weights differ."""
    rng = np.random.default_rng(seed)
    coords = np.stack([rng.integers(0, size, n_cells) for size in shape], axis=1).astype(np.int32)
    values = predict(coords) + noise * rng.standard_normal(n_cells)
    return Observations(coords, values, rng.uniform(0.5, 2, n_cells), shape)


def objective(model, cells, penalty):
    """What a sweep lowers."""
    squares = cells.weights / cells.weights.mean() * (model.at(cells.coords) - cells.values) ** 2
    entries = sum(np.sum(factor**2) for factor in model.factors)
    terms = zip(penalty.terms, model.terms, strict=True)
    return squares.sum() + penalty.factors * entries + sum(p * np.sum(t**2) for p, t in terms)


def numerical_gradient(model, cells, penalty, part, step=1e-6):
    """Central differences of the objective by the entries of one array of the model."""
    gradient = np.empty(part.shape)
    for entry in np.ndindex(part.shape):
        kept, found = part[entry], []
        for sign in (1, -1):
            part[entry] = kept + sign * step
            found.append(objective(model, cells, penalty))
        part[entry] = kept
        gradient[entry] = (found[0] - found[1]) / (2 * step)
    return gradient
