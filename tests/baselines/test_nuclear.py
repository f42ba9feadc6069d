"""Least nuclear norm: closed forms, the paper's comparison with truth, constraints, guards."""

import os
import signal
import sys
from threading import Timer

import numpy as np
import pytest
import scs
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from sktf import CompletionWarning, NuclearNormCompletion
from sktf._baselines import nuclear
from sktf.datasets import entries_from_dense, make_low_rank, sample_entries
from sktf.metrics import effective_rank, nuclear_norm

EXACT = dict(epsilon=0.0, tol=1e-8, max_iter=20_000)


def known(matrix):
    """Return the cells of a matrix that are not NaN."""
    return entries_from_dense(np.array(matrix, dtype=float))


@pytest.mark.parametrize(
    ("a", "b", "c"), [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (4.0, 2.0, -2.0), (-3.0, 1.0, 2.0)]
)
def test_one_missing_corner_completes_to_rank_one(a, b, c):
    """For [[a, b], [c, ?]] with |a| >= |b|, |c|, the minimizer has ? = b c / a.

    The squared nuclear norm is the squared Frobenius norm plus 2 |det|, in d = ? a constant plus
    d^2 + 2 |a d - b c|. At the kink, d = b c / a, its slopes are 2 d - 2 |a| and 2 d + 2 |a|, of
    opposite sign as long as |d| < |a|.
    """
    model = NuclearNormCompletion(shape=(2, 2), **EXACT).fit(*known([[a, b], [c, np.nan]]))
    assert model.predict([[1, 1]]) == pytest.approx(b * c / a, abs=1e-4)
    assert model.rank_ == 1


@pytest.mark.parametrize(("a", "b", "c"), [(0.0, 1.0, 1.0), (0.5, 1.0, 1.0), (-1.0, 2.0, -2.0)])
def test_a_small_corner_completes_to_full_rank(a, b, c):
    """With |b c| > a^2 the minimum is off the kink, at d = a sign(b c), and the rank is two."""
    model = NuclearNormCompletion(shape=(2, 2), **EXACT).fit(*known([[a, b], [c, np.nan]]))
    expected = a * np.sign(b * c)
    assert model.predict([[1, 1]]) == pytest.approx(expected, abs=1e-4)
    assert model.nuclear_norm_ == pytest.approx(nuclear_norm([[a, b], [c, expected]]), rel=1e-5)
    assert model.rank_ == 2


def test_a_diagonal_gives_its_trace():
    """Of all matrices with a given diagonal the least nuclear norm is the sum of its moduli."""
    diagonal = np.array([3.0, -2.0, 1.0, 0.5])
    X = np.column_stack([np.arange(4), np.arange(4)])
    with pytest.warns(CompletionWarning, match="4 parts that share no index"):
        model = NuclearNormCompletion(**EXACT).fit(X, diagonal)
    assert model.nuclear_norm_ == pytest.approx(6.5, rel=1e-5)


def test_epsilon_is_used_up():
    """One cell is lowered by epsilon times the RMS of y, here the value itself."""
    model = NuclearNormCompletion(epsilon=0.1, tol=1e-8).fit([[0, 0]], [50.0])
    assert model.predict([[0, 0]]) == pytest.approx(45.0, rel=1e-5)
    assert model.loss_ == pytest.approx(0.01, rel=1e-3)


def test_the_constraint_holds_and_the_norm_is_at_most_the_truths():
    """The truth is feasible, so that the minimizer's norm is at most as large."""
    truth, _ = make_low_rank((20, 15), 2, random_state=0)
    X, y = sample_entries(truth, 0.5, random_state=0)
    model = NuclearNormCompletion(shape=(20, 15)).fit(X, y)
    rms = np.sqrt(np.mean(y**2))
    # SCS meets constraints to about tol, times the size of the problem.
    assert np.abs(model.predict(X) - y).max() < 1.2e-3 * rms
    assert model.nuclear_norm_ <= nuclear_norm(truth)
    assert model.converged_ and model.n_iter_ >= 1


