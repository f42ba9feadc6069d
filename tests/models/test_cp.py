"""CPCompletion: its starts, what a fit returns, and that nothing is ever densified."""

import tracemalloc

import numpy as np
import pytest
import tensorly as tl
from sklearn.base import clone

from sktf import CompletionWarning, CPCompletion
from sktf._models.cp import CPFactorization
from sktf._objective.factorization import default_components

# Short descents are cut off on purpose in some tests.
cut_off = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
# A plain descent: one Gaussian start, one loss, all cells.
PLAIN = {"init": "gaussian", "loss": "squared", "early_stopping": False, "random_state": 0}


def problem(shape=(8, 7, 6), rank=2, n_observed=200, seed=0):
    """A dense tensor of low rank, and some of its cells."""
    rng = np.random.default_rng(seed)
    factors = [rng.standard_normal((size, rank)) for size in shape]
    letters = "ijkl"[: len(shape)]
    tensor = np.einsum(",".join(n + "r" for n in letters) + "->" + letters, *factors)
    chosen = rng.choice(tensor.size, n_observed, replace=False)
    X = np.column_stack(np.unravel_index(chosen, shape))
    return tensor, X, tensor.ravel()[chosen]


def start(init, scale, mean, shape=(40, 60, 50), n_components=30, seed=0):
    """The blocks of one start."""
    factorization = CPFactorization(shape, n_components)
    theta = factorization.start(np.random.RandomState(seed), init, scale, mean)
    return factorization.unpack(theta)


@pytest.fixture(scope="module")
def fitted():
    """A fit with an offset, so that it is told apart from the components."""
    tensor, X, y = problem()
    model = CPCompletion(shape=tensor.shape, offset="mean", random_state=0).fit(X, y + 5)
    return model, tensor + 5


def test_gaussian_start_has_the_given_mean_and_deviation():
    """4,500 entries or so: five standard errors of mean and deviation."""
    entries = np.concatenate([block.ravel() for block in start("gaussian", 0.02, 0.1)])
    error = 0.02 / np.sqrt(entries.size)
    assert abs(entries.mean() - 0.1) < 5 * error
    assert abs(entries.std() - 0.02) < 5 * error / np.sqrt(2)


def test_balanced_start_has_equal_norms_and_the_components_of_the_gaussian():
    """All vectors of a component have one norm to 1e-14; directions and products stay."""
    gaussian, balanced = start("gaussian", 0.3, 0.05), start("balanced", 0.3, 0.05)
    norms = np.array([np.linalg.norm(block, axis=0) for block in balanced])
    np.testing.assert_allclose(norms, norms[:1].repeat(3, axis=0), rtol=1e-14)
    before = np.array([np.linalg.norm(block, axis=0) for block in gaussian])
    np.testing.assert_allclose(norms.prod(axis=0), before.prod(axis=0), rtol=1e-13)
    for block, other, n, m in zip(gaussian, balanced, before, norms, strict=True):
        np.testing.assert_allclose(other / m, block / n, rtol=1e-13)


@cut_off
def test_the_descent_starts_where_init_scale_says():
    """The first record holds components of norm about ``(std sqrt(d))^3``, in units of y."""
    _, X, y = problem()
    options = PLAIN | {"init_scale": 0.05, "max_iter": 1, "record_every": 1}
    model = CPCompletion(400, shape=(8, 7, 6), **options).fit(X, y)
    norms = model.trace_["component_norms"][0]
    # The expected square of a norm is 0.05^6 * 8 * 7 * 6; its relative deviation over 400
    # components is sqrt((1 + 2/8)(1 + 2/7)(1 + 2/6) - 1) / 20 = 0.053.
    expected = 0.05**6 * 8 * 7 * 6 * np.mean(y**2)
    np.testing.assert_allclose(np.mean(norms**2), expected, rtol=0.25)


def given_start(shape=(8, 7, 6), rank=3, seed=3):
    """Factors to start from, of entries of deviation .5."""
    rng = np.random.default_rng(seed)
    return [0.5 * rng.standard_normal((size, rank)) for size in shape]


