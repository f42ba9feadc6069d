"""Models, cells and losses whose gradients torch finds by itself."""

from math import inf, prod
from string import ascii_lowercase

import numpy as np
import pytest

from sktf._cells.validation import Observations
from sktf._models.cp import CPFactorization
from sktf._models.deep_cp import DeepCPFactorization
from sktf._models.deep_matrix import MatrixFactorization
from sktf._models.narrow_deep_cp import NarrowDeepCPFactorization
from sktf._models.nonnegative import NonNegativeCPFactorization
from sktf._objective.losses import ClippedSquare

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")


def cut(theta, shapes):
    """Cut a vector into arrays of these shapes."""
    sizes = [prod(shape) for shape in shapes]
    assert sum(sizes) == len(theta)
    return [part.reshape(shape) for part, shape in zip(theta.split(sizes), shapes, strict=True)]


def outer_sum(factors):
    """``sum_r`` of the outer products of the columns r."""
    letters = ascii_lowercase[: len(factors)]
    return torch.einsum(",".join(n + "z" for n in letters) + "->" + letters, *factors)


def dense_cp(shape, n_components):
    return lambda theta: outer_sum(cut(theta, [(d, n_components) for d in shape]))


def dense_nonnegative_cp(shape, n_components):
    """The same of the squares of all entries."""
    dense = dense_cp(shape, n_components)
    return lambda theta: dense(theta**2)


def dense_deep_cp(shape, n_components, depth):
    """``sum_r`` of the outer products of ``A_k^{n,r} ... A_1^{n,r} w_r^n``."""

    def dense(theta):
        vectors = [(d, n_components) for d in shape]
        matrices = [(depth, n_components, d, d) for d in shape]
        blocks = cut(theta, vectors + matrices)
        factors = []
        for vector, matrix in zip(blocks[: len(shape)], blocks[len(shape) :], strict=True):
            for layer in matrix:
                vector = torch.einsum("rij,jr->ir", layer, vector)
            factors.append(vector)
        return outer_sum(factors)

    return dense


def dense_narrow_deep_cp(shape, n_components, depth, widths):
    """The same where only the last matrix has as many rows as the mode."""

    def dense(theta):
        shapes = [
            part
            for d, h in zip(shape, widths, strict=True)
            for part in ((h, n_components), (depth - 1, n_components, h, h), (n_components, d, h))
        ]
        blocks, factors = cut(theta, shapes), []
        for vector, inner, last in zip(blocks[::3], blocks[1::3], blocks[2::3], strict=True):
            for layer in (*inner, last):
                vector = torch.einsum("rij,jr->ir", layer, vector)
            factors.append(vector)
        return outer_sum(factors)

    return dense


def dense_matrix(shape, widths):
    """``W_N ... W_1``."""

    def dense(theta):
        sizes = [shape[1], *widths, shape[0]]
        product = torch.eye(shape[1], dtype=theta.dtype)
        layers = [(sizes[j + 1], sizes[j]) for j in range(len(sizes) - 1)]
        for layer in cut(theta, layers):
            product = layer @ product
        return product

    return dense


CASES = {
    "cp order 1": ((7,), CPFactorization((7,), 2), dense_cp((7,), 2)),
    "cp order 2": ((6, 5), CPFactorization((6, 5), 3), dense_cp((6, 5), 3)),
    "cp order 3": ((4, 5, 3), CPFactorization((4, 5, 3), 4), dense_cp((4, 5, 3), 4)),
    "cp order 4": ((3, 4, 2, 3), CPFactorization((3, 4, 2, 3), 5), dense_cp((3, 4, 2, 3), 5)),
}
for _shape in ((7,), (6, 5), (4, 5, 3)):
    CASES[f"non-negative cp order {len(_shape)}"] = (
        _shape,
        NonNegativeCPFactorization(_shape, 3),
        dense_nonnegative_cp(_shape, 3),
    )
for _depth in (0, 1, 2):
    CASES[f"deep cp {_depth}"] = (
        (4, 3, 5),
        DeepCPFactorization((4, 3, 5), 3, _depth),
        dense_deep_cp((4, 3, 5), 3, _depth),
    )
for _depth in (1, 2, 3):
    CASES[f"narrow deep cp {_depth}"] = (
        (4, 3, 5),
        NarrowDeepCPFactorization((4, 3, 5), 3, _depth, [2, 3, 1]),
        dense_narrow_deep_cp((4, 3, 5), 3, _depth, [2, 3, 1]),
    )
for _widths in ([], [4], [4, 4], [4, 4, 4], [2, 7], [6, 3, 5]):
    CASES[f"matrix {_widths}"] = (
        (4, 6),
        MatrixFactorization((4, 6), _widths),
        dense_matrix((4, 6), _widths),
    )
LOSSES = {"squared": ClippedSquare(inf), "huber": ClippedSquare(0.5)}


def observe(shape, n_observed=80, seed=0):
    """Weighted cells of a tensor, in no order, some of them repeated."""
    rng = np.random.default_rng(seed)
    coords = rng.integers(0, shape, (n_observed, len(shape)))
    weights = rng.uniform(0.2, 3, n_observed)
    return Observations(coords, rng.standard_normal(n_observed), weights, tuple(shape))


def start(factorization, seed=1):
    """A theta whose predictions are of the size of the values."""
    return 0.7 * np.random.default_rng(seed).standard_normal(factorization.n_parameters)


def oracle(dense, observations, loss):
    """Weighted mean loss as a torch function of theta, through the dense tensor."""
    index = tuple(torch.tensor(column) for column in observations.coords.T)
    target, weights = torch.tensor(observations.values), torch.tensor(observations.weights)

    def objective(theta):
        prediction = dense(theta)[index]
        if loss == "squared":
            losses = (prediction - target) ** 2
        else:
            losses = 2 * torch.nn.functional.huber_loss(
                prediction, target, reduction="none", delta=LOSSES[loss].delta
            )
        return (weights * losses).sum() / weights.sum()

    return objective
