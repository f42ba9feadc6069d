"""DeepTuckerCompletion: gradients, starts, conservation, multilinear rank, what a fit returns."""

from functools import cache
from itertools import pairwise
from math import inf

import numpy as np
import pytest
import tensorly as tl
from cases.gradients import LOSSES, cut, observe, oracle, start

from sktf import DeepTuckerCompletion
from sktf._cells.validation import Observations
from sktf._descent.loop import gradient_descent
from sktf._descent.steps import Constant
from sktf._models.deep_tucker import TuckerFactorization, default_ranks
from sktf._objective.components import matricization_values
from sktf._objective.cpu import FusedObjective
from sktf._objective.losses import ClippedSquare
from sktf._objective.torch import TorchObjective

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

LETTERS = "abcd"


def tucker(core, matrices):
    """The Tucker tensor by one einsum, of numpy or torch arrays."""
    order = len(matrices)
    inner, outer = LETTERS[:order], "ijkl"[:order]
    pairs = ",".join(o + i for o, i in zip(outer, inner, strict=True))
    einsum = torch.einsum if isinstance(core, torch.Tensor) else np.einsum
    return einsum(f"{inner},{pairs}->{outer}", core, *matrices)


def dense(shape, ranks, depth):
    """The documented layout of theta, as a torch function of it."""

    def of(theta):
        shapes = [tuple(ranks)]
        for size, rank in zip(shape, ranks, strict=True):
            shapes += [(size, rank), (depth, rank, size, size)]
        core, *blocks = cut(theta, shapes)
        matrices = []
        for columns, layers in zip(blocks[::2], blocks[1::2], strict=True):
            for layer in layers:
                columns = torch.einsum("rij,jr->ir", layer, columns)
            matrices.append(columns)
        return tucker(core, matrices)

    return of


CASES = {
    "order 1": ((7,), (3,), 0),
    "order 2": ((6, 5), (2, 3), 0),
    "order 3": ((4, 5, 3), (2, 3, 3), 0),
    "first mode carries": ((4, 5, 3), (4, 2, 3), 1),
    "last mode carries": ((4, 3, 5), (2, 2, 4), 2),
    "order 4": ((3, 4, 2, 3), (2, 3, 2, 3), 1),
}
every_case = pytest.mark.parametrize("case", CASES)


@pytest.mark.parametrize("loss", LOSSES)
@every_case
def test_gradient_equals_autograd_of_the_definition(case, loss):
    """Compiled and torch objectives against the dense einsum: 1e-12 of the largest entry."""
    shape, ranks, depth = CASES[case]
    factorization, observations = TuckerFactorization(shape, ranks, depth), observe(shape)
    leaf = torch.tensor(start(factorization), requires_grad=True)
    expected = oracle(dense(shape, ranks, depth), observations, loss)(leaf)
    expected.backward()
    size = leaf.grad.abs().max().item()
    assert size > 1e-3
    for kind in (FusedObjective, TorchObjective):
        arguments = {"device": "cpu", "dtype": "float64"}
        objective = kind(factorization, observations, LOSSES[loss], **arguments)
        value, gradient = objective(objective.from_numpy(leaf.detach().numpy()))
        np.testing.assert_allclose(value, expected.item(), rtol=1e-13)
        got = objective.to_numpy(gradient)
        np.testing.assert_allclose(got, leaf.grad.numpy(), rtol=0, atol=1e-12 * size)


@every_case
def test_gradient_equals_central_differences(case):
    """Of the dense squared loss, entry by entry; steps of 1e-5 err by about 1e-9."""
    shape, ranks, depth = CASES[case]
    factorization, observations = TuckerFactorization(shape, ranks, depth), observe(shape)
    theta = start(factorization)
    loss = oracle(dense(shape, ranks, depth), observations, "squared")
    _, gradient = FusedObjective(factorization, observations, LOSSES["squared"])(theta)
    with torch.no_grad():
        steps, at = 1e-5 * torch.eye(len(theta), dtype=torch.float64), torch.tensor(theta)
        differences = [(loss(at + step) - loss(at - step)).item() / 2e-5 for step in steps]
    np.testing.assert_allclose(gradient, differences, rtol=0, atol=1e-7)


def test_single_precision_stays_single():
    """Gradient in float32, and that of float64 to five digits of its largest entry."""
    factorization, observations = TuckerFactorization((4, 5, 3), (2, 3, 3), 1), observe((4, 5, 3))
    theta = start(factorization)
    _, expected = FusedObjective(factorization, observations, LOSSES["squared"])(theta)
    single = FusedObjective(factorization, observations, LOSSES["squared"], dtype="float32")
    _, gradient = single(single.from_numpy(theta))
    assert gradient.dtype == np.float32
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def parts(factorization, theta):
    """Core, columns per mode, matrices per mode (none with depth 0)."""
    core, *blocks = factorization.unpack(theta)
    step = len(blocks) // core.ndim
    return core, blocks[::step], blocks[1::step] if step > 1 else []


