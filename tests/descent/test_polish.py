"""Alternating ridge regressions: closed forms, penalties, pruning."""

import numpy as np
import pytest
from cases.polish import gaussian, numerical_gradient, objective, observe
from numpy.testing import assert_allclose, assert_array_equal

from sktf._descent import polish as module
from sktf._descent.polish import Model, Penalty, Polish, mean_of
from sktf._descent.progress import Progress

SHAPE = (12, 10, 8)


def polish_of(cells, held_out=None):
    return Polish(cells, held_out or cells, Progress())


@pytest.mark.parametrize("shape", [(7, 6), (6, 5, 4), (4, 3, 5, 3)])
def test_a_sweep_ends_where_its_last_mode_is_stationary(shape):
    """The last mode is solved with all others as they end: the gradient by its rows vanishes."""
    truth = Model(gaussian(shape, 2), tuple(np.linspace(-1, 1, size) for size in shape))
    cells = observe(shape, truth.at, noise=0.3)
    penalty = Penalty(0.7, (0.5,) * len(shape))
    start = Model(gaussian(shape, 3, seed=5), tuple(np.zeros(size) for size in shape))
    model = polish_of(cells).sweep(start, penalty)
    for part in (model.factors[-1], model.terms[-1]):
        assert_allclose(numerical_gradient(model, cells, penalty, part), 0, atol=1e-5)


def test_sweeps_never_raise_the_objective():
    """Each mode is minimized exactly; 1e-9: rounding, and the ridge that keeps matrices regular."""
    truth = Model(gaussian(SHAPE, 3), ())
    cells = observe(SHAPE, truth.at, noise=0.5)
    polish, model, penalty = (
        polish_of(cells),
        Model(gaussian(SHAPE, 4, seed=3), ()),
        Penalty(2.0, ()),
    )
    before = objective(model, cells, penalty)
    for _ in range(20):
        model = polish.sweep(model, penalty)
        after = objective(model, cells, penalty)
        assert after <= before * (1 + 1e-9)
        before = after


def without_signs(cells, terms=()):
    """A non-negative model near nothing in particular, and the penalty of its terms."""
    start = [np.abs(factor) for factor in gaussian(cells.shape, 3, seed=5)]
    return Model(start, terms, nonnegative=True), Penalty(0.7, (0.5,) * len(terms))


@pytest.mark.parametrize("shape", [(7, 6), (6, 5, 4), (4, 3, 5, 3)])
def test_a_sweep_without_signs_ends_where_no_row_can_descend(monkeypatch, shape):
    """Of entries above zero the gradient vanishes, of zeros it is not negative (Kuhn and Tucker).

    The last factor is solved for with all others as they end; half of its entries would be
    negative. Its additive term may have signs. Passes over a row go on to the end.
    """
    monkeypatch.setattr(module, "_PASSES", 100_000)
    truth = Model(gaussian(shape, 2), tuple(np.linspace(-1, 1, size) for size in shape))
    cells = observe(shape, truth.at, noise=0.3)
    start, penalty = without_signs(cells, tuple(np.zeros(size) for size in shape))
    polish = polish_of(cells)
    model = polish.sweep(polish.sweep(start, penalty), penalty)
    last = model.factors[-1]
    gradient = numerical_gradient(model, cells, penalty, last)
    assert (last == 0).any() and (last > 0).any() and model.nonnegative
    assert all((factor >= 0).all() for factor in model.factors)
    # A row is solved for to 1e-6 of its length, of matrices that are O(100).
    assert_allclose(gradient[last > 0], 0, atol=1e-2)
    assert (gradient[last == 0] > -1e-2).all()
    assert model.terms[-1].min() < 0
    assert_allclose(numerical_gradient(model, cells, penalty, model.terms[-1]), 0, atol=1e-2)


def test_nothing_that_polishes_makes_a_negative_entry():
    """Longer steps, searches, pruning and means; the truth has signs."""
    truth = Model(gaussian(SHAPE, 2), ())
    cells, held_out = observe(SHAPE, truth.at, noise=0.3), observe(SHAPE, truth.at, seed=2)
    polish = polish_of(cells, held_out)
    start, _ = without_signs(cells)
    rough, penalty = polish.rough(start)
    models = [rough, polish.search(start)[0], polish.prune(rough, penalty), rough.at_most(2)]
    models += [rough.beyond(start, 3.0), mean_of([rough, start]), rough.beside(start.factors)]
    for model in models:
        assert model.nonnegative and min(factor.min() for factor in model.factors) >= 0


