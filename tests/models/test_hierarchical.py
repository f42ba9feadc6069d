"""HierarchicalCompletion: the tree, gradients, starts, conservation, ranks of the nodes."""

from functools import cache
from itertools import pairwise
from math import inf

import numpy as np
import pytest
import tensorly as tl
from cases.gradients import LOSSES, cut, observe, oracle, start

from sktf import HierarchicalCompletion
from sktf._cells.validation import Observations
from sktf._descent.loop import gradient_descent
from sktf._descent.steps import Constant
from sktf._models.hierarchical import HierarchicalFactorization, mode_tree
from sktf._objective.cpu import FusedObjective
from sktf._objective.losses import ClippedSquare
from sktf._objective.torch import TorchObjective

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

# The model of the documented weights, written out: leaves a, b, ... and then the other nodes.
EINSUMS = {
    1: "iz->i",
    2: "ia,ja,az->ij",
    3: "ia,ja,kb,ab,bz->ijk",
    4: "ia,ja,kb,lb,ac,bc,cz->ijkl",
    5: "ia,ja,kb,lb,md,ac,bc,cd,dz->ijklm",
    6: "ia,ja,kb,lb,me,ne,ac,bc,ed,cd,dz->ijklmn",
}
SHAPES = {1: (7,), 2: (4, 3), 3: (4, 3, 5), 4: (3, 2, 4, 3), 5: (2, 3, 2, 3, 2), 6: (2,) * 6}
every_order = pytest.mark.parametrize("order", SHAPES)


def shapes_of(shape, width):
    """Shapes of the documented matrices, for orders above 1."""
    n_interior = len(shape) - 1
    interior = [(width, width)] * (n_interior - 1) + [(width, 1)]
    return [(size, width) for size in shape] + interior if n_interior else [(shape[0], 1)]


def dense(shape, width):
    """The tensor as a torch function of theta."""
    return lambda theta: torch.einsum(EINSUMS[len(shape)], *cut(theta, shapes_of(shape, width)))


def test_the_tree_pairs_neighbours():
    """Level by level, an odd last one moving up."""
    modes = [modes for modes, _ in mode_tree(5)]
    assert modes[5:] == [(0, 1), (2, 3), (0, 1, 2, 3), (0, 1, 2, 3, 4)]
    assert [children for _, children in mode_tree(4)[4:]] == [(0, 1), (2, 3), (4, 5)]
    for order in range(1, 20):
        tree = mode_tree(order)
        assert len(tree) == 2 * order - 1 and tree[-1][0] == tuple(range(order))


@pytest.mark.parametrize("loss", LOSSES)
@every_order
def test_gradient_equals_autograd_of_the_definition(order, loss):
    """Compiled and torch objectives against the dense einsum: 1e-12 of the largest entry."""
    shape = SHAPES[order]
    factorization, observations = HierarchicalFactorization(shape, 3), observe(shape)
    leaf = torch.tensor(start(factorization), requires_grad=True)
    expected = oracle(dense(shape, 3), observations, loss)(leaf)
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


@every_order
def test_gradient_equals_central_differences(order):
    """Of the dense squared loss, entry by entry; steps of 1e-5 err by about 1e-9."""
    shape = SHAPES[order]
    factorization, observations = HierarchicalFactorization(shape, 2), observe(shape)
    theta = start(factorization)
    loss = oracle(dense(shape, 2), observations, "squared")
    _, gradient = FusedObjective(factorization, observations, LOSSES["squared"])(theta)
    with torch.no_grad():
        steps, at = 1e-5 * torch.eye(len(theta), dtype=torch.float64), torch.tensor(theta)
        differences = [(loss(at + step) - loss(at - step)).item() / 2e-5 for step in steps]
    np.testing.assert_allclose(gradient, differences, rtol=0, atol=1e-7)


