"""Component norms, merging and counting against dense tensors and closed forms."""

import numpy as np
import pytest
import scipy.stats

from sktf._objective.components import (
    component_norms,
    count_above,
    descending,
    entropy_rank,
    merged_norms,
)

SHAPE = (6, 5, 7)


def components(n_components, seed=0, shape=SHAPE):
    """Factors of that many random components."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((size, n_components)) for size in shape]


def dense(factors):
    """The tensor, and one tensor per component."""
    each = np.einsum("ir,jr,kr->rijk", *factors)
    return each.sum(axis=0), each


def append(factors, *extra):
    """Append one component given by its vectors."""
    return [np.column_stack([f, v]) for f, v in zip(factors, extra, strict=True)]


def test_component_norms_are_those_of_the_dense_components():
    """Frobenius norm of each rank-one tensor; rounding of products, 1e-13."""
    factors = components(4)
    expected = np.linalg.norm(dense(factors)[1].reshape(4, -1), axis=1)
    np.testing.assert_allclose(component_norms(factors), expected, rtol=1e-13)
    np.testing.assert_array_equal(descending(factors), np.argsort(-expected))


def test_components_apart_are_counted_apart():
    """Random components are not parallel: merging returns their norms, sorted."""
    factors = components(4)
    expected = np.sort(component_norms(factors))[::-1]
    np.testing.assert_allclose(merged_norms(factors), expected, rtol=1e-12)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.7, 0.3), (0.9, 0.06, 0.04)])
def test_a_component_in_pieces_is_counted_once(shares):
    """Parallel pieces add up to the component they are pieces of."""
    whole = components(3)
    first = [f[:, 0] for f in whole]
    split = [f[:, 1:] for f in whole]
    for share in shares:
        split = append(split, share * first[0], *first[1:])
    np.testing.assert_allclose(merged_norms(split), merged_norms(whole), rtol=1e-12)
    assert count_above(merged_norms(split), 0.05) == 3


def test_nearly_parallel_pieces_have_the_norm_of_their_sum():
    """Cosine about .98 in all: the group has the norm of the dense sum."""
    rng = np.random.default_rng(1)
    factors = components(1)
    tilted = [f[:, 0] + 0.1 * rng.standard_normal(len(f)) for f in factors]
    factors = append(factors, *tilted)
    total, each = dense(factors)
    flat = each.reshape(2, -1)
    cosine = flat[0] @ flat[1] / np.prod(np.linalg.norm(flat, axis=1))
    assert 0.95 < cosine < 0.999
    np.testing.assert_allclose(merged_norms(factors), [np.linalg.norm(total)], rtol=1e-12)


def test_signs_of_vectors_do_not_matter():
    """Two flipped vectors leave a component as it is; pieces still merge."""
    first = [f[:, 0] for f in components(1)]
    factors = [v[:, None] for v in first]
    factors = append(factors, -first[0], -first[1], first[2])
    np.testing.assert_allclose(
        merged_norms(factors), 2 * component_norms(components(1)), rtol=1e-12
    )


def test_a_cancelling_pair_is_not_counted():
    """Two huge opposite components leave a hundredth of themselves, which is below 5 %."""
    rest, huge = components(2), [f[:, 0] for f in components(1, seed=1)]
    pair = append(rest, 10 * huge[0], *huge[1:])
    pair = append(pair, -9.99 * huge[0], *huge[1:])
    left = 0.01 * component_norms([v[:, None] for v in huge])[0]
    norms = merged_norms(pair)
    # What is left comes out of a difference of squares 1e6 times its own: 1e-9.
    expected = np.sort([*component_norms(rest), left])[::-1]
    np.testing.assert_allclose(norms, expected, rtol=1e-9)
    assert count_above(norms, 0.05) == 2
    assert count_above(component_norms(pair), 0.05) == 4


def test_an_exactly_cancelling_pair_alone_is_rank_zero():
    """The tensor is zero: norm zero, count zero."""
    first = [f[:, 0] for f in components(1)]
    factors = append([v[:, None] for v in first], -first[0], first[1], first[2])
    norms = merged_norms(factors)
    np.testing.assert_allclose(norms, 0, atol=1e-6 * component_norms(factors).max())


def test_order_and_scale_change_nothing():
    """A permutation of components permutes nothing; a factor on all is a factor on the norms."""
    first = [f[:, 0] for f in components(5)]
    factors = append(components(5), 0.4 * first[0], *first[1:])
    expected = merged_norms(factors)
    shuffle = np.random.default_rng(3).permutation(6)
    permuted = [f[:, shuffle] for f in factors]
    np.testing.assert_allclose(merged_norms(permuted), expected, rtol=1e-12)
    for scale in (1e-9, 1e9):
        scaled = merged_norms([scale * factors[0], *factors[1:]])
        np.testing.assert_allclose(scaled, scale * expected, rtol=1e-12)


def test_dust_is_dropped():
    """Components below a millionth of the largest are neither merged nor counted."""
    factors = append(components(2), *[1e-3 * f[:, 0] for f in components(1, seed=1)])
    assert len(merged_norms(factors)) == 2


@pytest.mark.parametrize("order", [1, 2, 4])
def test_any_order(order):
    """A duplicated component counts once whatever the order."""
    factors = components(1, shape=(5,) * order)
    twice = append(factors, *[f[:, 0] for f in factors])
    np.testing.assert_allclose(merged_norms(twice), 2 * component_norms(factors), rtol=1e-12)


def test_zero_components_have_rank_zero():
    """Nothing is divided by their norm."""
    factors = [np.zeros((size, 3)) for size in SHAPE]
    assert count_above(merged_norms(factors), 0.05) == 0


@pytest.mark.parametrize(
    ("norms", "rank_tol", "expected"),
    [([10, 5, 1, 0.4], 0.05, 3), ([10, 5, 1, 0.4], 0.5, 1), ([10, 0], 0, 1), ([], 0.05, 0)],
)
def test_counting_is_strict_and_relative_to_the_largest(norms, rank_tol, expected):
    """Above ``rank_tol`` times the largest, not at it."""
    assert count_above(np.array(norms, float), rank_tol) == expected


def test_entropy_rank_is_the_exponential_of_scipys_entropy():
    """Whatever the scale, zeros dropped; closed form for equal values."""
    values = np.random.default_rng(0).uniform(0, 5, 8)
    expected = np.exp(scipy.stats.entropy(values))
    np.testing.assert_allclose(entropy_rank(values), expected, rtol=1e-13)
    np.testing.assert_allclose(entropy_rank(np.append(1e9 * values, [0, 0])), expected, rtol=1e-13)
    np.testing.assert_allclose(entropy_rank(np.full(7, 0.3)), 7, rtol=1e-13)
    assert entropy_rank(np.zeros(3)) == 0
