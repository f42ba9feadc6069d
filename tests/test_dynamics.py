"""The laws as functions, against autograd, the flow itself, scipy and closed forms."""

from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.linalg import fractional_matrix_power

from sktf.dynamics import (
    balanced_layers,
    cp_gradients,
    cp_growth,
    cp_growth_bounds,
    cp_invariants,
    escape_time,
    gradient_flow,
    matrix_gradients,
    matrix_growth,
    matrix_invariants,
    singular_value_growth,
    unbalancedness,
    unobserved_entry_bound,
    vector_part_growth,
)

SIZE, RANK, ORDER = 3, 2, 3
TARGET = np.random.default_rng(7).standard_normal((SIZE,) * ORDER)
# The flow is integrated to 1e-10; what follows from it sums a few thousand such errors at most.
FLOW = dict(rtol=1e-7, atol=1e-8)


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


def slope(values, times):
    """Central difference over three equally spaced times."""
    return (values[2] - values[0]) / (times[2] - times[0])


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
    """Differences of squared norms of all pairs; products of neighbouring layers."""
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


# Times, bounds, starts, flow.


@pytest.mark.parametrize("order", [1, 2, 3, 4, 6])
def test_escape_times_integrate_the_law(order):
    """The integral of ``ds / (N gamma s^(2 - 2/N))`` by quadrature."""
    expected = quad(lambda s: 1 / (order * 0.7 * s ** (2 - 2 / order)), 0.01, 0.5)[0]
    np.testing.assert_allclose(escape_time(0.01, 0.5, order, 0.7), expected, rtol=1e-8)


def test_escape_times_are_those_of_the_flow():
    """One balanced component towards ``c e o e o e``, gamma = 1 + small while s is small."""
    unit, big = np.eye(SIZE)[:, :1], 1e6
    target = np.zeros((SIZE,) * 3)
    target[0, 0, 0] = big

    def gradient(factors):
        residual = np.einsum("ir,jr,kr->ijk", *factors) - target
        return cp_gradients(list(factors), residual / big)

    time = escape_time(0.1**3, 0.5, 3)
    norms = np.linalg.norm(gradient_flow(gradient, [0.1 * unit] * 3, [float(time)])[0], axis=1)
    np.testing.assert_allclose(norms.prod(), 0.5, rtol=1e-5)


@pytest.mark.parametrize("values", [(1.0, 1.0, 0.0), (-2.0, 0.5, 0.1), (1.0, 2.0, -0.3)])
def test_no_matrix_violates_the_bound_of_the_unobserved_entry(values):
    """Random matrices near the observations whose determinant has the sign of ``b12 b21``."""
    rng = np.random.default_rng(0)
    b12, b21, b22 = values
    away = rng.standard_normal((20_000, 3)) * rng.uniform(0, 0.4, (20_000, 1))
    w12, w21, w22 = (away + values).T
    w11 = rng.standard_normal(20_000) * 10 ** rng.uniform(-1, 3, 20_000)
    losses = (away**2).sum(axis=1) / 2
    # Below this loss the unobserved entry alone decides the sign of the determinant.
    near = np.sqrt(2 * losses) < min(abs(b12), abs(b21))
    chosen = near & (np.sign(w11 * w22 - w12 * w21) == np.sign(b12 * b21))
    assert chosen.sum() > 1000
    bound = unobserved_entry_bound(losses, values)
    assert (abs(w11) >= bound)[chosen].all()
    other = near & (np.sign(w11 * w22 - w12 * w21) != np.sign(b12 * b21))
    assert (abs(w11) < bound)[other].any()


def test_bound_of_the_unobserved_entry_in_closed_form():
    """``(1 - sqrt(2 l))^2 / sqrt(2 l)``, infinite at loss 0; or ``|b12 b21 / b22|`` there."""
    loss = np.array([0.1, 0.01, 1e-4])
    root = np.sqrt(2 * loss)
    np.testing.assert_allclose(unobserved_entry_bound(loss), (1 - root) ** 2 / root)
    assert unobserved_entry_bound(0.0) == np.inf
    assert unobserved_entry_bound(3.0) == 0.0
    np.testing.assert_allclose(unobserved_entry_bound(0.0, (-2.0, 0.5, 0.1)), 10.0)


