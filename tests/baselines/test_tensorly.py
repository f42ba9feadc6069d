"""The bridge to tensorly: recovery, the promises of its results, and what it leaves alone."""

import sys
from subprocess import run

import numpy as np
import pytest
import tensorly as tl
from tensorly import datasets

from sktf._baselines.tensorly import masked_cp_als
from sktf._models.base import cp_tensor
from sktf.datasets.real import load_bundled


def problem(shape=(12, 11, 10), rank=2, seen=0.4, seed=0):
    """Return a low-rank tensor and the mask of its observed cells."""
    rng = np.random.RandomState(seed)
    tensor = tl.cp_to_tensor((np.ones(rank), [rng.standard_normal((n, rank)) for n in shape]))
    return tensor, rng.random_sample(shape) < seen


def fit(tensor, mask, rank, **settings):
    """Fit with settings that suit a small problem."""
    defaults = dict(n_sweeps=500, tol=1e-9, rng_seed=1)
    return masked_cp_als(tensor, mask, rank, **(defaults | settings))


def error(factors, tensor, where):
    """Return the relative error over some cells."""
    residual = tl.cp_to_tensor((None, factors)) - tensor
    return np.linalg.norm(residual[where]) / np.linalg.norm(tensor[where])


def test_missing_cells_are_recovered():
    """The true rank and 40 % of the cells give the others."""
    tensor, mask = problem()
    factors, n_done, converged = fit(tensor, mask, 2)
    # Linear convergence that stops at steps of 1e-9 leaves an error some hundred times larger.
    assert error(factors, tensor, ~mask) < 1e-6
    assert converged and n_done < 500
    assert [factor.shape for factor in factors] == [(12, 2), (11, 2), (10, 2)]
    assert all(factor.dtype == np.float64 for factor in factors)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, 1e3])
def test_what_lies_outside_the_mask_is_never_read(garbage):
    """NaN, infinity or garbage in missing cells changes no bit of the result."""
    tensor, mask = problem()
    clean, *_ = fit(tensor, mask, 2, n_sweeps=20)
    soiled, *_ = fit(np.where(mask, tensor, garbage), mask, 2, n_sweeps=20)
    for left, right in zip(clean, soiled, strict=True):
        np.testing.assert_array_equal(left, right)


def test_no_mask_is_a_mask_of_ones():
    """Both routes through tensorly fit the same tensor."""
    tensor, _ = problem()
    everywhere = np.ones(tensor.shape, dtype=bool)
    for mask in (None, everywhere):
        factors, _, converged = fit(tensor, mask, 2)
        assert converged and error(factors, tensor, everywhere) < 1e-6


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_fit_follows_the_scale_of_the_data(scale):
    """Data times a number give the prediction times that number, to rounding."""
    tensor, mask = problem()
    expected, *_ = fit(tensor, mask, 2, n_sweeps=10)
    factors, *_ = fit(scale * tensor, mask, 2, n_sweeps=10)
    found = tl.cp_to_tensor((None, factors)) / scale
    np.testing.assert_allclose(found, tl.cp_to_tensor((None, expected)), rtol=1e-6, atol=1e-8)


def test_a_component_has_equal_norms_in_all_modes():
    """The weights are folded in evenly."""
    tensor, mask = problem()
    factors, *_ = fit(tensor, mask, 3, n_sweeps=20)
    norms = np.array([np.linalg.norm(factor, axis=0) for factor in factors])
    np.testing.assert_allclose(norms, np.broadcast_to(norms[0], norms.shape), rtol=1e-10)


def test_more_components_than_the_rank():
    """Singular systems of equations are survived: rank one fitted with two to eight."""
    tensor, _ = problem((8, 8, 8), rank=1)
    for rank in (2, 4, 8):
        factors, *_ = fit(tensor, None, rank, init="gaussian")
        assert error(factors, tensor, np.ones(tensor.shape, dtype=bool)) < 1e-6


def test_the_sweeps_are_bounded_and_counted():
    """A budget too small is spent exactly, and reported as not converged."""
    tensor, mask = problem()
    for n_sweeps in (1, 3):
        _, n_done, converged = fit(tensor, mask, 2, n_sweeps=n_sweeps)
        assert n_done == n_sweeps and not converged


