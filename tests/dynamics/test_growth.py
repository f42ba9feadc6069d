"""Growth laws against the flow that they describe."""

import numpy as np
import pytest
from cases.dynamics import (
    ORDER,
    RANK,
    SIZE,
    TARGET,
    deep_cp,
    end_to_end,
    flow_of_cp,
    flow_of_matrix,
    product,
    random_layers,
)
from scipy.linalg import fractional_matrix_power

from sktf.dynamics import (
    balanced_layers,
    cp_growth,
    cp_growth_bounds,
    cp_invariants,
    matrix_growth,
    singular_value_growth,
    unbalancedness,
    vector_part_growth,
)


def slope(values, times):
    """Central difference over three equally spaced times."""
    return (values[2] - values[0]) / (times[2] - times[0])


# Rates.


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("balanced", [True, False])
def test_measured_rates_of_components_are_those_of_the_flow(depth, balanced):
    """Central differences over 2e-4: error of order 1e-8 times third derivatives."""
    start = deep_cp(depth, norm=0.9)
    if not balanced:
        start = [[(0.7 + 0.3 * n) * b for n, b in enumerate(blocks)] for blocks in start]
    times = np.array([0.0, 1e-4, 2e-4])
    points = flow_of_cp(*start, times)
    vectors, matrices = points[1]
    gradient = end_to_end(vectors, matrices) - TARGET
    for growth in (cp_growth, vector_part_growth):
        values = [growth(v, gradient, m).value for v, m in points]
        expected = growth(vectors, gradient, matrices).measured
        np.testing.assert_allclose(slope(values, times), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_measured_rates_of_a_product_are_those_of_the_flow(depth):
    """Of the matrix and of its singular values, balanced or not."""
    layers = random_layers(depth, shape=(5, 5))
    times, target = np.array([0.0, 1e-5, 2e-5]), np.eye(5)
    points = flow_of_matrix(layers, target, times)
    for growth in (matrix_growth, singular_value_growth):
        rates = [growth(w, product(w) - target) for w in points]
        found = slope([rate.value for rate in rates], times)
        np.testing.assert_allclose(found, rates[1].measured, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_balanced_components_obey_their_law_and_others_do_not(order):
    """``N gamma s^(2 - 2/N)``, gamma by its definition."""
    rng = np.random.default_rng(0)
    units = [v / np.linalg.norm(v, axis=0) for v in rng.standard_normal((order, 4, 5))]
    gradient = rng.standard_normal((4,) * order)
    letters = "abcd"[:order]
    gamma = np.einsum(letters + "," + ",".join(n + "r" for n in letters) + "->r", -gradient, *units)
    rates = cp_growth([0.5 * unit for unit in units], gradient)
    np.testing.assert_allclose(rates.value, 0.5**order)
    np.testing.assert_allclose(rates.predicted, order * gamma * (0.5**order) ** (2 - 2 / order))
    assert rates.error < 1e-12
    assert cp_growth([units[0], *(0.5 * unit for unit in units[1:])], gradient).error > 0.1


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_vector_parts_obey_their_law_where_block_norms_are_equal(depth):
    """``N delta s^(2 - 2/N + k)``, no alignment needed; the component is at most ``s^(1+k)``."""
    vectors, matrices = deep_cp(depth, norm=0.8)
    rates = vector_part_growth(vectors, TARGET, matrices)
    units, unit_matrices = [v / 0.8 for v in vectors], [m / 0.8 for m in matrices]
    for r in range(RANK):
        only = [v[:, [r]] for v in units], [m[:, [r]] for m in unit_matrices]
        delta = -(TARGET * end_to_end(*only)).sum()
        law = ORDER * delta * rates.value[r] ** (2 - 2 / ORDER + depth)
        np.testing.assert_allclose(rates.predicted[r], law, rtol=1e-10)
    assert rates.error < 1e-10
    size = cp_growth(vectors, TARGET, matrices).value
    assert (size <= rates.value ** (1 + depth) * (1 + 1e-12)).all()
    longer = [3 * vectors[0], *vectors[1:]]
    assert vector_part_growth(longer, TARGET, matrices).error > 0.1


def test_deep_components_without_matrices_are_those_of_cp():
    vectors, matrices = deep_cp(0)
    plain = cp_growth(vectors, TARGET)
    for growth in (cp_growth, vector_part_growth):
        np.testing.assert_allclose(growth(vectors, TARGET, matrices), plain, rtol=1e-12)


def test_aligned_deep_components_obey_the_law_of_higher_order():
    """Of order N (k + 1); Gaussian matrices of the same norms break it."""
    vectors, matrices = deep_cp(1, norm=0.8)
    out = np.random.default_rng(3).standard_normal((ORDER, RANK, SIZE))
    out /= np.linalg.norm(out, axis=2, keepdims=True)
    aligned = [(u[:, :, None] * v.T[:, None, :])[None] for u, v in zip(out, vectors, strict=True)]
    rates = cp_growth(vectors, TARGET, aligned)
    np.testing.assert_allclose(rates.value, 0.8 ** (2 * ORDER))
    assert rates.error < 1e-12
    assert cp_growth(vectors, TARGET, matrices).error > 0.1


@pytest.mark.parametrize("seed", range(10))
def test_growth_lies_within_its_bounds(seed):
    """For any factors; the bounds meet in the law where these are balanced."""
    vectors, _ = deep_cp(0, seed)
    rates, (lower, upper) = cp_growth(vectors, TARGET), cp_growth_bounds(vectors, TARGET)
    slack = 1e-12 * np.abs(upper - lower)
    assert (lower - slack <= rates.measured).all() and (rates.measured <= upper + slack).all()
    wider = cp_growth_bounds(vectors, TARGET, 2 * unbalancedness(cp_invariants(vectors)))
    assert (wider[0] < lower).all() and (wider[1] > upper).all()
    balanced = deep_cp(0, seed, norm=1.0)[0]
    for bound in cp_growth_bounds(balanced, TARGET):
        np.testing.assert_allclose(bound, cp_growth(balanced, TARGET).predicted, rtol=1e-10)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_balanced_products_obey_their_law(depth, shape):
    """The sum of fractional powers by scipy; the largest side of a rectangle has zero values."""
    layers = balanced_layers(shape, depth, 0.5, random_state=0)
    gradient = np.random.default_rng(1).standard_normal(shape)
    matrix = product(layers)

    def power(square, exponent):
        values, basis = np.linalg.eigh(square)
        values = np.where(values > 1e-12, values, 0) ** exponent
        return (basis * values) @ basis.T

    law = -sum(
        power(matrix @ matrix.T, j / depth)
        @ gradient
        @ power(matrix.T @ matrix, (depth - 1 - j) / depth)
        for j in range(depth)
    )
    rates = matrix_growth(layers, gradient)
    np.testing.assert_allclose(rates.predicted, law, atol=1e-10)
    assert rates.error < 1e-10
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    values = singular_value_growth(layers, gradient)
    slopes = [u[:, r] @ gradient @ vt[r] for r in range(len(s))]
    np.testing.assert_allclose(values.predicted, -depth * s ** (2 - 2 / depth) * slopes, atol=1e-12)
    assert values.error < 1e-10


def test_the_law_of_a_product_is_scipys_for_regular_matrices():
    """Fractional powers by scipy's Schur method, where no singular value is zero."""
    layers = balanced_layers((4, 4), 3, 1.0, random_state=2)
    gradient, matrix = np.random.default_rng(1).standard_normal((4, 4)), product(layers)
    left = [fractional_matrix_power(matrix @ matrix.T, j / 3) for j in range(3)]
    right = [fractional_matrix_power(matrix.T @ matrix, (2 - j) / 3) for j in range(3)]
    law = -sum(a @ gradient @ b for a, b in zip(left, right, strict=True))
    np.testing.assert_allclose(matrix_growth(layers, gradient).predicted, law, atol=1e-10)


def test_unbalanced_products_do_not():
    assert matrix_growth(random_layers(3), np.ones((4, 3))).error > 0.1
    assert singular_value_growth(random_layers(3), np.ones((4, 3))).error > 0.1


def test_rates_at_rest_have_no_error():
    """A stationary point: nothing moves, nothing should."""
    assert matrix_growth(random_layers(2), np.zeros((4, 3))).error == 0.0
