"""Compiled steps against the steps in Python that they stand for."""

from math import inf

import numpy as np
import pytest

from sktf._cells.validation import Observations
from sktf._descent.compiled_walk import CompiledWalk, n_descents
from sktf._descent.loop import gradient_descent, walk_from
from sktf._descent.steps import Adaptive, Constant
from sktf._descent.walk import Walk
from sktf._models.cp import CPFactorization
from sktf._models.deep_cp import DeepCPFactorization
from sktf._models.nonnegative import NonNegativeCPFactorization
from sktf._objective import cpu
from sktf._objective.cpu import FusedObjective
from sktf._objective.losses import LOSSES, ClippedSquare

SHAPES = {2: (6, 5), 3: (5, 4, 3), 4: (4, 3, 4, 2), 5: (3, 2, 3, 2, 4)}
STEP = Adaptive()


def make(
    order, loss="squared", dtype="float64", values=None, n_components=5, model=CPFactorization
):
    """An objective over 50 cells, drawn with repetition, and a start whose entries are O(1)."""
    rng, shape = np.random.default_rng(order), SHAPES[order]
    coords = rng.integers(0, shape, (50, order))
    values = rng.standard_normal(50) if values is None else np.full(50, values)
    observations = Observations(coords, values, rng.uniform(0.5, 2, 50), shape)
    factorization = model(shape, n_components)
    loss = LOSSES[loss](0.7)
    objective = FusedObjective(factorization, observations, loss, dtype=dtype)
    theta = 0.5 * rng.standard_normal(factorization.n_parameters)
    return objective, objective.from_numpy(theta)


def both(*arguments, tol=0.0, **options):
    """The same descent, compiled and in Python."""
    objective, theta = make(*arguments, **options)
    compiled = walk_from(objective, theta, STEP, tol)
    assert isinstance(compiled, CompiledWalk)
    return compiled, Walk(objective, theta, STEP, tol)


