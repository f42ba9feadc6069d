"""The objective of a loss with a link, and steps of rows below it, against torch and formulas."""

import numpy as np
import pytest
from cases.gradients import observe
from numpy.testing import assert_allclose

from sktf._models.cp import CPFactorization
from sktf._models.nonnegative import NonNegativeCPFactorization
from sktf._objective import linked_rows
from sktf._objective.linked import LinkedObjective
from sktf._objective.links import LINKS
from sktf._objective.row_equations import CellsByRow
from sktf._objective.torch import TorchObjective

each = pytest.mark.parametrize("name", ["poisson", "logistic"])
SHAPE = (6, 5, 4)


def linked_cells(name, shape=SHAPE, weighted=True, seed=0, n_observed=80):
    """Cells with two columns of values, y and what is added to the linear predictor."""
    cells, rng = observe(shape, n_observed), np.random.default_rng(seed)
    n = len(cells.values)
    y = rng.poisson(2.0, n) if name == "poisson" else rng.random(n) < 0.4
    values = np.column_stack([y.astype(float), rng.normal(0, 0.5, n)])
    weights = rng.uniform(0.2, 2, n) if weighted else np.ones(n)
    return cells._replace(values=values, weights=weights)


@each
@pytest.mark.parametrize("kind", [CPFactorization, NonNegativeCPFactorization])
@pytest.mark.parametrize("weighted", [True, False])
def test_gradient_equals_torch_and_differences(name, kind, weighted):
    """Autograd on gathered rows; central differences of steps 1e-6."""
    model, cells = kind(SHAPE, 3), linked_cells(name, weighted=weighted)
    theta = np.random.default_rng(1).normal(0, 0.6, model.n_parameters)
    objective = LinkedObjective(model, cells, LINKS[name])
    loss, gradient = objective(theta)
    oracle = TorchObjective(model, cells, LINKS[name], device="cpu", dtype="float64")
    expected, by_torch = oracle(oracle.from_numpy(theta))
    assert_allclose(loss, expected, rtol=1e-12)
    assert_allclose(gradient, by_torch.numpy(), rtol=1e-9, atol=1e-12)
    steps = 1e-6 * np.eye(len(theta))[:5]
    slopes = [(objective.loss(theta + s) - objective.loss(theta - s)) / 2e-6 for s in steps]
    assert_allclose(gradient[:5], slopes, rtol=1e-5, atol=1e-8)


@each
def test_terms_add_up_to_the_loss(name):
    """Cell by cell, as held-out cells are compared by."""
    model, cells = CPFactorization(SHAPE, 2), linked_cells(name)
    theta = np.random.default_rng(2).normal(0, 0.6, model.n_parameters)
    objective = LinkedObjective(model, cells, LINKS[name])
    terms = objective.terms(model.forward(theta)[0])
    assert_allclose(terms.sum(), objective.loss(theta), rtol=1e-12)
    assert (terms >= 0).all()


@each
def test_single_precision_and_blocks(name):
    """Several blocks, whose sums differ in rounding alone; 1e-4 in single precision."""
    shape = (40, 30, 20)
    cells = linked_cells(name, shape, n_observed=20_000)
    model = CPFactorization(shape, 200)
    theta = np.random.default_rng(3).normal(0, 0.3, model.n_parameters)
    whole, single = (
        LinkedObjective(model, cells, LINKS[name], dtype=dtype) for dtype in ("float64", "float32")
    )
    assert len(whole._blocks) > 1
    loss, gradient = whole(theta)
    terms = whole.terms(model.forward(theta)[0])
    assert_allclose(loss, terms.sum(), rtol=1e-12)
    rough, single_gradient = single(single.from_numpy(theta))
    assert_allclose(rough, loss, rtol=1e-4)
    assert_allclose(single_gradient, gradient, atol=1e-4 * np.abs(gradient).max())


def test_exposures_are_weights_of_rates():
    """Counts with ``log e`` in the linear predictor have the gradient of rates of weight e."""
    model, rng = CPFactorization(SHAPE, 2), np.random.default_rng(4)
    cells = linked_cells("poisson")
    exposure, y = rng.uniform(0.2, 5, len(cells.values)), cells.values[:, 0]
    none = np.zeros(len(y))
    weights = np.ones(len(y))
    counts = cells._replace(values=np.column_stack([y, np.log(exposure)]), weights=weights)
    rates = cells._replace(values=np.column_stack([y / exposure, none]), weights=exposure)
    theta = rng.normal(0, 0.6, model.n_parameters)
    (loss, gradient), (of_rates, its_gradient) = (
        LinkedObjective(model, its, LINKS["poisson"])(theta) for its in (counts, rates)
    )
    # Weights are divided by their sum.
    assert_allclose(of_rates * exposure.sum(), loss * len(y), rtol=1e-12)
    assert_allclose(its_gradient * exposure.sum(), gradient * len(y), rtol=1e-10, atol=1e-10)


