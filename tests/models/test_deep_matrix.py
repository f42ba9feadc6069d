"""DeepMatrixCompletion: starts by their laws, unfolding, what a fit returns."""

import tracemalloc
import warnings
from itertools import pairwise

import numpy as np
import pytest
import tensorly as tl

from sktf import CompletionWarning, DeepMatrixCompletion
from sktf._models.deep_matrix import MatrixFactorization
from sktf._objective.components import product_singular_values, svd_factors

cut_off = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
DEPTHS = [1, 2, 3, 4]
every_depth = pytest.mark.parametrize("depth", DEPTHS)


def start(shape, depth, init, scale, mean=0.0, seed=0, width=None):
    """``W_1`` to ``W_N`` of one start."""
    factorization = MatrixFactorization(shape, [width or min(shape)] * (depth - 1))
    theta = factorization.start(np.random.RandomState(seed), init, scale, mean)
    return factorization.unpack(theta)


def product(layers):
    """``W_N ... W_1``."""
    matrix = layers[0]
    for layer in layers[1:]:
        matrix = layer @ matrix
    return matrix


def problem(shape=(20, 15), rank=2, n_observed=200, seed=0):
    """A dense matrix of low rank, and some of its cells."""
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
    chosen = rng.choice(matrix.size, n_observed, replace=False)
    return matrix, np.column_stack(np.unravel_index(chosen, shape)), matrix.ravel()[chosen]


@pytest.mark.parametrize("shape", [(50, 50), (30, 80)])
@every_depth
def test_gaussian_start_has_the_product_scale(shape, depth):
    """The product has entries of RMS ``alpha / sqrt(n)``, n the geometric mean of the sides.

    Mean square over 40 draws. The deviation of one draw is at most .1 of it, so 40 have .016;
    6 % are four of these.
    """
    squares = [
        np.mean(product(start(shape, depth, "gaussian", 0.3, seed=s)) ** 2) for s in range(40)
    ]
    np.testing.assert_allclose(np.mean(squares), 0.3**2 / np.sqrt(shape[0] * shape[1]), rtol=0.06)


@every_depth
def test_gaussian_start_of_a_square_matrix_is_that_of_the_paper(depth):
    """Every layer N(0, sigma^2), ``sigma = alpha^(1/N) n^(-1/2)``: five standard errors."""
    for layer in start((60, 60), depth, "gaussian", 1e-3):
        sigma = 1e-3 ** (1 / depth) / np.sqrt(60)
        error = sigma / 60
        assert abs(layer.mean()) < 5 * error
        assert abs(layer.std() - sigma) < 5 * error / np.sqrt(2)


@pytest.mark.parametrize("mean", [0.0, 0.1, -0.1])
@pytest.mark.parametrize("width", [None, 4, 40])
@pytest.mark.parametrize("shape", [(20, 20), (12, 30), (30, 12)])
@every_depth
def test_balanced_start_is_balanced(depth, shape, width, mean):
    """``W_{j+1}^T W_{j+1} = W_j W_j^T`` of a start without mean, to rounding.

    The mean is a second balanced product, added layer by layer: on its own it is one as well.
    """
    width = width or min(shape)
    factorization = MatrixFactorization(shape, [width] * (depth - 1))
    rng = np.random.RandomState(0)
    layers = factorization._balanced(rng, 0.5) if not mean else factorization._constant(mean)
    for lower, upper in pairwise(layers):
        np.testing.assert_allclose(upper.T @ upper, lower @ lower.T, rtol=0, atol=1e-13)
    assert np.abs(product(layers)).max() > 0.05


@pytest.mark.parametrize("shape", [(40, 40), (20, 60)])
@every_depth
def test_balanced_start_has_entries_of_the_given_rms(shape, depth):
    """``E |W|^2 = alpha^2 * rows * columns``: the mean of 40 draws, of deviation 1.1 %, to 5 %."""
    squares = [
        np.mean(product(start(shape, depth, "balanced", 0.2, seed=s)) ** 2) for s in range(40)
    ]
    np.testing.assert_allclose(np.mean(squares), 0.2**2, rtol=0.05)


