"""Warnings say what the cells cannot, by counts and a flood; and no word where all is well."""

import warnings

import numpy as np
import pytest
from conftest import low_rank_entries

from sktf import CompletionWarning, _identifiability
from sktf._identifiability import warn_far_predictions, warn_under_determined
from sktf._validation import Observations
from sktf.datasets import make_ratings

MODES = ((0,), (1,), (2,))


def check(X, shape, groups=MODES):
    """Return the text of the warning about cells X, or None."""
    X = np.asarray(X)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_under_determined(Observations(X, None, None, shape), groups[: len(shape)], 1)
    assert [w.category for w in caught] == [CompletionWarning] * len(caught)
    return str(caught[0].message) if caught else None


def parts_by_flooding(X):
    """Number of parts of the cells, joined where two share an index: grow one until it stops."""
    left, n_parts = [set(enumerate(row)) for row in X.tolist()], 0
    while left:
        part, n_parts, before = left[0], n_parts + 1, 0
        while len(part) > before:
            before = len(part)
            part = set().union(part, *(cell for cell in left if cell & part))
        left = [cell for cell in left if not cell & part]
    return n_parts


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shape", [(9, 8), (9, 8, 7), (5, 6, 7, 8)])
def test_parts_are_those_of_a_flood(shape, seed, monkeypatch):
    """Random cells, from a few, which fall apart, to many, which do not; joined in pieces."""
    monkeypatch.setattr(_identifiability, "_CHUNK", 1)
    rng = np.random.RandomState(seed)
    X = rng.randint(shape, size=(3 + 6 * seed, len(shape)))
    n_parts, text = parts_by_flooding(X), check(X, shape, (*MODES, (3,)))
    n_seen = sum(len(np.unique(column)) for column in X.T)
    too_few = len(np.unique(X, axis=0)) < n_seen - len(shape) + 1
    assert (text is not None) == (n_parts > 1 or too_few)
    assert n_parts == 1 or f"fall into {n_parts} parts" in text
    assert not too_few or f"fewer than the {n_seen - len(shape) + 1} free parameters" in text


def test_one_part_with_enough_cells_is_no_cause():
    """A cross of cells determines a matrix of rank one, and nothing is said."""
    cross = [(0, j) for j in range(5)] + [(i, 0) for i in range(4)]
    assert check(cross, (4, 5)) is None
    # A repeated cell is one cell: without (3, 0) its copy of (2, 0) determines nothing more.
    assert check([*cross[:-1], (2, 0)], (4, 5)) is None  # row 3 is unseen, which shape allows
    assert "2 parts that share no index, 25% of them outside the largest" in check(
        [(0, 0), (0, 1), (1, 1), (2, 2)], (3, 3)
    )


def test_strays_are_not_spoken_of():
    """One cell beside 40 that hang together is 2.4 %, which leaves the rest determined."""
    block = [(i, j) for i in range(5) for j in range(8)]
    assert check([*block, (5, 8)], (6, 9)) is None
    assert "outside the largest" in check([*block, (5, 8), (6, 9), (7, 10)], (8, 11))


def test_where_is_said_by_mode():
    """Indices seen out of those that shape names; a side of several modes is named by them."""
    text = check([(0, 0, 0), (1, 1, 1)], (4, 5, 6))
    assert "2 distinct cells are fewer than the 4 free parameters" in text
    assert "2 of 4 indices of mode 0, 2 of 5 indices of mode 1, 2 of 6 indices of mode 2" in text
    assert "2 of 20 indices of modes (0, 1)" in check([(0, 0), (1, 1)], (20, 6), ((0, 1), (2,)))


def test_ordinary_data_are_not_spoken_of(small_tensor, small_matrix):
    """Well observed tensors, ratings, and a table of one mode."""
    assert check(small_tensor[0], (7, 6, 5)) is None
    assert check(small_matrix[0], (9, 8)) is None
    X, _, shape = make_ratings(random_state=0)
    assert check(X, shape) is None
    assert check(np.arange(4)[:, None], (4,)) is None


@pytest.mark.parametrize("order", [2, 3, 4])
def test_a_spike_between_the_cells_is_found(order):
    """One component a hundred times too large at one cell of a million: its peak is looked at."""
    rng = np.random.RandomState(0)
    sizes = (10 ** (6 // order) + 1,) * order
    factors = [rng.uniform(0, 1e-3, (size, 2)) for size in sizes]
    for factor in factors:
        factor[7, 1] = 100 ** (1 / order)
    place = ", ".join("7" * order)
    with pytest.warns(CompletionWarning, match=rf"rows \({place}\) .* add up to 100,.* than 1\b"):
        warn_far_predictions(factors, 1.0, 1)


def test_large_components_that_cancel_everywhere_are_no_cause():
    """Predictions count, not norms: a pair of opposite components predicts nothing."""
    column = np.random.RandomState(0).standard_normal((20, 1))
    factors = [np.hstack([1e3 * column, -1e3 * column]), np.hstack([column, column])]
    warn_far_predictions(factors, 1.0, 1)


def test_predictions_near_the_data_are_no_cause():
    """A complete low-rank tensor in any units predicts what was observed; zeros are well too."""
    X, y = low_rank_entries((7, 6, 5), 2, 1.0)
    rng = np.random.RandomState(0)
    factors = [rng.standard_normal((size, 2)) for size in (7, 6, 5)]
    for unit in (1e-9, 1.0, 1e9):
        warn_far_predictions([unit * factors[0], *factors[1:]], unit * np.abs(y).max(), 1)
    warn_far_predictions([0 * factor for factor in factors], 0.0, 1)