def test_the_spectrum_describes_the_dense_matrix():
    """Singular values, norm and effective rank of to_dense; factors share the singular values."""
    truth, _ = make_low_rank((12, 9), 2, random_state=1)
    X, y = sample_entries(truth, 0.4, random_state=1)
    model = NuclearNormCompletion(shape=(12, 9)).fit(X, y)
    dense, n_kept = model.to_dense(), len(model.singular_values_)
    expected = np.linalg.svd(dense, compute_uv=False)
    np.testing.assert_allclose(model.singular_values_, expected[:n_kept], rtol=1e-8)
    assert model.nuclear_norm_ == pytest.approx(nuclear_norm(dense))
    assert model.effective_rank_ == pytest.approx(effective_rank(dense), rel=1e-6)
    for factor in model.factors_:
        gram = factor.T @ factor
        np.testing.assert_allclose(gram, np.diag(model.singular_values_), atol=1e-8 * gram.max())
    np.testing.assert_allclose(model.component_norms_, model.singular_values_)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_few_observations_give_a_matrix_of_too_high_rank(seed):
    """40 x 40, rank 3, 480 cells: smaller norm than the truth's, larger rank and an error.

    The inequalities are those of the comparison with deep matrix factorization (Arora et al.).
    """
    truth, _ = make_low_rank((40, 40), 3, norm=40.0, random_state=seed)
    X, y = sample_entries(truth, 480, random_state=seed)
    model = NuclearNormCompletion(shape=(40, 40)).fit(X, y)
    assert np.mean((model.to_dense() - truth) ** 2) > 1e-2
    assert model.effective_rank_ > 1.2 * effective_rank(truth)
    assert model.nuclear_norm_ < nuclear_norm(truth)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_enough_observations_give_the_truth(seed):
    """The same with 900 cells."""
    truth, _ = make_low_rank((40, 40), 3, norm=40.0, random_state=seed)
    X, y = sample_entries(truth, 900, random_state=seed)
    model = NuclearNormCompletion(shape=(40, 40)).fit(X, y)
    # epsilon alone, on entries of RMS 1, leaves 1e-6.
    assert np.mean((model.to_dense() - truth) ** 2) < 1e-6
    assert model.rank_ == 3


def test_row_modes_unfold():
    """The unfolded matrix, fitted as a matrix, has the same completion."""
    rng = np.random.RandomState(2)
    tensor = rng.standard_normal((3, 4, 5))
    X, y = sample_entries(tensor, 0.6, random_state=2)
    matrix_X = np.column_stack([X[:, 2] * 3 + X[:, 0], X[:, 1]])
    model = NuclearNormCompletion((2, 0), shape=(3, 4, 5)).fit(X, y)
    matrix = NuclearNormCompletion(shape=(15, 4)).fit(matrix_X, y)
    # The solver gets the cells in another order, and stops where tol lets it.
    np.testing.assert_allclose(model.predict(X), matrix.predict(matrix_X), rtol=1e-3, atol=1e-4)
    assert [factor.shape[0] for factor in model.factors_] == [15, 4]


def test_one_mode_is_a_matrix_of_one_column():
    """Nothing is missing in a column: values shrink to its norm, here by epsilon at most."""
    y = np.array([1.0, -2.0, 3.0])
    model = NuclearNormCompletion(epsilon=0.0, tol=1e-8).fit(np.arange(3)[:, None], y)
    np.testing.assert_allclose(model.predict(np.arange(3)[:, None]), y, atol=1e-5)


@pytest.mark.filterwarnings("ignore:No cell tells of:sktf.CompletionWarning")
def test_unseen_rows_and_columns_are_means_and_cost_nothing():
    """Indices in steps of 1000 give the same completion as without gaps."""
    truth, _ = make_low_rank((6, 5), 1, random_state=3)
    X, y = sample_entries(truth, 0.7, random_state=3)
    dense = NuclearNormCompletion().fit(X, y)
    gaps = NuclearNormCompletion().fit(1000 * X, y)
    np.testing.assert_allclose(gaps.predict(1000 * X), dense.predict(X), rtol=1e-10)
    np.testing.assert_allclose(gaps.predict([[1, 1]]), dense.to_dense().mean())


