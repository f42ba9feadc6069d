"""Linear measurements: gradients, observed cells as a special case, commuting sensing."""

from math import inf

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import linprog
from sklearn.base import clone

from sktf import CPCompletion, DeepCPCompletion, DeepMatrixCompletion
from sktf._models.cp import CPFactorization
from sktf._models.deep_cp import DeepCPFactorization
from sktf._models.deep_matrix import MatrixFactorization
from sktf._objective import measurements
from sktf._objective.losses import ClippedSquare
from sktf._objective.measurements import Measurements, SensingObjective

cut_off = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
FACTORIZATIONS = {
    "cp order 1": CPFactorization((7,), 2),
    "cp order 2": CPFactorization((4, 6), 3),
    "cp order 3": CPFactorization((3, 5, 2), 4),
    "cp order 5": CPFactorization((2, 3, 2, 3, 2), 3),
    "deep cp": DeepCPFactorization((3, 2, 4), 2, 2),
    "matrix": MatrixFactorization((4, 5), [3, 6]),
}
# A descent of 200 steps whose every step is the same function of the gradient.
PLAIN = {"loss": "squared", "step": "constant", "early_stopping": False, "max_iter": 200, "tol": 0}


def dense(factorization, theta):
    """The tensor of a theta, by einsum over the factors."""
    factors = factorization.forward(theta)[0]
    letters = "abcde"[: len(factors)]
    return np.einsum(",".join(n + "z" for n in letters) + "->" + letters, *factors)


