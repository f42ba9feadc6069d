"""NonNegativeCPCompletion: factors without signs after all that is done to them, recovery."""

import numpy as np
import pytest
from scipy.optimize import lsq_linear
from sklearn.exceptions import ConvergenceWarning

from sktf import CPCompletion, NonNegativeCPCompletion
from sktf._models import sampled
from sktf._models.extension import _least_squares_above
from sktf._models.nonnegative import NonNegativeCPFactorization
from sktf._models.rows import row_covariance
from sktf.datasets import dense_from_factors, split_entries
from sktf.metrics import relative_error

cut_off = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SHAPES = [(24, 20), (9, 8, 7), (6, 5, 4, 4)]


def parts(shape, seed=0, rank=3):
    """A tensor of exponential factors, the median entry well below the mean."""
    rng = np.random.default_rng(seed)
    return dense_from_factors([rng.exponential(size=(size, rank)) for size in shape])


def noisy(shape, seen=0.6, seed=0):
    """Some of its cells, with noise of which single values are negative, and the others."""
    tensor, rng = parts(shape, seed), np.random.default_rng(seed + 1)
    X = np.argwhere(np.ones(shape))
    y = tensor.ravel() + 0.2 * tensor.std() * rng.standard_normal(tensor.size)
    X, X_hidden, y, y_hidden = split_entries(X, y, 1 - seen, random_state=seed)
    assert (y < 0).any()
    return X, y, X_hidden, y_hidden


def fitted(shape, n_components=6, **options):
    X, y, *_ = noisy(shape)
    options = {"n_init": 4, "max_iter": 400, "shape": shape, "random_state": 0} | options
    return NonNegativeCPCompletion(n_components, **options).fit(X, y)


def least(model):
    return min(factor.min() for factor in model.factors_)


@cut_off
@pytest.mark.parametrize("shape", SHAPES, ids=len)
@pytest.mark.parametrize(
    "options",
    [{}, {"prune": False}, {"init": "gaussian"}, {"init": "balanced"}, {"dtype": "float32"}],
    ids=str,
)
def test_no_factor_and_no_prediction_is_negative(shape, options):
    """Exactly, pruned or not, of noise that is."""
    model = fitted(shape, **options)
    assert least(model) >= 0 and model.to_dense().min() >= 0
    assert model.rank_ > 0


@cut_off
@pytest.mark.parametrize("shape", SHAPES, ids=len)
def test_no_factor_is_negative_after_a_warm_start(shape):
    """The theta that is kept has the factors as squares, and the fit goes on from there."""
    model = fitted(shape, warm_start=True)
    before = model.loss_
    X, y, *_ = noisy(shape)
    model.fit(X, y)
    assert least(model) >= 0 and model.loss_ < 1.5 * before


@cut_off
def test_the_components_of_a_matrix_are_its_parts():
    """Not its singular triplets, of which all but the first have signs; norms by the definition."""
    model = fitted((24, 20), prune=False)
    left, right = model.factors_
    norms = np.linalg.norm(left, axis=0) * np.linalg.norm(right, axis=0)
    np.testing.assert_allclose(model.component_norms_, norms, rtol=1e-12)
    assert (np.diff(norms) <= 0).all() and (norms > 0).all()
    np.testing.assert_allclose(model.trace_["component_norms"][-1], norms, rtol=1e-12)
    np.testing.assert_allclose(model.to_dense(), left @ right.T, rtol=1e-12)


def new_rows(model, mode, n_cells, seed=5):
    """Cells of two indices after the last of a mode, of values that rows with signs fit best."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.integers(0, size, 2 * n_cells) for size in model.shape_])
    X[:, mode] = model.shape_[mode] + np.arange(2 * n_cells) % 2
    return X, 3 * rng.standard_normal(2 * n_cells)


@cut_off
@pytest.mark.parametrize("n_cells", [2, 12])
@pytest.mark.parametrize("shape", SHAPES, ids=len)
def test_extend_solves_non_negative_least_squares(shape, n_cells):
    """By scipy's bounded solver, where the covariance of the rows is regular."""
    model = fitted(shape, 2, init="gaussian", init_scale=0.5, n_init=1)
    X, y = new_rows(model, 0, n_cells)
    factor, others, error = model.factors_[0], model.factors_[1:], model._error
    rows = np.vstack([factor, factor.mean(axis=0)])
    root = np.linalg.cholesky(row_covariance(rows, np.ones(len(factor))))
    model.extend(X, y, mode=0)
    for number, index in enumerate(range(shape[0], shape[0] + 2)):
        at = X[:, 0] == index
        pairs = zip(others, X[at, 1:].T, strict=True)
        design = np.prod([f[column] for f, column in pairs], axis=0)
        penalty = error * np.linalg.inv(root)
        system = np.vstack([design, penalty]), np.append(y[at], penalty @ rows[-1])
        expected = lsq_linear(*system, bounds=(0, np.inf), tol=1e-14).x
        found = model.factors_[0][index]
        residuals = [np.linalg.norm(system[0] @ row - system[1]) for row in (found, expected)]
        assert (found >= 0).all(), number
        assert residuals[0] <= residuals[1] * (1 + 1e-9)


