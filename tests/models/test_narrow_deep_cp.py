"""Deep CP inside leading subspaces: as the square model goes, at the cost of the width."""

import numpy as np
from numpy.testing import assert_allclose

from sktf._cells.validation import Observations
from sktf._models.deep_cp import DeepCPFactorization
from sktf._models.narrow_deep_cp import NarrowDeepCPFactorization
from sktf._objective.cpu import FusedObjective
from sktf._objective.factorization import pack
from sktf._objective.losses import ClippedSquare

SHAPE, WIDTHS, N_COMPONENTS = (9, 8, 7), [3, 2, 4], 5


def draw_bases(rng):
    return [
        np.linalg.qr(rng.standard_normal((size, width)))[0]
        for size, width in zip(SHAPE, WIDTHS, strict=True)
    ]


def descend(model, cells, theta, n_steps=50, eta=0.05):
    """Return the factors after plain steps of constant size."""
    objective = FusedObjective(model, cells, ClippedSquare(np.inf))
    for _ in range(n_steps):
        theta = theta - eta * objective(theta)[1]
    return model.forward(theta)[0]


def test_one_narrow_matrix_descends_as_the_square_one_does():
    """From ``A = V B V^T`` and ``w = V c`` rows of A and w stay in the span of V, for good."""
    rng = np.random.default_rng(0)
    bases = draw_bases(rng)
    coords = np.stack([rng.integers(0, size, 300) for size in SHAPE], axis=1)
    cells = Observations(coords, rng.standard_normal(300), np.ones(300), SHAPE)
    narrow = NarrowDeepCPFactorization(SHAPE, N_COMPONENTS, 1, WIDTHS)
    theta = narrow.start_within(rng, bases, 0.8)
    square = DeepCPFactorization(SHAPE, N_COMPONENTS, 1)
    blocks = narrow.unpack(theta)
    vectors = [V @ c for V, c in zip(bases, blocks[::3], strict=True)]
    matrices = [(last @ V.T)[None] for V, last in zip(bases, blocks[2::3], strict=True)]
    moved = descend(narrow, cells, theta)
    assert np.abs(moved[0] - narrow.forward(theta)[0][0]).max() > 0.1
    for one, other in zip(moved, descend(square, cells, pack(vectors + matrices)), strict=True):
        assert_allclose(one, other, atol=1e-10)


def test_a_start_lies_in_the_subspaces_and_has_the_size_of_the_square_one():
    """Root mean squares over 2,000 components, of standard error below 5 %, within 15 %."""
    rng = np.random.default_rng(0)
    bases, scale = draw_bases(rng), 0.3
    for depth in (1, 2):
        narrow = NarrowDeepCPFactorization(SHAPE, 2000, depth, WIDTHS)
        factors, _ = narrow.forward(narrow.start_within(rng, bases, scale))
        square = DeepCPFactorization(SHAPE, 2000, depth)
        wanted, _ = square.forward(square.start(rng, "gaussian", scale, 0.0))
        for V, factor, other in zip(bases, factors, wanted, strict=True):
            assert_allclose(V @ (V.T @ factor), factor, atol=1e-12)
            assert 0.85 < np.sqrt(np.mean(factor**2) / np.mean(other**2)) < 1.15
