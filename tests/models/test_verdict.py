"""What held-out cells say of a fit: nothing learned, scores of y, the offset they choose."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import r2_score

from sktf import CompletionWarning, CPALSCompletion, CPCompletion, DeepCPCompletion
from sktf._cells.validation import Observations
from sktf._models.honesty import warn_nothing_learned
from sktf._models.verdict import Verdict, judge
from sktf.datasets import make_low_rank, make_ratings, sample_entries, split_entries
from sktf.model_selection import FiberKFold


def held_out(values):
    """Different cells with these values, weighted alike."""
    values = np.asarray(values, float)
    coords = np.column_stack([np.arange(len(values)), np.zeros(len(values), int)])
    return Observations(coords, values, np.ones(len(values)), (len(values), 1))


def verdict(values, predicted, offset=0.0, mean=0.0, *, mean_will_do=False, doubts=True):
    return judge(
        held_out(values), predicted, offset, mean, mean_will_do=mean_will_do, doubts=doubts
    )


def noise_cells(shape, n_cells, seed, scale=1.0):
    """Cells of a tensor of noise."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(np.prod(shape), n_cells, replace=False)
    return np.column_stack(np.unravel_index(chosen, shape)), scale * rng.standard_normal(n_cells)


@pytest.mark.parametrize("seed", range(4))
def test_small_gains_are_told_from_none_by_their_error(seed):
    """Of 2,000 normal values, 4 % explained are four standard errors from none; noise is not."""
    rng = np.random.default_rng(seed)
    values, signal = rng.standard_normal((2, 2000))
    values += 0.2 * signal
    assert verdict(values, 0.2 * signal).learned
    assert not verdict(values, 0.2 * rng.standard_normal(2000)).learned
    assert not verdict(values, np.zeros(2000)).learned


def test_few_heavy_tailed_cells_that_are_explained_are_believed():
    """Differences of squares would be judged by their one large cell; ratios are not."""
    values = np.array([0.1, -0.2, 0.3, 9.0, -0.1, 0.4, 0.2, -0.3, 0.1, 0.2])
    assert verdict(values, 0.97 * values).learned
    gain = values**2 - (0.03 * values) ** 2
    assert gain.sum() < 2 * np.sqrt(len(gain)) * gain.std()


def test_rows_of_one_cell_are_no_more_than_it():
    """Six equal rows of each cell give the verdict of one; a cell is right or wrong as a whole."""
    rng = np.random.default_rng(0)
    once = held_out(rng.standard_normal(60))
    predicted = 0.15 * once.values + 0.3 * rng.standard_normal(60)
    often = once.take(rng.permutation(np.repeat(np.arange(60), 6)))
    how = {"offset": 0.0, "mean": 0.0, "mean_will_do": False, "doubts": True}
    one = judge(once, predicted, **how)
    other = judge(often, predicted[often.coords[:, 0]], **how)
    assert not one.learned and 0 < one.share < 1
    for name in ("error", "score", "score_error", "learned", "share", "beats_mean"):
        assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-10)
    assert len(other.squares) == 60


@pytest.mark.parametrize("seed", range(3))
def test_repeated_rows_of_noise_are_noise(seed):
    """Six rows of a cell are no six witnesses that components are of use."""
    X, y = noise_cells((9, 8, 7), 250, seed)
    model = CPCompletion(shape=(9, 8, 7), random_state=seed)
    with pytest.warns(CompletionWarning, match="Nothing was learned"):
        assert model.fit(np.repeat(X, 6, axis=0), np.repeat(y, 6)).rank_ == 0


def test_the_mean_takes_the_place_of_components_where_it_may():
    """They beat an offset of 0 by holding the mean; that is no more than the mean."""
    rng = np.random.default_rng(0)
    values = 5 + rng.standard_normal(200)
    level = verdict(values, 5 + 0.1 * rng.standard_normal(200), 0.0, 5.0)
    assert level.learned and not level.beats_mean
    given_up = verdict(values, 10 - values, 0.0, 5.0, mean_will_do=True)
    assert not given_up.learned and given_up.share == 0
    assert_allclose(given_up.score, r2_score(values, np.full(200, 5.0)))
    assert_allclose(given_up.error, np.sqrt(np.mean((values - 5) ** 2)))


