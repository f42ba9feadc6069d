"""The compiled kernels against their NumPy twins, autograd and differences."""

import os
import subprocess
import sys

import numpy as np
import pytest

from sktf._objective import kernels

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

SHAPES = {1: (9,), 2: (6, 5), 3: (5, 4, 3), 4: (4, 3, 4, 2), 5: (3, 2, 3, 2, 4)}


ORDERS = sorted(SHAPES)


N_OBSERVED = 60


# At this threshold about half of the residuals drawn here are clipped.
DELTAS = [0.7, np.inf]


# Columns of one cache line and of several; in all of 1 + 2 + 4 lines, the widths of the pieces.
COLUMNS = [1, 3, 8, 33, 105]


def runs_of(rows):
    """Heads, edges and tails of cells given by rows."""
    new = np.ones(len(rows), bool)
    new[1:] = (rows[1:, :-1] != rows[:-1, :-1]).any(axis=1)
    first = np.flatnonzero(new)
    return rows[first, :-1].copy(), np.append(first, len(rows)), rows[:, -1].copy()


def whole_lines(factors):
    """The factors with columns of zeros up to whole cache lines."""
    width = kernels.LINE // factors.itemsize
    return np.pad(factors, ((0, 0), (0, -factors.shape[1] % width)))


def draw(order, n_components, dtype, delta):
    """Rows, values, weights, delta and stacked factors; more cells are drawn than there are."""
    rng = np.random.default_rng(order)
    shape = np.array(SHAPES[order])
    n_observed = max(N_OBSERVED, 2 * shape.prod())
    coords = rng.integers(0, shape, (n_observed, order))
    coords = coords[np.lexsort(coords.T[::-1])]
    rows = (coords + np.cumsum(shape) - shape).astype(np.int32)
    # The variance of a prediction is 1.
    factors = n_components ** (-0.5 / order) * rng.standard_normal((shape.sum(), n_components))
    values, weights = rng.standard_normal(n_observed), rng.uniform(0.5, 2, n_observed)
    values, weights, factors = (a.astype(dtype) for a in (values, weights, factors))
    return rows, values, weights, dtype(delta), whole_lines(factors)


def residuals(rows, values, factors):
    """Prediction minus value of every cell, one component and one mode at a time."""
    predictions = np.zeros(len(rows))
    for r in range(factors.shape[1]):
        term = np.ones(len(rows))
        for n in range(rows.shape[1]):
            term = term * factors[rows[:, n], r]
        predictions += term
    return predictions - values


def test_draws_repeat_cells_and_clip_some_residuals():
    """What the tests below feed the kernels holds repeated cells and both sides of delta."""
    for order in ORDERS:
        rows, values, _, delta, factors = draw(order, 3, np.float64, DELTAS[0])
        assert len(np.unique(rows, axis=0)) < len(rows)
        clipped = np.abs(residuals(rows, values, factors)) > delta
        assert 0.1 < clipped.mean() < 0.9


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_components", COLUMNS)
@pytest.mark.parametrize("order", ORDERS)
def test_compiled_pass_equals_its_twin(order, n_components, dtype, delta):
    """Loss, and gradient added to what G held, agree up to the rounding of sums of O(1) terms.

    About 100 cells times 100 components are summed in another order: 200 ulp of the largest.
    """
    rows, *cells, factors = draw(order, n_components, dtype, delta)
    arguments = *runs_of(rows), *cells, factors
    before = np.random.default_rng(0).standard_normal(factors.shape).astype(dtype)
    expected, gradient = before.copy(), before.copy()
    expected_loss = kernels.cp_pass_numpy(*arguments, expected)
    loss = kernels.cp_pass(*arguments, gradient)
    close = 200 * np.finfo(dtype).eps
    np.testing.assert_allclose(loss, expected_loss, rtol=close)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=close * np.abs(expected).max())
    assert np.abs(expected - before).max() > 1


@pytest.mark.parametrize("order", ORDERS)
def test_the_sequence_of_cells_does_not_matter(order):
    """Sorted cells share products; shuffled ones, or runs of one cell, have the same sums."""
    rows, values, weights, delta, factors = draw(order, 8, np.float64, 0.7)
    shuffled = np.random.default_rng(0).permutation(len(rows))
    alike = np.zeros(len(rows), int)
    by_last_mode = np.lexsort(rows.T)
    for sequence in (shuffled, alike, by_last_mode, np.arange(1), np.arange(0)):
        arguments = *runs_of(rows[sequence]), values[sequence], weights[sequence], delta, factors
        expected, gradient = np.zeros_like(factors), np.zeros_like(factors)
        expected_loss = kernels.cp_pass_numpy(*arguments, expected)
        loss = kernels.cp_pass(*arguments, gradient)
        np.testing.assert_allclose(loss, expected_loss, rtol=1e-13)
        np.testing.assert_allclose(
            gradient, expected, rtol=0, atol=1e-13 * np.abs(expected).max(initial=1e-300)
        )


