"""Helpers of several files of tests."""

from functools import reduce
from itertools import pairwise

import numpy as np

from sktf.dynamics import (
    cp_gradients,
    gradient_flow,
    matrix_gradients,
)

SIZE, RANK, ORDER = 3, 2, 3


TARGET = np.random.default_rng(7).standard_normal((SIZE,) * ORDER)


def deep_cp(depth, seed=0, norm=None):
    """Vectors and matrices with Gaussian entries, all blocks of one norm if wanted."""
    rng = np.random.default_rng(seed)
    vectors = [rng.standard_normal((SIZE, RANK)) for _ in range(ORDER)]
    matrices = [rng.standard_normal((depth, RANK, SIZE, SIZE)) for _ in range(ORDER)]
    if norm is not None:
        vectors = [norm * v / np.linalg.norm(v, axis=0) for v in vectors]
        matrices = [norm * m / np.linalg.norm(m, axis=(2, 3), keepdims=True) for m in matrices]
    return vectors, matrices


def end_to_end(vectors, matrices, xp=np):
    """The dense tensor by the definition; numpy and torch alike."""
    factors = []
    for vector, stack in zip(vectors, matrices, strict=True):
        for matrix in stack:
            vector = xp.einsum("rij,jr->ir", matrix, vector)
        factors.append(vector)
    return xp.einsum("ir,jr,kr->ijk", *factors)


def random_layers(depth, seed=0, shape=(4, 3)):
    rng = np.random.default_rng(seed)
    sizes = [shape[1], *[5] * (depth - 1), shape[0]]
    return [rng.standard_normal((b, a)) for a, b in pairwise(sizes)]


def product(layers):
    return reduce(lambda before, layer: layer @ before, layers)


def flow_of_cp(vectors, matrices, times):
    """Flow of half the squared distance to TARGET: vectors and matrices at every time."""
    blocks = [*vectors, *matrices]
    ends = np.cumsum([block.size for block in blocks])[:-1]

    def unpack(theta):
        parts = zip(np.split(theta, ends), blocks, strict=True)
        found = [part.reshape(block.shape) for part, block in parts]
        return found[:ORDER], found[ORDER:]

    def gradient(theta):
        vectors, matrices = unpack(theta)
        pulled = cp_gradients(vectors, end_to_end(vectors, matrices) - TARGET, matrices)
        return np.concatenate([part.ravel() for part in pulled])

    start = np.concatenate([block.ravel() for block in blocks])
    return [unpack(theta) for theta in gradient_flow(gradient, start, times)]


def flow_of_matrix(layers, target, times):
    return gradient_flow(lambda w: matrix_gradients(w, product(w) - target), layers, times)