@cut_off
def test_a_given_start_descends_as_written_out_by_hand():
    """30 steps of .001 on half the sum of squares from the user's factors; 1e-12.

    Half the sum of m squares at a rate is their mean at m / 2 times the rate, and ``time``
    times 2 / m is its time.
    """
    tensor, X, y = problem()
    factors, rate = given_start(), 0.001
    options = {"scale": False, "step": "constant", "learning_rate": rate * len(y) / 2}
    options |= {"record_every": 1, "max_iter": 30, "measures": {"first": lambda f: f[0]}}
    model = CPCompletion(shape=tensor.shape, **(PLAIN | options | {"init": factors})).fit(X, y)
    kept = [factor.copy() for factor in factors]
    seen = np.zeros(tensor.shape)
    seen[tuple(X.T)] = 1
    path = [factors[0]]
    for _ in range(30):
        a, b, c = factors
        G = seen * (np.einsum("ir,jr,kr->ijk", a, b, c) - tensor)
        factors = [
            a - rate * np.einsum("ijk,jr,kr->ir", G, b, c),
            b - rate * np.einsum("ijk,ir,kr->jr", G, a, c),
            c - rate * np.einsum("ijk,ir,jr->kr", G, a, b),
        ]
        path.append(factors[0])
    np.testing.assert_allclose(model.trace_["first"], path, rtol=0, atol=1e-12)
    np.testing.assert_allclose(model.trace_["time"] * 2 / len(y), rate * np.arange(31), rtol=1e-12)
    for factor, before in zip(model.init, kept, strict=True):
        np.testing.assert_array_equal(factor, before)


@cut_off
def test_measures_see_the_factors_of_the_tensor_without_offset():
    """In the units of y; the last record is of the model that was fitted."""
    tensor, X, y = problem()
    measures = {
        "norm": lambda f: np.linalg.norm(np.einsum("ir,jr,kr->ijk", *f)),
        "corner": lambda f: np.einsum("ir,jr,kr->ijk", *f)[:2, :2, 0],
    }
    options = PLAIN | {"offset": "mean", "max_iter": 50, "init_scale": 0.3, "measures": measures}
    model = CPCompletion(4, shape=tensor.shape, **options).fit(X, 9 * y + 5)
    left = model.to_dense() - model.offset_
    assert model.trace_["corner"].shape == (len(model.loss_curve_), 2, 2)
    np.testing.assert_allclose(model.trace_["norm"][-1], np.linalg.norm(left), rtol=1e-12)
    np.testing.assert_allclose(model.trace_["corner"][-1], left[:2, :2, 0], rtol=0, atol=1e-10)
    frame = clone(model).fit(X, 9 * y + 5).trace_frame()
    np.testing.assert_array_equal(frame["loss"], model.loss_curve_)
    np.testing.assert_array_equal(frame["corner_1_0"], model.trace_["corner"][:, 1, 0])
    np.testing.assert_array_equal(frame["component_norms_3"], model.trace_["component_norms"][:, 3])


@pytest.mark.filterwarnings("ignore:Nothing was learned:sktf.CompletionWarning")
@pytest.mark.parametrize("width", [1, 3])
def test_a_given_start_says_how_many_components_there_are(width):
    """With ``n_components=None``; also where cells are held out, and in a copy."""
    tensor, X, y = problem()
    model = CPCompletion(shape=tensor.shape, init=given_start(rank=width), tol=0.5, random_state=0)
    model = clone(model).fit(X, y)
    assert [factor.shape for factor in model.factors_] == [(8, width), (7, width), (6, width)]


BAD_STARTS = {
    "columns": (
        {"init": given_start(), "n_components": 4},
        r"takes \[\(8, 4\), \(7, 4\), \(6, 4\)\]",
    ),
    "modes": (
        {"init": given_start()[:2]},
        r"shapes \[\(8, 3\), \(7, 3\)\], but .* set shape, n_comp",
    ),
    "sizes": ({"init": given_start((8, 7, 5))}, r"of mode sizes \(8, 7, 6\) takes"),
    "empty": ({"init": []}, r"init has blocks of shapes \[\]"),
    "numbers": ({"init": [1.0, 2.0, 3.0]}, r"init has blocks of shapes \[\(\), \(\), \(\)\]"),
    "text": ({"init": ["a", "b", "c"]}, "init: expected a name or a list of arrays of real numb"),
    "complex": ({"init": [1j * f for f in given_start()]}, "init: expected .* real numbers"),
    "strings": ({"init": [f.astype(str) for f in given_start()]}, "init: expected .* real numb"),
    "objects": ({"init": [f.astype(object) for f in given_start()]}, "init: expected .* real n"),
    "NaN": ({"init": [np.nan * f for f in given_start()]}, "init holds NaN or infinity"),
    "restarts": ({"init": given_start(), "n_init": 2}, "n_init=2: arrays given as init are one"),
}