@cut_off
@pytest.mark.parametrize("offset", [None, "additive"])
def test_extend_of_few_components_keeps_the_others_at_zero(offset):
    """They have no covariance; beside additive terms the row has no signs, the term may."""
    model = fitted((9, 8, 7), offset=offset, early_stopping=offset is None)
    zero = model.component_norms_ == 0
    assert zero.any() == (offset is None)
    model.extend(*new_rows(model, 1, 3), mode=1)
    assert least(model) >= 0 and np.isfinite(model.factors_[1]).all()
    assert (model.factors_[1][:, zero] == 0).all()


@pytest.mark.parametrize("values", [np.zeros(3), np.array([1.0, 0.0, 2.0])])
def test_rows_that_touch_their_bounds_stay(values):
    """Where the least squares are on the bounds there is nothing to move, and no unit of it."""
    found = _least_squares_above(np.eye(3), values, np.eye(3), np.zeros(3))
    np.testing.assert_array_equal(found, values)


@cut_off
@pytest.mark.parametrize("unit", [2.0**-198, 2.0**198, 2.0**990])
def test_extend_knows_no_units(unit):
    """Rows of values in other units, powers of two so that nothing else rounds, are the same."""
    X, y, *_ = noisy((9, 8, 7))
    factors = []
    for scale in (1.0, unit):
        options = {"init": "gaussian", "max_iter": 100, "shape": (9, 8, 7), "random_state": 0}
        model = NonNegativeCPCompletion(3, **options).fit(X, scale * y)
        cells, values = new_rows(model, 0, 12)
        model.extend(cells, scale * values, mode=0)
        factors.append(model.factors_[0][-2:] / scale ** (1 / 3))
    assert factors[0].min() < 1e-12  # a bound, but for rounding
    np.testing.assert_allclose(factors[1], factors[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_a_tensor_of_three_parts_is_recovered(seed):
    """From 20 % of its cells without noise, to 2 % over all: 7 cells for each parameter.

    A model that knows nothing, the mean, is 100 % of a standard deviation off.
    """
    shape = (20, 18, 16)
    tensor, X = parts(shape, seed), np.argwhere(np.ones(shape))
    X, _, y, _ = split_entries(X, tensor.ravel(), 0.8, random_state=seed)
    model = NonNegativeCPCompletion(shape=shape, n_init=4, tol=1e-5, random_state=seed).fit(X, y)
    assert relative_error(model.to_dense(), tensor) < 0.02
    assert least(model) >= 0


def many(shape, n_cells, seed=20, noise=0.1):
    """Noisy cells of three parts, drawn with repetition, and hidden ones without noise."""
    rng = np.random.default_rng(seed)
    factors = [rng.random((size, 3)) ** 2 for size in shape]
    X = np.column_stack([rng.integers(0, size, n_cells + 5000) for size in shape])
    truth = np.prod([f[c] for f, c in zip(factors, X.T, strict=True)], axis=0).sum(axis=1)
    y = truth + noise * truth.std() * rng.standard_normal(len(truth))
    return X[:n_cells], y[:n_cells], X[n_cells:], truth[n_cells:]


# Of a tensor, a matrix, and a tensor of which 0.6 % are seen.
LARGE = [((30, 25, 20), 18_000), ((120, 100), 18_000), ((100, 100, 100), 6000)]


@pytest.mark.parametrize("options", [{}, {"dtype": "float32"}, {"refit": False}], ids=str)
@pytest.mark.parametrize(("shape", "n_cells"), LARGE)
def test_parts_grow_on_many_cells(shape, n_cells, options):
    """To twice the error of least squares from the true supports, ``noise sqrt(R sum / m)``."""
    X, y, X_hidden, truth = many(shape, n_cells)
    model = NonNegativeCPCompletion(shape=shape, random_state=0, **options).fit(X, y)
    assert isinstance(model._theta, list)  # what has grown, not what raced
    assert model.rank_ == 3 and least(model) >= 0
    error = np.std(model.predict(X_hidden) - truth) / truth.std()
    assert error < 2 * 0.1 * np.sqrt(3 * sum(shape) / (0.9 * n_cells))


def test_a_polish_on_all_cells_has_no_signs(monkeypatch):
    """After growth on a part of them; of noise of which zeros are the best entries."""
    monkeypatch.setattr(sampled, "_ENOUGH", 8000)
    monkeypatch.setattr(sampled, "_PER_ROOT", 0)
    monkeypatch.setattr(sampled, "_PER_ROW", 10)
    X, y, X_hidden, truth = many((30, 25, 20), 20_000, noise=1.0)
    model = NonNegativeCPCompletion(shape=(30, 25, 20), random_state=0).fit(X, y)
    assert least(model) == 0 and model.to_dense().min() >= 0
    assert model.score(X_hidden, truth) > 0.97


@pytest.mark.parametrize(("offset", "least_score"), [("mean", 0.5), ("additive", 0.95)])
def test_parts_that_grow_above_an_offset_have_no_signs(offset, least_score):
    """The terms, fitted jointly, may; nothing describes what lies below the mean."""
    X, y, X_hidden, truth = many((30, 25, 20), 20_000)
    how = {"offset": offset, "shape": (30, 25, 20), "random_state": 0}
    model = NonNegativeCPCompletion(**how).fit(X, y - 5)
    assert model.rank_ > 0 and least(model) >= 0
    assert model.score(X_hidden, truth - 5) > least_score
    if offset == "additive":
        assert min(term.min() for term in model.offset_terms_) < 0


def test_values_that_are_all_alike_are_one_part():
    """What a second one is offered is rounding, by which nothing may be divided."""
    X, *_ = many((30, 25, 20), 18_000)
    model = NonNegativeCPCompletion(random_state=0).fit(X, np.full(len(X), 3.0))
    assert model.rank_ == 1
    np.testing.assert_allclose(model.predict(X), 3.0, rtol=1e-6)


@cut_off
def test_what_has_grown_is_extended_and_gone_on_from():
    """A warm start lifts its zeros a little; ``extend`` learns the rows of a new index."""
    X, y, *_ = many((30, 25, 20), 18_000)
    model = NonNegativeCPCompletion(shape=(30, 25, 20), random_state=0).fit(X, y)
    before = model.predict(X)
    model.set_params(warm_start=True, max_iter=3).fit(X, y)
    assert np.std(model.predict(X) - before) < 0.05 * np.std(before)
    at = X[:, 0] == 3
    X_new = np.column_stack([np.full(at.sum(), 30), X[at, 1:]])
    model.extend(X_new, y[at], mode=0)
    assert least(model) >= 0
    np.testing.assert_allclose(model.factors_[0][30], model.factors_[0][3], rtol=0.2, atol=0.05)


def test_negative_values_are_predicted_as_zero():
    """Their nearest non-negative tensor; a fit with signs finds the values."""
    X = np.argwhere(np.ones((4, 3, 3)))
    y = np.where(X[:, 0] == 0, -1.0, 1.0)
    options = {"early_stopping": False, "tol": 1e-8, "random_state": 0}
    with pytest.warns(ConvergenceWarning):
        model = NonNegativeCPCompletion(2, max_iter=800, **options).fit(X, y)
    np.testing.assert_allclose(model.predict(X), np.maximum(y, 0), atol=1e-2)
    plain = CPCompletion(2, **options).fit(X, y)
    np.testing.assert_allclose(plain.predict(X), y, atol=1e-2)


@cut_off
def test_a_given_start_is_squared():
    """The first record holds the norms of the squares, in the user's units; zeros stay zeros."""
    rng = np.random.default_rng(0)
    v = [rng.standard_normal((size, 2)) for size in (5, 4, 3)]
    v[1][2, 0] = 0.0
    X = np.argwhere(np.ones((5, 4, 3)))
    options = {"scale": False, "early_stopping": False, "max_iter": 20}
    model = NonNegativeCPCompletion(init=v, record_every=1, **options).fit(X, np.ones(len(X)))
    norms = np.prod([np.linalg.norm(block**2, axis=0) for block in v], axis=0)
    found = model.trace_["component_norms"][0]
    np.testing.assert_allclose(np.sort(found), np.sort(norms), rtol=1e-12)
    assert (model.factors_[1] == 0).sum() == 1


def test_embedded_factors_are_themselves_but_for_small_entries():
    """Components that are missing are zero; 1 % of the largest entry is the least of a column."""
    factorization = NonNegativeCPFactorization((3, 2), 2)
    given = [np.array([[1.0], [0.0], [0.5]]), np.array([[0.0], [4.0]])]
    found, _ = factorization.forward(factorization.embed(given))
    np.testing.assert_allclose(found[0], [[1, 0], [0.01, 0], [0.5, 0]], atol=1e-15)
    np.testing.assert_allclose(found[1], [[0.04, 0], [4, 0]], atol=1e-15)


def test_the_tests_have_signs_to_lose():
    """A fit with signs to the same cells has negative entries in every factor."""
    X, y, *_ = noisy((9, 8, 7))
    model = CPCompletion(6, shape=(9, 8, 7), n_init=4, random_state=0).fit(X, y)
    assert all(factor.min() < 0 for factor in model.factors_)