@pytest.mark.parametrize("delta", [inf, 0.5])
@pytest.mark.parametrize("name", FACTORIZATIONS)
def test_loss_and_gradient(name, delta):
    """The loss is that of the definition; the gradient equals central differences of it.

    Steps of 1e-6 and losses of order 10 err by about 1e-9.
    """
    factorization, rng = FACTORIZATIONS[name], np.random.default_rng(0)
    arrays = rng.standard_normal((9, *factorization.shape))
    values, weights = rng.standard_normal(9), rng.uniform(0.2, 3, 9)
    theta = 0.7 * rng.standard_normal(factorization.n_parameters)
    measurements = Measurements(arrays.reshape(9, -1), values, weights)
    objective = SensingObjective(factorization, measurements, ClippedSquare(delta))

    def loss(theta):
        axes = list(range(1, arrays.ndim))
        residual = np.tensordot(arrays, dense(factorization, theta), (axes, range(len(axes))))
        size = np.abs(residual - values)
        each = np.where(size <= delta, size**2, delta * (2 * size - min(delta, 1e9)))
        return np.average(each, weights=weights)

    found, gradient = objective(theta)
    assert_allclose([found, objective.loss(theta)], loss(theta), rtol=1e-12)
    steps = 1e-6 * np.eye(len(theta))
    differences = [(loss(theta + step) - loss(theta - step)) / 2e-6 for step in steps]
    assert np.abs(differences).max() > 0.1
    assert_allclose(gradient, differences, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", FACTORIZATIONS)
def test_single_precision_follows_double(name):
    """In float32 loss and gradient are those of float64 to five digits of the largest entry."""
    factorization, rng = FACTORIZATIONS[name], np.random.default_rng(0)
    size = int(np.prod(factorization.shape))
    measurements = Measurements(rng.standard_normal((9, size)), np.ones(9), np.ones(9))
    theta = 0.7 * rng.standard_normal(factorization.n_parameters)
    loss, gradient = SensingObjective(factorization, measurements, ClippedSquare(inf))(theta)
    single = SensingObjective(factorization, measurements, ClippedSquare(inf), dtype="float32")
    found, by_single = single(single.from_numpy(theta))
    assert by_single.dtype == np.float32
    assert_allclose(found, loss, rtol=1e-5)
    assert_allclose(by_single, gradient, rtol=0, atol=1e-5 * np.abs(gradient).max())


def models():
    """One estimator per model and unfolding, its shape, and a start drawn for it."""
    shape, rng = (4, 3, 5), np.random.default_rng(0)
    draw = rng.standard_normal
    cp = [0.5 * draw((d, 3)) for d in shape]
    squares = [0.5 * draw((1, 3, d, d)) for d in shape]
    layers = [0.5 * draw((4, 3)), 0.5 * draw((20, 4))]
    first = [0.5 * draw((3, 15)), 0.5 * draw((4, 3))]
    return {
        "cp": CPCompletion(init=cp),
        "deep cp": DeepCPCompletion(depth=1, init=[*cp, *squares]),
        "rows 2, 0": DeepMatrixCompletion(2, row_modes=(2, 0), init=layers),
        "rows 0": DeepMatrixCompletion(2, row_modes=(0,), init=first),
    }


@cut_off
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("name", models())
def test_one_hot_arrays_are_observed_cells(name, scale):
    """The same start, cells and weights give the fit of ``fit``: all attributes to 1e-10."""
    shape, rng = (4, 3, 5), np.random.default_rng(1)
    chosen = rng.choice(60, 40, replace=False)
    X, y = np.column_stack(np.unravel_index(chosen, shape)), rng.standard_normal(40)
    weights = rng.integers(0, 4, 40)
    A = np.eye(60)[chosen].reshape(40, *shape)
    model = models()[name].set_params(shape=shape, learning_rate=0.1, scale=scale, **PLAIN)
    cells = clone(model).fit(X, y, weights)
    sensed = clone(model).fit_measurements(A, y, weights)
    close = {"rtol": 1e-10, "atol": 1e-10}
    assert cells.loss_curve_[-1] < 0.7 * cells.loss_curve_[0]
    assert_allclose(sensed.predict(X), cells.predict(X), **close)
    assert_allclose(sensed.to_dense(), cells.to_dense(), **close)
    assert_allclose(sensed.loss_curve_, cells.loss_curve_, **close)
    assert_allclose(sensed.scale_, cells.scale_, rtol=1e-14)
    assert (sensed.shape_, sensed.n_features_in_) == (shape, 3)
    assert (sensed.rank_, sensed.n_iter_) == (cells.rank_, cells.n_iter_)


def test_a_tensor_of_rank_one_is_found():
    """120 Gaussian measurements of a 6 x 6 x 6 tensor: relative error 1 %, rank 1."""
    rng = np.random.default_rng(0)
    tensor = np.einsum("i,j,k->ijk", *rng.standard_normal((3, 6)))
    A = rng.standard_normal((120, 6, 6, 6))
    y = np.einsum("mijk,ijk->m", A, tensor)
    model = CPCompletion(tol=1e-5, random_state=0).fit_measurements(A, y)
    assert model.rank_ == 1 and model.converged_
    assert np.linalg.norm(model.to_dense() - tensor) < 0.01 * np.linalg.norm(tensor)
    assert "validation_loss" not in model.trace_


@cut_off
@pytest.mark.parametrize("unit", [1e3, 1e-200, 1e200])
def test_units_of_the_arrays_change_only_the_units_of_the_tensor(unit):
    """``<1000 A, T / 1000> = <A, T>``: one descent, its result over 1000; rounding, 1e-9."""
    rng = np.random.default_rng(0)
    A, y = rng.standard_normal((30, 4, 3, 5)), rng.standard_normal(30)
    model = CPCompletion(3, max_iter=50, random_state=0).fit_measurements(A, y)
    other = clone(model).fit_measurements(unit * A, y)
    assert other.loss_ < 0.9 * other.loss_curve_[0]
    assert_allclose(other.loss_curve_, model.loss_curve_, rtol=1e-9)
    assert_allclose(unit * other.to_dense(), model.to_dense(), rtol=1e-9, atol=1e-9)


@cut_off
def test_the_scale_is_as_documented():
    """RMS of y over that of the norms, both weighted; 1 where it is not asked for."""
    rng = np.random.default_rng(0)
    A, y = rng.standard_normal((9, 4, 3)), rng.standard_normal(9)
    A *= 3.0 ** np.arange(9)[:, None, None]
    model = CPCompletion(2, max_iter=3, random_state=0)
    for weights in (None, rng.uniform(0.2, 3, 9)):
        squares = np.average(np.column_stack([y**2, (A**2).sum(axis=(1, 2))]).T, 1, weights)
        scale = model.fit_measurements(A, y, weights).scale_
        assert_allclose(scale, np.sqrt(squares[0] / squares[1]), rtol=1e-12)
    assert model.set_params(scale=False).fit_measurements(A, y).scale_ == 1


@cut_off
@pytest.mark.parametrize("shape", [[4, 3], np.array([4, 3])], ids=repr)
def test_the_shape_may_be_any_sequence(shape):
    """``shape_`` is a tuple of int whatever sequence ``shape`` is."""
    A, y = np.random.default_rng(0).standard_normal((9, 4, 3)), np.arange(9.0)
    model = CPCompletion(2, shape=shape, max_iter=3, random_state=0).fit_measurements(A, y)
    assert model.shape_ == (4, 3) and {type(size) for size in model.shape_} == {int}


def commuting(d=12, m=5, seed=0):
    """Measurements of one eigenbasis, a PSD matrix of rank 2 of the same, and the least norm."""
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.standard_normal((d, d)))[0]
    a = rng.standard_normal((m, d))
    A = np.einsum("ir,mr,jr->mij", Q, a, Q) / np.sqrt(d)
    y = a[:, :2] @ [1.0, 0.6] / np.sqrt(d)
    both = np.hstack([a, -a]) / np.sqrt(d)  # eigenvalues as differences of non-negative numbers
    return A, y, linprog(np.ones(2 * d), A_eq=both, b_eq=y).fun


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 3])
def test_commuting_sensing_reaches_the_least_nuclear_norm(depth):
    """From alpha I, as alpha falls; the optimum is a linear program on the eigenvalues.

    A matrix's part in the eigenbasis has the same measurements and no larger nuclear norm, so
    eigenvalues are enough. Gaps of .29 and .37, .051 and .058, .016 and .008 were measured.
    """
    A, y, least = commuting()
    options = {"init": "identity", "scale": False, "loss": "squared", "tol": 4e-11}
    gaps = []
    for alpha in (1e-1, 1e-2, 1e-3):
        model = DeepMatrixCompletion(depth, init_scale=alpha, max_iter=50_000, **options)
        model.fit_measurements(A, y)
        assert model.converged_
        gaps.append(model.singular_values_.sum() / least - 1)
    # A loss of 4e-11 leaves the measurements, and so the least norm, off by about 1e-5.
    assert gaps[0] > gaps[1] > gaps[2] > -1e-4
    assert gaps[1] < 0.12 and gaps[2] < 0.06


