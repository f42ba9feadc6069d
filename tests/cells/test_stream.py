"""A stream answers as the observations do that it stands for, without holding them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sktf._cells import stored, stream
from sktf._cells.frame import fit_frame
from sktf._cells.observations import Observations
from sktf._cells.offset import Moments, fit_offset
from sktf._cells.stored import Stored, StoredCells, ahead
from sktf._cells.stream import Stream

SHAPE = (9, 6, 5)
N = 400


@pytest.fixture
def cells():
    """Four hundred rows, many of one cell, none of index 3 in mode 0 and of the last in mode 2."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, (9, 6, 4), (N, 3)).astype(np.int32)
    X[X[:, 0] == 3, 0] = 8
    return Observations(X, 2 + rng.standard_normal(N), np.broadcast_to(1.0, N), SHAPE)


@pytest.fixture(params=[7, 100, 400, 1000])
def streamed(cells, request, monkeypatch):
    """The same cells in blocks of several lengths."""
    monkeypatch.setattr(stored, "BLOCK", request.param)
    return Stream(stored_cells(cells), SHAPE)


def stored_cells(cells, n_pieces=3):
    pieces = [np.array_split(array, n_pieces) for array in (cells.coords, cells.values)]
    return StoredCells(lambda: (piece for piece in zip(*pieces, strict=True)), len(SHAPE))


def assert_same(found, expected):
    assert_array_equal(found.coords, expected.coords)
    assert_array_equal(found.values, expected.values)
    assert_array_equal(found.weights, expected.weights)
    assert found.shape == expected.shape


@pytest.mark.parametrize(
    "rows",
    [
        slice(0, 50),
        slice(None, None, 37),
        np.array([0, 6, 7, 99, 100, 399]),
        np.array([], int),
        np.arange(N) % 5 == 0,
        np.zeros(N, bool),
    ],
)
def test_rows_are_taken(cells, streamed, rows):
    """By slice, mask and sorted numbers."""
    assert_same(streamed.take(rows), cells.take(rows))


def test_what_is_told_of_all(cells, streamed):
    """Number, range, mean and counts; the mean to rounding of sums."""
    assert len(streamed.values) == N
    assert (streamed.values.min(), streamed.values.max()) == cells.bounds() == streamed.bounds()
    assert_allclose(streamed.mean(), cells.mean(), rtol=1e-14)
    for pair in zip(streamed.row_counts(SHAPE), cells.row_counts(SHAPE), strict=True):
        assert_array_equal(*pair)
    assert_same(streamed.whole(), cells)
    assert_same(streamed.take(slice(0, 13)), cells.take(slice(13)))
    assert (streamed.fibers(), streamed.n_distinct()) == (cells.fibers(), cells.n_distinct())
    assert streamed.about_distinct() == cells.about_distinct()