@pytest.mark.parametrize("case", BAD_STARTS)
def test_a_given_start_that_does_not_fit_is_refused(case):
    """With what came, what the model takes, and the parameters to change."""
    tensor, X, y = problem()
    changed, message = BAD_STARTS[case]
    with pytest.raises(ValueError, match=message):
        CPCompletion(shape=tensor.shape, **changed).fit(X, y)


def test_default_number_of_components_is_a_bounded_cap():
    """Cells over rows, from 10 to 30, and never more than the other modes have cells."""
    assert default_components((30, 30, 30), 1800) == 20
    assert default_components((30, 30, 30), 100) == 10
    assert default_components((30, 30, 30), 10**6) == 30
    assert default_components((100, 3, 2), 10**6) == 6


def test_factors_reproduce_predictions_and_the_dense_tensor(fitted):
    """``offset_ + einsum(factors_)`` is what both methods return; rounding, 1e-12."""
    model, tensor = fitted
    dense = model.offset_ + np.einsum("ir,jr,kr->ijk", *model.factors_)
    cells = np.argwhere(np.ones(tensor.shape, bool))
    np.testing.assert_allclose(model.to_dense(), dense, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(model.predict(cells), dense.ravel(), rtol=1e-12, atol=1e-12)
    assert model.offset_ != 0


def test_to_cp_tensor_is_the_tensor_without_its_offset(fitted):
    """tensorly builds the same dense tensor from it, and it is a copy."""
    model, _ = fitted
    with pytest.warns(CompletionWarning, match="The offset"):
        cp = model.to_cp_tensor()
    dense = tl.cp_to_tensor(cp) + model.offset_
    np.testing.assert_allclose(dense, model.to_dense(), rtol=1e-12, atol=1e-12)
    cp.factors[0][:] = 0
    assert np.abs(model.factors_[0]).max() > 0


def test_component_norms_descend_and_are_those_of_the_factors(fitted):
    """Column r of every factor is the component whose norm is ``component_norms_[r]``."""
    model, _ = fitted
    assert (np.diff(model.component_norms_) <= 0).all()
    each = np.einsum("ir,jr,kr->rijk", *model.factors_).reshape(len(model.component_norms_), -1)
    np.testing.assert_allclose(model.component_norms_, np.linalg.norm(each, axis=1), rtol=1e-12)
    last = model.trace_["component_norms"][-1]
    assert last.shape == model.component_norms_.shape


def test_the_completed_tensor_is_the_true_one(fitted):
    """Rank 2 at 60 % of the cells, an offset added: rank 2 or 3 and 1 % of error in all cells.

    The mean of a low-rank tensor is a component of its own, which the offset may leave behind.
    """
    model, tensor = fitted
    assert model.rank_ in (2, 3)
    error = np.linalg.norm(model.to_dense() - tensor) / np.linalg.norm(tensor - tensor.mean())
    assert error < 0.01


@pytest.mark.parametrize("shape", [(30, 20), (6, 5, 4, 5)])
def test_other_orders(shape):
    """A matrix, and four modes, of rank 1: found from 60 % of the cells."""
    tensor, X, y = problem(shape, 1, int(0.6 * np.prod(shape)))
    model = CPCompletion(5, shape=shape, random_state=0).fit(X, y)
    assert model.rank_ == 1
    assert np.linalg.norm(model.to_dense() - tensor) < 0.01 * np.linalg.norm(tensor)


@cut_off
@pytest.mark.parametrize("step", ["adaptive", "constant"])
def test_a_weight_is_a_number_of_repetitions(step):
    """Without held-out cells, weights 1 to 3 give the fit of rows that occur so often.

    30 iterations amplify the rounding of differently ordered sums to less than 1e-9.
    """
    tensor, X, y = problem()
    y = y + np.random.default_rng(1).standard_normal(len(y))
    counts = np.random.default_rng(2).integers(1, 4, len(y))
    options = PLAIN | {"step": step, "max_iter": 30, "init_scale": 0.3, "offset": "mean"}
    weighted = CPCompletion(5, shape=tensor.shape, **options)
    weighted.fit(X, y, sample_weight=counts)
    repeated = CPCompletion(5, shape=tensor.shape, **options)
    repeated.fit(np.repeat(X, counts, axis=0), np.repeat(y, counts))
    plain = CPCompletion(5, shape=tensor.shape, **options).fit(X, y)
    dense = repeated.to_dense()
    np.testing.assert_allclose(weighted.to_dense(), dense, rtol=0, atol=1e-9 * np.abs(dense).max())
    assert np.abs(plain.to_dense() - dense).max() > 1e-3 * np.abs(dense).max()


def test_rows_of_weight_zero_are_absent():
    """Absurd values of weight zero change no bit."""
    tensor, X, y = problem()
    options = {"shape": tensor.shape, "random_state": 0}
    weights = np.append(np.ones(len(y)), [0.0, 0.0])
    expected = CPCompletion(4, **options).fit(X, y)
    model = CPCompletion(4, **options).fit(
        np.vstack([X, X[:2]]), np.append(y, [1e9, -1e9]), sample_weight=weights
    )
    np.testing.assert_array_equal(model.to_dense(), expected.to_dense())


@pytest.mark.filterwarnings("ignore:No cell tells of:sktf.CompletionWarning")
def test_a_row_never_seen_stays_at_its_small_start():
    """No gradient reaches it: its predictions are the offset, up to the size of the start."""
    tensor, X, y = problem()
    seen = X[:, 0] != 3
    options = PLAIN | {"init_scale": 1e-2, "offset": "mean", "shape": tensor.shape}
    model = CPCompletion(5, **options).fit(X[seen], y[seen])
    cells = np.argwhere(np.ones(tensor.shape, bool))
    unseen = cells[:, 0] == 3
    away = np.abs(model.predict(cells) - model.offset_)
    assert away[unseen].max() < 0.1 * away[~unseen].max()
    assert model.shape_ == tensor.shape


@pytest.mark.parametrize("rate", [1e3, 1e200])
def test_a_descent_that_diverges_raises_and_says_what_to_do(rate):
    """Nothing is fitted, and no warning of an overflow comes before the error."""
    tensor, X, y = problem()
    model = CPCompletion(5, step="constant", learning_rate=rate, **PLAIN)
    with pytest.raises(ValueError, match="diverged at iteration .* lower learning_rate"):
        model.fit(X, y)
    assert not hasattr(model, "factors_")


@cut_off
def test_the_loss_falls_at_a_small_constant_step():
    """Every recorded loss is below the one before, from the first on."""
    _, X, y = problem()
    options = PLAIN | {"step": "constant", "learning_rate": 0.05, "init_scale": 0.3}
    model = CPCompletion(5, max_iter=300, record_every=1, **options).fit(X, y)
    assert (np.diff(model.loss_curve_) < 0).all()
    np.testing.assert_allclose(model.trace_["time"], 0.05 * np.arange(301), rtol=1e-12)
    assert model.loss_ == model.loss_curve_[-1] and model.n_iter_ == 300


def test_the_scale_of_the_data_is_taken_care_of():
    """y times 1024, a power of two, has 1024 times the predictions, up to the cube root's share."""
    tensor, X, y = problem()
    small = CPCompletion(5, shape=tensor.shape, random_state=0).fit(X, y)
    large = CPCompletion(5, shape=tensor.shape, random_state=0).fit(X, 1024 * y)
    np.testing.assert_allclose(large.to_dense(), 1024 * small.to_dense(), rtol=1e-9, atol=1e-9)
    assert large.n_iter_ == small.n_iter_


@cut_off
def test_a_large_tensor_is_never_densified():
    """3,000 x 2,000 x 1,000 cells would take 45 GiB; a fit of 50,000 stays below 200 MiB."""
    rng = np.random.default_rng(0)
    shape = (3000, 2000, 1000)
    X, y = rng.integers(0, shape, (50_000, 3)), rng.standard_normal(50_000)
    model = CPCompletion(8, shape=shape, max_iter=3, n_init=1, random_state=0)
    tracemalloc.start()
    try:
        model.fit(X, y).predict(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200 * 2**20
    with pytest.raises(ValueError, match="predict the cells you need"):
        model.to_dense()
