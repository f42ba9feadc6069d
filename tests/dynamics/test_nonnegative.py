"""Non-negative CP: its conservation law and its growth, against the flow of the square roots."""

from string import ascii_lowercase

import numpy as np
import pytest

from sktf.dynamics import (
    cp_gradients,
    cp_invariants,
    gradient_flow,
    nonnegative_growth,
    nonnegative_invariants,
)

SIZE, RANK = 3, 2


def dense(factors):
    letters = ascii_lowercase[: len(factors)]
    return np.einsum(",".join(n + "z" for n in letters) + "->" + letters, *factors)


def roots(order, balanced, seed=0):
    """Random v; all of one norm if balanced, so that the sums of the w are equal."""
    v = np.random.default_rng(seed).standard_normal((order, SIZE, RANK))
    return 0.8 * v / np.linalg.norm(v, axis=1, keepdims=True) if balanced else 0.6 * v


def target(order):
    return np.random.default_rng(7).standard_normal((SIZE,) * order) ** 2


def flow(v, times):
    """The v on the flow of half the squared distance to the target, by the definition of w."""
    order = len(v)

    def gradient(v):
        left, letters, pulled = dense(v**2) - target(order), ascii_lowercase[:order], []
        for mode in range(order):
            others = [n for n in range(order) if n != mode]
            names = ",".join([letters, *(letters[n] + "z" for n in others)])
            at_factor = np.einsum(f"{names}->{letters[mode]}z", left, *(v[n] ** 2 for n in others))
            pulled.append(2 * v[mode] * at_factor)
        return np.array(pulled)

    return gradient_flow(gradient, v, times)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_components_grow_by_their_law(order):
    """``4 N gamma s^(2 - 1/N)`` at four times, to 2e-3: central differences are off by 1e-6."""
    step = 1e-4
    for time in (0.05, 0.1, 0.2, 0.4):
        points = flow(roots(order, balanced=True), time + step * np.arange(3))
        sizes = [(v**2).sum(axis=1).prod(axis=0) for v in points]
        w = points[1] ** 2
        units = w / w.sum(axis=1, keepdims=True)
        letters = ascii_lowercase[:order]
        names = ",".join([letters, *(n + "z" for n in letters)])
        gamma = -np.einsum(names + "->z", dense(w) - target(order), *units)
        law = 4 * order * gamma * sizes[1] ** (2 - 1 / order)
        np.testing.assert_allclose((sizes[2] - sizes[0]) / (2 * step), law, rtol=2e-3, atol=2e-3)
        rates = nonnegative_growth(w, dense(w) - target(order))
        np.testing.assert_allclose(rates, (sizes[1], law, law), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("balanced", [True, False])
def test_measured_rates_are_those_of_the_flow(balanced):
    """Central differences over 2e-4: error of order 1e-8 times third derivatives."""
    points = flow(roots(3, balanced), [0.0, 1e-4, 2e-4])
    rates = [nonnegative_growth(v**2, dense(v**2) - target(3)) for v in points]
    slope = (rates[2].value - rates[0].value) / 2e-4
    np.testing.assert_allclose(slope, rates[1].measured, rtol=1e-4, atol=1e-5)
    assert rates[1].error < 1e-8 if balanced else rates[1].error > 0.1


def test_factors_move_by_exponentiated_gradients():
    """``dw/dt = -4 w g``, entry by entry, g the gradient at the factors."""
    points = flow(roots(3, balanced=False), [0.0, 1e-4, 2e-4])
    w = points[1] ** 2
    expected = [-4 * f * g for f, g in zip(w, cp_gradients(w, dense(w) - target(3)), strict=True)]
    found = (points[2] ** 2 - points[0] ** 2) / 2e-4
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_the_flow_conserves_differences_of_sums(order):
    """While the tensor moves; the flow is integrated to 1e-10."""
    start = roots(order, balanced=False)
    (end,) = flow(start, [1.0])
    assert np.linalg.norm(dense(end**2) - dense(start**2)) > 0.1
    found, before = nonnegative_invariants(end**2), nonnegative_invariants(start**2)
    np.testing.assert_allclose(found, before, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(before, cp_invariants(start), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("factors", "message"),
    [([[[1.0]], [[-2.0]]], r"factors\[1\] has a negative entry, -2"), ([[[1.0]], [[0.0]]], "zero")],
)
def test_what_is_not_a_product_of_squares_is_refused(factors, message):
    with pytest.raises(ValueError, match=message):
        nonnegative_growth(factors, np.ones((1, 1)))
