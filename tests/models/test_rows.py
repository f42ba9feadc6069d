"""Rows that few cells tell of, or none: drawn to the mean row, and how unsure they are."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sktf import CPCompletion
from sktf._models.rows import (
    any_are_rare,
    choose_strength,
    drawn_to_mean,
    variance_of_rows,
    with_mean_row,
)
from sktf.datasets import split_entries

COUNTS = [np.array([3, 0, 1, 8]), np.array([2, 5, 5])]


def make_factors(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((len(counts), 2)) for counts in COUNTS]


def test_rows_of_m_cells_keep_their_share():
    """``m / (m + strength)`` of what parts them from the mean of the rows that have cells."""
    factor, counts = make_factors()[0], COUNTS[0]
    mean = (factor[0] + factor[2] + factor[3]) / 3
    drawn = drawn_to_mean([factor], [counts], 2.0)[0]
    for row, share in enumerate([3 / 5, 0, 1 / 3, 8 / 10]):
        assert_allclose(drawn[row], mean + share * (factor[row] - mean), rtol=1e-14)


def test_without_strength_only_rows_without_cells_move():
    """They become the mean row, which stands last in what predicts."""
    factors = make_factors()
    drawn = drawn_to_mean(factors, COUNTS, 0.0)
    assert_allclose(drawn[1], factors[1], rtol=1e-14)
    assert_allclose(drawn[0][[0, 2, 3]], factors[0][[0, 2, 3]], rtol=1e-14)
    assert_allclose(with_mean_row(drawn[0], COUNTS[0])[-1], drawn[0][1], rtol=1e-14)


@pytest.mark.parametrize("true", [0.0, 0.25, 4.0])
def test_held_out_cells_choose_the_strength_that_made_them(true):
    """Cells predicted without error by one strength; a gain within an error is none."""
    factors, rng = make_factors(), np.random.default_rng(1)
    cells = [rng.integers(0, size, 300) for size in (4, 3)]

    def predict(factors):
        return np.prod([f[c] for f, c in zip(factors, cells, strict=True)], axis=0).sum(axis=1)

    truth = predict(drawn_to_mean(factors, COUNTS, true))
    assert choose_strength(factors, COUNTS, lambda f: (predict(f) - truth) ** 2) == true
    noise = rng.standard_normal(300)
    assert choose_strength(factors, COUNTS, lambda f: noise**2 + 0 * predict(f)) == 0.0


def test_the_variance_of_what_is_unseen_is_that_of_the_others():
    """numpy's, over all rows that a cell without known ones may have; 0 where noise told all."""
    rows = [with_mean_row(f, c) for f, c in zip(make_factors(), COUNTS, strict=True)]
    cells = np.array([[4, 1], [0, 2], [1, 3], [4, 3]])
    seen = rows[0][[0, 2, 3]], rows[1][:3]
    pairs = (seen[0] @ seen[1].T).ravel()
    expected = [
        np.var(seen[0] @ rows[1][1]),
        0.0,
        np.var(pairs),  # index 1 of mode 0 has no cell
        np.var(pairs),
    ]
    rows[0][1] = rows[0][-1]
    assert_allclose(variance_of_rows(rows, COUNTS, cells, 0.0), expected, rtol=1e-12, atol=1e-14)


def test_the_variance_of_a_row_with_few_cells_is_what_they_leave_open():
    """``s v / (s + m v)``, the posterior of a normal prior v after m cells of noise s."""
    rows = [with_mean_row(f, c) for f, c in zip(make_factors(), COUNTS, strict=True)]
    read, noise, m = rows[1][2], 0.3, COUNTS[0][0]
    prior = np.var(rows[0][[0, 2, 3]] @ read)
    alone = [COUNTS[0], COUNTS[1] * 10**9]
    found = variance_of_rows(rows, alone, np.array([[0, 2]]), noise)
    assert_allclose(found, noise * prior / (noise + m * prior), rtol=1e-6)


def seldom_seen(seed):
    """Stars of 200 users for 30 films: half of the users gave one to three of them."""
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(200), np.where(np.arange(200) < 100, rng.integers(1, 4, 200), 12))
    films = np.concatenate([rng.permutation(30)[:n] for n in np.bincount(users)])
    level = 3.5 + 0.5 * rng.standard_normal(200)[users] + 0.7 * rng.standard_normal(30)[films]
    return np.column_stack([users, films]), level + 0.5 * rng.standard_normal(len(users))


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_seldom_seen_users_are_not_predicted_near_zero():
    """Below the error of the mean; median of five draws, which without the rule are above."""
    ratios = []
    for seed in range(40, 45):
        X, y = seldom_seen(seed)
        X, X_hidden, y, y_hidden = split_entries(X, y, 0.2, random_state=seed)
        few = np.bincount(X[:, 0], minlength=200)[X_hidden[:, 0]] <= 3
        model = CPCompletion(shape=(200, 30), offset=None, random_state=0).fit(X, y)
        error = np.sqrt(np.mean((model.predict(X_hidden[few]) - y_hidden[few]) ** 2))
        ratios.append(error / np.sqrt(np.mean((y.mean() - y_hidden[few]) ** 2)))
    assert np.median(ratios) < 1


def test_where_all_rows_are_well_seen_nothing_moves(small_tensor):
    """No strength is worth a standard error there: the factors are those of the descent."""
    X, y = small_tensor
    model = CPCompletion(3, random_state=0).fit(X, y)
    plain = CPCompletion(3, random_state=0, init="auto").fit(X, y)
    assert_array_equal(model.predict(X), plain.predict(X))


def test_rows_of_many_cells_need_no_strength():
    """They keep 99 % of what parts them from the mean row, whatever the strength."""
    assert not any_are_rare([np.array([400, 0, 900]), np.array([650, 650])])
    assert any_are_rare([np.array([400, 0, 900]), np.array([399, 901])])
    factor = np.arange(6.0).reshape(3, 2)
    (drawn,) = drawn_to_mean([factor], [np.full(3, 400)], 4.0)
    left = factor - factor.mean(axis=0)
    assert (np.abs(drawn - factor) <= 0.01 * np.abs(left)).all()
