"""Starts that a fit of CP components lends: who borrows, what is written, and how good it is."""

import numpy as np
import pytest
import tensorly as tl
from tensorly.tenalg import multi_mode_dot

from sktf import CompletionWarning, CPCompletion, DeepMatrixCompletion, DeepTuckerCompletion
from sktf._cells.frame import Frame, fit_frame
from sktf._cells.offset import Offset
from sktf._cells.validation import Observations
from sktf._models import borrowed
from sktf._models.deep_matrix import MatrixFactorization
from sktf._models.deep_tucker import TuckerFactorization
from sktf._models.multilinear import hosvd, truncations
from sktf.datasets import load_il2, make_low_rank
from sktf.metrics import normalized_rmse

# Held-out error of a model that contains CP, over that of CP: the goal.
NEAR = 1.05


def factors_of(shape, n_components, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((size, n_components)) for size in shape]


def daily(seed, shape=(20, 40, 16), n_patterns=30, noise=0.3):
    """Sensors by days by hours: patterns of falling size, smooth in days and hours, and noise."""
    rng = np.random.default_rng(seed)
    tensor = noise * rng.standard_normal(shape)
    for number in range(n_patterns):
        sensors, days, hours = (rng.standard_normal(size + 3) for size in shape)
        days, hours = (np.convolve(it, np.ones(4) / 2, "valid") for it in (days, hours))
        tensor += np.multiply.outer(np.outer(sensors[3:], days), hours) / np.sqrt(1 + number)
    return tensor


def low_multirank(seed, shape=(25, 25, 25), ranks=(5, 3, 3), noise=0.1):
    """Orthonormal columns, a Gaussian core, entries of RMS 1, and noise."""
    rng = np.random.default_rng(seed)
    pairs = zip(shape, ranks, strict=True)
    matrices = [np.linalg.qr(rng.standard_normal(pair))[0] for pair in pairs]
    tensor = multi_mode_dot(rng.standard_normal(ranks), matrices)
    tensor *= np.sqrt(tensor.size) / np.linalg.norm(tensor)
    return tensor + noise * rng.standard_normal(shape)


def split(tensor, share, seed):
    """Seen and unseen cells of the finite ones, as (X, y) each."""
    cells, seen = np.isfinite(tensor), np.random.default_rng(1000 + seed).random(tensor.shape)
    return [
        (np.argwhere(at), tensor[at]) for at in (cells & (seen < share), cells & (seen >= share))
    ]


def il2():
    entries = load_il2()
    tensor = np.full(entries.shape, np.nan)
    tensor[tuple(entries.X.T)] = entries.y
    return tensor


def error(model, seen, unseen):
    return normalized_rmse(unseen[1], model.fit(*seen).predict(unseen[0]))


PROBLEMS = {
    "IL-2, half": lambda seed: (il2(), 0.5),
    "IL-2, a tenth": lambda seed: (il2(), 0.1),
    "daily patterns": lambda seed: (daily(seed), 0.6),
    "low multilinear rank": lambda seed: (low_multirank(seed), 0.2),
}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_tucker_is_never_worse_than_cp(name, seed):
    """A CP model is a Tucker model: at most 5 % above its held-out error."""
    tensor, share = PROBLEMS[name](seed)
    data, options = split(tensor, share, seed), {"shape": tensor.shape, "random_state": 0}
    expected = error(CPCompletion(**options), *data)
    assert error(DeepTuckerCompletion(**options), *data) <= NEAR * expected


@pytest.mark.slow
@pytest.mark.parametrize("row_modes", [(0,), (1, 2), (0, 1)])
@pytest.mark.parametrize("seed", [0, 1])
def test_an_unfolding_of_few_cells_a_column_is_completed(row_modes, seed):
    """20^3 of rank 3, 15 % seen: two or three cells a column. CP has .001; ten times that is near.

    Cells of columns without any cell are among those predicted.
    """
    tensor, _ = make_low_rank((20, 20, 20), 3, random_state=seed)
    model = DeepMatrixCompletion(row_modes=row_modes, shape=tensor.shape, random_state=0)
    assert error(model, *split(tensor, 0.15, seed)) < 0.01
    assert model.rank_ == 3


@pytest.mark.parametrize(("shape", "n_cells"), [((8, 8, 8), 300), ((30, 29, 28), 15_500)])
@pytest.mark.parametrize(
    "model",
    [DeepTuckerCompletion(), DeepMatrixCompletion(), DeepMatrixCompletion(row_modes=(1, 2))],
    ids=repr,
)
def test_noise_is_told(model, shape, n_cells):
    """Nothing is to be learned, of few cells and of many: a warning."""
    rng = np.random.default_rng(0)
    chosen = rng.choice(np.prod(shape), n_cells, replace=False)
    X = np.column_stack(np.unravel_index(chosen, shape))
    with pytest.warns(CompletionWarning, match="Nothing was learned"):
        model.set_params(random_state=0).fit(X, rng.standard_normal(n_cells))