def slice_norms(core, mode):
    others = tuple(m for m in range(core.ndim) if m != mode)
    return np.sqrt((core**2).sum(axis=others))


@pytest.mark.parametrize("depth", [0, 2])
def test_balanced_start_has_equal_norms_exactly(depth):
    """A column and its matrices have the norm of their slice of the core, to 1e-14."""
    factorization = TuckerFactorization((6, 5, 7), (3, 4, 2), depth)
    theta = factorization.start(np.random.RandomState(0), "balanced", 0.3, 0.0)
    core, columns, matrices = parts(factorization, theta)
    for mode, column in enumerate(columns):
        norms = slice_norms(core, mode)
        np.testing.assert_allclose(np.linalg.norm(column, axis=0), norms, rtol=1e-14)
    for mode, layers in enumerate(matrices):
        expected = np.broadcast_to(slice_norms(core, mode), layers.shape[:2])
        np.testing.assert_allclose(np.linalg.norm(layers, axis=(2, 3)), expected, rtol=1e-14)


def test_gaussian_start_is_balanced_in_the_mean():
    """Entries of standard deviation ``scale``; mean squares of slices and columns agree to 10 %."""
    factorization = TuckerFactorization((40, 40, 40), (30, 30, 30), 1)
    theta = factorization.start(np.random.RandomState(0), "gaussian", 0.2, 0.0)
    core, columns, matrices = parts(factorization, theta)
    assert abs(np.std(columns[0]) - 0.2) < 0.01
    squares = [np.mean(slice_norms(core, 0) ** 2), np.mean((columns[1] ** 2).sum(axis=0))]
    squares.append(np.mean((matrices[2] ** 2).sum(axis=(2, 3))))
    np.testing.assert_allclose(squares, 0.2**2 * 40, rtol=0.1)


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("mean", [0.3, -2.0])
def test_a_start_of_mean_c_is_the_constant_c(depth, mean):
    """With next to no noise, in tensors of unequal modes."""
    shape = (6, 5, 7)
    factorization = TuckerFactorization(shape, (3, 4, 2), depth)
    theta = factorization.start(np.random.RandomState(0), "gaussian", 1e-12, mean)
    got = dense(shape, (3, 4, 2), depth)(torch.tensor(theta)) if depth else None
    factors = factorization.forward(theta)[0]
    tensor = np.einsum("ir,jr,kr->ijk", *factors)
    np.testing.assert_allclose(tensor, mean, rtol=1e-9)
    if depth:
        np.testing.assert_allclose(got, mean, rtol=1e-9)


@pytest.mark.parametrize("depth", [0, 2])
def test_factors_are_embedded_and_balanced(depth):
    """The theta of given components makes their tensor, to 1e-12, from balanced blocks."""
    shape = (6, 5, 7)
    factorization = TuckerFactorization(shape, (3, 4, 2), depth)
    factors = [np.random.default_rng(n).standard_normal((size, 2)) for n, size in enumerate(shape)]
    theta = factorization.embed(factors)
    tensor = np.einsum("ir,jr,kr->ijk", *factorization.forward(theta)[0])
    expected = tl.cp_to_tensor((None, factors))
    np.testing.assert_allclose(tensor, expected, rtol=1e-12, atol=1e-12)
    core, columns, matrices = parts(factorization, theta)
    for mode, column in enumerate(columns):
        norms = slice_norms(core, mode)
        np.testing.assert_allclose(np.linalg.norm(column, axis=0), norms, rtol=1e-12)
        for layer in matrices[mode] if matrices else []:
            np.testing.assert_allclose(np.linalg.norm(layer, axis=(1, 2)), norms, rtol=1e-12)


def drift(learning_rate):
    """Largest change of ``|slice|^2 - |column|^2`` to T = 10 on half the sum of squares."""
    rng = np.random.default_rng(0)
    shape, ranks = (5, 5, 5), (4, 4, 4)
    target = tucker(rng.standard_normal((2, 2, 2)), [rng.standard_normal((5, 2)) for _ in shape])
    coords = np.argwhere(rng.random(shape) < 0.6)
    values = 3 / np.linalg.norm(target) * target[tuple(coords.T)]
    observations = Observations(coords, values, np.ones(len(values)), shape)
    factorization = TuckerFactorization(shape, ranks, 0)
    core = 0.15 * rng.standard_normal(ranks)
    columns = [rng.standard_normal((5, 4)) for _ in shape]
    columns = [
        c * (slice_norms(core, n) / np.linalg.norm(c, axis=0)) for n, c in enumerate(columns)
    ]
    objective = FusedObjective(factorization, observations, ClippedSquare(inf))
    result = gradient_descent(
        objective,
        np.concatenate([core.ravel(), *(c.ravel() for c in columns)]),
        Constant(learning_rate * len(values) / 2),
        max_iter=round(10 / learning_rate),
        tol=0.0,
        observe=lambda *state: None,
    )
    core, columns, _ = parts(factorization, result.theta)
    changes = [
        slice_norms(core, n) ** 2 - (column**2).sum(axis=0) for n, column in enumerate(columns)
    ]
    return np.abs(changes).max(), result.loss / objective.loss(0 * result.theta)