def test_single_precision_stays_single():
    """Gradient in float32, and that of float64 to five digits of its largest entry."""
    factorization, observations = HierarchicalFactorization(SHAPES[4], 3), observe(SHAPES[4])
    theta = start(factorization)
    _, expected = FusedObjective(factorization, observations, LOSSES["squared"])(theta)
    single = FusedObjective(factorization, observations, LOSSES["squared"], dtype="float32")
    _, gradient = single(single.from_numpy(theta))
    assert gradient.dtype == np.float32
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def squared_norms(matrices, order):
    """Per interior node the squared norms of the weight vectors of its local components, (3, R)."""
    nodes = []
    for (_, children), matrix in zip(mode_tree(order), matrices, strict=True):
        if children:
            below = [(matrices[child] ** 2).sum(axis=0) for child in children]
            nodes.append(np.array([*below, (matrix**2).sum(axis=1)]))
    return nodes


@pytest.mark.parametrize("order", [2, 3, 4, 7])
def test_balanced_start_has_equal_norms_exactly(order):
    """All three weight vectors of every local component, to 1e-13."""
    factorization = HierarchicalFactorization((5, 6, 4, 3, 5, 4, 6)[:order], 3)
    theta = factorization.start(np.random.RandomState(0), "balanced", 0.3, 0.0)
    for norms in squared_norms(factorization.unpack(theta), order):
        np.testing.assert_allclose(norms, norms[[0, 0, 0]], rtol=1e-13)


def test_gaussian_start_is_balanced_in_the_mean():
    """Leaves of standard deviation ``scale``; mean squared norms in the tree agree to 20 %."""
    factorization = HierarchicalFactorization((60,) * 4, 50)
    theta = factorization.start(np.random.RandomState(0), "gaussian", 0.2, 0.0)
    matrices = factorization.unpack(theta)
    assert abs(np.std(matrices[0]) - 0.2) < 0.01
    below = squared_norms(matrices, 4)[:2]  # the root has one number per row
    np.testing.assert_allclose([n.mean(axis=1) for n in below], 0.2**2 * 60, rtol=0.2)
    np.testing.assert_allclose((matrices[-1] ** 2).mean(), 0.2**2 * 60, rtol=0.5)


@pytest.mark.parametrize("mean", [0.3, -2.0])
@every_order
def test_a_start_of_mean_c_is_the_constant_c(order, mean):
    """With next to no noise, in tensors of unequal modes."""
    factorization = HierarchicalFactorization(SHAPES[order], 3)
    theta = factorization.start(np.random.RandomState(0), "gaussian", 1e-12, mean)
    tensor = dense(SHAPES[order], 3)(torch.tensor(theta)).numpy()
    np.testing.assert_allclose(tensor, mean, rtol=1e-9)


@pytest.mark.parametrize("order", [2, 3, 4, 5, 6])
def test_factors_are_embedded_and_balanced(order):
    """The theta of given components makes their tensor, to 1e-12, from balanced blocks."""
    shape = SHAPES[order]
    factorization = HierarchicalFactorization(shape, 3)
    factors = [np.random.default_rng(n).standard_normal((size, 2)) for n, size in enumerate(shape)]
    theta = factorization.embed(factors)
    tensor = dense(shape, 3)(torch.tensor(theta)).numpy()
    expected = tl.cp_to_tensor((None, factors))
    np.testing.assert_allclose(tensor, expected, rtol=1e-12, atol=1e-12)
    for norms in squared_norms(factorization.unpack(theta), order):
        np.testing.assert_allclose(norms, norms[[0, 0, 0]], rtol=1e-12)


def drift(order, learning_rate):
    """Largest change of differences of squared norms to T = 4, and the share of loss left."""
    rng = np.random.default_rng(0)
    shape = (4,) * order
    target = rng.standard_normal(shape)
    observations = Observations(
        np.argwhere(target < 0.3), target[target < 0.3], np.ones((target < 0.3).sum()), shape
    )
    factorization = HierarchicalFactorization(shape, 3)
    theta = 0.7 * rng.standard_normal(factorization.n_parameters)
    objective = FusedObjective(factorization, observations, ClippedSquare(inf))
    result = gradient_descent(
        objective,
        theta,
        Constant(learning_rate * len(observations.values) / 2),
        max_iter=round(4 / learning_rate),
        tol=0.0,
        observe=lambda *state: None,
    )
    before, after = (squared_norms(factorization.unpack(at), order) for at in (theta, result.theta))
    changes = [np.diff(b, axis=0) - np.diff(a, axis=0) for a, b in zip(before, after, strict=True)]
    return np.abs(np.concatenate(changes)).max(), result.loss / objective.loss(theta)


