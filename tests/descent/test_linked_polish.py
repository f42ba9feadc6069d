"""Newton sweeps below a link against scikit-learn's regressions, and what they lower."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression, PoissonRegressor
from sklearn.preprocessing import OneHotEncoder

from sktf._cells.observations import Observations
from sktf._cells.offset import fit_link_offset
from sktf._descent.linked_polish import LinkedPolish
from sktf._descent.polish import Model, Penalty
from sktf._descent.progress import Progress
from sktf._objective.links import LINKS

SHAPE = (12, 9, 7)
each = pytest.mark.parametrize("name", ["poisson", "logistic"])


def draw(name, model, seed=0):
    """Two thirds of the cells of values about the means of a model, of uneven weights."""
    rng = np.random.default_rng(seed)
    coords = np.argwhere(rng.random(SHAPE) < 0.67).astype(np.int32)
    mean = LINKS[name].mean(model.at(coords))
    y = rng.poisson(mean) if name == "poisson" else rng.random(len(mean)) < mean
    weights = rng.uniform(0.5, 2, len(mean))
    return Observations(coords, y.astype(float), weights, SHAPE)


def beside_nothing(cells):
    """The cells with two columns of values, to which nothing is added."""
    return cells._replace(values=np.column_stack([cells.values, np.zeros(len(cells.values))]))


def truth(name, rank=2, seed=1):
    rng = np.random.default_rng(seed)
    factors = [rng.uniform(-1, 1, (size, rank)) * 1.3 for size in SHAPE]
    terms = tuple(rng.normal(0, 0.4, size) for size in SHAPE)
    return Model(factors, terms, level=0.4, loss=LINKS[name])


def one_hot(name, cells, ridge):
    """Level and terms by scikit-learn: the deviance plus ``ridge`` times the squares of terms."""
    design = OneHotEncoder(categories=[np.arange(n) for n in SHAPE]).fit_transform(cells.coords)
    if name == "poisson":  # the mean of half the deviance, plus alpha / 2 times the squares
        model = PoissonRegressor(alpha=ridge / cells.weights.sum(), tol=1e-10, max_iter=10_000)
    else:  # C times the sum of half the deviance, plus half the squares
        model = LogisticRegression(C=1 / ridge, tol=1e-12, max_iter=10_000)
    model.fit(design, cells.values, sample_weight=cells.weights)
    coefficients = np.ravel(model.coef_)
    return float(np.ravel(model.intercept_)[0]), np.split(coefficients, np.cumsum(SHAPE)[:-1])


@each
def test_additive_offset_is_the_ridge_regression_of_scikit_learn(name):
    """At the ridge it ends with: the weight of a mean cell times half the curvature there."""
    cells = draw(name, truth(name, rank=0))
    loss, found = LINKS[name], fit_link_offset(cells, "additive", LINKS[name])
    half = loss.curvature(found.at(cells.coords)) / 2
    ridge = (cells.weights * half).sum() / len(half)
    level, terms = one_hot(name, cells, ridge)

    def objective(level, terms):
        eta = level + sum(term[c] for term, c in zip(terms, cells.coords.T, strict=True))
        squares = sum((term**2).sum() for term in terms)
        return cells.weights @ loss.value(eta, cells.values) + ridge * squares

    # The ridge moves with the curvature on the way to the end, and so does what is least.
    least, at = objective(level, terms), objective(found.level, found.terms)
    assert least <= at <= (1 + 1e-3) * least


@each
def test_sweeps_without_components_end_at_that_of_scikit_learn(name):
    """Block Newton steps of level and terms converge to the joint optimum."""
    cells = draw(name, truth(name, rank=0))
    seen = beside_nothing(cells)
    polish = LinkedPolish(seen, seen, Progress())
    start = [np.zeros((size, 0)) for size in SHAPE], tuple(np.zeros(size) for size in SHAPE)
    model, ridge = Model(*start, level=0.0, loss=LINKS[name]), 0.7
    for _ in range(100):
        model = polish.sweep(model, Penalty(1.0, (ridge,) * 3))
    # Weights of rows are divided by their mean.
    level, terms = one_hot(name, cells, ridge * cells.weights.mean())
    expected = model._replace(level=level, terms=tuple(terms))
    # The level creeps where the mean of terms does as well; what they add up to is there.
    assert_allclose(model.at(seen.coords), expected.at(seen.coords), atol=2e-2)


@each
@pytest.mark.parametrize("size", [0.1, 3.0])
def test_no_sweep_raises_deviance_and_penalty(name, size):
    """From small factors, and from large ones whose Newton steps overshoot."""
    seen = beside_nothing(draw(name, truth(name)))
    polish, penalty = LinkedPolish(seen, seen, Progress()), Penalty(0.5, ())
    rng = np.random.default_rng(3)
    model = Model([rng.normal(0, size, (n, 3)) for n in SHAPE], (), loss=LINKS[name])
    weights = seen.weights / seen.weights.mean()

    def objective(model):
        deviances = LINKS[name].at(model.at(seen.coords), seen.values)
        return weights @ deviances + 0.5 * sum((factor**2).sum() for factor in model.factors)

    values = [objective(model)]
    for _ in range(12):
        model = polish.sweep(model, penalty)
        values.append(objective(model))
    assert (np.diff(values) <= 1e-9 * np.abs(values[:-1])).all()
    assert values[-1] < 0.95 * values[0]


@each
def test_settled_sweeps_are_stationary(name):
    """The gradient of deviance and penalty at the factors vanishes, by central differences."""
    seen = beside_nothing(draw(name, truth(name)))
    polish, rng = LinkedPolish(seen, seen, Progress()), np.random.default_rng(4)
    model = Model([rng.normal(0, 0.5, (n, 2)) for n in SHAPE], (), level=0.0, loss=LINKS[name])
    for _ in range(300):
        model = polish.sweep(model, Penalty(2.0, ()))
    weights = seen.weights / seen.weights.mean()

    def objective(model):
        deviances = LINKS[name].at(model.at(seen.coords), seen.values)
        return weights @ deviances + 2 * sum((factor**2).sum() for factor in model.factors)

    for mode, row in [(0, 3), (1, 8), (2, 0)]:
        at = []
        for step in (1e-5, -1e-5):
            factors = [factor.copy() for factor in model.factors]
            factors[mode][row, 0] += step
            at.append(objective(model._replace(factors=factors)))
        # Of a sum of some 500 deviances; along the rows it moved by tens at the start.
        assert abs(at[0] - at[1]) / 2e-5 < 1e-2
