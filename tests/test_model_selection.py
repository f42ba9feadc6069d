"""Folds of cells, fibers and blocks: partitions into whole groups, in scikit-learn's manner."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from sktf import CPALSCompletion
from sktf.datasets import entry_groups, make_low_rank, sample_entries
from sktf.model_selection import BlockKFold, CellKFold, FiberKFold

SHAPE = (6, 5, 4)
SPLITTERS = [
    (CellKFold, {}),
    (FiberKFold, {"mode": 1}),
    (BlockKFold, {"block_shape": (2, None, 2)}),
]
every_splitter = pytest.mark.parametrize(("splitter", "options"), SPLITTERS)


def make_table(n_rows=150, seed=0):
    """Return index rows of which many name the same cell."""
    return np.random.RandomState(seed).randint(SHAPE, size=(n_rows, 3))


def groups_of(X, splitter, options):
    """Return the labels of the groups that a splitter keeps together."""
    pattern = {CellKFold: "cells", FiberKFold: "fibers", BlockKFold: "blocks"}[splitter]
    return entry_groups(X, pattern=pattern, **options)


@every_splitter
def test_folds_are_a_partition_into_whole_groups(splitter, options):
    """Each row is held out once, train is the rest, and no group lies on both sides."""
    X = make_table()
    labels = groups_of(X, splitter, options)
    folds = list(splitter(3, random_state=0, **options).split(X))
    np.testing.assert_array_equal(np.sort(np.concatenate([f[1] for f in folds])), np.arange(150))
    for train, test in folds:
        np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(150))
        assert not set(labels[train]) & set(labels[test])


@pytest.mark.parametrize("n_splits", [2, 5, 7])
def test_folds_of_distinct_cells_are_even(n_splits):
    """Where each index has many cells, sizes differ by one cell at most."""
    X = np.argwhere(np.ones(SHAPE))
    sizes = [len(test) for _, test in CellKFold(n_splits, random_state=0).split(X)]
    assert max(sizes) - min(sizes) <= 1 and sum(sizes) == 120


def test_unequal_groups_are_dealt_evenly():
    """Fibers of 1 to 40 rows: no fold is more than one fiber larger than another."""
    X = np.array([(fiber, row) for fiber in range(40) for row in range(fiber + 1)])
    splitter = FiberKFold(4, mode=1, random_state=0)
    sizes = [len(test) for _, test in splitter.split(X)]
    assert max(sizes) - min(sizes) <= 40 and sum(sizes) == 820


@pytest.mark.parametrize("seed", range(5))
def test_an_index_of_two_cells_is_always_trained_on(seed):
    """Users with two ratings each: a plain shuffle would lose one in five from every fold."""
    rng = np.random.RandomState(seed)
    items = np.array([rng.permutation(8)[:2] for _ in range(60)])
    X = np.column_stack([np.repeat(np.arange(60), 2), items.ravel()])
    sizes = []
    for train, test in CellKFold(5, random_state=seed).split(X):
        assert set(X[test, 0]) <= set(X[train, 0]) and set(X[test, 1]) <= set(X[train, 1])
        sizes.append(len(test))
    assert min(sizes) >= 20  # of 24: moves go to the smallest fold


def test_fibers_of_one_index_are_spread_too():
    """Two series per sensor never leave together."""
    X = np.array([(s, f, t) for s in range(20) for f in (s, (s + 1) % 20) for t in range(3)])
    for train, test in FiberKFold(2, mode=2, random_state=0).split(X):
        assert set(X[test, 0]) <= set(X[train, 0])


@pytest.mark.parametrize("X", [[[0, 0], [1, 1]], [[0, 0], [0, 1], [1, 0]]])
def test_an_index_of_one_cell_is_held_out_all_the_same(X):
    """No cell is trained on in all folds, or predictions of all rows would lack one."""
    tests = [test for _, test in CellKFold(2, random_state=0).split(X)]
    assert sorted(np.concatenate(tests)) == list(range(len(X)))


@every_splitter
def test_random_state_decides(splitter, options):
    """One seed gives one split; five seeds don't all give the same."""
    X = make_table()
    cvs = [splitter(3, random_state=seed, **options) for seed in (0, 0, 1, 2, 3, 4)]
    first, again, *others = [[test.tolist() for _, test in cv.split(X)] for cv in cvs]
    assert first == again and any(first != other for other in others)


