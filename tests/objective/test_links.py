"""Deviances of counts and of yes and no against scikit-learn, torch and the definition."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import d2_log_loss_score, d2_tweedie_score, log_loss, mean_poisson_deviance

from sktf._objective.links import LINKS, share_of_deviance

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
ETA = np.linspace(-6, 5, 45)
VALUES = {"poisson": np.tile([0.0, 1.0, 2.5, 7.0, 40.0], 9), "logistic": np.tile([0, 0.3, 1.0], 15)}
each = pytest.mark.parametrize("name", ["poisson", "logistic"])


def test_deviances_are_those_of_scikit_learn():
    """Of counts the Poisson deviance, of yes and no twice the log loss."""
    poisson, logistic, y = LINKS["poisson"], LINKS["logistic"], np.tile([0.0, 1.0, 1.0], 15)
    for loss, values, expected in [
        (poisson, VALUES["poisson"], mean_poisson_deviance(VALUES["poisson"], poisson.mean(ETA))),
        (logistic, y, 2 * log_loss(y, logistic.mean(ETA))),
    ]:
        assert_allclose(loss.value(ETA, values).mean(), expected, rtol=1e-13)
        assert_allclose(loss.deviance(values, loss.mean(ETA)).mean(), expected, rtol=1e-13)


def test_deviance_of_a_share_of_yes_is_that_of_its_answers():
    """Three of ten: the mean over ten answers, less what they differ from their own mean by."""
    loss, answers = LINKS["logistic"], np.repeat([1.0, 0.0], [3, 7])
    single = [loss.value(np.full(10, at), answers).mean() for at in (0.4, loss.link(0.3))]
    assert_allclose(loss.value(np.array(0.4), np.array(0.3)), single[0] - single[1], rtol=1e-13)


@each
def test_derivatives_equal_central_differences(name):
    """Steps of 1e-5 err by 1e-10 times the third derivative, at most that of exp(5)."""
    loss, y, step = LINKS[name], VALUES[name], 1e-5
    slope = (loss.value(ETA + step, y) - loss.value(ETA - step, y)) / (2 * step)
    assert_allclose(loss.derivative(ETA, y), slope, rtol=1e-7, atol=1e-6)
    bend = (loss.derivative(ETA + step, y) - loss.derivative(ETA - step, y)) / (2 * step)
    assert_allclose(loss.curvature(ETA), bend, rtol=1e-7, atol=1e-6)


@each
def test_torch_agrees(name):
    """The value to 4 ulp of its largest summand, and autograd of it is the derivative."""
    loss, y = LINKS[name], VALUES[name]
    eta = torch.tensor(ETA, requires_grad=True)
    value = loss.value(eta, torch.tensor(y))
    value.sum().backward()
    assert_allclose(value.detach().numpy(), loss.value(ETA, y), rtol=1e-12, atol=1e-13)
    assert_allclose(eta.grad.numpy(), loss.derivative(ETA, y), rtol=1e-12, atol=1e-13)


def test_a_sum_of_parts_has_the_deviance_of_counts_as_well():
    """Its eta is the mean itself; derivatives by central differences and autograd."""
    loss, eta = LINKS["poisson_sum"], np.linspace(0.3, 20, 45)
    y, step = VALUES["poisson"], 1e-6
    assert_allclose(loss.value(eta, y).mean(), mean_poisson_deviance(y, eta), rtol=1e-9)
    slope = (loss.value(eta + step, y) - loss.value(eta - step, y)) / (2 * step)
    assert_allclose(loss.derivative(eta, y), slope, rtol=1e-5, atol=1e-6)
    at = torch.tensor(eta, requires_grad=True)
    loss.value(at, torch.tensor(y)).sum().backward()
    assert_allclose(at.grad.numpy(), loss.derivative(eta, y), rtol=1e-12, atol=1e-13)


@each
def test_the_least_deviance_is_zero_at_the_value(name):
    """And the link is the inverse of the mean."""
    loss, y = LINKS[name], np.unique(VALUES[name])
    assert_allclose(loss.deviance(y, y), 0, atol=1e-12)
    assert_allclose(loss.link(loss.mean(ETA)), ETA, rtol=1e-9, atol=1e-12)


@each
def test_nothing_overflows(name):
    """Linear predictors far beyond any data: sums are large or infinite, never NaN."""
    loss, far = LINKS[name], np.array([-1e3, -800.0, 800.0, 1e3])
    with np.errstate(over="ignore"):
        assert not np.isnan(loss.value(far, np.array([0.0, 1.0, 0.0, 1.0]))).any()


@pytest.mark.parametrize(("mean", "expected"), [(0.0, 0.05), (0.3, 0.3), (1.0, 0.95)])
def test_a_mean_on_the_boundary_is_off_it_by_half_a_value(mean, expected):
    """Of ten answers that are all alike, half of one more differs."""
    assert_allclose(LINKS["logistic"].inside(mean, 10), expected)


def test_share_of_deviance_is_d2_of_scikit_learn():
    """With weights; 0 for the mean, 1 for the values themselves."""
    rng = np.random.default_rng(0)
    y, weights = rng.poisson(3.0, 50).astype(float), rng.uniform(0.1, 2, 50)
    mean = rng.uniform(0.5, 5, 50)
    expected = d2_tweedie_score(y, mean, sample_weight=weights, power=1)
    assert_allclose(share_of_deviance(LINKS["poisson"], y, mean, weights), expected, rtol=1e-12)
    yes, chance = (y > 3) * 1.0, rng.uniform(0.1, 0.9, 50)
    expected = d2_log_loss_score(yes, np.column_stack([1 - chance, chance]), sample_weight=weights)
    assert_allclose(share_of_deviance(LINKS["logistic"], yes, chance, weights), expected)
    assert_allclose(share_of_deviance(LINKS["poisson"], y, np.full(50, y.mean())), 0, atol=1e-12)
    assert share_of_deviance(LINKS["poisson"], y, y) == 1


@pytest.mark.parametrize(
    ("name", "y", "message"),
    [
        ("poisson", [2.0, -1.0], r'loss="poisson": row 1 of y has -1; counts.*loss="squared"'),
        ("poisson", [1e200], "row 0 of y has 1e\\+200"),
        ("logistic", [1.0, 0.0, 2.0], r"row 2 of y has 2; no is 0.*CompletionClassifier"),
        ("logistic", [1.0, -1.0], "row 1 of y has -1"),
    ],
)
def test_values_of_another_kind_are_refused(name, y, message):
    """The loss, the first bad row and the remedy are named."""
    with pytest.raises(ValueError, match=message):
        LINKS[name].check(np.array(y))
