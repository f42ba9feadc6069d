"""DeepCPCompletion: depth 0 is CP, starts, balance, what a fit returns."""

import numpy as np
import pytest
import tensorly as tl

from sktf import CPCompletion, DeepCPCompletion
from sktf._models.deep_cp import DeepCPFactorization

cut_off = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
SHAPE = (6, 5, 7)


def problem(rank=1, n_observed=150, seed=0):
    """A dense tensor of low rank, and some of its cells."""
    rng = np.random.default_rng(seed)
    tensor = np.einsum("ir,jr,kr->ijk", *(rng.standard_normal((d, rank)) for d in SHAPE))
    chosen = rng.choice(tensor.size, n_observed, replace=False)
    return tensor, np.column_stack(np.unravel_index(chosen, SHAPE)), tensor.ravel()[chosen]


def start(init, scale, mean, depth, shape=SHAPE, n_components=40):
    """Vectors per mode and matrices per mode of one start."""
    factorization = DeepCPFactorization(shape, n_components, depth)
    theta = factorization.start(np.random.RandomState(0), init, scale, mean)
    blocks = factorization.unpack(theta)
    return blocks[:3], blocks[3:]


def block_norms(vectors, matrices):
    """Frobenius norms of all blocks of every component, shape (number of blocks, R)."""
    norms = [np.linalg.norm(v, axis=0) for v in vectors]
    norms += [np.linalg.norm(layer, axis=(1, 2)) for matrix in matrices for layer in matrix]
    return np.array(norms)


@pytest.mark.parametrize("init", ["auto", "gaussian", "balanced"])
def test_depth_zero_is_cp(init):
    """The same draws, descent and factors: all predictions to 1e-12 of the largest."""
    tensor, X, y = problem(rank=2)
    y = y + 0.1 * np.random.default_rng(1).standard_normal(len(y))
    options = {"init": init, "shape": SHAPE, "random_state": 0}
    deep = DeepCPCompletion(6, depth=0, **options).fit(X, y)
    plain = CPCompletion(6, **options).fit(X, y)
    dense = plain.to_dense()
    np.testing.assert_allclose(deep.to_dense(), dense, rtol=0, atol=1e-12 * np.abs(dense).max())
    assert deep.n_iter_ == plain.n_iter_ and deep.rank_ == plain.rank_


def test_gaussian_start_of_vectors_and_matrices():
    """Vectors N(mean, std^2), matrices the same over ``sqrt(d)``: five standard errors."""
    vectors, matrices = start("gaussian", 0.2, 0.1, 2, n_components=100)
    for size, vector, matrix in zip(SHAPE, vectors, matrices, strict=True):
        for block, shrink in ((vector, 1.0), (matrix, size**0.5)):
            entries = shrink * block.ravel()
            error = 0.2 / np.sqrt(entries.size)
            assert abs(entries.mean() - 0.1) < 5 * error
            assert abs(entries.std() - 0.2) < 5 * error / np.sqrt(2)


def test_blocks_of_a_mode_have_the_same_expected_norm():
    """Mean square of the Frobenius norms over 2,000 components: 10 %."""
    vectors, matrices = start("gaussian", 0.3, 0.0, 2, n_components=2000)
    for size, vector, matrix in zip(SHAPE, vectors, matrices, strict=True):
        squares = [np.mean((vector**2).sum(axis=0))]
        squares += [np.mean((layer**2).sum(axis=(1, 2))) for layer in matrix]
        np.testing.assert_allclose(squares, 0.3**2 * size, rtol=0.1)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_balanced_start_has_equal_norms_exactly(depth):
    """All ``N (k + 1)`` blocks of a component have one norm, 1e-14; their product stays."""
    balanced = block_norms(*start("balanced", 0.3, 0.05, depth))
    gaussian = block_norms(*start("gaussian", 0.3, 0.05, depth))
    assert len(balanced) == 3 * (depth + 1)
    np.testing.assert_allclose(balanced, balanced[:1].repeat(len(balanced), axis=0), rtol=1e-14)
    np.testing.assert_allclose(balanced.prod(axis=0), gaussian.prod(axis=0), rtol=1e-12)