@pytest.mark.parametrize("sign", [1, -1])
def test_balanced_layers_have_the_wanted_determinant(sign):
    for seed in range(10):
        layers = balanced_layers((3, 3), 3, 0.1, det_sign=sign, random_state=seed)
        assert np.sign(np.linalg.det(product(layers))) == sign
        assert unbalancedness(matrix_invariants(layers)) < 1e-14


@pytest.mark.parametrize("shape", [(30, 30), (40, 20)])
def test_balanced_layers_have_the_wanted_scale(shape):
    """RMS over 10 draws of 800 entries or more: within a few percent, less than 10 %."""
    matrices = [product(balanced_layers(shape, 3, 0.2, random_state=s)) for s in range(10)]
    assert np.sqrt(np.mean(np.square(matrices))) == pytest.approx(0.2, rel=0.1)


def test_balanced_layers_repeat():
    one, other = (balanced_layers((3, 3), 2, 0.1, random_state=5) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_flow_of_a_quadratic_is_exponential():
    times = np.array([0.0, 0.5, 4.0])
    theta = gradient_flow(lambda x: 2 * x, np.ones((2, 3)), times)
    expected = np.exp(-2 * times)[:, None, None] * np.ones((2, 3))
    np.testing.assert_allclose(theta, expected, rtol=1e-8)


def test_flow_at_time_zero_is_where_it_starts():
    """A copy, with the axis of times, and without asking for a gradient."""
    theta0 = np.arange(6.0).reshape(2, 3)
    theta = gradient_flow(None, theta0, [0.0])
    np.testing.assert_array_equal(theta, theta0[None])
    assert not np.shares_memory(theta, theta0)


def test_flow_that_leaves_every_bound_is_an_error():
    """``dx/dt = x^2`` from 1 is infinite at time 1."""
    with pytest.raises(RuntimeError, match="could not be followed"):
        gradient_flow(lambda x: -(x**2), np.ones(1), [2.0])


CP, MATRIX = np.ones((3, 2)), np.ones((4, 4))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: cp_invariants([CP, np.ones((3, 1))]), "vectors have shapes"),
        (lambda: cp_invariants([CP, np.ones(3)]), "vectors have shapes"),
        (lambda: cp_invariants([CP], [np.ones((1, 2, 3, 4))]), "matrices have shapes"),
        (lambda: cp_invariants([CP, CP], [np.ones((1, 2, 3, 3))]), "matrices have shapes"),
        (lambda: cp_invariants([np.nan * CP]), "vectors has 6 NaN"),
        (lambda: cp_growth([CP, CP], np.ones((3, 4))), "gradient has shape"),
        (lambda: cp_growth([CP, 0 * CP], np.ones((3, 3))), "component is zero"),
        (lambda: matrix_invariants([MATRIX, np.ones((3, 3))]), "layers have shapes"),
        (lambda: matrix_invariants([np.ones(3)]), "layers have shapes"),
        (lambda: matrix_growth([MATRIX], np.ones((4, 3))), "gradient has shape"),
        (lambda: escape_time(0.0, 1.0, 3), "0 < start"),
        (lambda: escape_time(0.5, 0.1, 3), "start <= stop"),
        (lambda: escape_time(0.1, 0.5, 0), "order >= 1"),
        (lambda: escape_time(0.1, 0.5, 3, gamma=-1.0), "gamma > 0"),
        (lambda: unobserved_entry_bound(-1.0), "losses >= 0"),
        (lambda: unobserved_entry_bound(np.nan), "losses >= 0"),
        (lambda: unobserved_entry_bound(0.1, (0.0, 1.0, 0.0)), "not zero"),
        (lambda: balanced_layers((3,), 2, 0.1), "two positive sizes"),
        (lambda: balanced_layers((3, 3), 0, 0.1), "depth >= 1"),
        (lambda: balanced_layers((3, 3), 2, 0.0), "scale > 0"),
        (lambda: balanced_layers((3, 4), 2, 0.1, det_sign=1), "det_sign"),
        (lambda: balanced_layers((3, 3), 2, 0.1, det_sign=0), "det_sign"),
        (lambda: gradient_flow(lambda x: x, [1.0], [1.0, 0.5]), "increasing times"),
        (lambda: gradient_flow(lambda x: x, [1.0], [-1.0]), "not negative"),
        (lambda: gradient_flow(lambda x: x, [1.0], []), "increasing times"),
        (lambda: gradient_flow(lambda x: x, [np.inf], [1.0]), "theta0 has 1 NaN"),
    ],
)
def test_bad_input_is_named(call, match):
    with pytest.raises(ValueError, match=match):
        call()