BAD = {
    "offset": (
        CPCompletion(offset="mean"),
        {},
        "offset='mean': fit_measurements needs offset=None",
    ),
    "device": (
        CPCompletion(device="cuda"),
        {},
        "device='cuda': fit_measurements needs device='cpu'",
    ),
    "shape": (CPCompletion(shape=(4, 4)), {}, r"shape=\(4, 4\), but A measures .* shape \(4, 3\)"),
    "empty mode": (
        CPCompletion(),
        {"A": np.ones((5, 4, 0))},
        r"A measures tensors of shape \(4, 0\)",
    ),
    "vector": (CPCompletion(), {"A": np.ones(5)}, "Expected 2D array, got 1D array"),
    "NaN": (CPCompletion(), {"A": np.full((5, 4, 3), np.nan)}, "Input A contains NaN"),
    "y": (CPCompletion(), {"y": [1.0, 2, np.inf, 4, 5]}, "Input y contains infinity"),
    "lengths": (CPCompletion(), {"y": [1.0]}, "inconsistent numbers of samples"),
    "masked": (
        CPCompletion(),
        {"A": np.ma.masked_array(np.ones((5, 4, 3)), np.arange(60) == 7)},
        "A has masked entries",
    ),
    "large": (
        CPCompletion(),
        {"A": np.full((5, 4, 3), 1e305)},
        r"A has values as large as 1e\+305",
    ),
    "small": (
        CPCompletion(),
        {"A": np.full((5, 4, 3), 1e-300), "y": np.full(5, 1e300)},
        "y over the norm of A has values as large as inf",
    ),
    "weights": (CPCompletion(), {"sample_weight": -np.ones(5)}, "sample_weight"),
    "parameter": (CPCompletion(0), {}, "'n_components' parameter"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused(case):
    """In words that name what arrived and what is wanted."""
    model, changed, message = BAD[case]
    good = {"A": np.ones((5, 4, 3)), "y": np.arange(5.0)}
    with pytest.raises(ValueError, match=message):
        clone(model).fit_measurements(**(good | changed))


def test_the_size_of_the_arrays_is_bounded():
    """Refused before anything is copied: this array takes eight bytes."""
    A = np.broadcast_to(np.float64(1), (2**16, 2**8, 2**8))
    with pytest.raises(ValueError, match="more than 1073741824 entries; give fewer"):
        CPCompletion().fit_measurements(A, np.ones(2**16))
    assert measurements._MAX_ENTRIES == 2**30


few_cells = pytest.mark.filterwarnings("ignore:Under-determined:sktf.CompletionWarning")


@pytest.mark.filterwarnings("ignore:No cell tells of:sktf.CompletionWarning")
@cut_off
@few_cells
def test_measurements_after_cells_leave_nothing_of_them():
    """Column names and the number of modes are those of the last fit."""
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame({"a": [0, 1, 2], "b": [0, 1, 1], "c": [0, 0, 1]})
    model = CPCompletion(2, max_iter=3, random_state=0).fit(X, [1.0, 2.0, 3.0])
    model.fit_measurements(np.ones((3, 4, 3)), [1.0, 2.0, 3.0])
    assert model.n_features_in_ == 2 and not hasattr(model, "feature_names_in_")
    assert model.predict([[3, 2]]).shape == (1,)


@cut_off
def test_a_warm_start_goes_on():
    """20 and then 20 steps are 40 steps, the scale kept."""
    rng = np.random.default_rng(0)
    A, y = rng.standard_normal((9, 4, 3)), rng.standard_normal(9)
    options = PLAIN | {"learning_rate": 0.01, "init_scale": 0.5, "random_state": 0}
    whole = CPCompletion(3, **(options | {"max_iter": 40})).fit_measurements(A, y)
    model = CPCompletion(3, warm_start=True, **(options | {"max_iter": 20}))
    model.fit_measurements(A, y).fit_measurements(A, y)
    assert_allclose(model.to_dense(), whole.to_dense(), rtol=1e-12, atol=1e-14)


@pytest.mark.filterwarnings("ignore:No cell tells of:sktf.CompletionWarning")
@cut_off
@few_cells
def test_a_warm_start_from_a_fit_with_offset_is_refused():
    """Its factors lack the offset, which measurements include."""
    model = CPCompletion(2, offset="mean", max_iter=3, warm_start=True, random_state=0)
    model.fit([[0, 0], [1, 1], [3, 2]], [1.0, 2.0, 4.0]).set_params(offset=None)
    with pytest.raises(ValueError, match="took an offset off its values.*warm_start=False"):
        model.fit_measurements(np.ones((2, 4, 3)), [1.0, 2.0])