# What is written ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 5, 7), (4, 5, 3, 6)])
def test_hosvd_is_that_of_the_unfoldings(shape):
    """Singular values of tensorly's unfoldings, an orthonormal basis each, and the tensor: 1e-10.

    Slices of the core are orthogonal, of these norms.
    """
    factors = factors_of(shape, 3)
    dense = tl.cp_to_tensor((None, factors))
    core, bases, values = hosvd(factors, shape)
    np.testing.assert_allclose(multi_mode_dot(core, bases), dense, atol=1e-10)
    for mode, (basis, its) in enumerate(zip(bases, values, strict=True)):
        expected = np.linalg.svd(tl.unfold(dense, mode), compute_uv=False)[: len(its)]
        np.testing.assert_allclose(its, expected, atol=1e-6 * expected[0])
        np.testing.assert_allclose(basis.T @ basis, np.eye(len(its)), atol=1e-12)
        slices = tl.unfold(core, mode)
        np.testing.assert_allclose(slices @ slices.T, np.diag(its**2), atol=1e-8 * its[0] ** 2)


def test_truncations_leave_little():
    """The directions of the smallest singular values go first, up to 1 % of the squares."""
    values = [np.array([3.0, 0.1]), np.array([3.0, 0.2, 0.05]), np.array([2.8, 1.0])]
    assert truncations(values) == [(2, 3, 2), (2, 2, 2), (1, 2, 2), (1, 1, 2)]
    assert truncations([np.zeros(2), np.zeros(1)])[0] == (1, 1)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_components_are_written_as_a_balanced_tucker_tensor(depth):
    """Their tensor to 1e-10; slices, columns and matrices of equal norms, to a thousandth."""
    shape, ranks = (6, 5, 7), (4, 4, 4)
    factors, model = factors_of(shape, 4), TuckerFactorization(shape, ranks, depth)
    theta = model.near(factors)
    expected = tl.cp_to_tensor((None, factors))
    got = tl.cp_to_tensor((None, model.forward(theta)[0]))
    np.testing.assert_allclose(got, expected, atol=1e-10)
    core, *blocks = model.unpack(theta)
    step = 2 if depth else 1
    for mode, columns in enumerate(blocks[::step]):
        norms = np.linalg.norm(tl.unfold(core, mode), axis=1)
        np.testing.assert_allclose(np.linalg.norm(columns, axis=0), norms, rtol=1e-3)
        for layer in blocks[2 * mode + 1] if depth else ():
            np.testing.assert_allclose(np.linalg.norm(layer, axis=(1, 2)), norms, rtol=1e-3)


def test_components_are_written_as_a_matrix_of_fewer():
    """The leading singular triplets of the product, as layers of equal norms: 1e-10."""
    left, right = factors_of((8, 9), 5)
    model = MatrixFactorization((8, 9), [3, 3])
    first, second, third = model.unpack(model.near([left, right]))
    u, values, vt = np.linalg.svd(left @ right.T)
    expected = (u[:, :3] * values[:3]) @ vt[:3]
    np.testing.assert_allclose(third @ second @ first, expected, atol=1e-10)
    np.testing.assert_allclose(second.T @ second, first @ first.T, atol=1e-10)


@pytest.mark.parametrize("groups", [((0,), (1, 2)), ((2, 0), (1,)), ((1,), (2, 0))])
def test_sides_of_components_are_the_unfolding(groups):
    """Of the dense tensor, all indices; those that no cell has read the last row."""
    shape = (3, 4, 5)
    coords = np.array([cell for cell in np.ndindex(shape) if cell[1] != 2])
    cells = Observations(coords, np.ones(len(coords)), np.ones(len(coords)), shape)
    frame = fit_frame(cells, groups, None, False)
    seen = frame.by_modes(cells)
    assert seen.sizes == (3, 3, 5)
    factors = factors_of(seen.sizes, 2)
    rows = [np.vstack([factor, factor.mean(axis=0)]) for factor in factors]
    filled = frame.filled()
    left, right = (np.prod(side, axis=0) for side in filled.sides(seen, rows))
    where = [np.arange(3), np.array([0, 1, 3, 2]), np.arange(5)]
    full = [table[at] for table, at in zip(rows, where, strict=True)]
    dense = tl.cp_to_tensor((None, full)).transpose([*groups[0], *groups[1]])
    stored = [slice(None) if its is None else its for its in filled.stored]
    dense = dense.reshape(np.prod([shape[m] for m in groups[0]]), -1)[stored[0]][:, stored[1]]
    np.testing.assert_allclose(left @ right.T, dense, atol=1e-12)