def test_rows_of_one_cell_are_averaged():
    """Values that contradict each other are no error; weights count within the cell only."""
    X, y = known([[2.0, 1.0], [1.0, np.nan]])
    model = NuclearNormCompletion(shape=(2, 2))
    expected = clone(model).fit(X, y).predict(X)
    doubled = clone(model).fit([*X, X[0]], [5.0, *y[1:], 1.0], [1, 7, 7, 3])
    np.testing.assert_allclose(doubled.predict(X), expected, rtol=1e-10)
    absent = clone(model).fit([*X, [1, 1]], [*y, 9.0], [1, 1, 1, 0])
    np.testing.assert_allclose(absent.predict(X), expected, rtol=1e-10)


def test_zeros_stay_zeros():
    """No division by the norm of nothing."""
    model = NuclearNormCompletion().fit(*entries_from_dense(np.zeros((3, 2))))
    assert model.rank_ == 0 and model.nuclear_norm_ == 0 and model.effective_rank_ == 0
    assert not model.to_dense().any()


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_completion_follows_the_scale_of_the_data(scale):
    """epsilon and tol are relative to the RMS."""
    truth, _ = make_low_rank((8, 7), 2, random_state=4)
    X, y = sample_entries(truth, 0.6, random_state=4)
    expected = NuclearNormCompletion().fit(X, y).predict(X)
    found = NuclearNormCompletion().fit(X, scale * y).predict(X) / scale
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_too_few_iterations_warn_once():
    """The estimator warns, cvxpy doesn't."""
    truth, _ = make_low_rank((12, 9), 2, random_state=1)
    X, y = sample_entries(truth, 0.4, random_state=1)
    with pytest.warns(ConvergenceWarning, match="max_iter=20") as caught:
        model = NuclearNormCompletion(max_iter=20).fit(X, y)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert not model.converged_ and model.n_iter_ == 20


def test_too_large_a_matrix_is_refused():
    """The shape and the way out are in the message."""
    X = np.argwhere(np.abs(np.subtract.outer(np.arange(600), np.arange(600))) < 2)
    with pytest.raises(ValueError, match=r"\(600, 600\).*1000.*DeepMatrixCompletion"):
        NuclearNormCompletion().fit(X, np.ones(len(X)))


@pytest.mark.parametrize("row_modes", [(), (0, 0), (2,), (-1,), (0.5,)])
def test_bad_row_modes_are_named(row_modes):
    """Distinct whole numbers below the order, at least one."""
    with pytest.raises(ValueError, match="row_modes"):
        NuclearNormCompletion(row_modes).fit([[0, 0]], [1.0])


@pytest.mark.parametrize("settings", [{"epsilon": -1}, {"tol": 0}, {"max_iter": 0}])
def test_bad_parameters_are_named(settings):
    """The error names the parameter."""
    with pytest.raises(ValueError, match=next(iter(settings))):
        NuclearNormCompletion(**settings).fit([[0, 0]], [1.0])


def test_without_cvxpy_the_extra_is_named(monkeypatch):
    """None in sys.modules is what an absent package looks like to import."""
    monkeypatch.setitem(sys.modules, "cvxpy", None)
    with pytest.raises(ImportError, match=r'pip install "sktf\[nuclear\]"'):
        NuclearNormCompletion().fit([[0, 0]], [1.0])
    assert not hasattr(nuclear, "cvxpy")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to oneself")
def test_ctrl_c_goes_on_and_leaves_no_fit(monkeypatch):
    """SCS catches the signal itself and reports a failure; here it would need days."""
    truth, _ = make_low_rank((40, 40), 3, random_state=0)
    X, y = sample_entries(truth, 0.5, noise=0.3, random_state=0)
    model = NuclearNormCompletion(tol=1e-14, max_iter=10**9)
    solve = scs.solve

    def with_ctrl_c(*args, **options):
        Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
        return solve(*args, **options)

    monkeypatch.setattr(scs, "solve", with_ctrl_c)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            model.fit(X, y)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not hasattr(model, "shape_")
