"""Gradients at the blocks, and what the flow conserves."""

import numpy as np
import pytest
from cases.dynamics import (
    ORDER,
    TARGET,
    deep_cp,
    end_to_end,
    flow_of_cp,
    flow_of_matrix,
    product,
    random_layers,
)

from sktf.dynamics import (
    cp_gradients,
    cp_invariants,
    matrix_gradients,
    matrix_invariants,
    unbalancedness,
)

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

# The flow is integrated to 1e-10; what follows from it sums a few thousand such errors at most.
FLOW = dict(rtol=1e-7, atol=1e-8)


# Gradients.


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_cp_gradients_are_those_of_autograd(depth):
    """Of ``<G, tensor>`` at all blocks."""
    vectors, matrices = deep_cp(depth)
    leaves = [torch.tensor(block, requires_grad=True) for block in (*vectors, *matrices)]
    tensor = end_to_end(leaves[:ORDER], leaves[ORDER:], torch)
    (torch.tensor(TARGET) * tensor).sum().backward()
    found = cp_gradients(vectors, TARGET, matrices)
    assert len(found) == 2 * ORDER
    for ours, leaf in zip(found, leaves, strict=True):
        np.testing.assert_allclose(ours, 0 if leaf.grad is None else leaf.grad, atol=1e-12)


def test_cp_gradients_without_matrices_are_those_of_the_vectors():
    vectors, matrices = deep_cp(0)
    plain = cp_gradients(vectors, TARGET)
    assert len(plain) == ORDER
    np.testing.assert_array_equal(plain, cp_gradients(vectors, TARGET, matrices)[:ORDER])


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_matrix_gradients_are_those_of_autograd(depth):
    """Of ``<G, W>`` at all layers of a rectangular product."""
    layers, gradient = random_layers(depth), np.random.default_rng(1).standard_normal((4, 3))
    leaves = [torch.tensor(layer, requires_grad=True) for layer in layers]
    (torch.tensor(gradient) * product(leaves)).sum().backward()
    for ours, leaf in zip(matrix_gradients(layers, gradient), leaves, strict=True):
        np.testing.assert_allclose(ours, leaf.grad, atol=1e-12)


# What the flow conserves.


def test_invariants_are_what_they_say():
    """Differences of squared norms of all pairs; products of neighboring layers."""
    vectors, matrices = deep_cp(1)
    norms = [(v[:, 1] ** 2).sum() for v in vectors] + [(m[0, 1] ** 2).sum() for m in matrices]
    pairs = [norms[a] - norms[b] for a in range(6) for b in range(a + 1, 6)]
    found = cp_invariants(vectors, matrices)
    np.testing.assert_allclose(found[:, 1], pairs, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(unbalancedness(found[:, 1:]), np.ptp(norms))
    first, second = random_layers(2)
    expected = second.T @ second - first @ first.T
    np.testing.assert_allclose(matrix_invariants([first, second])[0], expected)
    size = unbalancedness(matrix_invariants([first, second]))
    np.testing.assert_allclose(size, np.sqrt((expected**2).sum()))
    assert unbalancedness(matrix_invariants([first])) == 0.0


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_flow_of_cp_conserves_its_invariants(depth):
    """While the tensor moves; within a mode of deep CP also those of the chain of its blocks."""
    start = deep_cp(depth, norm=0.9)
    start[0][0][:] *= 1.2
    ((vectors, matrices),) = flow_of_cp(*start, [3.0])
    assert np.linalg.norm(end_to_end(vectors, matrices) - end_to_end(*start)) > 0.1
    np.testing.assert_allclose(cp_invariants(vectors, matrices), cp_invariants(*start), **FLOW)
    for blocks in zip(vectors, matrices, start[0], start[1], strict=True):
        after, before = ([v[:, :1], *m[:, 0]] for v, m in (blocks[:2], blocks[2:]))
        chains = zip(matrix_invariants(after), matrix_invariants(before), strict=True)
        for end, begin in chains:
            np.testing.assert_allclose(end, begin, **FLOW)


@pytest.mark.parametrize("depth", [2, 3])
def test_the_flow_of_a_product_conserves_its_invariants(depth):
    layers = np.array(random_layers(depth, shape=(5, 5)))
    end = flow_of_matrix(layers, np.eye(5), [2.0])[0]
    assert np.linalg.norm(product(end) - product(layers)) > 0.1
    np.testing.assert_allclose(matrix_invariants(end), matrix_invariants(layers), **FLOW)
