"""Warnings say what the cells cannot, by counts and a flood; and no word where all is well."""

import warnings

import numpy as np
import pytest

from sktf import CompletionWarning
from sktf._cells import joining
from sktf._cells.identifiability import warn_under_determined, warn_unseen
from sktf._cells.validation import Observations
from sktf.datasets import make_ratings

MODES = ((0,), (1,), (2,))


def check(X, shape, groups=MODES):
    """Return the text of the warning about cells X, or None."""
    X = np.asarray(X)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cells = Observations(X, *np.ones((2, len(X))), shape)
        warn_under_determined(cells, groups[: len(shape)], shape, 1)
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
    monkeypatch.setattr(joining, "_CHUNK", 1)
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


@pytest.mark.parametrize("shape", [(6, 4, 9), (6, 5, 8), (900_000, 4, 8)])
def test_indices_without_cells_are_counted_for_each_mode(shape):
    """In one warning; none where all occur."""
    coords = np.array([[i % 6, i % 4, i % 8] for i in range(24)])
    observations = Observations(coords, *np.ones((2, len(coords))), shape)
    with pytest.warns(CompletionWarning) as told:
        warn_unseen(observations, False, 1)
    text = str(told[0].message)
    for mode, (size, seen) in enumerate(zip(shape, (6, 4, 8), strict=True)):
        said = f"{size - seen} of the {size} indices of mode {mode}"
        assert (said in text) == (seen < size)
    assert len(told) == 1
    with pytest.warns(CompletionWarning, match="is predicted there is left of the start"):
        warn_unseen(observations, True, 1)
    warn_unseen(observations._replace(shape=(6, 4, 8)), False, 1)