def test_terms_alone_are_the_ridge_regression_on_indicators():
    """Converged sweeps without components against the closed form of one design matrix."""
    terms = tuple(np.linspace(-1, 1, size) for size in SHAPE)
    empty = [np.zeros((size, 0)) for size in SHAPE]
    cells = observe(SHAPE, Model(empty, terms).at, noise=0.2)
    polish, model = polish_of(cells), Model(empty, tuple(np.zeros(size) for size in SHAPE))
    penalty = Penalty(1.0, (1.0, 2.0, 3.0))
    for _ in range(300):
        model = polish.sweep(model, penalty)
    design = np.hstack([np.eye(s)[cells.coords[:, n]] for n, s in enumerate(SHAPE)])
    weights = cells.weights / cells.weights.mean()
    ridge = np.diag(np.repeat(penalty.terms, SHAPE))
    wanted = np.linalg.solve(
        design.T @ (weights[:, None] * design) + ridge, design.T @ (weights * cells.values)
    )
    assert_allclose(np.concatenate(model.terms), wanted, atol=1e-8)


def test_the_natural_penalty_is_noise_over_the_variance_of_entries():
    factors = [np.full((3, 2), 2.0), np.full((5, 2), 4.0)]
    natural = Penalty.natural(Model(factors, (np.full(3, 0.5),)), 0.1)
    assert natural.factors == pytest.approx(0.1 / ((6 * 4 + 10 * 16) / 16))
    assert natural.terms == pytest.approx((0.1 / 0.25,))


def test_a_few_sweeps_reach_the_noise():
    """From factors 10 % off to the error of least squares that knows the other factors' truth.

    That has ``sum(SHAPE) * 3 / 2000`` of the noise variance, times up to 2 here.
    """
    truth = Model(gaussian(SHAPE, 3), ())
    off = [f + 0.1 * g for f, g in zip(truth.factors, gaussian(SHAPE, 3, seed=9), strict=True)]
    cells, held_out = observe(SHAPE, truth.at, 2000, 0.1), observe(SHAPE, truth.at, 500, seed=2)
    model, error = polish_of(cells, held_out).settle(Model(off, ()), Penalty(1e-6, ()))
    assert error < 2 * 0.1**2 * sum(SHAPE) * 3 / 2000
    assert error == model.error(held_out)


def test_search_finds_a_penalty_that_no_other_beats_by_far():
    """Of few noisy cells; against 13 penalties from 0.001 to 1000 times the natural one."""
    truth = Model(gaussian((40, 30), 2), ())
    cells = observe((40, 30), truth.at, 350, 1.0)
    held_out = observe((40, 30), truth.at, 2000, seed=2)
    polish = polish_of(cells, held_out)
    off = [f + g for f, g in zip(truth.factors, gaussian((40, 30), 2, seed=9), strict=True)]
    start = Model(off, ())
    model, _ = polish.search(start)
    natural = Penalty.natural(start, 1.0)
    others = [
        polish.settle(start, natural.times(10**power))[1] for power in np.arange(-3, 3.5, 0.5)
    ]
    assert model.error(held_out) < 1.02 * min(others)
    assert model.error(held_out) < 0.9 * others[0]


def test_of_a_small_sample_of_all_cells_no_penalty_is_searched():
    """Last sweeps on all of them, twenty times as many as parameters, need none."""
    truth = Model(gaussian(SHAPE, 2), ())
    cells, held_out = (observe(SHAPE, truth.at, noise=0.5, seed=seed) for seed in (1, 2))
    start = Model(gaussian(SHAPE, 4, seed=3), ())
    n_parameters = 4 * sum(SHAPE)
    found = []
    for n_last in (0, 20 * n_parameters, 20 * n_parameters + 1):
        polish = Polish(cells, held_out, Progress(), n_last=n_last)
        natural = Penalty.natural(start, start.error(held_out)).factors
        found.append(polish.search(start)[1].factors / natural)
    assert found[0] == found[1] != found[2]
    assert_allclose(found[2], module._WEAK)