def test_many_fibers_are_counted_by_a_share(cells, streamed, monkeypatch):
    """Of a share of 1 all; of half of them about as many, by the same draw of equal fibers."""
    monkeypatch.setattr(stream, "_MOST_TICKED", 0)
    assert streamed.fibers() == cells.fibers()
    monkeypatch.setattr(stream, "_N_DRAWN", N // 2)
    assert_allclose(streamed.fibers(), cells.fibers(), rtol=0.6)


def test_cells_are_held_out_alike(cells, streamed):
    """The draw of in-memory fits, whole cells, and what is left is told without reading it."""
    left, out = cells.drawn_apart(0.2, np.random.RandomState(1))
    kept, drawn = streamed.drawn_apart(0.2, np.random.RandomState(1))
    assert_same(drawn, out)
    assert_same(kept.whole(), left)
    assert 0 < len(drawn.values) < N
    assert len(kept.values) == len(left.values)
    assert_allclose(kept.mean(), left.mean(), rtol=1e-13)
    for pair in zip(kept.row_counts(SHAPE), left.row_counts(SHAPE), strict=True):
        assert_array_equal(*pair)
    assert_same(kept.take(slice(5, 90, 3)), left.take(slice(5, 90, 3)))


@pytest.mark.parametrize("offset", [None, "auto", "mean", "additive"])
@pytest.mark.parametrize("scale", [True, False])
def test_the_frame_is_the_one_of_memory(cells, streamed, monkeypatch, offset, scale):
    """To rounding of sums; the sample that additive terms are fitted to is here all cells."""
    monkeypatch.setattr(Stream, "for_terms", Stream.whole)
    groups = ((0,), (1,), (2,))
    found = fit_frame(streamed, groups, offset, scale)
    expected = fit_frame(cells, groups, offset, scale)
    assert found.sizes == expected.sizes == (8, 6, 4)
    assert_allclose(found.offset[::2], expected.offset[::2], rtol=1e-13)
    for pair in zip(found.offset.terms, expected.offset.terms, strict=True):
        assert_allclose(*pair, rtol=1e-10)
    seen, its = streamed.seen_by(found), cells.seen_by(expected)
    assert_array_equal(seen.whole().coords, its.coords)
    assert_allclose(seen.whole().values, its.values, rtol=1e-10, atol=1e-13)
    for pair in zip(seen.row_counts(seen.shape), its.row_counts(its.shape), strict=True):
        assert_array_equal(*pair)


@pytest.mark.parametrize("unit", [1.0, 1e-300, 1e300])
@pytest.mark.parametrize("level", [0.0, 100.0])
@pytest.mark.parametrize("zeros", [slice(0), slice(300, 310), slice(900, None)])
@pytest.mark.parametrize("kind", [None, "auto", "mean"])
def test_offsets_of_moments(unit, level, zeros, kind):
    """Of blocks of any size and unit what ``fit_offset`` makes of all; no square overflows.

    A block of zeros, whose unit would be the largest of small values, changes nothing.
    """
    rng = np.random.default_rng(3)
    values = unit * (level + rng.standard_normal(1000) * np.repeat([1e-3, 1, 2], [300, 600, 100]))
    values[zeros] = 0
    blocks = np.split(values, [300, 310, 900])
    cells = Observations(np.zeros((1000, 1), np.int32), values, np.broadcast_to(1.0, 1000), (1,))
    found, expected = Moments.of(blocks).offset(kind, True), fit_offset(cells, kind, True)
    assert_allclose(found[::2], expected[::2], rtol=1e-12)


@pytest.mark.parametrize("kind", [None, "mean"])
def test_values_that_are_alike_leave_no_scale(kind):
    """As in memory: nothing is left to descend on, or all is where no offset is taken."""
    assert Moments.of([np.full(3, 0.1), np.full(5, 0.1)]).offset(kind, True).scale in (
        {0.0} if kind else {0.1}
    )
    assert Moments.of([np.zeros(3)]).offset(kind, True).scale == 0


def test_files_that_have_changed_are_refused(cells):
    """Rather than read out of bounds, or as rows of others."""
    rows = [cells.coords, cells.values]
    streamed = Stream(StoredCells(lambda: (tuple(rows) for _ in range(1)), 3), SHAPE)
    for n_rows, index in ((N, 9), (N - 1, 0), (N + 1, 0)):
        rows[:] = np.full((n_rows, 3), index, np.int32), np.ones(n_rows)
        with pytest.raises(ValueError, match="have changed since open_entries"):
            streamed.whole()


def test_reading_ahead_ends_with_who_reads():
    """An error of the file reaches the reader, and nobody reads on after the reader has ended."""
    read = []

    def blocks(error=False):
        for number in range(9):
            if error and number == 3:
                raise OSError("torn off")
            read.append(number)
            yield number

    assert list(ahead(blocks())) == list(range(9))
    with pytest.raises(OSError, match="torn off"):
        list(ahead(blocks(error=True)))
    read.clear()
    reader = ahead(blocks())
    next(reader)
    reader.close()
    assert read == [0, 1]


def test_what_lies_in_files_is_shown(cells):
    """In one line, without reading it."""
    assert repr(Stored(stored_cells(cells), 0)) == "<X in files, shape (400, 3), int32>"
