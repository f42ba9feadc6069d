"""Truths, sampling, splits and loaders against counts, definitions and numpy."""

import numpy as np
import pandas as pd
import pytest
import tensorly as tl
from sklearn.datasets import load_digits
from tensorly import datasets as bundled

from sktf.datasets import (
    Entries,
    dense_from_entries,
    dense_from_factors,
    entries_from_dense,
    entry_groups,
    load_covid19_serology,
    load_digits_tensor,
    load_il2,
    load_indian_pines,
    load_kinetic,
    make_low_rank,
    make_ratings,
    sample_entries,
    split_entries,
)

DISTRIBUTIONS = ["gaussian", "uniform", "heavy_tailed", "orthonormal"]
# One draw of each pattern on a tensor of three modes.
PATTERNS = [
    dict(pattern="cells"),
    dict(pattern="fibers", mode=2),
    dict(pattern="blocks", block_shape=(2, 3, None)),
]


def codes(X):
    """Return the rows of X as a set."""
    return set(map(tuple, X.tolist()))


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("shape", [(7, 6), (5, 6, 7), (4, 5, 4, 5)])
def test_make_low_rank_is_the_tensor_of_its_factors(shape, distribution):
    """As tensorly builds it from the factors; each unfolding has the rank; cells have RMS one."""
    tensor, factors = make_low_rank(shape, 3, distribution=distribution, random_state=0)
    assert tensor.shape == shape
    expected = tl.cp_to_tensor((None, factors))
    np.testing.assert_allclose(tensor, expected, rtol=1e-9, atol=1e-9)
    ranks = [np.linalg.matrix_rank(tl.unfold(tensor, mode)) for mode in range(len(shape))]
    assert ranks == [3] * len(shape)
    np.testing.assert_allclose(np.sqrt(np.mean(tensor**2)), 1)


def test_make_low_rank_of_two_modes_is_u_v_transposed():
    """A matrix is the product of its factors."""
    matrix, (u, v) = make_low_rank((6, 4), 2, random_state=0)
    np.testing.assert_allclose(matrix, u @ v.T, rtol=1e-10, atol=1e-12)


def test_make_low_rank_has_the_norm_asked_for():
    """The papers' n for an n x n matrix, and 1."""
    for norm in (1.0, 12.0):
        tensor, _ = make_low_rank((12, 12), 2, norm=norm, random_state=0)
        np.testing.assert_allclose(np.linalg.norm(tensor), norm)


def test_make_low_rank_weights_are_singular_values_of_orthonormal_factors():
    """With orthonormal columns the component weights are, up to scale, the singular values."""
    matrix, _ = make_low_rank(
        (8, 9), 3, distribution="orthonormal", component_weights=[4, 2, 1], random_state=0
    )
    sigma = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(sigma[:3] / sigma[2], [4, 2, 1])


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_make_low_rank_weights_are_norms_of_components(distribution):
    """Whatever the factors, component norms stand in the ratios asked for."""
    _, factors = make_low_rank(
        (5, 6, 7), 2, distribution=distribution, component_weights=[3, 1], random_state=0
    )
    norms = np.prod([np.linalg.norm(factor, axis=0) for factor in factors], axis=0)
    np.testing.assert_allclose(norms[0] / norms[1], 3)


def test_make_low_rank_distributions_differ_as_named():
    """Uniform factors are not negative; Student's t has a far larger kurtosis than the normal."""
    drawn = {
        name: make_low_rank((4000, 3), 1, distribution=name, random_state=0)[1][0].ravel()
        for name in ("gaussian", "uniform", "heavy_tailed")
    }
    kurtosis = {name: np.mean(x**4) / np.mean(x**2) ** 2 for name, x in drawn.items()}
    assert drawn["uniform"].min() >= 0
    # 3 for the normal; without bound for Student's t with 3 degrees of freedom.
    assert 2.7 < kurtosis["gaussian"] < 3.3 and kurtosis["heavy_tailed"] > 10


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (2, 3, 4, 5)])
def test_dense_from_factors_is_tensorlys(shape):
    """Any order, with as many components as wanted."""
    rng = np.random.RandomState(0)
    factors = [rng.standard_normal((n, 7)) for n in shape]
    expected = tl.cp_to_tensor((None, factors))
    np.testing.assert_allclose(dense_from_factors(factors), expected, rtol=1e-10, atol=1e-12)