@cut_off
def test_a_given_start_is_vectors_then_matrices():
    """The first record holds the norms of ``A_2 A_1 w`` over all modes, in the user's units."""
    tensor, X, y = problem()
    vectors, matrices = start("gaussian", 0.7, 0.0, 2, n_components=3)
    options = {"scale": False, "loss": "squared", "early_stopping": False, "max_iter": 1}
    model = DeepCPCompletion(depth=2, init=[*vectors, *matrices], record_every=1, **options)
    model.fit(X, y)
    factors = [
        np.einsum("rij,rjk,kr->ir", m[1], m[0], v) for v, m in zip(vectors, matrices, strict=True)
    ]
    norms = np.prod([np.linalg.norm(factor, axis=0) for factor in factors], axis=0)
    found = model.trace_["component_norms"][0]
    np.testing.assert_allclose(np.sort(found), np.sort(norms), rtol=1e-12)
    with pytest.raises(ValueError, match="set shape, n_components, depth or hidden to match"):
        model.set_params(depth=1).fit(X, y)


@pytest.mark.parametrize("depth", [1, 2])
def test_factors_are_end_to_end(depth):
    """``A_k ... A_1 w`` of every component, written out, are the factors of a theta."""
    factorization = DeepCPFactorization(SHAPE, 4, depth)
    theta = factorization.start(np.random.RandomState(0), "gaussian", 1.0, 0.0)
    blocks = factorization.unpack(theta)
    factors = factorization.forward(theta)[0]
    for vector, matrix, factor in zip(blocks[:3], blocks[3:], factors, strict=True):
        for r in range(4):
            column = vector[:, r]
            for layer in matrix:
                column = layer[r] @ column
            np.testing.assert_allclose(factor[:, r], column, rtol=1e-12, atol=1e-14)


@pytest.fixture(scope="module")
def fitted():
    tensor, X, y = problem()
    return DeepCPCompletion(depth=1, shape=SHAPE, random_state=0).fit(X, y), tensor


def test_a_tensor_of_rank_one_is_found(fitted):
    """At 70 % of the cells: rank 1 and an error of 1 % over all of them."""
    model, tensor = fitted
    assert model.rank_ == 1
    assert np.linalg.norm(model.to_dense() - tensor) < 0.01 * np.linalg.norm(tensor)


def test_factors_reproduce_every_output(fitted):
    """Predictions, the dense tensor, tensorly's and the norms are all of ``factors_``; 1e-12."""
    model, tensor = fitted
    each = np.einsum("ir,jr,kr->rijk", *model.factors_)
    dense = each.sum(axis=0)
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(model.to_dense(), dense, **close)
    cells = np.argwhere(np.ones(SHAPE, bool))
    np.testing.assert_allclose(model.predict(cells), dense.ravel(), **close)
    np.testing.assert_allclose(tl.cp_to_tensor(model.to_cp_tensor()), dense, **close)
    norms = np.linalg.norm(each.reshape(len(each), -1), axis=1)
    np.testing.assert_allclose(model.component_norms_, norms, **close)
    assert (np.diff(model.component_norms_) <= 0).all()


@cut_off
def test_a_weight_is_a_number_of_repetitions():
    """As for CP: 30 iterations amplify rounding to less than 1e-9."""
    tensor, X, y = problem(rank=3)
    counts = np.random.default_rng(2).integers(1, 4, len(y))
    options = {
        "shape": SHAPE,
        "init": "gaussian",
        "init_scale": 0.5,
        "early_stopping": False,
        "max_iter": 30,
        "random_state": 0,
    }
    weighted = DeepCPCompletion(4, **options).fit(X, y, sample_weight=counts)
    repeated = DeepCPCompletion(4, **options)
    repeated.fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    dense = repeated.to_dense()
    np.testing.assert_allclose(weighted.to_dense(), dense, rtol=0, atol=1e-9 * np.abs(dense).max())


def test_a_model_too_large_is_refused_with_the_way_out():
    """A mode of 20,000 would need matrices of 4e8 entries per component."""
    X = np.array([[0, 0], [19_999, 3]])
    with pytest.raises(ValueError, match="lower n_components, hidden, depth or n_init"):
        DeepCPCompletion(4, depth=1, init="gaussian").fit(X, [1.0, 2.0])