@every_depth
def test_balanced_start_draws_the_same_matrix_at_every_depth(depth):
    """The product does not depend on how many layers carry it; rounding, 1e-12."""
    expected = product(start((15, 10), 1, "balanced", 0.2))
    layers = start((15, 10), depth, "balanced", 0.2)
    np.testing.assert_allclose(product(layers), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(9, 9), (5, 8), (8, 5)])
@every_depth
def test_identity_start_is_alpha_times_the_identity(shape, depth):
    """``W(0) = alpha I``, rectangular where the matrix is."""
    layers = start(shape, depth, "identity", 1e-3)
    np.testing.assert_allclose(product(layers), 1e-3 * np.eye(*shape), rtol=1e-13, atol=1e-18)


@pytest.mark.parametrize("mean", [0.1, -2.0])
@pytest.mark.parametrize("shape", [(7, 7), (4, 9), (9, 4)])
@every_depth
def test_init_mean_is_the_mean_of_the_product(shape, depth, mean):
    """Over a start of next to nothing every entry of the product is the mean."""
    layers = start(shape, depth, "gaussian", 1e-30, mean)
    np.testing.assert_allclose(product(layers), mean, rtol=1e-6)


@cut_off
def test_the_descent_starts_where_init_scale_says():
    """The first record holds the singular values of ``alpha I``, in the units of y."""
    _, X, y = problem()
    options = {"init": "identity", "init_scale": 0.01, "loss": "squared", "early_stopping": False}
    model = DeepMatrixCompletion(3, max_iter=1, record_every=1, **options).fit(X, 7 * y)
    expected = np.full(15, 0.01 * 7 * np.sqrt(np.mean(y**2)))
    np.testing.assert_allclose(model.trace_["singular_values"][0], expected, rtol=1e-12)


@cut_off
def test_layers_given_as_the_start_go_on():
    """20 steps, and 20 from the layers they led to, are 40 steps; the widths are theirs."""
    matrix, X, y = problem()
    rng = np.random.default_rng(5)
    layers = [0.3 * rng.standard_normal(block) for block in ((6, 15), (9, 6), (20, 9))]
    options = {"loss": "squared", "early_stopping": False, "scale": False, "step": "constant"}
    options |= {"learning_rate": 0.05, "shape": matrix.shape}
    model = DeepMatrixCompletion(init=layers, max_iter=20, record_every=1, **options).fit(X, y)
    expected = np.linalg.svd(product(layers), compute_uv=False)[:6]
    np.testing.assert_allclose(model.trace_["singular_values"][0, :6], expected, rtol=1e-12)
    whole = DeepMatrixCompletion(init=layers, max_iter=40, **options).fit(X, y)
    rest = DeepMatrixCompletion(init=model.layers_, max_iter=20, **options).fit(X, y)
    for layer, other in zip(rest.layers_, whole.layers_, strict=True):
        np.testing.assert_allclose(layer, other, rtol=0, atol=1e-13)
    assert np.abs(rest.layers_[0] - model.layers_[0]).max() > 1e-3


@pytest.mark.parametrize("changed", [{"depth": 2}, {"depth": 4}, {"hidden": 6}, {"hidden": (9, 6)}])
def test_layers_that_do_not_fit_are_refused(changed):
    """Depth and widths that were set are those of the layers."""
    matrix, X, y = problem()
    layers = [np.ones(block) for block in ((6, 15), (9, 6), (20, 9))]
    model = DeepMatrixCompletion(init=layers, shape=matrix.shape).set_params(**changed)
    with pytest.raises(
        ValueError, match=r"blocks of shapes \[\(6, 15\), .* set shape, n_components"
    ):
        model.fit(X, y)


