"""Escape times, bounds, balanced starts and the flow itself."""

import numpy as np
import pytest
from cases.dynamics import SIZE, product
from scipy.integrate import quad

from sktf.dynamics import (
    balanced_layers,
    cp_gradients,
    cp_growth,
    cp_invariants,
    escape_time,
    gradient_flow,
    matrix_growth,
    matrix_invariants,
    unbalancedness,
    unobserved_entry_bound,
)

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