def test_the_share_is_what_least_squares_finds_less_an_error():
    """Of weak components one error below the best share, 0.5, on average, and 0 of noise mostly.

    The error of a slope of 30 values with deviation 2 about it is 2 / sqrt(30) = 0.37.
    """
    rng, weak, none = np.random.default_rng(2), [], []
    for _ in range(400):
        component, noise = rng.standard_normal((2, 30))
        weak.append(verdict(0.5 * component + 2 * noise, component))
        none.append(verdict(2 * noise, component).share)
    shares = [one.share for one in weak if not one.learned]
    assert len(shares) > 300
    assert 0.1 < np.mean(shares) < 0.3
    assert np.mean(np.array(none) == 0) > 0.75  # 84 % of a normal slope


def test_too_few_or_equal_cells_doubt_nothing():
    """Nine cells, and cells of one value, say nothing of components."""
    rng = np.random.default_rng(3)
    values, predicted = rng.standard_normal((2, 10))
    assert verdict(values[:9], predicted[:9]).learned
    assert not verdict(values, -values).learned
    assert verdict(np.full(20, 2.0), rng.standard_normal(20)).learned


@pytest.mark.parametrize("power", [-1000, 900])
def test_units_change_no_verdict(power):
    """No square over- or underflows."""
    rng, unit = np.random.default_rng(1), 2.0**power
    values, predicted = rng.standard_normal((2, 50))
    one, other = verdict(values, predicted), verdict(unit * values, unit * predicted)
    assert one[2:-2] == other[2:-2] and unit * one.error == other.error
    np.testing.assert_array_equal(one.squares, other.squares)


@pytest.mark.parametrize("offset", ["auto", None, "mean", "additive"])
@pytest.mark.parametrize("seed", [5, 6])
def test_a_fit_of_noise_says_that_it_learned_nothing(offset, seed):
    """Rank 0, hardly more than the offset, a warning at the caller that names the remedy.

    Predictions may differ from it by a tenth of the variance: a share of the components is left
    where it helped at held-out cells by more than a standard error, as one in six of noise does.
    """
    X, y = noise_cells((15, 12, 14), 900, seed)
    model = CPCompletion(8, shape=(15, 12, 14), offset=offset, n_init=4, random_state=seed)
    with pytest.warns(CompletionWarning, match="Nothing was learned.*Observe more cells") as told:
        model.fit(X, y)
    assert told[0].filename == __file__
    assert model.rank_ == 0 and model.validation_score_ < 0.05
    assert np.mean(model.to_dense() ** 2) < 0.1


@pytest.mark.parametrize(
    ("share", "beats_mean", "said"),
    [
        (0.0, True, "learned beyond the offset: .* and the offset alone is predicted .D.2 0.285"),
        (0.0, False, "learned: .* and the offset alone is predicted .D.2 0.285"),
        (0.9, True, "learned: .*none counts for the rank. With the offset 90% of their sum is pre"),
        (0.9, False, "learned: .*none counts for the rank. With the offset 90% of their sum is p"),
    ],
)
def test_what_is_said_is_what_is_predicted(share, beats_mean, said):
    """An offset that was chosen and predicts well is no failure; a share is beside rank 0."""
    told = Verdict(1.0, 2.0, 0.285, 0.1, False, share, beats_mean, np.ones(50), "D^2")
    with pytest.warns(CompletionWarning, match=f"Nothing was {said}"):
        warn_nothing_learned(told, (np.zeros(3),), False, 1)