@pytest.fixture(scope="module", params=DEPTHS)
def fitted(request):
    """A fit per depth; depth 1 cannot complete anything."""
    matrix, X, y = problem()
    init = "gaussian" if request.param == 1 else "auto"  # what auto cannot learn it leaves out
    model = DeepMatrixCompletion(request.param, shape=matrix.shape, init=init, random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Nothing was learned", CompletionWarning)
        return model.fit(X, y), matrix


def test_singular_values_are_those_of_the_dense_matrix(fitted):
    """numpy's of ``to_dense``, descending, also as norms of the components; 1e-12."""
    model, _ = fitted
    expected = np.linalg.svd(model.to_dense(), compute_uv=False)
    close = {"rtol": 0, "atol": 1e-12 * expected[0]}
    np.testing.assert_allclose(model.singular_values_, expected, **close)
    np.testing.assert_allclose(model.component_norms_, expected, **close)
    p = expected / expected.sum()
    p = p[p > 0]
    np.testing.assert_allclose(model.effective_rank_, np.exp(-p @ np.log(p)), rtol=1e-9)
    assert model.rank_ == (expected > model.rank_tol * expected[0]).sum()


def test_layers_multiply_to_the_standardized_matrix(fitted):
    """``W_N ... W_1`` times ``scale_`` is the completed matrix; 1e-12."""
    model, _ = fitted
    dense = model.to_dense()
    assert len(model.layers_) == model.depth
    np.testing.assert_allclose(
        model.scale_ * product(model.layers_), dense, rtol=0, atol=1e-12 * np.abs(dense).max()
    )
    values = np.linalg.svd(product(model.layers_), compute_uv=False)
    np.testing.assert_allclose(
        model.scale_ * values, model.singular_values_, rtol=0, atol=1e-12 * values[0]
    )


def test_factors_reproduce_every_output(fitted):
    """Predictions, the dense matrix and tensorly's are all of ``factors_``, orthogonal ones."""
    model, matrix = fitted
    left, right = model.factors_
    dense = left @ right.T
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(model.to_dense(), dense, **close)
    cells = np.argwhere(np.ones(matrix.shape, bool))
    np.testing.assert_allclose(model.predict(cells), dense.ravel(), **close)
    np.testing.assert_allclose(tl.cp_to_tensor(model.to_cp_tensor()), dense, **close)
    for factor in model.factors_:
        gram = factor.T @ factor
        np.testing.assert_allclose(gram, np.diag(model.singular_values_), rtol=0, atol=1e-11)


def test_depth_one_is_the_memoriser_and_depth_three_completes(fitted):
    """Descent on the matrix itself leaves unobserved cells at their start; depth finds rank 2."""
    model, matrix = fitted
    error = np.linalg.norm(model.to_dense() - matrix) / np.linalg.norm(matrix)
    if model.depth == 1:
        assert error > 0.4
    if model.depth >= 3:
        assert error < 0.02 and model.rank_ == 2


@cut_off
def test_depth_one_moves_observed_cells_alone():
    """From alpha times the identity, every unobserved cell is bit for bit where it was."""
    matrix, X, y = problem(n_observed=100)
    options = {"init": "identity", "init_scale": 0.01, "loss": "squared", "scale": False}
    model = DeepMatrixCompletion(
        1, shape=matrix.shape, early_stopping=False, max_iter=50, **options
    ).fit(X, y)
    layer = model.layers_[0].copy()
    expected = 0.01 * np.eye(*matrix.shape)
    assert (layer[tuple(X.T)] != expected[tuple(X.T)]).all()
    layer[tuple(X.T)] = expected[tuple(X.T)]
    np.testing.assert_array_equal(layer, expected)


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
@pytest.mark.parametrize("row_modes", [(0,), (2,), (0, 2), (2, 1), (0, 1, 2)])
def test_row_modes_fit_the_matrix_that_reshape_makes(row_modes):
    """An order-3 tensor unfolded by ``row_modes`` is the matrix of its transpose; 1e-12.

    From a start that is named: the default one also learns of components of the tensor.
    """
    shape, rng = (5, 4, 6), np.random.default_rng(0)
    columns = [mode for mode in range(3) if mode not in row_modes]
    tensor = np.einsum("ir,jr,kr->ijk", *(rng.standard_normal((d, 1)) for d in shape))
    n_rows = int(np.prod([shape[mode] for mode in row_modes]))
    numbers = np.arange(tensor.size).reshape(shape).transpose([*row_modes, *columns])
    numbers = numbers.reshape(n_rows, -1)
    chosen = rng.choice(tensor.size, 90, replace=False)
    X = np.column_stack(np.unravel_index(chosen, shape))
    position = np.empty((tensor.size, 2), int)
    position[numbers.ravel()] = np.argwhere(np.ones(numbers.shape, bool))
    y = tensor.ravel()[chosen]
    options = {"depth": 2, "offset": None, "random_state": 0, "init": "gaussian"}
    options |= {"early_stopping": True, "n_init": 3, "prune": True}
    unfolded = DeepMatrixCompletion(row_modes=row_modes, shape=shape, **options).fit(X, y)
    flat = DeepMatrixCompletion(shape=numbers.shape, **options).fit(position[chosen], y)
    expected = flat.to_dense()
    found = unfolded.to_dense().ravel()[numbers]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    np.testing.assert_allclose(unfolded.singular_values_, flat.singular_values_, atol=1e-12)


def test_hidden_sets_the_widths():
    """One for all, or one for each inner side from ``W_1`` on; the least bounds the rank."""
    matrix, X, y = problem()
    options = {"shape": matrix.shape, "random_state": 0, "n_init": 1, "early_stopping": False}
    options |= {"tol": 0.5}
    shapes = {2: [(2, 15), (2, 2), (20, 2)], (3, 7): [(3, 15), (7, 3), (20, 7)]}
    for hidden, expected in shapes.items():
        model = DeepMatrixCompletion(3, hidden=hidden, **options).fit(X, y)
        assert [layer.shape for layer in model.layers_] == expected
        rank = np.linalg.matrix_rank(model.to_dense(), tol=1e-10)
        assert rank <= min(np.atleast_1d(hidden))


def test_default_width_never_constrains_the_rank_of_a_small_matrix():
    """It is the smaller side."""
    matrix, X, y = problem()
    model = DeepMatrixCompletion(2, shape=matrix.shape, random_state=0, tol=0.5).fit(X, y)
    assert [layer.shape for layer in model.layers_] == [(15, 15), (20, 15)]


@cut_off
@every_depth
def test_a_weight_is_a_number_of_repetitions(depth):
    """As for CP: 30 iterations amplify rounding to less than 1e-9."""
    matrix, X, y = problem()
    counts = np.random.default_rng(2).integers(1, 4, len(y))
    options = {
        "shape": matrix.shape,
        "init": "gaussian",
        "init_scale": 0.5,
        "early_stopping": False,
        "max_iter": 30,
        "random_state": 0,
    }
    weighted = DeepMatrixCompletion(depth, **options).fit(X, y, sample_weight=counts)
    repeated = DeepMatrixCompletion(depth, **options)
    repeated.fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    dense = repeated.to_dense()
    np.testing.assert_allclose(weighted.to_dense(), dense, rtol=0, atol=1e-9 * np.abs(dense).max())


@pytest.mark.slow
@cut_off
@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_a_large_matrix_is_never_densified():
    """20,000 x 10,000 would take 1.6 GB; a fit of 50,000 cells stays below 300 MiB."""
    rng = np.random.default_rng(0)
    shape = (20_000, 10_000)
    X, y = rng.integers(0, shape, (50_000, 2)), rng.standard_normal(50_000)
    model = DeepMatrixCompletion(3, shape=shape, max_iter=3, n_init=1, random_state=0)
    tracemalloc.start()
    try:
        model.fit(X, y).predict(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 300 * 2**20
    n_rows, n_columns = (len(np.unique(column)) for column in X.T)
    width = len(model.layers_[0])  # of noise, nothing grows
    shapes = [(width, n_columns), (width, width), (n_rows, width)]
    assert width <= 64 and [layer.shape for layer in model.layers_] == shapes


@pytest.mark.parametrize("sides", [(9, 7, 4), (4, 9, 6), (3, 3, 8)])
def test_singular_triplets_of_a_product_without_forming_it(sides):
    """numpy's SVD of ``left @ right.T``, whatever the three sizes; 1e-12."""
    rows, columns, width = sides
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((rows, width)), rng.standard_normal((columns, width))
    expected = np.linalg.svd(left @ right.T, compute_uv=False)
    n = min(sides)
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(product_singular_values(left, right)[:n], expected[:n], **close)
    u, v = svd_factors(left, right)
    np.testing.assert_allclose(u @ v.T, left @ right.T, **close)
    norms = np.linalg.norm(u, axis=0) * np.linalg.norm(v, axis=0)
    np.testing.assert_allclose(norms[:n], expected[:n], **close)
