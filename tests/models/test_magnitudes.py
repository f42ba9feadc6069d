"""Values of any magnitude: the same answers in another unit, or an error that names it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import r2_score

from sktf import (
    CompletionEnsemble,
    CPALSCompletion,
    CPCompletion,
    DeepCPCompletion,
    HierarchicalCompletion,
    NonNegativeCPCompletion,
    PosteriorCompletion,
)
from sktf.datasets import entries_from_dense

# Few cells determine no model, and short runs are the point here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]
SHORT = {"n_init": 1, "max_iter": 20, "random_state": 0}
# Powers of two change no digit; the squares of these over- and underflow.
UNITS = [2.0**900, 2.0**-900]


def many_cells(n=150, shape=(12, 11), seed=0):
    """Return cells, enough to hold some out, and their values in a matrix of rank 1."""
    rng = np.random.default_rng(seed)
    X = rng.integers(shape, size=(n, len(shape)))
    factors = [rng.standard_normal(size) for size in shape]
    return X, np.prod([f[c] for f, c in zip(factors, X.T, strict=True)], axis=0)


@pytest.mark.parametrize("unit", UNITS)
def test_r2_has_no_unit(unit, estimator, small_matrix):
    """That of scikit-learn on values of magnitude 1; its own is NaN on these."""
    X, y = small_matrix
    model = estimator.fit(X, y * unit)
    expected = r2_score(y, model.predict(X) / unit)
    assert_allclose(model.score(X, y * unit), expected, rtol=1e-9)
    assert_allclose(model.score(X, list(y * unit)), expected, rtol=1e-9)


def test_r2_of_ordinary_values_is_that_of_scikit_learn(small_matrix):
    """To the bit, with weights too."""
    X, y = small_matrix
    model, weights = CPCompletion(2, **SHORT).fit(X, y), np.arange(1.0, len(y) + 1)
    assert model.score(X, y) == r2_score(y, model.predict(X))
    expected = r2_score(y, model.predict(X), sample_weight=weights)
    assert model.score(X, y, sample_weight=weights) == expected


@pytest.mark.parametrize("unit", UNITS)
def test_deviations_of_an_ensemble_have_the_unit_of_y(unit):
    """Their squares do not."""
    X, y = many_cells()
    ensemble = CompletionEnsemble(CPCompletion(2, **SHORT), n_estimators=2, random_state=0)
    _, expected = clone(ensemble).fit(X, y).predict(X, return_std=True)
    _, found = ensemble.fit(X, y * unit).predict(X, return_std=True)
    assert_allclose(found / unit, expected, rtol=1e-6)


def test_members_that_agree_have_a_deviation():
    """Of terms that are rounding alone: of values of 1e300 their squares overflow."""
    X, _ = many_cells()
    inner = CPCompletion(2, offset="additive", handle_unknown="mean", **SHORT)
    model = CompletionEnsemble(inner, random_state=0)
    deviations = model.fit(X, np.full(len(X), 3e300)).predict([[0, 0], [30, 2]], return_std=True)[1]
    assert (deviations < 1e290).all() and np.isfinite(deviations).all()


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("offset", [None, "additive"])
def test_extend_has_the_unit_of_y(unit, offset):
    """Covariances of rows are squares as well."""
    X, y = many_cells()
    model = CPCompletion(2, offset=offset, **SHORT)
    new = np.array([[12, 0], [12, 1], [12, 2]])
    expected = clone(model).fit(X, y).extend(new, y[:3], mode=0).predict(new)
    found = model.fit(X, y * unit).extend(new, y[:3] * unit, mode=0).predict(new)
    assert_allclose(found / unit, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("unit", [2.0**820, 2.0**990])
def test_extend_beside_terms_keeps_its_directions(unit):
    """Terms have the unit of y, and factors its root, whose squares are nothing beside it."""
    rng, shape = np.random.default_rng(0), (21, 15, 10)
    X = np.argwhere(np.ones(shape))
    factors = [rng.standard_normal((size, 2)) for size in shape]
    y = np.prod([f[c] for f, c in zip(factors, X.T, strict=True)], axis=0).sum(axis=1) * unit
    old = X[:, 0] < 20
    model = CPCompletion(2, offset="additive", shape=(20, 15, 10), random_state=0)
    model.fit(X[old], y[old]).extend(X[~old], y[~old], mode=0)
    assert model.score(X[~old], y[~old]) > 0.99


@pytest.mark.parametrize("size", [1e302, 1e-302])
def test_extend_of_one_mode(size):
    """A vector's only factor is as large as y, its covariance twice as far out."""
    X, y = np.arange(4)[:, None], np.array([1.0, 2.0, 3.0, 5.0]) * size
    model = HierarchicalCompletion(2, offset="additive", **SHORT).fit(X, y)
    assert np.isfinite(model.extend([[4]], [size], mode=0).predict([[4]])).all()