def test_a_large_sparse_tensor_that_is_not_found_is_no_success():
    """0.12 % of (250, 160, 60), rank 4: too few cells for any start, and said so."""
    rng = np.random.default_rng(11)
    shape = (250, 160, 60)
    X = np.column_stack([rng.integers(0, size, 3000) for size in shape])
    factors = [rng.standard_normal((size, 4)) for size in shape]
    y = np.prod([f[c] for f, c in zip(factors, X.T, strict=True)], axis=0).sum(axis=1)
    with pytest.warns(CompletionWarning, match="Nothing was learned"):
        model = CPCompletion(shape=shape, n_init=2, random_state=0).fit(X, y)
    assert model.rank_ == 0


@pytest.mark.parametrize("model", [CPCompletion(8), DeepCPCompletion(6)])
def test_what_was_learned_is_not_doubted(model):
    """A low-rank tensor with noise, 30 % of it seen: no word, and its rank."""
    tensor, _ = make_low_rank((11, 9, 10), 2, random_state=4)
    X, y = sample_entries(tensor, 0.3, noise=0.2, random_state=4)
    model.set_params(shape=tensor.shape, n_init=4, random_state=0).fit(X, y)
    assert 2 <= model.rank_ <= 3 and model.validation_score_ > 0.7


def test_a_named_start_is_believed_and_told_of():
    """Researchers see what descent made of it, and the same warning."""
    X, y = noise_cells((15, 12, 14), 900, 7)
    model = CPCompletion(4, init="gaussian", init_scale=0.3, shape=(15, 12, 14), random_state=0)
    with pytest.warns(CompletionWarning, match="Nothing was learned"):
        model.set_params(tol=0.9, loss="squared", offset="mean").fit(X, y)
    assert model.component_norms_.any()


@pytest.mark.parametrize("offset", [None, "mean", "additive"])
@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_the_score_is_that_of_y(offset):
    """R^2 of the given held-out cells as ``score`` has it, whatever is taken off first."""
    X, y, shape = make_ratings(80, 60, 1200, random_state=3)
    X, X_val, y, y_val = split_entries(X, y, 0.25, random_state=3)
    model = CPCompletion(4, shape=shape, offset=offset, n_init=3, random_state=0)
    model.fit(X, y, X_val=X_val, y_val=y_val)
    assert_allclose(model.validation_score_, model.score(X_val, y_val), rtol=1e-9)


@pytest.mark.parametrize("model", [CPCompletion(4, offset=None), DeepCPCompletion(4)])
@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_given_cells_of_new_indices_are_scored_by_the_mean_row(model):
    """As ``score`` has it, unseen indices and all; ALS wants cells that it can read."""
    tensor, _ = make_low_rank((12, 10, 9), 1, distribution="uniform", random_state=6)
    X, y = sample_entries(tensor, 0.5, random_state=6)
    new = X[:, 1] > 7
    X_val, y_val = np.vstack([X[new], X[~new][:60]]), np.append(y[new], y[~new][:60])
    model.set_params(shape=tensor.shape, n_init=2, random_state=0)
    model.fit(X[~new][60:], y[~new][60:], X_val=X_val, y_val=y_val)
    assert_allclose(model.validation_score_, model.score(X_val, y_val), rtol=1e-9)
    with pytest.raises(ValueError, match="No cell of X_val has indices that all have cells in X"):
        als = CPALSCompletion([1, 2], shape=tensor.shape)
        als.fit(X[~new], y[~new], X_val=X[new], y_val=y[new])


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_held_out_cells_judge_additive_terms_that_they_were_no_part_of():
    """On noise an honest score is not above zero: terms fitted to the same cells would be."""
    X, y = noise_cells((60, 50), 600, 9)
    model = CPCompletion(2, shape=(60, 50), offset="additive", n_init=2, random_state=0).fit(X, y)
    assert model.validation_score_ < 0.05


