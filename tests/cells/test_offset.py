"""Offsets against dense ridge regression by numpy; the scale against its definition."""

import numpy as np
import pytest
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

from sktf import CPCompletion
from sktf._cells.offset import Moments, Offset, fit_offset, kurtosis, level_share
from sktf._cells.validation import Observations
from sktf.datasets import make_low_rank, make_ratings, sample_entries

SHAPE = (6, 4, 5)
# The additive terms come from an iterative solver that stops at six digits of its residuals.
SOLVED = {"rtol": 1e-5, "atol": 1e-5}


def observe(n_observed=50, seed=0, weights=None):
    """Cells of values with a mean, additive terms and noise; some are repeated."""
    rng = np.random.default_rng(seed)
    coords = rng.integers(0, SHAPE, (n_observed, len(SHAPE)))
    values = 3 + coords[:, 0] - 0.5 * coords[:, 2] + rng.standard_normal(n_observed)
    if weights is None:
        weights = rng.uniform(0.5, 3, n_observed)
    return Observations(coords, values, weights, SHAPE)


def dense_ridge(observations):
    """Level and terms by the normal equations of a dense one-hot design."""
    coords, values, weights, shape = observations
    ridge = weights.sum() / len(np.unique(coords, axis=0))
    level = weights @ values / weights.sum()
    design = np.hstack([np.eye(size)[coords[:, n]] for n, size in enumerate(shape)])
    gram = design.T @ (weights[:, None] * design) + ridge * np.eye(sum(shape))
    terms = np.linalg.solve(gram, design.T @ (weights * (values - level)))
    return level, np.split(terms, np.cumsum(shape)[:-1])


def test_additive_terms_are_those_of_dense_ridge():
    """One term per index of each mode, on weighted rows."""
    observations = observe()
    offset = fit_offset(observations, "additive", False)
    level, terms = dense_ridge(observations)
    np.testing.assert_allclose(offset.level, level, rtol=1e-13)
    assert [len(term) for term in offset.terms] == list(SHAPE)
    for term, expected in zip(offset.terms, terms, strict=True):
        np.testing.assert_allclose(term, expected, **SOLVED)
    assert max(np.abs(term).max() for term in terms) > 1


def test_an_index_seen_often_keeps_more_of_its_mean():
    """With one mode, m rows keep ``m / (m + ridge)`` of their mean; here a cell has 13 / 3 rows."""
    coords = np.repeat([0, 1, 2], [1, 3, 9])[:, None]
    values = np.repeat([2.0, -1.0, 0.5], [1, 3, 9])
    observations = Observations(coords, values, np.ones(13), (3,))
    offset = fit_offset(observations, "additive", False)
    above = np.array([2.0, -1.0, 0.5]) - values.mean()
    kept = np.array([3 / 16, 9 / 22, 27 / 40])
    np.testing.assert_allclose(offset.terms[0], above * kept, **SOLVED)