def by_rows(name, mode, weighted):
    """Cells in the order of a mode, factors, and the linear predictors of all cells."""
    cells, rng = linked_cells(name, weighted=weighted), np.random.default_rng(5)
    factors = [rng.normal(0, 0.7, (size, 2)) for size in SHAPE]
    numbered = cells._replace(values=np.arange(len(cells.values), dtype=float))
    ordered = CellsByRow.of(numbered, mode)
    products = np.prod([f[c] for f, c in zip(factors, cells.coords.T, strict=True)], axis=0)
    return cells, factors, ordered, products.sum(axis=1) + cells.values[:, 1]


@each
@pytest.mark.parametrize("weighted", [True, False])
def test_working_cells_are_those_of_reweighted_least_squares(name, weighted):
    """``eta - g / h`` less what is added, and ``w h / 2``, by the formulas of the loss."""
    loss, level = LINKS[name], 0.3
    cells, _, ordered, eta = by_rows(name, 1, weighted)
    numbers, n = ordered.values.astype(int), len(eta)
    working, curvatures = np.empty((2, n))
    told = loss.number, numbers, eta, loss.mean(eta), cells.values, level, ordered.weights, 1e-200
    linked_rows.working_cells(*told, working, curvatures)
    y, added = cells.values.T
    expected = eta - loss.derivative(eta, y) / loss.curvature(eta) - added - level
    assert_allclose(working, expected[numbers], rtol=1e-10)
    assert_allclose(curvatures, (ordered.weights * loss.curvature(eta[numbers]) / 2), rtol=1e-12)


@each
@pytest.mark.parametrize("length", [0.1, 300.0])
def test_rows_move_down_and_no_further(name, length):
    """Short steps along the gradient are taken whole; of long ones a part, or nothing."""
    mode, loss, penalty = 0, LINKS[name], np.array([0.2, 0.5])
    cells, factors, ordered, eta = by_rows(name, mode, True)
    numbers = ordered.values.astype(int)
    which = cells.coords[numbers, mode]
    others = np.prod([factors[n][cells.coords[numbers, n]] for n in (1, 2)], axis=0)

    def objective(rows):
        linear = eta[numbers] + ((rows - factors[mode])[which] * others).sum(axis=1)
        costs = ordered.weights * loss.cost(linear, cells.values[numbers, 0])
        return np.bincount(which, costs, SHAPE[mode]) + rows**2 @ penalty

    at = eta[numbers], cells.values[numbers, 0]
    pulled = (ordered.weights * loss.derivative(*at))[:, None] * others
    gradient = np.array([np.bincount(which, its, SHAPE[mode]) for its in pulled.T]).T
    moves = -length * 0.1 * (gradient + 2 * penalty * factors[mode])
    rows, now, means = factors[mode].copy(), eta.copy(), loss.mean(eta)
    stacked = np.concatenate(factors[1:])
    steps = ordered.edges, numbers, ordered.others, stacked, rows, moves, penalty
    linked_rows.move_rows(loss.number, *steps, cells.values, ordered.weights, now, means)
    assert (objective(rows) <= objective(factors[mode]) + 1e-12).all()
    shares = np.round(((rows - factors[mode]) / moves).mean(axis=1), 9)
    assert set(shares) <= {0, 1, 0.25, 0.0625, 0.015625}
    assert (shares == 1).all() if length < 1 else (shares < 1).any()
    moved = ((rows - factors[mode])[which] * others).sum(axis=1)
    assert_allclose(now[numbers], eta[numbers] + moved, atol=1e-12)
    assert_allclose(means, loss.mean(now), rtol=1e-12)


@each
def test_rows_run_uncompiled_as_well(name):
    """The same bits but for the order of sums."""
    mode, loss, penalty = 2, LINKS[name], np.array([0.1, 0.1])
    cells, factors, ordered, eta = by_rows(name, mode, False)
    numbers, results = ordered.values.astype(int), []
    for move in (linked_rows.move_rows, linked_rows.move_rows.py_func):
        rows, now, means = factors[mode].copy(), eta.copy(), loss.mean(eta)
        stacked, moves = np.concatenate(factors[:2]), np.full_like(rows, 0.05)
        steps = ordered.edges, numbers, ordered.others, stacked, rows, moves, penalty
        move(loss.number, *steps, cells.values, ordered.weights, now, means)
        results.append((rows, now, means))
    for compiled, plain in zip(*results, strict=True):
        assert_allclose(compiled, plain, rtol=1e-12, atol=1e-13)