def test_dead_components_are_dropped_and_change_nothing():
    """One of a share of 1e-12 adds less to any prediction; where all are zeros they stay."""
    factors = gaussian(SHAPE, 3)
    factors[0][:, 1] *= 1e-12
    model, coords = Model(factors, ()), np.argwhere(np.ones(SHAPE))
    alive = model.alive()
    assert alive.n_components == 2
    assert_allclose(alive.at(coords), model.at(coords), atol=1e-10)
    assert alive.alive() is alive
    zeros = Model([np.zeros((size, 2)) for size in SHAPE], ())
    assert zeros.alive() is zeros


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of norms that are not finite
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_has_diverged_stays_so(value):
    """No finite model is left of it that would look honest."""
    factors = gaussian(SHAPE, 3)
    factors[0][2, 1] = value
    model = Model(factors, ()).alive()
    assert not np.isfinite(model.at(np.array([[2, 0, 0]]))).any()


def test_components_that_die_under_a_penalty_are_dropped_along_the_way():
    """Of eight components for two, some die in the first sweeps under a strong penalty."""
    truth = Model(gaussian(SHAPE, 2), ())
    cells = observe(SHAPE, truth.at, n_cells=900, noise=0.1)
    start = Model(gaussian(SHAPE, 8, seed=4), ())
    model, _ = polish_of(cells).settle(start, Penalty(3.0, ()))
    assert 2 <= model.n_components < 8


def test_a_search_nearby_is_as_good_as_one_from_afar():
    """From a quarter of the penalty that a search finds."""
    truth = Model(gaussian(SHAPE, 3), ())
    cells = observe(SHAPE, truth.at, n_cells=250, noise=1.0)
    held_out = observe(SHAPE, truth.at, n_cells=400, seed=5)
    polish, start = polish_of(cells, held_out), Model(gaussian(SHAPE, 4, seed=3), ())
    model, penalty = polish.search(start)
    nearby, _ = polish.search(model, penalty.times(0.25))
    assert nearby.error(held_out) <= 1.02 * model.error(held_out)


def test_many_cells_are_sorted_anew_for_each_sweep(monkeypatch):
    """What is held of fewer changes no bit."""
    cells, model = observe(SHAPE, Model(gaussian(SHAPE, 2), ()).at), Model(gaussian(SHAPE, 3), ())
    first = polish_of(cells).sweep(model, Penalty(0.1, ()))
    monkeypatch.setattr(module, "_MANY", 100)
    polish = polish_of(cells)
    second = polish.sweep(model, Penalty(0.1, ()))
    for factor, same in zip(first.factors, second.factors, strict=True):
        assert_array_equal(factor, same)
    assert not polish._kept


def test_components_that_held_out_cells_do_not_want_are_pruned():
    truth = Model(gaussian(SHAPE, 2), ())
    cells, held_out = observe(SHAPE, truth.at, 900, 0.1), observe(SHAPE, truth.at, 400, 0.1, 2)
    many = truth.beside([0.05 * f for f in gaussian(SHAPE, 5, seed=8)])
    polish, penalty = polish_of(cells, held_out), Penalty(1e-3, ())
    many, _ = polish.settle(many, penalty)
    assert polish.prune(many, penalty).n_components == 2


def test_all_components_that_are_wanted_stay():
    truth = Model(gaussian(SHAPE, 3), ())
    cells, held_out = observe(SHAPE, truth.at, 900, 0.1), observe(SHAPE, truth.at, 400, 0.1, 2)
    assert polish_of(cells, held_out).prune(truth, Penalty(1e-3, ())).n_components == 3


def test_at_most_of_nothing_is_nothing():
    model = Model([np.zeros((size, 5)) for size in (6, 5, 4)], ())
    few = model.at_most(2)
    assert few.n_components <= 2
    assert not np.any(few.at(np.argwhere(np.ones((6, 5, 4)))))


def test_the_mean_predicts_the_mean():
    models = [
        Model(gaussian(SHAPE, n, seed=n), tuple(np.arange(s) / n for s in SHAPE)) for n in (1, 2, 4)
    ]
    coords = observe(SHAPE, models[0].at).coords
    wanted = np.mean([model.at(coords) for model in models], axis=0)
    assert_allclose(mean_of(models).at(coords), wanted, atol=1e-12)


def test_a_stop_ends_after_the_sweep_under_way():
    truth = Model(gaussian(SHAPE, 3), ())
    cells, progress = observe(SHAPE, truth.at, noise=0.5), Progress()
    polish, sweeps = Polish(cells, cells, progress), []
    original = polish.sweep

    def sweep(model, penalty):
        sweeps.append(1)
        progress.stop("interrupted")
        return original(model, penalty)

    polish.sweep = sweep
    polish.settle(Model(gaussian(SHAPE, 4, seed=3), ()), Penalty(1.0, ()))
    assert len(sweeps) == 1