def test_the_stop_is_at_the_first_small_change_of_the_observed_error():
    """The errors of longer and longer runs, computed here, say when tol is met."""
    tensor, mask = problem()
    _, n_done, converged = fit(tensor, mask, 2, tol=1e-3)
    errors = [
        error(fit(tensor, mask, 2, n_sweeps=n, tol=1e-12)[0], tensor, mask)
        for n in range(1, n_done + 1)
    ]
    changes = np.abs(np.diff(errors))
    assert converged
    assert changes[-1] < 1e-3 and (changes[:-1] >= 1e-3).all()


def test_a_met_target_ends_the_run():
    """A run with a target stops once it is met, before the error settles."""
    tensor, mask = problem()
    factors, n_done, converged = fit(tensor, mask, 2, target=1e-2)
    assert converged and error(factors, tensor, mask) <= 1e-2
    assert n_done < fit(tensor, mask, 2)[1]


def test_seeds_repeat():
    """One seed, one result, with an int or a RandomState; another seed, another start."""
    tensor, mask = problem()
    first, again, state, other = (
        fit(tensor, mask, 2, n_sweeps=2, rng_seed=seed)[0][0]
        for seed in (5, 5, np.random.RandomState(5), 6)
    )
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, state)
    assert not np.allclose(first, other)


def test_observed_zeros_give_zero_factors():
    """No division by a zero norm."""
    factors, n_done, converged = fit(np.zeros((2, 3, 4)), None, 2)
    assert not any(factor.any() for factor in factors) and n_done == 0 and converged


def test_the_users_backend_stays():
    """A fit under another backend works with numpy, and leaves that backend in force."""
    pytest.importorskip("torch", reason="torch is the second backend of this test")
    tensor, mask = problem()
    expected = fit(tensor, mask, 2, n_sweeps=3)[0]
    with tl.backend_context("pytorch"):
        factors = fit(tensor, mask, 2, n_sweeps=3)[0]
        assert isinstance(load_bundled("load_IL2data"), np.ndarray)
        assert tl.get_backend() == "pytorch"
    assert tl.get_backend() == "numpy"
    np.testing.assert_array_equal(factors[0], expected[0])


def test_cp_tensor_is_tensorlys():
    """A CPTensor of unit columns, norms as weights, that tensorly turns into the same tensor."""
    rng = np.random.RandomState(0)
    factors = [rng.standard_normal((n, 2)) for n in (3, 4, 5)]
    cp = cp_tensor(factors)
    norms = np.prod([np.linalg.norm(factor, axis=0) for factor in factors], axis=0)
    np.testing.assert_allclose(cp.weights, norms, rtol=1e-14)
    expected = np.einsum("ir,jr,kr->ijk", *factors)
    np.testing.assert_allclose(cp.to_tensor(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "shape", "n_missing"),
    [
        ("load_IL2data", (13, 4, 12, 8), 192),
        ("load_covid19_serology", (438, 6, 11), 0),
        ("load_kinetic", (64, 12, 10, 60), 1754),
        ("load_indian_pines", (145, 145, 200), 0),
    ],
)
def test_bundled_tensors_have_nan_where_missing(name, shape, n_missing):
    """Shapes and counts of missing cells as documented."""
    tensor = load_bundled(name)
    assert tensor.shape == shape and tensor.dtype == np.float64
    assert np.isnan(tensor).sum() == n_missing


def test_kinetic_flags_mean_missing():
    """All flagged cells hold the placeholder 0; the two other zeros are measurements and stay."""
    raw, tensor = datasets.load_kinetic(), load_bundled("load_kinetic")
    flagged = np.asarray(raw.missing_values_position)
    assert (np.asarray(raw.tensor)[flagged] == 0).all()
    np.testing.assert_array_equal(np.isnan(tensor), flagged)
    assert np.count_nonzero(tensor == 0) == 2


def test_il2_misses_two_whole_blocks():
    """Ligands 3 and 4 at the last time, for all doses and cell types."""
    missing = np.isnan(load_bundled("load_IL2data"))
    assert missing[3:5, 3].all() and missing.sum() == missing[3:5, 3].size


def test_importing_the_bridge_leaves_tensorly_out():
    """The first call loads tensorly, the import does not."""
    code = "import sys, sktf.metrics, sktf.datasets; sys.exit('tensorly' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