def test_values_far_below_the_start_are_predicted_as_finite():
    """Without ``scale`` a start of size 1 is so many times too large that squares overflow."""
    X, y = many_cells()
    model = CPCompletion(2, scale=False, init_scale=1.0, init_mean=1.0, **SHORT)
    assert np.isfinite(model.fit(X, y * 5e-324).predict(X)).all()
    posterior = PosteriorCompletion(model, n_samples=2, n_warmup=1, n_chains=1, random_state=0)
    assert np.isfinite(posterior.fit(X, y * 1e-300).predict(X)).all()


def test_tensorly_takes_tiny_values(small_matrix):
    """Whose squares are zero."""
    X, y = small_matrix
    model = CPALSCompletion(1, scale=False, offset=None, solver="tensorly", **SHORT)
    assert_allclose(model.fit(X, y * 2.0**-900).score(X, y * 2.0**-900), 1.0, atol=1e-6)


@pytest.mark.parametrize("exponent", [-700, 700])
def test_weights_of_any_unit(exponent):
    """A power of two in all of them changes no bit, beside values of 1e150."""
    X, y = many_cells()
    weights = np.random.default_rng(1).random(len(y)) + 0.5
    fits = [
        CPCompletion(2, **SHORT).fit(X, y * 1e150, sample_weight=w).predict(X)
        for w in (weights, np.ldexp(weights, exponent))
    ]
    assert_array_equal(*fits)


def test_what_overflows_is_an_error():
    """A start ten times as large as y is, to the power of four."""
    X, y = many_cells(shape=(4, 4, 4, 4))
    model = DeepCPCompletion(init_scale=1e3, n_init=1, max_iter=1, random_state=0)
    with pytest.raises(ValueError, match="A component overflows: divide y by a constant"):
        model.fit(X, y / np.abs(y).max() * 1e302)


def test_single_precision_ends_earlier():
    """With ``scale`` the descent sees numbers of size 1."""
    X, y = many_cells()
    model = CPCompletion(2, dtype="float32", **SHORT)
    assert np.isfinite(model.fit(X, y * 1e100).predict(X)).all()
    with pytest.raises(ValueError, match=r'dtype=float32 ends at 3\.4e\+38.*dtype="float64"'):
        model.set_params(scale=False).fit(X, y * 1e100)


@pytest.mark.parametrize(
    ("solver", "size"), [("sparse", 1e102), ("tensorly", 1e152), ("auto", 1e300)]
)
def test_als_says_where_products_overflow(size, solver):
    """Without ``scale``; with it they are of size 1."""
    X, y = entries_from_dense(np.arange(1.0, 13).reshape(4, 3))
    model = CPALSCompletion(2, scale=False, solver=solver, **SHORT)
    with pytest.raises(
        ValueError, match=r"y has values up to .*, of which products overflow; set sca"
    ):
        model.fit(X, y * size)
    assert np.isfinite(model.set_params(scale=True).fit(X, y * size).predict(X)).all()


@pytest.mark.parametrize("name", ["n_components", "depth"])
def test_small_integers_are_integers(name):
    """Of NumPy's eight bits, with which products overflow, or Python's truth values."""
    X, y = many_cells()
    for one in np.int8(1), True:
        model = DeepCPCompletion(**SHORT | {"n_components": 2, name: one})
        same = clone(model).set_params(**{name: 1})
        assert_array_equal(model.fit(X, y).predict(X), same.fit(X, y).predict(X))
    chains = {"n_chains": 1, "n_warmup": 1, "n_samples": 2, "random_state": 0}
    inner = CPCompletion(2, **SHORT)
    fits = [PosteriorCompletion(inner, n_components=n, **chains) for n in (np.int8(1), 1)]
    assert_array_equal(*(model.fit(X, y).predict(X) for model in fits))


def test_chains_begin_from_factors_of_any_size():
    """Parts of values near the largest number: their columns have squares beyond it."""
    X, y = many_cells()
    inner = NonNegativeCPCompletion(2, **SHORT)
    model = PosteriorCompletion(inner, n_components=2, n_samples=2, n_chains=2, random_state=0)
    assert np.isfinite(model.fit(X, np.abs(y) / np.abs(y).max() * 1e302).predict(X)).all()


def test_one_chain_or_one_fit_may_be_called_true():
    """As scikit-learn takes truth values for integers."""
    X, y = many_cells()
    chains = {"n_components": 2, "n_samples": 2, "random_state": 0}
    for n in (1, True):
        model = PosteriorCompletion(CPCompletion(2, **SHORT), n_chains=n, **chains)
        assert len(model.fit(X, y)._draws.draws) == 2
        fits = CompletionEnsemble(CPCompletion(2), n_estimators=n, n_average=n).fit(X, y)
        assert len(fits.estimators_) == fits.n_average_ == 1