@pytest.mark.slow
def test_descent_conserves_the_balance_of_slices_and_columns():
    """The flow keeps it, so descent errs in proportion to its step: halved with it, 15 %."""
    (first, _), (second, _), (third, left) = (drift(rate) for rate in (4e-3, 2e-3, 1e-3))
    assert left < 0.5  # it did move
    assert 1e-6 < third < 0.02
    np.testing.assert_allclose([first / second, second / third], 2, rtol=0.15)


def low_multirank(shape, ranks, seed):
    """A Tucker tensor of orthonormal columns and Gaussian core, entries of RMS 1."""
    rng = np.random.default_rng(seed)
    pairs = zip(shape, ranks, strict=True)
    matrices = [np.linalg.qr(rng.standard_normal(pair))[0] for pair in pairs]
    tensor = tucker(rng.standard_normal(ranks), matrices)
    return tensor * np.sqrt(tensor.size) / np.linalg.norm(tensor)


def sample(tensor, share, seed):
    """A share of the cells, uniformly without replacement."""
    chosen = np.random.default_rng(100 + seed).permutation(tensor.size)[: int(share * tensor.size)]
    return np.column_stack(np.unravel_index(chosen, tensor.shape)), tensor.ravel()[chosen]


@cache
def fitted(seed, depth=0):
    """A fit to 40 % of a 12^3 tensor of multilinear rank (2, 2, 2), one by default settings."""
    tensor = low_multirank((12, 12, 12), (2, 2, 2), seed)
    X, y = sample(tensor, 0.4, seed)
    n_init = "auto" if seed == depth == 0 else 1
    return DeepTuckerCompletion(depth=depth, n_init=n_init, random_state=seed).fit(X, y), tensor


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "depth"), [(0, 0), (1, 0), (2, 0), (0, 1)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_tensor_of_low_multilinear_rank_is_completed(seed, depth):
    """Its rank of 12 possible ones, and 1 % error over all cells: ten times the tolerance's."""
    model, tensor = fitted(seed, depth)
    assert model.multilinear_rank_ == (2, 2, 2) and model.rank_ == 2
    assert np.linalg.norm(model.to_dense() - tensor) < 0.01 * np.linalg.norm(tensor)


@pytest.fixture
def small():
    """A quick fit to most of a 7 x 6 x 5 tensor of multilinear rank (3, 2, 2)."""
    tensor = low_multirank((7, 6, 5), (3, 2, 2), 0)
    X, y = sample(tensor, 0.8, 0)
    options = {"init": "balanced", "init_scale": 0.1, "early_stopping": False, "tol": 1e-5}
    return DeepTuckerCompletion(4, random_state=0, **options).fit(X, y), tensor


def test_core_and_matrices_are_a_tucker_tensor(small):
    """Of tensorly and by einsum, predictions and ``to_dense``: 1e-12."""
    model, _ = small
    by_tensorly = tl.tucker_to_tensor((model.core_, model.matrices_))
    expected = model.offset_ + model.scale_ * by_tensorly
    np.testing.assert_allclose(model.to_dense(), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(by_tensorly, tucker(model.core_, model.matrices_), atol=1e-12)
    cp = tl.cp_to_tensor(model.to_cp_tensor())
    np.testing.assert_allclose(cp, model.to_dense(), rtol=1e-12, atol=1e-12)


def test_multilinear_rank_is_that_of_the_unfoldings(small):
    """Singular values of tensorly's unfoldings by SVD, in the trace and by threshold."""
    model, _ = small
    dense = model.to_dense()
    last = model.trace_["singular_values"][-1]
    for mode, rank in enumerate(model.multilinear_rank_):
        values = np.linalg.svd(tl.unfold(dense, mode), compute_uv=False)
        assert rank == np.sum(values > 0.1 * values[0])
        np.testing.assert_allclose(last[mode, : len(values)], values, atol=1e-6 * values[0])
        assert not last[mode, len(values) :].any()
    assert model.multilinear_rank_ == (3, 2, 2) and model.rank_ == 3


@pytest.mark.parametrize("modes", [(0,), (2,), (0, 1), (1, 3), (0, 1, 2), (0, 1, 2, 3)])
def test_matricization_values_equal_those_of_a_dense_svd(modes):
    """Of CP factors of few and many columns: 1e-7 of the largest."""
    rng = np.random.default_rng(0)
    for n_components in (2, 9, 40, 200):
        factors = [rng.standard_normal((size, n_components)) for size in (4, 3, 5, 6)]
        tensor = tl.cp_to_tensor((None, factors))
        rows = np.prod([tensor.shape[mode] for mode in modes])
        others = [mode for mode in range(4) if mode not in modes]
        expected = np.linalg.svd(tensor.transpose(*modes, *others).reshape(rows, -1))[1]
        (got,) = matricization_values(factors, [modes])
        n = min(len(got), len(expected))
        np.testing.assert_allclose(got[:n], expected[:n], rtol=0, atol=1e-7 * expected[0])
        assert (got[n:] < 1e-7 * got[0]).all()
        assert (expected[n:] < 1e-7 * expected[0]).all()


def test_values_beyond_all_numbers_are_infinite():
    """Without a warning, as the norms of components are."""
    rows = [(0,), (1,), (2,)]
    for values in matricization_values([np.full((4, 2), 1e110)] * 3, rows):
        assert values[0] == np.inf
    for values in matricization_values(
        [np.full((4, 2), size) for size in (1e200, 1e200, 1e-200)], rows
    ):
        np.testing.assert_allclose(values[0], 16e200, rtol=1e-12)


def test_extend_grows_any_mode(small):
    """New rows of the last mode, and the rank of the grown tensor."""
    model, tensor = small
    new = tensor[:, :, :1] * 2.0
    X = np.argwhere(np.ones(new.shape)) + np.array([0, 0, 5])
    model.extend(X, new.ravel(), mode=2)
    assert model.shape_ == (7, 6, 6) and model.multilinear_rank_ == (3, 2, 2)
    np.testing.assert_allclose(model.to_dense()[:, :, 5], new[:, :, 0], atol=0.1)


@pytest.mark.slow
def test_the_rank_of_every_unfolding_grows_step_by_step():
    """Second singular values reach half their end later than the first; the others stay small."""
    tensor = low_multirank((10, 10, 10), (3, 3, 3), 0)
    X, y = sample(tensor, 0.5, 0)
    model = DeepTuckerCompletion(
        10, init="balanced", init_scale=0.003, loss="squared", early_stopping=False,
        max_iter=20000, tol=1e-5, random_state=0,
    ).fit(X, y)  # fmt: skip
    for mode in range(3):
        values = model.trace_["singular_values"][:, mode]
        reached = [np.argmax(v > 0.5 * v[-1]) for v in values.T[:3]]
        assert all(earlier < later for earlier, later in pairwise(reached))
        assert (values[:, 3] < 0.05 * values[-1, 0]).all()
    assert model.multilinear_rank_ == (3, 3, 3)


def test_default_ranks_are_bounded():
    """At most 30 and the mode size, and at most 128 components, for any order."""
    assert default_ranks((100, 100)) == [30, 30]
    assert default_ranks((64, 12, 10, 60)) == [6, 5, 5, 5]
    assert default_ranks((3, 100, 2)) == [3, 30, 2]
    for order in range(1, 40):
        ranks = default_ranks((7,) * order)
        assert np.prod(ranks) / max(ranks) <= 128


@pytest.mark.parametrize("ranks", [(2, 2), (2, 0, 2), (2, 2.5, 2)])
def test_ranks_that_do_not_fit_are_refused(ranks, small_tensor):
    with pytest.raises(ValueError, match=r"ranks=.*expected 3 positive ranks"):
        DeepTuckerCompletion(ranks).fit(*small_tensor)


def test_too_many_components_are_refused():
    """40 modes of rank 2 would be 2**39 components."""
    X = np.zeros((2, 40), int)
    X[1] = 1
    with pytest.raises(ValueError, match=r"components .* GiB; lower ranks"):
        DeepTuckerCompletion(2).fit(X, [1.0, 2.0])


def test_a_given_start_sets_the_ranks(small_tensor):
    """Core and columns as arrays; the ranks are those of the core."""
    rng = np.random.default_rng(0)
    init = [rng.standard_normal((2, 3, 2))]
    init += [rng.standard_normal(block) for block in ((7, 2), (6, 3), (5, 2))]
    options = {"scale": False, "max_iter": 1, "early_stopping": False, "loss": "squared"}
    model = DeepTuckerCompletion(init=init, step="constant", learning_rate=1e-12, **options)
    with pytest.warns(UserWarning, match="did not converge"):
        model.fit(*small_tensor)
    expected = tucker(init[0], init[1:])
    np.testing.assert_allclose(model.to_dense(), expected, rtol=1e-6, atol=1e-6)
