"""Fits on several processes: those of one process, whatever rank has which rows, or a clear end."""

import pickle
import warnings

import numpy as np
import pytest
from cases.ranks import Pool, model_of, shard, sparse_cells

from sktf import CPCompletion
from sktf._models import ranks

pytest.importorskip("torch")

# The relative difference that sums in another order may make.
CLOSE = 1e-9


@pytest.fixture(scope="module")
def pool():
    """Five processes, of which the last may be killed."""
    pool = Pool(5)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def alone():
    """Fits by one process, each made once: predictions of its cells."""
    known = {}

    def predictions(name):
        if name not in known:
            with warnings.catch_warnings(action="ignore"):
                model, X, y = model_of(name)
                known[name] = model.fit(X, y).predict(X)
        return known[name]

    return predictions


def fitted(rank, size, name, few):
    """Fit a model of the table to the rows of this rank; return it."""
    from sktf._objective import spread

    ranks.FEW_ROWS, spread._AT_ONCE = few, 256 if name != "sampled" else 2**16
    model, X, y = model_of(name, distributed=True)
    mine = shard(len(y), rank, size)
    with warnings.catch_warnings(action="ignore"):
        return pickle.dumps(model.fit(X[mine], y[mine]))


def assert_same_everywhere(found, X):
    """All ranks have the same attributes, and predict the same bits; return the predictions."""
    models = [pickle.loads(each) for each in found]
    first, *others = [model.predict(X) for model in models]
    for model, predicted in zip(models[1:], others, strict=True):
        assert {*vars(model)} == {*vars(models[0])}
        np.testing.assert_array_equal(predicted, first)
    return first


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [("CP", 2), ("DeepCP", 4), ("posterior", 2)])
def test_few_rows_are_gathered_and_the_fit_is_that_of_one_process(pool, alone, name, size):
    """To the last bit: rank 0 does what one process does."""
    X = model_of(name)[1]
    found = assert_same_everywhere(pool.run(range(size), fitted, name, 2**20), X)
    np.testing.assert_array_equal(found, alone(name))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("constant step", 3),
        ("sleepers", 2),
        ("another device", 2),
        ("additive", 4),
        *((name, 4) for name in ("posterior", "DeepCP", "CP")),
        ("sampled", 2),
        ("matrix", 2),
        ("unfolded", 3),
        ("CP", 1),
    ],
)
def test_many_rows_stay_where_they_are_and_the_fit_is_that_of_one_process(pool, alone, name, size):
    """But for the order of sums: samples, starts and held-out cells are the same."""
    X, expected = model_of(name)[1], alone(name)
    found = assert_same_everywhere(pool.run(range(size), fitted, name, 0), X)
    assert np.abs(found - expected).max() < CLOSE * np.abs(expected).max()


def labeled(rank, size, few, distributed):
    """Fit cells of labels, with weights and held-out cells of rank 0; return the model."""
    ranks.FEW_ROWS = few
    numbers, y = sparse_cells()
    X = np.char.add(["a", "b", "c"], numbers.astype(str))
    weights = np.where(np.arange(len(y)) % 5, 1.0 + np.arange(len(y)) % 3, 0.0)
    given = {"X_val": X[1100:], "y_val": y[1100:]} if rank == 0 else {}
    mine = np.arange(1100)[shard(1100, rank, size)]
    model = CPCompletion(encode=True, distributed=distributed, random_state=0)
    with warnings.catch_warnings(action="ignore"):
        return pickle.dumps(model.fit(X[mine], y[mine], weights[mine], **given))


@pytest.mark.slow
@pytest.mark.parametrize("few", [0, 2**20])
def test_labels_weights_and_held_out_cells_of_ranks(pool, few):
    """Labels are those of all ranks; rows of weight zero are absent; one rank holds cells out."""
    found = pool.run(range(4), labeled, few, True)
    alone = pickle.loads(labeled(0, 1, few, False))
    for model in map(pickle.loads, found):
        for labels, expected in zip(model.categories_, alone.categories_, strict=True):
            assert labels.tolist() == expected.tolist()
        np.testing.assert_allclose(model.to_dense(), alone.to_dense(), rtol=CLOSE, atol=CLOSE)
        assert model.summary().warnings == alone.summary().warnings


def sent(rank, size, max_iter):
    """Return the bytes that this rank sends in a descent of so many steps, and parameters."""
    from sktf._objective.distributed import Ranks

    counted, close, ranks.FEW_ROWS = [], Ranks.close, 0

    def closing(group):
        counted.append(group.bytes_sent)
        close(group)

    Ranks.close = closing
    model, X, y = model_of("constant step", distributed=True)
    mine = shard(len(y), rank, size)
    with warnings.catch_warnings(action="ignore"):
        model.set_params(max_iter=max_iter).fit(X[mine], y[mine])
    Ranks.close = close
    return counted[0], model._theta.size


@pytest.mark.slow
def test_bytes_of_a_step(pool):
    """Theta from rank 0 to all, in a message of a known head; gradient, loss and status back."""
    (few, n), (few_back, _) = pool.run(range(2), sent, 10)
    (more, _), (more_back, _) = pool.run(range(2), sent, 30)
    assert more_back - few_back == 20 * 8 * (n + 2)
    question = (more - few) / 20 - 8 * (n + 2)
    assert 8 * n < question < 8 * n + 512


def warned(rank, size):
    """Return the warnings of a fit on this rank, and where they point to."""
    ranks.FEW_ROWS = 0
    X, y = sparse_cells()
    mine = shard(len(y), rank, size)
    model = CPCompletion(shape=(41, 30, 20), distributed=True, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X[mine], y[mine])
    return [
        (str(warning.message), warning.filename) for warning in caught
    ], model.summary().warnings


@pytest.mark.slow
def test_warnings_come_once_and_from_the_caller(pool):
    """Rank 0 warns, in the line of fit; the others have the text in their summaries."""
    (told, kept), (silent, kept_there) = pool.run(range(2), warned)
    assert kept == kept_there == [text for text, _ in told] and not silent
    assert any("No cell tells of 1 of the 41 indices" in text for text in kept)
    assert {filename for _, filename in told} == {__file__}
