"""Cells that lie on several ranks answer as if they lay on one."""

from itertools import pairwise

import numpy as np
import pytest
from cases.ranks import Pool, shard

from sktf._cells.frame import fit_frame
from sktf._cells.observations import Observations

pytest.importorskip("torch")
pytestmark = pytest.mark.slow

SHAPES = [(9, 8, 7), (12, 5), (5, 4, 3, 3, 2, 2), (30,)]


@pytest.fixture(scope="module")
def pool():
    """Four processes."""
    pool = Pool(4)
    yield pool
    pool.close()


def cells_of(shape, weighted):
    """Return cells in two parts that share no index but of few, some of them repeated."""
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.randint(size // 2, size=60) for size in shape])
    X = np.vstack([X, X + np.array(shape) // 2, X[:7]]).astype(np.int32)
    weights = rng.uniform(0.5, 2, len(X)) if weighted else np.broadcast_to(1.0, len(X))
    return Observations(X, 3 + rng.standard_normal(len(X)), weights, shape)


def answers(cells, shape):
    """Return what is asked of cells, by name."""
    groups = tuple((mode,) for mode in range(len(shape)))
    frame, some = fit_frame(cells, groups, "mean", True), np.random.RandomState(1)
    rows = np.unique(some.randint(len(cells.values), size=20))
    numbered = cells.numbered()
    chosen = np.arange(numbered.n_distinct) % 3 == 0
    rest, apart = cells.apart(numbered.mask(chosen))
    drawn_from, drawn = cells.drawn_apart(0.3, np.random.RandomState(2))
    found = {
        "length": len(cells.values),
        "bounds": cells.bounds(),
        "mean": cells.mean(),
        "kurtosis": cells.kurtosis(),
        "level share": cells.level_share(),
        "counts": np.concatenate(cells.row_counts(shape)),
        "distinct": cells.n_distinct(),
        "fibers": cells.n_distinct([0]),
        "numbered": numbered.n_distinct,
        "rest": rest.take(slice(None)).coords,
        "apart": apart.values,
        "drawn": drawn.coords,
        "drawn from": drawn_from.take(slice(None)).values,
        "rows": cells.take(rows).values,
        "mask": cells.take(np.arange(len(cells.values)) % 4 == 1).coords,
        "steps": cells.take(slice(2, None, 7)).values,
        "few": cells.take(slice(0, 5)).values,
        "weights": cells.take(slice(1, 90, 2)).weights,
        "read": cells.n_read(frame),
        "left": cells.largest_left(frame),
        "seen": cells.seen_by(frame).take(slice(None)).values,
        "squares": cells.squares_left(zero),
        "unread": np.sort(numbered.of(cells.unread([np.arange(n) % 2 for n in shape]))),
        "parts": len(np.unique(cells.joined_indices())),
    }
    for kind, scale in (("additive", True), ("auto", True), (None, False), ("mean", True)):
        level, terms, size = cells.fit_offset(kind, scale)
        found[f"offset {kind}"] = np.concatenate([[level, size], *terms])
    return found


def zero(coords):
    """Predict zero."""
    return np.zeros(len(coords))


def asked(rank, size, shape, weighted):
    """Return what rank 0 is told of the cells of all, and of all in one place."""
    from sktf._objective import spread
    from sktf._objective.distributed import Ranks

    spread._AT_ONCE = 20
    everything = cells_of(shape, weighted)
    with Ranks() as ranks:
        ranks.hold("cells", everything.take(shard(len(everything.values), rank, size)))
        if rank:
            return ranks.serve()
        try:
            return answers(spread.cells_of_all(ranks, True), shape), answers(everything, shape)
        finally:
            ranks.end({})


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_answers_are_those_of_all_cells_in_one_place(pool, shape, weighted):
    """Counts and cells exactly, sums to rounding, additive terms as far as both have converged."""
    found = pool.run(range(4), asked, shape, weighted)[0]
    assert isinstance(found, tuple), found
    for name, answer in found[0].items():
        np.testing.assert_allclose(answer, found[1][name], rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("rows", [slice(0, 5), slice(3, None, 4), slice(9, 9), slice(None, 70, 69)])
def test_slices_of_rows_that_lie_in_parts(rows):
    """The parts of a slice, put together, are the slice."""
    from sktf._objective.spread import part_of

    starts = [0, 2, 2, 30, 31, 100]
    parts = [
        np.arange(start, stop)[part_of(rows, start, stop, 100)] for start, stop in pairwise(starts)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(100)[rows])