def test_groups_of_cells_are_the_distinct_rows():
    """As many labels as distinct cells, and repeated rows share theirs."""
    X = np.array([[0, 1], [2, 3], [0, 1], [0, 2]])
    labels = entry_groups(X)
    assert labels[0] == labels[2] and len(set(labels.tolist())) == 3


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_groups_of_fibers_differ_in_one_mode_only(mode):
    """Two cells share a group exactly when all indices but that of `mode` agree."""
    X = np.argwhere(np.ones((3, 4, 2)))
    labels = entry_groups(X, pattern="fibers", mode=mode)
    others = np.delete(X, mode, axis=1)
    agree = (others[:, None] == others).all(axis=2)
    np.testing.assert_array_equal(labels[:, None] == labels, agree)


def test_groups_of_blocks_are_boxes_of_a_grid():
    """Two cells share a group exactly when they lie in one box; None spans a mode."""
    X = np.argwhere(np.ones((5, 4, 3)))
    labels = entry_groups(X, pattern="blocks", block_shape=(2, 3, None))
    boxes = np.column_stack([X[:, 0] // 2, X[:, 1] // 3])
    np.testing.assert_array_equal(labels[:, None] == labels, (boxes[:, None] == boxes).all(axis=2))


def test_groups_do_not_overflow_on_huge_indices():
    """Sizes whose product exceeds 64 bits still give distinct labels."""
    X = np.array([[2**40, 2**40, 2**40], [2**40, 2**40, 0], [0, 2**40, 2**40]])
    assert len(set(entry_groups(X).tolist())) == 3


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("size", [10, 0.3])
def test_sampling_draws_whole_groups_without_repeats(pattern, size):
    """Distinct known cells with the truth's values, whole groups, just enough of them."""
    truth = np.random.RandomState(0).standard_normal((4, 6, 5))
    X, y = sample_entries(truth, size, **pattern, random_state=0)
    assert X.dtype == np.int64 and y.dtype == np.float64
    assert len(codes(X)) == len(X)
    np.testing.assert_array_equal(y, truth[tuple(X.T)])
    every = np.argwhere(np.ones(truth.shape))
    labels = entry_groups(every, **pattern)
    is_drawn = np.array([row in codes(X) for row in map(tuple, every.tolist())])
    drawn_labels = set(labels[is_drawn].tolist())
    assert is_drawn.sum() == np.isin(labels, list(drawn_labels)).sum()
    wanted = size if isinstance(size, int) else round(size * truth.size)
    assert wanted <= len(X) < wanted + np.bincount(labels).max()


def test_sampling_cells_is_exact_and_uniform():
    """Exactly as many cells as asked, each one equally often."""
    truth = np.ones((4, 5))
    drawn = [sample_entries(truth, 5, random_state=seed)[0] for seed in range(800)]
    assert {len(X) for X in drawn} == {5}
    counts = np.bincount(np.concatenate(drawn) @ [5, 1], minlength=20)
    # Binomial with mean 200 and standard deviation 12: all 20 cells within four of them.
    assert np.abs(counts - 200).max() < 50


def test_sampling_more_draws_a_superset():
    """With one seed the cells of a smaller sample are among those of a larger one."""
    truth = np.ones((6, 6, 6))
    sets = [codes(sample_entries(truth, n, random_state=3)[0]) for n in (20, 100, 216)]
    assert sets[0] < sets[1] < sets[2]


def test_sampling_skips_missing_cells():
    """NaN and masked cells are never drawn; a share is a share of the known ones."""
    truth = np.arange(20.0).reshape(4, 5)
    truth[1] = np.nan
    X, _ = sample_entries(truth, 1.0, random_state=0)
    assert len(X) == 15 and 1 not in X[:, 0]
    masked = np.ma.masked_greater(np.arange(20).reshape(4, 5), 9)
    X, y = sample_entries(masked, 1.0, random_state=0)
    assert sorted(y) == list(range(10))


def test_sampling_noise_is_relative_to_the_rms():
    """Noise has the standard deviation asked for, times the RMS of the truth."""
    truth = 1 + 50 * np.random.RandomState(0).standard_normal((100, 100))
    X, y = sample_entries(truth, 1.0, noise=0.2, random_state=1)
    residual = y - truth[tuple(X.T)]
    # The standard error of the deviation of 10,000 draws is 0.7 %.
    np.testing.assert_allclose(residual.std() / np.sqrt(np.mean(truth**2)), 0.2, rtol=0.03)


def test_rows_come_in_random_order():
    """Unshuffled folds of a sample touch all slices."""
    X, _ = sample_entries(np.ones((10, 50)), 1.0, random_state=0)
    assert len(set(X[:100, 0].tolist())) == 10


@pytest.mark.parametrize("pattern", PATTERNS)
def test_split_is_a_partition_into_whole_groups(pattern):
    """Rows are kept with their values, none lost, and no group lies on both sides."""
    X = np.argwhere(np.ones((4, 6, 5)))
    y = np.arange(len(X), dtype=float)
    X_train, X_test, y_train, y_test = split_entries(X, y, 0.3, **pattern, random_state=0)
    np.testing.assert_array_equal(X[y_train.astype(int)], X_train)
    np.testing.assert_array_equal(X[y_test.astype(int)], X_test)
    np.testing.assert_array_equal(np.sort(np.concatenate([y_train, y_test])), y)
    labels = entry_groups(X, **pattern)
    sides = [set(labels[part.astype(int)].tolist()) for part in (y_train, y_test)]
    assert not sides[0] & sides[1]
    assert 36 <= len(y_test) < 36 + np.bincount(labels).max()


def test_split_keeps_repeated_cells_together():
    """No cell is both trained on and held out."""
    X = np.random.RandomState(0).randint(5, size=(200, 2))
    X_train, X_test, *_ = split_entries(X, np.zeros(200), 0.4, random_state=0)
    assert not codes(X_train) & codes(X_test)


def test_split_takes_frames():
    """A DataFrame and a Series go in."""
    X = pd.DataFrame({"user": [0, 1, 2, 3], "item": [3, 2, 1, 0]})
    parts = split_entries(X, pd.Series([1.0, 2.0, 3.0, 4.0]), 1, random_state=0)
    assert [len(part) for part in parts] == [3, 1, 3, 1]


def test_dense_and_entries_are_inverse():
    """Known cells survive the round trip, missing ones stay NaN, zeros stay zeros."""
    dense = np.array([[0.0, np.nan, 2.0], [np.nan, 4.0, 0.0]])
    X, y = entries_from_dense(dense)
    assert y.tolist() == [0.0, 2.0, 4.0, 0.0] and X.tolist() == [[0, 0], [0, 2], [1, 1], [1, 2]]
    np.testing.assert_array_equal(dense_from_entries(X, y, (2, 3)), dense)
    from_frame = entries_from_dense(pd.DataFrame(dense))
    np.testing.assert_array_equal(from_frame[1], y)


def test_dense_from_entries_averages_repeats():
    """Repeated cells get their mean, the others the fill value; numpy's pivot agrees."""
    rng = np.random.RandomState(0)
    X, y = rng.randint(4, size=(30, 2)), rng.standard_normal(30)
    means = pd.DataFrame(X).assign(y=y).groupby([0, 1]).y.mean()
    expected = np.full((4, 5), -1.0)
    for cell, mean in means.items():
        expected[cell] = mean
    np.testing.assert_allclose(dense_from_entries(X, y, (4, 5), fill_value=-1.0), expected)


def test_ratings_are_distinct_stars():
    """As many distinct cells as asked, values 1 to 5, all of them used."""
    X, y, shape = make_ratings(120, 80, 2000, random_state=0)
    assert shape == (120, 80) and len(X) == len(codes(X)) == 2000
    assert X.min() >= 0 and (shape > X).all()
    assert set(y.tolist()) == {1.0, 2.0, 3.0, 4.0, 5.0}


def test_ratings_are_unequally_spread():
    """The busiest tenth of the users rates far more than a tenth, and isn't the first tenth."""
    X, _, _ = make_ratings(1000, 500, 20000, random_state=0)
    counts = np.bincount(X[:, 0], minlength=1000)
    assert np.sort(counts)[-100:].sum() > 0.2 * 20000
    assert counts[:100].sum() < 0.15 * 20000


def test_ratings_have_effects_and_latent_structure():
    """User and item means explain a part of the variance; tastes are most of the rest."""
    X, y, _ = make_ratings(200, 150, 7500, noise=0.0, random_state=0)
    design = np.eye(350)[X[:, 0]] + np.eye(350)[200 + X[:, 1]]
    residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    # Variances .16 + .25 of effects against .36 of tastes and 1 / 12 of rounding.
    assert 0.3 < 1 - np.var(residual) / np.var(y) < 0.7
    assert 0.2 < np.var(residual) < 0.5


@pytest.mark.parametrize(
    ("load", "raw", "n_missing"),
    [
        (load_il2, lambda: bundled.load_IL2data().tensor, 192),
        (load_covid19_serology, lambda: bundled.load_covid19_serology().tensor, 0),
        (load_kinetic, lambda: bundled.load_kinetic().tensor, 1754),
        (load_digits_tensor, lambda: load_digits().images, 0),
        (load_indian_pines, lambda: bundled.load_indian_pines().tensor, 0),
    ],
)
def test_loaders_give_the_known_cells(load, raw, n_missing):
    """The values at the listed cells are those of the source, and only missing cells lack."""
    entries, tensor = load(), raw()
    assert isinstance(entries, Entries) and entries.shape == tensor.shape
    assert len(entries.y) == tensor.size - n_missing
    np.testing.assert_array_equal(entries.y, tensor[tuple(entries.X.T)])


@pytest.mark.parametrize("seeded", [make_ratings, lambda **k: make_low_rank((3, 4), 2, **k)])
def test_generators_repeat_with_their_seed(seeded):
    """The same random_state gives the same data, another one other data."""
    first, again, other = (seeded(random_state=seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


TENSOR, CELLS = np.ones((3, 3)), np.argwhere(np.ones((3, 3)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_low_rank((3,), 1), r"shape is \(3,\).*two positive sizes"),
        (lambda: make_low_rank((3, 3), 0), "rank is 0"),
        (lambda: make_low_rank((3, 3), 1, norm=0.0), "norm is 0.0.*positive"),
        (lambda: make_low_rank((3, 3), 1, distribution="cauchy"), "'cauchy'; pass one of"),
        (lambda: make_low_rank((9, 3), 4, distribution="orthonormal"), "a mode has size 3"),
        (lambda: make_low_rank((3, 3), 2, component_weights=[1]), "each of the 2 components"),
        (lambda: sample_entries(TENSOR, 10), "size is 10 with 9 cells"),
        (lambda: sample_entries(TENSOR, 0), "size is 0"),
        (lambda: sample_entries(TENSOR, 1.5), "size is 1.5.*share"),
        (lambda: sample_entries(TENSOR, 2, noise=-1), "noise is -1"),
        (lambda: sample_entries(np.full((2, 2), np.nan), 0.5), "with 0 cells"),
        (lambda: entry_groups(CELLS, pattern="rows"), "pattern is 'rows'.*'fibers'"),
        (lambda: entry_groups(CELLS, pattern="fibers"), "mode is None.*0 to 1"),
        (lambda: entry_groups(CELLS, pattern="blocks"), "block_shape is None.*2 modes"),
        (lambda: entry_groups(CELLS, pattern="blocks", block_shape=(0, 1)), "positive side"),
        (lambda: entry_groups([["a", 1], [2, 1]]), "Row 1 of X has the label 2 in mode 0, one of"),
        (lambda: entry_groups(-CELLS), "Negative values .* row 1 has -1 in mode 1"),
        (lambda: split_entries(CELLS, np.ones(9), 1.0), "none is left to train on"),
        (lambda: split_entries(CELLS, np.ones(8)), "inconsistent numbers of samples"),
        (lambda: entries_from_dense([1.0]), "two modes or more"),
        (lambda: entries_from_dense([[np.inf]]), "infinite values; write NaN"),
        (lambda: dense_from_entries(CELLS, np.ones(9), (3, 2)), r"shape=\(3, 2\)"),
        (lambda: dense_from_entries(CELLS, np.ones(9), (3, 3, 3)), "2 columns"),
        (lambda: make_ratings(10, 10, 26), "n_ratings is 26.*at most a quarter"),
    ],
)
def test_errors_say_what_arrived(call, message):
    """Each refusal names the argument and what to do."""
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("kind", ["frame", "array"])
def test_labels_are_split_as_their_numbers(kind):
    """The same rows, and of the kind that came in."""
    X = np.random.default_rng(0).integers(0, 5, (40, 2))
    names = np.array(list("abcde"))[X]
    table = pd.DataFrame(names, columns=["user", "item"]) if kind == "frame" else names
    options = dict(test_size=0.4, pattern="fibers", mode=1, random_state=0)
    found = split_entries(table, np.arange(40), **options)
    expected = split_entries(X, np.arange(40), **options)
    for labels, values, rows in zip(found[:2], found[2:], expected[2:], strict=True):
        assert type(labels) is type(table)
        np.testing.assert_array_equal(values, rows)
        np.testing.assert_array_equal(np.asarray(labels), names[values.astype(int)])


DAYS = np.array(["2024-03-01", "2024-03-05", "2024-02-01", "2024-02-02", "2024-02-03"], "M8[ns]")
BESIDE = {
    "negative": np.array([-3, -1, 0, 2, 5]),
    "negative floats": np.array([-3.0, -1.0, 0.0, 2.0, 5.0]),
    "fractions": np.array([0.5, 1.0, 1.5, 2.0, 9.0]),
    "dates": np.sort(DAYS),
    "large": np.array([2**63 + n for n in range(5)], np.uint64),
    "booleans": np.array([False, True, True, True, True]),
}


@pytest.mark.parametrize("case", BESIDE)
def test_what_stands_beside_labels_is_a_label_too(case):
    """Where it is no index: groups are those of the numbers that encode=True gives."""
    X = np.random.default_rng(0).integers(0, 5, (40, 2))
    column = BESIDE[case][X[:, 1]]
    table = pd.DataFrame({"user": np.array(list("abcde"))[X[:, 0]], "other": column})
    numbers = np.column_stack([X[:, 0], np.unique(column, return_inverse=True)[1]])
    for pattern in {"pattern": "cells"}, {"pattern": "blocks", "block_shape": (1, 2)}:
        np.testing.assert_array_equal(
            entry_groups(table, **pattern), entry_groups(numbers, **pattern)
        )
    found = split_entries(table, np.arange(40), 0.4, random_state=0)
    expected = split_entries(numbers, np.arange(40), 0.4, random_state=0)
    np.testing.assert_array_equal(found[3], expected[3])