@pytest.mark.parametrize("seed", [21, 22, 23])
@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_auto_takes_additive_terms_for_sums_and_none_for_products(seed):
    """As held-out cells say: one effect per index here, a low-rank tensor there."""
    rng = np.random.default_rng(seed)
    effects = [rng.standard_normal(size) for size in (30, 20)]
    X = np.column_stack([rng.integers(0, size, 300) for size in (30, 20)])
    y = effects[0][X[:, 0]] + effects[1][X[:, 1]] + 0.3 * rng.standard_normal(300)
    sums = CPCompletion(shape=(30, 20), random_state=0).fit(X, y)
    alone = CPCompletion(shape=(30, 20), offset=None, random_state=0).fit(X, y)
    everywhere = np.argwhere(np.ones((30, 20)))
    truth = effects[0][everywhere[:, 0]] + effects[1][everywhere[:, 1]]
    if sums.offset_terms_:
        assert sums.score(everywhere, truth) > 0.8
    else:  # two components hold sums as well
        assert sums.score(everywhere, truth) == alone.score(everywhere, truth) > 0.8
    tensor, _ = make_low_rank((12, 10, 9), 2, random_state=seed)
    X, y = sample_entries(tensor, 0.3, random_state=seed)
    assert CPCompletion(shape=tensor.shape, random_state=0).fit(X, y).offset_terms_ == ()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_whole_fibers_without_cells_are_told_of():
    """Single held-out cells say nothing of them; no word where cells are missing by chance."""
    tensor, _ = make_low_rank((12, 11, 10), 2, random_state=8)
    X, y = sample_entries(tensor, 0.5, pattern="fibers", mode=1, random_state=8)
    with pytest.warns(CompletionWarning, match=r"5\d% of the fibers along mode 1.*FiberKFold"):
        CPCompletion(4, shape=tensor.shape, n_init=2, random_state=0).fit(X, y)
    for seen in (0.1, 0.5):
        X, y = sample_entries(tensor, seen, random_state=8)
        CPCompletion(4, shape=tensor.shape, n_init=2, random_state=0).fit(X, y)
    train, test = next(FiberKFold(3, mode=1, random_state=0).split(X))
    CPCompletion(4, shape=tensor.shape, n_init=2, random_state=0).fit(
        X[train], y[train], X_val=X[test], y_val=y[test]
    )


@pytest.mark.parametrize("seed", [0, 3])
def test_predictions_far_outside_the_seen_range_are_told_of(seed):
    """ALS with three components for 40 cells of a matrix of rank 1; not where it is bounded."""
    tensor, _ = make_low_rank((9, 8), 1, distribution="uniform", random_state=seed)
    X, y = sample_entries(tensor, 40, noise=0.3, random_state=seed)
    model = CPALSCompletion(3, shape=tensor.shape, solver="sparse", n_init=1, random_state=0)
    with pytest.warns(CompletionWarning, match="predicted from .* clip|dwarf"):
        model.fit(X, y)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Predictions dwarf", CompletionWarning)
        predicted = model.set_params(clip="range").fit(X, y).to_dense()
    assert predicted.min() >= y.min() and predicted.max() <= y.max()


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_weak_components_of_few_cells_are_predicted():
    """Rank 1 and noise, 200 cells: above half of the truth in nine of ten draws.

    In one the descent itself finds nothing; doubts that drop components lose a second.
    """
    scores = []
    for seed in range(10, 20):
        tensor, _ = make_low_rank((20, 20), 1, random_state=seed)
        tensor /= tensor.std()
        X, y = sample_entries(tensor, 0.5, noise=0.5, random_state=seed)
        model = CPCompletion(shape=tensor.shape, random_state=0).fit(X, y)
        scores.append(r2_score(tensor.ravel(), model.to_dense().ravel()))
    assert np.sum(np.array(scores) > 0.5) >= 9


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("level", [-2.0, 4.0])
def test_a_warm_start_after_nothing_learned_goes_on_from_theta(level):
    """Its components hold the level, which is then not added to the mean."""
    X, y = noise_cells((12, 11, 10), 200, 1)
    model = CPCompletion(3, shape=(12, 11, 10), warm_start=True, random_state=0).fit(X, y + level)
    assert model.rank_ == 0
    model.set_params(max_iter=1, refit=False).fit(X, y + level)
    assert abs(model.predict(X).mean() - (y + level).mean()) < 0.3 * abs(level)


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_a_warm_start_has_the_rows_of_the_fit_before():
    """Indices without rows are told of; those that had rows keep them."""
    tensor, _ = make_low_rank((10, 9, 8), 2, random_state=3)
    X, y = sample_entries(tensor, 0.5, random_state=3)
    few = (X[:, 0] != 4) & (X[:, 2] != 0)
    model = CPCompletion(4, shape=tensor.shape, random_state=0).fit(X[few], y[few])
    model.set_params(warm_start=True, max_iter=3000).fit(X[few], y[few])
    assert model.score(X[few], y[few]) > 0.999
    with pytest.raises(ValueError, match="without rows for some of these indices.*extend"):
        model.fit(X, y)