@pytest.mark.slow
@pytest.mark.parametrize("order", [3, 4])
def test_descent_conserves_differences_of_squared_norms(order):
    """A local component may hand norm from one weight vector to another at no cost.

    So the flow keeps the differences, and descent errs in proportion to its step: 15 %.
    """
    (first, left), (second, _) = (drift(order, rate) for rate in (2e-3, 1e-3))
    assert left < 0.9  # it did move
    assert 1e-6 < second < 0.02
    np.testing.assert_allclose(first / second, 2, rtol=0.15)


def hierarchical(shape, width, seed):
    """A tensor of Gaussian weights, ``width`` local components per node, entries of RMS 1."""
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal(block) for block in shapes_of(shape, width)]
    tensor = np.einsum(EINSUMS[len(shape)], *weights, optimize=True)
    return tensor * np.sqrt(tensor.size) / np.linalg.norm(tensor)


def sample(tensor, share, seed):
    """A share of the cells, uniformly without replacement."""
    chosen = np.random.default_rng(100 + seed).permutation(tensor.size)[: int(share * tensor.size)]
    return np.column_stack(np.unravel_index(chosen, tensor.shape)), tensor.ravel()[chosen]


def unfold(tensor, modes):
    others = [mode for mode in range(tensor.ndim) if mode not in modes]
    rows = int(np.prod([tensor.shape[mode] for mode in modes]))
    return tensor.transpose(*modes, *others).reshape(rows, -1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("shape", "share"), [((12, 12, 12), 0.4), ((8, 8, 8, 8), 0.25)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_tensor_of_low_hierarchical_rank_is_completed(shape, share, seed):
    """By default settings, cut short: 2 % error over all cells, and the ranks of the nodes."""
    tensor = hierarchical(shape, 2, seed)
    model = HierarchicalCompletion(max_iter=700, random_state=seed)
    model.fit(*sample(tensor, share, seed))
    assert np.linalg.norm(model.to_dense() - tensor) < 0.02 * np.linalg.norm(tensor)
    for modes, rank in zip(model.nodes_[:-1], model.hierarchical_rank_, strict=True):
        values = np.linalg.svd(unfold(tensor, modes), compute_uv=False)
        near = np.abs(values / values[0] - 0.1).min() < 0.02  # too near the threshold to tell
        assert near or rank == np.sum(values > 0.1 * values[0])
    assert model.rank_ == max(model.hierarchical_rank_) <= 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_tensor_of_low_multilinear_rank_is_completed(seed):
    """12 x 12 x 12, ranks 2, 2 and 2, 40 % of the cells: 1 % error over all."""
    rng = np.random.default_rng(seed)
    matrices = [np.linalg.qr(rng.standard_normal((12, 2)))[0] for _ in range(3)]
    tensor = np.einsum("abc,ia,jb,kc->ijk", rng.standard_normal((2, 2, 2)), *matrices)
    tensor *= np.sqrt(tensor.size) / np.linalg.norm(tensor)
    model = HierarchicalCompletion(max_iter=1000, random_state=seed)
    model.fit(*sample(tensor, 0.4, seed))
    assert np.linalg.norm(model.to_dense() - tensor) < 0.01 * np.linalg.norm(tensor)
    assert model.hierarchical_rank_ == (2, 2, 2, 2)


@cache
def small(order):
    """A quick fit to most of a tensor of two local components per node."""
    tensor = hierarchical((7, 6, 5, 4)[:order], 2, 0)
    X, y = sample(tensor, 0.8, 0)
    options = {"init": "balanced", "init_scale": 0.3, "early_stopping": False, "tol": 1e-4}
    return HierarchicalCompletion(4, random_state=0, **options).fit(X, y), tensor


@pytest.mark.parametrize("order", [2, 3, 4])
def test_weights_make_the_tensor(order):
    """By einsum, ``to_dense`` and the components: 1e-12."""
    model, _ = small(order)
    expected = np.einsum(EINSUMS[order], *model.weights_, optimize=True)
    expected = model.offset_ + model.scale_ * expected
    np.testing.assert_allclose(model.to_dense(), expected, rtol=1e-12, atol=1e-12)
    assert model.nodes_ == [modes for modes, _ in mode_tree(order)]


@pytest.mark.parametrize("order", [2, 3, 4])
def test_ranks_and_trace_are_those_of_the_matricizations(order):
    """Singular values of the dense tensor by SVD, in the last record and by threshold."""
    model, _ = small(order)
    dense, last = model.to_dense(), model.trace_["singular_values"][-1]
    ranks = model.hierarchical_rank_
    for recorded, modes, rank in zip(last, model.nodes_[:-1], ranks, strict=True):
        values = np.linalg.svd(unfold(dense, modes), compute_uv=False)
        assert rank == np.sum(values > 0.1 * values[0])
        n = min(len(values), len(recorded))
        np.testing.assert_allclose(recorded[:n], values[:n], rtol=0, atol=1e-6 * values[0])


@pytest.mark.slow
def test_the_rank_of_every_node_grows_step_by_step():
    """First singular values reach half their end before the second, and no third grows."""
    tensor = hierarchical((8, 8, 8, 8), 2, 3)
    X, y = sample(tensor, 0.3, 0)
    model = HierarchicalCompletion(
        6, init="balanced", init_scale=0.1, loss="squared", early_stopping=False,
        max_iter=20000, tol=1e-4, random_state=0,
    ).fit(X, y)  # fmt: skip
    for values in np.moveaxis(model.trace_["singular_values"], 1, 0):
        reached = [np.argmax(v > 0.5 * v[-1]) for v in values.T[:2]]
        assert all(earlier < later for earlier, later in pairwise(reached))
        assert (values[:, 2] < 0.05 * values[-1, 0]).all()


def test_default_width_is_bounded():
    """At most 30 local components, and at most 64 components, for any order."""
    widths = {n: HierarchicalCompletion()._width((7,) * n) for n in range(1, 40)}
    assert (widths[2], widths[3], widths[4], widths[6]) == (30, 30, 8, 4)
    assert all(width ** (order // 2) <= 64 for order, width in widths.items())


def test_too_many_components_are_refused():
    """20 pairs of two local components would be 2**20 components on 80 rows."""
    X = np.zeros((2, 60), int)
    X[1] = 1
    with pytest.raises(ValueError, match=r"components .* GiB; lower ranks or n_components"):
        HierarchicalCompletion(2).fit(X, [1.0, 2.0])


def test_components_whose_gram_matrices_are_too_large_are_refused():
    """Three pairs of 30 local components are 27,000: six Gram matrices would take 33 GiB."""
    with pytest.raises(ValueError, match=r"2.7e\+04 components .* 33 GiB; lower"):
        HierarchicalCompletion(30).fit([[3, 0, 2, 0, 0, 1]], [1.0])


def test_a_given_start_sets_the_width(small_tensor):
    """Matrices as arrays, in the order of ``weights_``."""
    rng = np.random.default_rng(0)
    init = [rng.standard_normal(block) for block in shapes_of((7, 6, 5), 2)]
    options = {"scale": False, "max_iter": 1, "early_stopping": False, "loss": "squared"}
    model = HierarchicalCompletion(init=init, step="constant", learning_rate=1e-12, **options)
    with pytest.warns(UserWarning, match="did not converge"):
        model.fit(*small_tensor)
    expected = np.einsum(EINSUMS[3], *init)
    np.testing.assert_allclose(model.to_dense(), expected, rtol=1e-6, atol=1e-6)
