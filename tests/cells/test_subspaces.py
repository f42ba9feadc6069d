"""Leading subspaces, against the dense matrix that they are eigenvectors of."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator

from sktf._cells import subspaces as module
from sktf._cells.subspaces import leading_subspaces
from sktf._cells.validation import Observations
from sktf.datasets import make_low_rank


def observe(tensor, share, *, weights=None, seed=0):
    rng = np.random.default_rng(seed)
    linear = rng.permutation(tensor.size)[: int(share * tensor.size)]
    coords = np.stack(np.unravel_index(linear, tensor.shape), axis=1).astype(np.int32)
    values = tensor.ravel()[linear]
    weights = np.broadcast_to(1.0, len(values)) if weights is None else weights(rng, len(values))
    return Observations(coords, values, weights, tensor.shape)


def dense_gram(cells, mode):
    """``A A^T`` without its diagonal, of the dense unfolding."""
    filled = np.zeros(cells.shape)
    filled[tuple(cells.coords.T)] = cells.values * cells.weights / cells.weights.mean()
    unfolding = np.moveaxis(filled, mode, 0).reshape(cells.shape[mode], -1)
    gram = unfolding @ unfolding.T
    return gram - np.diag(np.diag(gram))


@pytest.mark.parametrize("weights", [None, lambda rng, n: rng.uniform(0.2, 3, n)])
@pytest.mark.parametrize("shape", [(150, 130), (120, 20, 15), (70, 9, 8, 10)])
def test_eigenvectors_of_the_gram_matrix_without_its_diagonal(shape, weights):
    """Both ways of computing, the first mode of more than 64 rows; 1e-2: ARPACK stops at 1e-3."""
    tensor, _ = make_low_rank(shape, 2, random_state=0)
    cells = observe(tensor / tensor.std(), 0.3, weights=weights)
    for mode, basis in enumerate(leading_subspaces(cells, 2, np.random.RandomState(0))):
        values, vectors = np.linalg.eigh(dense_gram(cells, mode))
        assert values[-2] > 1.5 * values[-3]  # two stand out, so that the space is defined
        assert_allclose(basis.T @ basis, np.eye(2), atol=1e-8)
        wanted = vectors[:, -2:]
        assert_allclose(basis @ basis.T, wanted @ wanted.T, atol=1e-2)


@pytest.mark.parametrize(
    ("shape", "share", "form"),
    [
        ((90, 60, 50), 0.02, np.ndarray),
        ((400, 60, 50), 0.002, csr_array),
        ((50, 40, 30), 0.5, csr_array),
        ((90, 60, 50), 0.3, LinearOperator),
    ],
)
def test_every_form_of_the_gram_matrix(shape, share, form):
    """Few cells of a column form the matrix, and so do few rows; many are multiplied by."""
    tensor, _ = make_low_rank(shape, 2, random_state=0)
    cells = observe(tensor, share)
    twice = cells.take(np.r_[: len(cells.values), :5])  # some cells have two observations
    gram = module._gram(*module._unfold(twice.coords, twice.values, 0), shape[0])
    assert isinstance(gram, form)
    wanted = cells.values.copy()
    wanted[:5] *= 2
    dense = dense_gram(cells._replace(values=wanted), 0)
    assert_allclose(gram @ np.eye(shape[0]), dense, atol=1e-10 * np.abs(dense).max())


def test_one_large_cell_captures_nothing():
    """Singular vectors of the zero-filled unfolding point at it; without the diagonal they do not.

    The cell is the only one of its fibers, ten times the norm of all others.
    """
    tensor, (truth, *_) = make_low_rank((80, 70, 60), 1, random_state=0)
    cells = observe(tensor / tensor.std(), 0.02)
    values = cells.values.copy()
    values[0] = 10 * np.linalg.norm(values)
    spiked = cells._replace(values=values)
    basis = leading_subspaces(spiked, 1, np.random.RandomState(0))[0]
    filled = np.zeros(cells.shape)
    filled[tuple(cells.coords.T)] = values
    row = cells.coords[0, 0]
    svd = np.linalg.svd(filled.reshape(80, -1), full_matrices=False)[0][:, 0]
    assert abs(svd[row]) > 0.99
    assert abs(basis[row, 0]) < 0.9
    rest = np.delete(np.arange(80), row)
    cosine = basis[rest, 0] @ truth[rest, 0] / np.linalg.norm(basis[rest, 0])
    assert abs(cosine) / np.linalg.norm(truth[rest, 0]) > 0.5


def test_no_wider_than_the_mode():
    cells = observe(np.random.default_rng(0).standard_normal((30, 4, 3)), 0.5)
    bases = leading_subspaces(cells, 10, np.random.RandomState(0))
    assert [basis.shape for basis in bases] == [(30, 10), (4, 4), (3, 3)]


def test_cells_without_neighbors_leave_an_orthonormal_basis():
    """No two rows share a column: the matrix is zero, and any basis will do."""
    coords = np.stack([np.arange(90)] * 3, axis=1).astype(np.int32)
    cells = Observations(coords, np.ones(90), np.broadcast_to(1.0, 90), (90,) * 3)
    for basis in leading_subspaces(cells, 3, np.random.RandomState(0)):
        assert_allclose(basis.T @ basis, np.eye(3), atol=1e-8)


def test_the_same_seed_gives_the_same_bits_for_any_number_of_threads():
    tensor, _ = make_low_rank((90, 80, 7), 2, random_state=0)
    cells = observe(tensor, 0.1)
    found = [leading_subspaces(cells, 4, np.random.RandomState(3), n) for n in (1, 1, 2, 3)]
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert_array_equal(one, other)


def test_directions_that_hardly_stand_out_take_no_forever(monkeypatch):
    """A mode of 4,000 rows and few columns has 12 directions at most; Lanczos would go on and on.

    20 restarts of twice the width, at most, with some to spare.
    """
    products, original = [], module.LinearOperator

    def count(shape, multiply, **options):
        def counted(vectors):
            products.append(1)
            return multiply(vectors)

        return original(shape, counted, **options)

    monkeypatch.setattr(module, "LinearOperator", count)
    tensor, _ = make_low_rank((4000, 4, 3), 2, random_state=0)
    basis = leading_subspaces(observe(tensor, 0.4), 10, np.random.RandomState(0))[0]
    assert_allclose(basis.T @ basis, np.eye(10), atol=1e-8)
    assert len(products) < 20 * 2 * 10 + 100