@every_splitter
def test_labels_split_as_their_codes(splitter, options):
    """Strings, categories and whole floats are numbered in sorted order; rows stay in place."""
    X = make_table()
    cv = splitter(3, random_state=0, **options)
    expected = [test.tolist() for _, test in cv.split(X)]
    names = np.array(list("abcdef"))[X]
    frame = pd.DataFrame(names, columns=["user", "item", "day"])
    for table in (X.astype(float), names, frame, frame.astype("category"), pd.DataFrame(X)):
        assert [test.tolist() for _, test in cv.split(table)] == expected


@pytest.mark.parametrize("kind", [int, float])
def test_indices_beside_labels_keep_their_place(kind):
    """Days 4 to 9 in blocks of three from day 0 on: 4, 5 and 6 to 8 and 9, whatever the sensors."""
    codes = np.array([(sensor, day) for sensor in (0, 1) for day in range(4, 10)])
    labels = pd.DataFrame({"sensor": np.array(["a", "b"])[codes[:, 0]], "day": codes[:, 1]})
    cv = BlockKFold(3, block_shape=(None, 3), random_state=0)
    expected = [test.tolist() for _, test in cv.split(codes)]
    assert [test.tolist() for _, test in cv.split(labels.astype({"day": kind}))] == expected
    days = {tuple(np.unique(codes[test, 1])) for test in expected}
    assert days == {(4, 5), (6, 7, 8), (9,)}


# Least squares without the cells of a whole fiber may leave its row far out, and says so.
@pytest.mark.filterwarnings("ignore:No cell tells of:sktf.CompletionWarning")
@pytest.mark.filterwarnings("ignore:Predictions dwarf:sktf.CompletionWarning")
def test_splitters_in_scikit_learn():
    """A search finds the true rank; labels in a pipeline, and predictions of whole fibers."""
    tensor, _ = make_low_rank((8, 7, 6), 2, random_state=0)
    X, y = sample_entries(tensor, 0.7, random_state=0)
    model = CPALSCompletion(2, shape=tensor.shape, n_init=3, solver="sparse", random_state=0)
    cv = CellKFold(3, random_state=0)
    search = GridSearchCV(model, {"n_components": [1, 2]}, cv=cv).fit(X, y)
    assert search.best_params_ == {"n_components": 2} and search.n_splits_ == 3
    pipeline = make_pipeline(OrdinalEncoder(categories=[list("abcdefgh")] * 3), model)
    labels = np.array(list("abcdefgh"))[X]
    pipeline[-1].set_params(shape=(8, 8, 8))
    assert cross_val_score(pipeline, labels, y, cv=cv).min() > 0.99
    fibers = FiberKFold(3, mode=2, random_state=0)
    assert cross_val_predict(model, X, y, cv=fibers).shape == y.shape


def test_representation_names_the_parameters():
    """As scikit-learn's splitters print."""
    text = "FiberKFold(mode=1, n_splits=3, random_state=None)"
    assert repr(FiberKFold(3, mode=1)) == text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X: CellKFold(1), "n_splits is 1; .* 2 or more"),
        (lambda X: CellKFold(2.0), "n_splits is 2.0; .*whole number"),
        (lambda X: list(CellKFold(3).split(X[:2])), "n_splits=3.* 2 group.* lower n_splits"),
        (lambda X: list(FiberKFold(2, mode=3).split(X)), "mode is 3; .* 0 to 2"),
        (lambda X: list(BlockKFold(2, block_shape=(1, 1)).split(X)), "block_shape is .* 3 modes"),
        (lambda X: list(BlockKFold(2, block_shape=(None,) * 3).split(X)), "1 group.* smaller"),
        (lambda X: list(CellKFold(2).split(X, np.ones(3))), "inconsistent numbers of samples"),
        (lambda X: list(CellKFold(2).split(X - 1)), r"Negative values .* row \d has -1 in mode"),
        (lambda X: list(CellKFold(2).split(X[:, 0])), "Expected 2D array, got 1D array"),
    ],
)
def test_errors_say_what_arrived(call, message):
    """Each refusal names the parameter and what to do."""
    with pytest.raises(ValueError, match=message):
        call(make_table())