def test_auto_that_chose_sums_is_no_failure():
    """One effect per row and column: no word that nothing was learned, and none of "additive"."""
    rng = np.random.default_rng(1)
    X = np.unique(np.column_stack([rng.integers(0, 50, 1500), rng.integers(0, 70, 1500)]), axis=0)
    effects = [rng.standard_normal(50), rng.standard_normal(70)]
    y = 3 + effects[0][X[:, 0]] + effects[1][X[:, 1]] + 0.5 * rng.standard_normal(len(X))
    model = CPCompletion(shape=(50, 70), random_state=0).fit(X, y)
    assert model.offset_terms_ and model.validation_score_ > 0.6


@pytest.mark.parametrize("offset", ["auto", "additive"])
@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_scale_false_is_left_alone_by_additive_terms(offset):
    """``scale_`` is 1 whoever fits the terms, for whom."""
    X, y, shape = make_ratings(60, 50, 700, random_state=1)
    model = CPCompletion(3, shape=shape, offset=offset, scale=False, n_init=2, random_state=0)
    assert model.fit(X, y).scale_ == 1


def test_values_of_a_vector_are_not_held_out():
    """An index of one mode is told of by its own value alone: 150 values come back."""
    X, y = np.arange(150)[:, None], np.random.default_rng(0).standard_normal(150)
    model = CPCompletion(2, random_state=0).fit(X, y)
    assert model.validation_score_ is None
    assert_allclose(model.predict(X), y, atol=0.05)


@pytest.mark.parametrize("times", [1, 12])
def test_repeated_rows_hide_no_empty_fibers(times):
    """Cells count, not rows."""
    tensor, _ = make_low_rank((18, 19, 20), 2, random_state=2)
    X, y = sample_entries(tensor, 0.05, random_state=2)
    y = np.repeat(y, times) + 1e-3 * np.random.default_rng(0).standard_normal(times * len(y))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=CompletionWarning)
        warnings.filterwarnings("error", "Whole fibers", CompletionWarning)
        CPCompletion(4, shape=tensor.shape, n_init=2, random_state=0).fit(np.repeat(X, times, 0), y)


def test_popular_indices_are_no_empty_fibers():
    """Users and films by popularity, contexts at random: most fibers are empty by chance."""
    rng, shape = np.random.default_rng(4), (60, 50, 6)
    popular = [1 / np.arange(1, size + 1) for size in shape[:2]]
    X = np.column_stack(
        [rng.choice(size, 6000, p=p / p.sum()) for size, p in zip(shape, popular, strict=False)]
        + [rng.integers(0, 6, 6000)]
    )
    X = np.unique(X, axis=0)
    factors = [rng.uniform(0.5, 1.5, (size, 2)) for size in shape]
    y = np.prod([f[c] for f, c in zip(factors, X.T, strict=True)], axis=0).sum(axis=1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=CompletionWarning)
        warnings.filterwarnings("error", "Whole fibers", CompletionWarning)
        CPCompletion(4, shape=shape, n_init=2, random_state=0).fit(X, y)