def test_sides_of_one_mode_or_too_many_are_not_filled():
    """A row without cells is made up of two modes that have some, if there is room for it."""
    offset, seen = Offset(0.0, (), 1.0), np.array([0, 7])
    small = Frame((3, 3, 3), ((0,), (1, 2)), [seen, seen], (2, 2), offset).filled()
    assert small.sizes == (2, 9) and small.stored[1] is None
    shape = (3, 2000, 2000)
    assert Frame(shape, ((0,), (1, 2)), [None, seen], (3, 2), offset).filled().sizes == (3, 2)


# Who borrows ------------------------------------------------------------------------------------

EXPLICIT = [
    {"loss": "squared"},
    {"init": "gaussian"},
    {"init_scale": 0.01},
    {"init_mean": 0.1},
    {"step": "constant", "learning_rate": 1e-3},
    {"record_every": 10},
    {"measures": {"one": lambda factors: 1.0}},
    {"prune": False},
    {"early_stopping": False},
]


@pytest.fixture
def cells():
    """90 % of a 7 x 6 x 5 tensor of rank 2."""
    tensor, _ = make_low_rank((7, 6, 5), 2, random_state=0)
    return split(tensor, 0.9, 0)[0]


@pytest.mark.parametrize("options", EXPLICIT, ids=", ".join)
@pytest.mark.parametrize("kind", [DeepTuckerCompletion, DeepMatrixCompletion])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_settings_of_a_descent_borrow_nothing(kind, options, cells, monkeypatch):
    """What asks for one plain descent gets it."""
    monkeypatch.setattr(borrowed.BorrowedFitting, "descend", None)
    kind(max_iter=20, random_state=0, **options).fit(*cells)


def test_matrices_borrow_nothing(monkeypatch):
    """There components are the model itself."""
    monkeypatch.setattr(borrowed.BorrowedFitting, "descend", None)
    matrix, _ = make_low_rank((20, 20), 2, random_state=0)
    X, y = split(matrix, 0.7, 0)[0]
    assert DeepMatrixCompletion(random_state=0).fit(X, y).rank_ == 2


def test_a_side_without_modes_borrows_nothing(cells, monkeypatch):
    """A single column of all cells is no unfolding to write components as."""
    monkeypatch.setattr(borrowed.BorrowedFitting, "descend", None)
    with pytest.warns(UserWarning):
        DeepMatrixCompletion(row_modes=(0, 1, 2), max_iter=50, random_state=0).fit(*cells)


def test_ranks_stay_caps(cells):
    """Of components as of starts of its own: the core is no larger than allowed."""
    model = DeepTuckerCompletion((2, 1, 2), random_state=0).fit(*cells)
    assert all(np.array(model.core_.shape) <= (2, 1, 2))


@pytest.mark.parametrize(
    "model", [DeepTuckerCompletion(), DeepMatrixCompletion(row_modes=(2, 0))], ids=repr
)
def test_a_warm_start_goes_on_from_what_was_lent(model, cells):
    """With the parameters that the fit has left: the loss stays where it was, which is rounding."""
    model.set_params(random_state=0, tol=0.0).fit(*cells)
    before, size = model.loss_, len(model._theta)
    model.set_params(warm_start=True, early_stopping=False).fit(*cells)
    assert len(model._theta) == size and max(before, model.loss_) < 1e-20


def interrupted(borrowing):
    """The lender, cut off by Ctrl-C with a state to keep."""
    lender = make_lender(borrowing)
    descend = lender.descend

    def cut_off(rng, told):
        run = descend(rng, told)
        run.status = "interrupted"
        return run

    lender.descend = cut_off
    return lender


def nothing_yet(borrowing):
    raise KeyboardInterrupt


make_lender = borrowed.BorrowedFitting._make_lender


@pytest.mark.parametrize("lender", [interrupted, nothing_yet])
def test_ctrl_c_while_components_are_fitted_keeps_the_best_state(lender, cells, monkeypatch):
    """That of the starts of its own, which ran before; it predicts, and has not converged."""
    monkeypatch.setattr(borrowed.BorrowedFitting, "_make_lender", lender)
    model = DeepTuckerCompletion(max_iter=100, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*cells)
    assert not model.converged_ and np.isfinite(model.predict(cells[0])).all()


def test_ctrl_c_while_components_grow_keeps_them(monkeypatch):
    """Of many cells there is no other start; before there are any, the model is not fitted."""
    tensor, _ = make_low_rank((30, 29, 28), 2, random_state=0)
    X, y = split(tensor, 0.8, 0)[0]
    model = DeepTuckerCompletion(random_state=0)
    monkeypatch.setattr(borrowed.BorrowedFitting, "_make_lender", nothing_yet)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert not hasattr(model, "core_")
    monkeypatch.setattr(borrowed.BorrowedFitting, "_make_lender", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert not model.converged_ and model.score(X, y) > 0.99


def test_which_start_was_chosen_is_told(cells, capsys):
    """A line of ``verbose=1``."""
    DeepTuckerCompletion(random_state=0, verbose=1).fit(*cells)
    assert "Start from CP components: held-out RMSE" in capsys.readouterr().out