@pytest.mark.parametrize("order", ORDERS)
def test_some_of_the_runs_are_some_of_the_cells(order):
    """Runs 1 to 3 of the cells are those cells alone, and cells of equal weight share one."""
    rows, values, _, delta, factors = draw(order, 8, np.float64, 0.7)
    heads, edges, tails = runs_of(rows)
    part = slice(1, 4) if order > 1 else slice(0, 1)
    heads, edges = heads[part], edges[part.start : part.stop + 1]
    one, gradient = np.full(1, 0.3), np.zeros_like(factors)
    loss = kernels.cp_pass(heads, edges, tails, values, one, delta, factors, gradient)
    cells = slice(edges[0], edges[-1])
    alone = *runs_of(rows[cells]), values[cells], np.full(len(values[cells]), 0.3), delta, factors
    expected = np.zeros_like(factors)
    np.testing.assert_allclose(loss, kernels.cp_pass_numpy(*alone, expected), rtol=1e-13)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-13 * np.abs(expected).max())


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("order", ORDERS)
def test_twin_equals_torch_with_autograd(order, delta):
    """Loss and gradient are those of torch: twice its Huber loss, or its squared error."""
    rows, values, weights, delta, factors = draw(order, 3, np.float64, delta)
    leaf = torch.tensor(factors, requires_grad=True)
    product = torch.ones(len(rows), factors.shape[1], dtype=torch.float64)
    for column in rows.T:
        product = product * leaf[torch.as_tensor(column.astype(np.int64))]
    prediction, target = product.sum(1), torch.tensor(values)
    if np.isinf(delta):
        losses = torch.nn.functional.mse_loss(prediction, target, reduction="none")
    else:
        losses = 2 * torch.nn.functional.huber_loss(
            prediction, target, reduction="none", delta=float(delta)
        )
    total = (torch.tensor(weights) * losses).sum()
    total.backward()
    gradient = np.zeros_like(factors)
    loss = kernels.cp_pass_numpy(*runs_of(rows), values, weights, delta, factors, gradient)
    np.testing.assert_allclose(loss, total.item(), rtol=1e-13)
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("order", ORDERS)
def test_gradient_of_the_twin_equals_central_differences(order, delta):
    """Of the loss written out cell by cell; steps of 1e-6 leave errors of about 1e-8."""
    rows, values, weights, delta, factors = draw(order, 3, np.float64, delta)

    def loss(factors):
        r = np.abs(residuals(rows, values, factors))
        if np.isinf(delta):
            return weights @ r**2
        return weights @ np.where(r <= delta, r**2, 2 * delta * r - delta**2)

    differences = np.empty_like(factors)
    for index in np.ndindex(*factors.shape):
        step = np.zeros_like(factors)
        step[index] = 1e-6
        differences[index] = (loss(factors + step) - loss(factors - step)) / 2e-6
    gradient = np.zeros_like(factors)
    kernels.cp_pass_numpy(*runs_of(rows), values, weights, delta, factors, gradient)
    np.testing.assert_allclose(gradient, differences, rtol=0, atol=1e-6)


def test_a_cell_outside_the_threshold_pulls_with_bounded_force():
    """A residual of 1e6 has the slope 2 delta under the Huber loss, 2e6 under the squared one."""
    runs, factors = runs_of(np.zeros((1, 1), np.int32)), whole_lines(np.zeros((1, 1)))
    values, weights = np.array([-1e6]), np.ones(1)
    for delta, slope in ((0.3, 0.6), (np.inf, 2e6)):
        gradient = np.zeros_like(factors)
        kernels.cp_pass(*runs, values, weights, delta, factors, gradient)
        np.testing.assert_allclose(gradient[0, 0], slope, rtol=1e-15)


def test_without_compilation_the_twin_is_run():
    """As debuggers and coverage want it; the vectors of the kernel exist in compiled code only."""
    code = (
        "import numpy as np\n"
        "from sktf import CPCompletion\n"
        "X = np.argwhere(np.ones((4, 4, 4)))\n"
        "y = (X + 1.0).prod(axis=1)\n"
        "print(CPCompletion(2, random_state=0).fit(X, y).rank_)\n"
    )
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "1"