@pytest.mark.parametrize("n_components", [1, 5, 8, 33])
@pytest.mark.parametrize("loss", ["squared", "huber"])
@pytest.mark.parametrize("order", sorted(SHAPES))
@pytest.mark.parametrize("model", [CPFactorization, NonNegativeCPFactorization])
def test_compiled_steps_equal_steps_in_python(model, order, loss, n_components):
    """Forty steps from the same start, in pieces; rounding grows along the way, hence 1e-9.

    Factors that are squares are squared, and gradients pulled back, in the steps.
    """
    compiled, plain = both(order, loss, n_components=n_components, model=model)
    for n_steps in (1, 2, 0, 37):
        assert compiled.go(n_steps) is None and plain.go(n_steps) is None
        assert compiled.n_iter == plain.n_iter
        np.testing.assert_allclose(compiled.theta, plain.theta, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(compiled.loss, plain.loss, rtol=1e-9)
        np.testing.assert_allclose(compiled.time, plain.time, rtol=1e-9)


def test_compiled_steps_in_single_precision():
    """Ten steps; each rounds theta to 6e-8 of its size."""
    compiled, plain = both(3, dtype="float32")
    compiled.go(10), plain.go(10)
    assert compiled.theta.dtype == np.float32
    np.testing.assert_allclose(compiled.theta, plain.theta, rtol=0, atol=1e-5)


@pytest.mark.parametrize("share", [0.9, 0.5])
def test_steps_end_below_tol(share):
    """At the first loss below it, which both reach after the same number of steps."""
    first = both(3)[0].loss
    compiled, plain = both(3, tol=share * first)
    assert compiled.go(1000) is None and plain.go(1000) is None
    assert 0 < compiled.n_iter == plain.n_iter < 1000
    assert compiled.loss < share * first
    before = both(3)[0]
    before.go(compiled.n_iter - 1)
    assert before.loss >= share * first


def test_steps_that_change_nothing_end():
    """All values are 0 and so is theta; and at a minimum, to the last digits."""
    objective, theta = make(3, values=0.0)
    at_zero = walk_from(objective, 0 * theta, STEP, -1.0)
    assert at_zero.go(10) == "converged" and at_zero.n_iter == 0
    objective, theta = make(2, n_components=1)
    compiled = walk_from(objective, theta, STEP, -1.0)
    assert compiled.go(100_000) == "converged" and compiled.n_iter < 100_000
    assert np.abs(objective(compiled.theta)[1]).max() < 1e-12


@pytest.mark.parametrize("unit", [1e-90, 1e-40, 1e90, 1e120])
def test_lengths_neither_overflow_nor_underflow(unit):
    """In units of a matrix whose squares do: compiled steps are still those in Python."""
    objective, theta = make(2)
    objective._cells = objective._cells[0], objective._cells[1] * unit, objective._cells[2]
    theta = theta * unit**0.5
    with np.errstate(over="ignore"):
        compiled, plain = walk_from(objective, theta, STEP, 0.0), Walk(objective, theta, STEP, 0.0)
        compiled.go(20), plain.go(20)
    assert compiled.n_iter == plain.n_iter == 20
    size = np.abs(plain.theta).max()
    assert np.isfinite(size) and np.abs(plain.theta - theta).max() > 1e-6 * size
    np.testing.assert_allclose(compiled.theta, plain.theta, rtol=0, atol=1e-9 * size)


def test_a_loss_that_is_not_finite_ends_the_steps():
    """Values whose squares overflow: infinite from the first step on."""
    objective, theta = make(2, values=1e200)
    with np.errstate(over="ignore"):
        compiled = walk_from(objective, theta, STEP, 0.0)
        compiled.go(50)
        end = gradient_descent(objective, theta, STEP, max_iter=9, tol=0.0, observe=lambda *_: None)
    assert not np.isfinite(compiled.loss) and compiled.n_iter <= 1
    assert end.status == "diverged"


def test_theta_is_a_copy():
    """At eight components a row fills its cache line; later steps change no earlier theta."""
    for n_components in (5, 8):
        compiled, _ = both(2, n_components=n_components)
        kept = compiled.theta
        before = kept.copy()
        compiled.go(5)
        np.testing.assert_array_equal(kept, before)
        kept += 1
        assert np.abs(compiled.theta - kept).max() > 0.5


def test_looks_change_no_bit():
    """A descent that is observed at every iteration, or at the end alone, is the same."""
    ends = []
    for spacing in (1, 7, 1000):
        objective, theta = make(4, "huber")
        end = gradient_descent(
            objective, theta, STEP, max_iter=60, tol=0.0,
            observe=lambda *_: None, due=lambda n, spacing=spacing: n + spacing,
        )  # fmt: skip
        ends.append((end.theta.tobytes(), end.loss, end.time, end.n_iter, end.status))
    assert ends[0] == ends[1] == ends[2]
    assert ends[0][3:] == (60, "max_iter")


def test_where_steps_are_compiled(monkeypatch):
    """CP of order 2 or more, the adaptive step, one block; and then several descents at once."""
    objective, theta = make(3)
    assert n_descents(objective, STEP) == cpu.numba_config.NUMBA_NUM_THREADS
    assert type(walk_from(objective, theta, Constant(), 0.0)) is Walk
    assert n_descents(objective, Constant()) == 1
    deep = DeepCPFactorization((5, 4, 3), 2, 1)
    cells = Observations(np.zeros((1, 3), int), np.ones(1), np.ones(1), (5, 4, 3))
    other = FusedObjective(deep, cells, ClippedSquare(inf))
    assert type(walk_from(other, np.ones(deep.n_parameters), STEP, 0.0)) is Walk
    flat = FusedObjective(DeepCPFactorization((5, 4, 3), 2, 0), cells, ClippedSquare(inf))
    assert type(walk_from(flat, np.ones(24), STEP, 0.0)) is CompiledWalk
    vector = CPFactorization((5,), 2)
    cells = Observations(np.zeros((1, 1), int), np.ones(1), np.ones(1), (5,))
    objective = FusedObjective(vector, cells, ClippedSquare(inf))
    assert type(walk_from(objective, np.ones(10), STEP, 0)) is Walk
    monkeypatch.setattr(cpu, "_BLOCK_WORK", 1)
    objective, theta = make(2)
    assert len(objective._blocks) > 1
    assert type(walk_from(objective, theta, STEP, 0.0)) is Walk and n_descents(objective, STEP) == 1
