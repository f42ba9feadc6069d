"""Losses against scipy, torch and the definition in words."""

from math import inf

import numpy as np
import pytest
import scipy.special

from sktf._objective.losses import LOSSES

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

RESIDUALS = np.concatenate([np.linspace(-3, 3, 61), [-1e8, 1e8, 1e-300]])
both = pytest.mark.parametrize("name", ["squared", "huber"])


def test_squared_is_the_square_whatever_delta():
    """Exactly ``r^2`` and ``2 r``: clipping at infinity rounds nothing."""
    loss = LOSSES["squared"](0.3)
    np.testing.assert_array_equal(loss.value(RESIDUALS), RESIDUALS**2)
    np.testing.assert_array_equal(loss.derivative(RESIDUALS), 2 * RESIDUALS)
    assert loss.delta == inf


@pytest.mark.parametrize("delta", [0.1, 0.3, 1.0, 5.0])
def test_huber_is_twice_that_of_scipy(delta):
    """The textbook loss is ``r^2 / 2`` near zero, ours meets the squared loss; 4 ulp."""
    loss = LOSSES["huber"](delta)
    expected = 2 * scipy.special.huber(delta, RESIDUALS)
    np.testing.assert_allclose(loss.value(RESIDUALS), expected, rtol=1e-15)


@pytest.mark.parametrize("delta", [0.1, 1.0])
def test_huber_is_the_square_and_then_its_tangent(delta):
    """The square up to delta; beyond, the line through it with its value and slope there."""
    loss, near = LOSSES["huber"](delta), np.linspace(-delta, delta, 21)
    np.testing.assert_allclose(loss.value(near), near**2, rtol=1e-14)
    far = np.array([1.5, 4.0, 100.0]) * delta
    tangent = delta**2 + 2 * delta * (far - delta)
    np.testing.assert_allclose(loss.value(far), tangent, rtol=1e-14)
    np.testing.assert_allclose(loss.value(-far), tangent, rtol=1e-14)


@both
def test_derivative_equals_autograd(name):
    """Of ``value`` itself on torch vectors, away from the kinks of the slope; 4 ulp."""
    loss = LOSSES[name](0.35)
    residual = torch.tensor(RESIDUALS, requires_grad=True)
    loss.value(residual).sum().backward()
    np.testing.assert_allclose(loss.derivative(RESIDUALS), residual.grad.numpy(), rtol=1e-15)


@both
def test_derivative_equals_central_differences(name):
    """The slope has kinks, not jumps: steps of 1e-6 err by less than 1e-5 everywhere."""
    loss, residual = LOSSES[name](0.5), np.linspace(-3, 3, 61)
    differences = (loss.value(residual + 1e-6) - loss.value(residual - 1e-6)) / 2e-6
    np.testing.assert_allclose(loss.derivative(residual), differences, rtol=0, atol=1e-5)


@both
def test_numpy_and_torch_agree_to_the_bit(name):
    """The same operations run on either kind of array."""
    loss = LOSSES[name](0.3)
    for function in (loss.value, loss.derivative):
        by_torch = function(torch.tensor(RESIDUALS)).numpy()
        np.testing.assert_array_equal(by_torch, function(RESIDUALS))