def test_without_weights_and_repeated_cells_the_ridge_is_one():
    """An index that is seen in one cell alone keeps half of what the other terms leave."""
    coords = np.array([[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [2, 0]])
    values = np.array([1.0, -2.0, 3.0, 0.5, 4.0, -1.0])
    observations = Observations(coords, values, np.ones(6), (3, 3))
    rows, columns = fit_offset(observations, "additive", False).terms
    np.testing.assert_allclose(rows[2], (-1.0 - values.mean() - columns[0]) / 2, **SOLVED)
    np.testing.assert_allclose(columns[2], (3.0 - values.mean() - rows[0]) / 2, **SOLVED)


@pytest.mark.parametrize("unit", [1e-2, 1 / 50, 3.7, 1e6, 1e-200, 1e200])
@pytest.mark.parametrize("weights", [None, np.ones(50)], ids=["random", "equal"])
def test_the_unit_of_the_weights_changes_nothing(weights, unit):
    """Weights that sum to one, and inverse variances in any unit."""
    first = observe(weights=weights)
    second = first._replace(weights=unit * first.weights)
    first, second = fit_offset(first, "additive", True), fit_offset(second, "additive", True)
    np.testing.assert_allclose([second.level, second.scale], [first.level, first.scale], rtol=1e-10)
    for term, expected in zip(second.terms, first.terms, strict=True):
        np.testing.assert_allclose(term, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_a_fit_does_not_depend_on_the_unit_of_the_weights():
    """Predictions of cells not seen, from ratings whose users and films differ in their means."""
    X, y, shape = make_ratings(40, 45, 400, random_state=4)
    weights = np.random.default_rng(4).uniform(0.2, 5, 300)
    settings = {"offset": "additive", "shape": shape, "early_stopping": False, "random_state": 0}
    predicted = []
    for unit in 1, 1e-2, 1 / 300, 1e6:
        model = CPCompletion(2, n_init=1, max_iter=20, tol=0, **settings)
        with pytest.warns(ConvergenceWarning):
            model.fit(X[:300], y[:300], sample_weight=unit * weights)
        predicted.append(model.predict(X[300:]))
    # Products with the unit are rounded, and the rounding grows in twenty steps.
    np.testing.assert_allclose(predicted[1:], np.broadcast_to(predicted[0], (3, 100)), rtol=1e-6)


@pytest.mark.parametrize("unit", [1e-9, 1.0, -1e9])
@pytest.mark.parametrize(
    ("level", "kind"), [(0.0, None), (9.9, None), (10.1, "mean"), (1e4, "mean")]
)
def test_auto_takes_off_a_mean_of_ten_deviations(level, kind, unit):
    """In any units, and by the weighted mean and deviation."""
    observations = observe()
    _, values, weights, _ = observations
    values = values - np.average(values, weights=weights)
    values = values / np.sqrt(np.average(values**2, weights=weights)) + level
    observations = observations._replace(values=unit * values)
    assert fit_offset(observations, "auto", True) == fit_offset(observations, kind, True)


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_auto_finds_the_signal_under_a_level():
    """A descent that must hold 1e4 in its components ends before it sees values of size 1."""
    tensor, _ = make_low_rank((12, 11, 10), 2, random_state=0)
    X, y = sample_entries(tensor, 0.4, random_state=0)
    errors = {}
    for offset in ("auto", None):
        model = CPCompletion(shape=tensor.shape, offset=offset, n_init=2, random_state=0)
        errors[offset] = np.sqrt(np.mean((model.fit(X, y + 1e4).to_dense() - 1e4 - tensor) ** 2))
    # The deviation of the tensor is 1; predicting the mean has error 1.
    assert errors["auto"] < 0.1 and errors[None] > 1


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("kind", [None, "mean", "additive"])
def test_a_weight_is_a_number_of_repetitions(kind, scale):
    """Weights 1, 2, 3 do as rows that occur once, twice and three times."""
    counts = np.random.default_rng(3).integers(1, 4, 50)
    weighted = observe(weights=counts.astype(float))
    again = np.repeat(np.arange(50), counts)
    repeated = weighted.take(again)._replace(weights=np.ones(len(again)))
    first, second = fit_offset(weighted, kind, scale), fit_offset(repeated, kind, scale)
    np.testing.assert_allclose(first.level, second.level, rtol=1e-13)
    np.testing.assert_allclose(first.scale, second.scale, rtol=1e-5)
    for term, expected in zip(first.terms, second.terms, strict=True):
        np.testing.assert_allclose(term, expected, **SOLVED)


@pytest.mark.parametrize("kind", [None, "mean", "additive"])
def test_the_scale_is_the_weighted_rms_of_what_is_left(kind):
    """By the definition; without ``scale`` it is 1."""
    observations = observe()
    offset = fit_offset(observations, kind, True)
    left = observations.values - offset.at(observations.coords)
    rms = np.sqrt(observations.weights @ left**2 / observations.weights.sum())
    np.testing.assert_allclose(offset.scale, rms, rtol=1e-13)
    assert fit_offset(observations, kind, False).scale == 1
    assert kind != "additive" or rms < 1.2


def test_the_mean_leaves_no_weighted_mean():
    """``level`` is the weighted mean, and None takes nothing off."""
    observations = observe()
    offset = fit_offset(observations, "mean", True)
    left = observations.values - offset.at(observations.coords)
    np.testing.assert_allclose(observations.weights @ left, 0, atol=1e-12)
    assert fit_offset(observations, None, True)[:2] == (0.0, ())


@pytest.mark.parametrize("level", [0.1, -7.3, 1e12])
@pytest.mark.parametrize("kind", ["mean", "additive"])
def test_equal_values_leave_nothing_and_have_scale_zero(kind, level):
    """Rounding errors of equal values are not data: they aren't blown up to RMS 1."""
    observations = observe()._replace(values=np.full(50, level))
    for scale in (True, False):
        offset = fit_offset(observations, kind, scale)
        assert offset.scale == 0
    np.testing.assert_allclose(offset.at(observations.coords), level, rtol=1e-12)


def test_zeros_leave_nothing():
    """Their RMS is 0, and so is the scale."""
    observations = observe()._replace(values=np.zeros(50))
    assert fit_offset(observations, None, True) == (0.0, (), 0.0)


def test_small_differences_are_data():
    """Values that differ in the ninth digit have the RMS of these differences as scale."""
    values = 1 + 1e-9 * np.random.default_rng(5).standard_normal(50)
    observations = observe(weights=np.ones(50))._replace(values=values)
    # Differences of numbers near 1 have seven digits left.
    np.testing.assert_allclose(
        fit_offset(observations, "mean", True).scale, values.std(), rtol=1e-6
    )


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_the_scale_neither_overflows_nor_underflows(size):
    """Squares of such values are not numbers; their RMS is."""
    observations = observe()
    expected = size * fit_offset(observations, None, True).scale
    scaled = observations._replace(values=size * observations.values)
    np.testing.assert_allclose(fit_offset(scaled, None, True).scale, expected, rtol=1e-13)


@pytest.mark.parametrize("kind", [None, "mean"])
def test_the_scale_of_the_smallest_numbers_is_not_zero(kind):
    """A third of them is nearer to zero than to themselves, but something is left."""
    observations = observe()
    values = np.where(np.arange(50) % 9, 0.0, 5e-324)
    assert fit_offset(observations._replace(values=values), kind, True).scale == 5e-324
    assert Moments.of([values]).offset(kind, True).scale == 5e-324


def test_unknown_indices_contribute_nothing():
    """``at`` adds the terms of the known indices alone."""
    offset = Offset(10.0, (np.array([1.0, 2.0]), np.array([0.1, 0.2, 0.3])), 1.0)
    coords = np.array([[1, 2], [1, 0], [0, 2], [0, 0]])
    known = np.array([[True, True], [True, False], [False, True], [False, False]])
    np.testing.assert_allclose(offset.at(coords, known), [12.3, 12.0, 10.3, 10.0], rtol=1e-15)
    np.testing.assert_allclose(offset.at(coords[:1]), [12.3], rtol=1e-15)


@pytest.mark.parametrize("unit", [1.0, 2.0**500, 2.0**-500])
def test_moments_of_values(unit):
    """Against SciPy, in units whose fourth powers over- or underflow."""
    values = np.random.default_rng(0).standard_t(5, 1000) + 2
    cells = Observations(np.zeros((1000, 1), int), unit * values, np.ones(1000), (1,))
    assert kurtosis(cells) == pytest.approx(stats.kurtosis(values, fisher=False))
    assert level_share(cells) == pytest.approx(values.mean() ** 2 / np.mean(values**2))


def test_one_value_of_hardly_any_weight_beside_which_all_others_are_nothing():
    """The square of the variance underflows: of a share w its kurtosis is 1 / w."""
    values, weights = np.ones(20_000), np.ones(20_000)
    values[5], weights[5] = 1e100, 1e-200
    cells = Observations(np.zeros((20_000, 1), int), values, weights, (1,))
    assert kurtosis(cells) == pytest.approx(19_999 / 1e-200)


def test_equal_values_have_no_moments():
    cells = Observations(np.zeros((4, 1), int), np.zeros(4), np.ones(4), (1,))
    assert kurtosis(cells) == 0 and level_share(cells) == 0
