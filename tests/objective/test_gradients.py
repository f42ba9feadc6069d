"""Every factorization's gradient against torch autograd of its definition, and differences.

The definitions are written here once more, densely and by einsum, from the documented layout
of theta; nothing of ``forward`` or ``pullback`` is used.
"""

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from cases.gradients import CASES, LOSSES, observe, oracle, start
from joblib import Parallel, delayed, parallel_config

from sktf import CPCompletion
from sktf._objective import cpu
from sktf._objective import torch as torch_objective
from sktf._objective.cpu import FusedObjective
from sktf._objective.devices import make_objective
from sktf._objective.torch import TorchObjective

torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")

every_case = pytest.mark.parametrize("case", CASES)
both_losses = pytest.mark.parametrize("loss", LOSSES)


@both_losses
@every_case
def test_fused_gradient_equals_autograd_of_the_definition(case, loss):
    """Up to rounding in float64: 1e-12 of the largest entry."""
    shape, factorization, dense = CASES[case]
    observations, theta = observe(shape), start(factorization)
    leaf = torch.tensor(theta, requires_grad=True)
    expected = oracle(dense, observations, loss)(leaf)
    expected.backward()
    objective = make_objective(
        factorization, observations, LOSSES[loss], device="cpu", dtype="float64"
    )
    assert isinstance(objective, FusedObjective)
    value, gradient = objective(theta)
    np.testing.assert_allclose(value, expected.item(), rtol=1e-13)
    np.testing.assert_allclose(objective.loss(theta), expected.item(), rtol=1e-13)
    size = leaf.grad.abs().max().item()
    assert size > 1e-3
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=0, atol=1e-12 * size)


@pytest.mark.parametrize("kind", [FusedObjective, TorchObjective])
def test_equal_weights_are_the_plain_mean(kind):
    """Kept as one number: loss, gradient and terms are those of the definition."""
    shape, factorization, dense = CASES["cp order 4"]
    observations, theta = observe(shape)._replace(weights=np.full(80, 2.5)), start(factorization)
    leaf = torch.tensor(theta, requires_grad=True)
    expected = oracle(dense, observations, "huber")(leaf)
    expected.backward()
    objective = kind(factorization, observations, LOSSES["huber"], device="cpu", dtype="float64")
    value, gradient = objective(objective.from_numpy(theta))
    terms = objective.terms(factorization.unpack(theta))
    assert terms.shape == (80,)
    np.testing.assert_allclose([value, terms.sum()], expected.item(), rtol=1e-13)
    np.testing.assert_allclose(objective.to_numpy(gradient), leaf.grad, rtol=0, atol=1e-12)


@every_case
def test_fused_gradient_equals_central_differences(case):
    """Of the dense squared loss, entry by entry; steps of 1e-5 err by about 1e-9."""
    shape, factorization, dense = CASES[case]
    observations, theta = observe(shape), start(factorization)
    loss = oracle(dense, observations, "squared")
    _, gradient = FusedObjective(factorization, observations, LOSSES["squared"])(theta)
    with torch.no_grad():
        steps = 1e-5 * torch.eye(len(theta), dtype=torch.float64)
        at = torch.tensor(theta)
        differences = [(loss(at + step) - loss(at - step)).item() / 2e-5 for step in steps]
    np.testing.assert_allclose(gradient, differences, rtol=0, atol=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@both_losses
@every_case
def test_fused_and_torch_objectives_agree(case, loss, dtype):
    """The device path computes what the compiled path does, up to rounding of the dtype.

    Sums of some hundred products: 1,000 ulp of the largest entry.
    """
    shape, factorization, _ = CASES[case]
    observations = observe(shape)
    arguments = factorization, observations, LOSSES[loss]
    fused = FusedObjective(*arguments, dtype=dtype)
    other = TorchObjective(*arguments, device="cpu", dtype=dtype)
    theta = start(factorization)
    value, gradient = fused(fused.from_numpy(theta))
    expected, by_torch = other(other.from_numpy(theta))
    by_torch, close = other.to_numpy(by_torch), 1000 * np.finfo(dtype).eps
    assert gradient.dtype == by_torch.dtype == dtype
    np.testing.assert_allclose(value, expected, rtol=close)
    np.testing.assert_allclose(other.loss(other.from_numpy(theta)), value, rtol=close)
    np.testing.assert_allclose(gradient, by_torch, rtol=0, atol=close * np.abs(by_torch).max())


@every_case
def test_a_device_passes_over_cells_in_parts(case, monkeypatch):
    """Of seven numbers or less at once: sums in another order, of some hundred products."""
    shape, factorization, _ = CASES[case]
    arguments = factorization, observe(shape), LOSSES["huber"]
    monkeypatch.setattr(torch_objective, "_CHUNK", 7)
    by_torch = TorchObjective(*arguments, device="cpu", dtype="float64")
    fused = FusedObjective(*arguments)
    theta = start(factorization)
    (value, gradient), (expected, by_kernel) = by_torch(by_torch.from_numpy(theta)), fused(theta)
    assert value == pytest.approx(expected, rel=1e-12)
    assert by_torch.loss(by_torch.from_numpy(theta)) == pytest.approx(value, rel=1e-12)
    largest = np.abs(by_kernel).max()
    np.testing.assert_allclose(gradient.numpy(), by_kernel, rtol=0, atol=1e-12 * largest)


@every_case
def test_single_precision_follows_double(case):
    """In float32 the gradient is that of float64 to five digits of its largest entry."""
    shape, factorization, _ = CASES[case]
    observations, theta = observe(shape), start(factorization)
    _, expected = FusedObjective(factorization, observations, LOSSES["squared"])(theta)
    single = FusedObjective(factorization, observations, LOSSES["squared"], dtype="float32")
    _, gradient = single(single.from_numpy(theta))
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_do_not_depend_on_the_number_of_threads(monkeypatch, dtype):
    """Eight blocks of cells on 1, 2 and 4 threads: the same bits, twenty times over."""
    monkeypatch.setattr(cpu, "_BLOCK_WORK", 1)
    shape, factorization, _ = CASES["cp order 3"]
    observations, theta = observe(shape, 1200), start(factorization)
    results = set()
    for n_threads in (1, 2, 4):
        monkeypatch.setattr(cpu.numba_config, "NUMBA_NUM_THREADS", n_threads)
        objective = FusedObjective(factorization, observations, LOSSES["huber"], dtype=dtype)
        assert len(objective._blocks) == 8
        assert objective.n_threads == n_threads
        at = objective.from_numpy(theta)
        for _ in range(20):
            loss, gradient = objective(at)
            results.add((loss, objective.loss(at), gradient.tobytes()))
    assert len(results) == 1


# Fits whose gradient is cut into blocks, one whose starts descend side by side, and one that
# multiplies matrices of many parameters.
_FITS = """
import hashlib, warnings
import numpy as np
from sktf import CPCompletion, DeepMatrixCompletion, NuclearNormCompletion
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X = np.stack(np.unravel_index(rng.choice(40**3, 20_000, replace=False), (40,) * 3), axis=1)
y = (rng.standard_normal(40)[X] + 1).prod(axis=1) + rng.standard_normal(20_000)
options = {"shape": (40,) * 3, "n_init": 1, "max_iter": 12, "random_state": 0}
models = [
    CPCompletion(200, **options),
    CPCompletion(200, dtype="float32", **options),
    CPCompletion(5, **options | {"n_init": "auto"}),
    DeepMatrixCompletion(3, **options),
    DeepMatrixCompletion(3, hidden=700, **options | {"max_iter": 3}),
    CPCompletion(5, offset="additive", **options),
    DeepMatrixCompletion(init="identity", loss="squared", **options),
    NuclearNormCompletion(shape=(40,) * 3, max_iter=3),
]
for model in models:
    n_cells = 300 if isinstance(model, NuclearNormCompletion) else None
    model.fit(X[:n_cells], y[:n_cells])
    model.extend([[40, 0, 0], [40, 1, 1]], [1.0, 2.0], mode=0) if "CP" in str(model) else None
    factors = b"".join(factor.tobytes() for factor in model.factors_)
    print(hashlib.sha256(factors + model.predict(X).tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_whole_fits_have_the_same_bits_for_any_number_of_threads():
    """On 1, 2 and 4 threads of every library, each in a process of its own.

    The last model has over 2**20 parameters, so that its products may use all BLAS threads.
    """
    printed = {}
    for n_threads in (1, 2, 4):
        names = ("OMP", "OPENBLAS", "MKL", "NUMBA")
        environment = os.environ | {f"{name}_NUM_THREADS": str(n_threads) for name in names}
        done = subprocess.run(
            [sys.executable, "-c", _FITS],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        printed[n_threads] = done.stdout.split()
    assert len(printed[1]) == 8
    assert printed[1] == printed[2] == printed[4]


def _gradient_bytes(factorization, observations, theta):
    objective = FusedObjective(factorization, observations, LOSSES["huber"])
    return objective(theta)[1].tobytes()


def test_gradients_in_threads_at_once_have_the_same_bits(monkeypatch):
    """Four objectives of eight blocks at once, each on two threads of its own."""
    monkeypatch.setattr(cpu, "_BLOCK_WORK", 1)
    monkeypatch.setattr(cpu.numba_config, "NUMBA_NUM_THREADS", 2)
    shape, factorization, _ = CASES["cp order 3"]
    arguments = factorization, observe(shape, 1200), start(factorization)
    with parallel_config("threading", n_jobs=4):
        results = Parallel()(delayed(_gradient_bytes)(*arguments) for _ in range(8))
    assert set(results) == {_gradient_bytes(*arguments)}


# Gradients of four blocks on two threads, and two descents at once: here, in forked children,
# and in workers of loky.
_PROCESSES = """
import multiprocessing
import numpy as np
from joblib import Parallel, delayed
from sktf import CPCompletion
rng = np.random.default_rng(0)
X = rng.integers(0, 20, (60_000, 3))
y = rng.standard_normal(60_000)

def fit(_):
    import warnings
    warnings.simplefilter("ignore")
    wide = CPCompletion(60, shape=(20,) * 3, n_init=1, max_iter=3, random_state=0)
    race = CPCompletion(2, shape=(20,) * 3, max_iter=10, random_state=0)
    return b"".join(model.fit(X, y)._theta.tobytes() for model in (wide, race))

if __name__ == "__main__":
    results = {fit(0)}
    with multiprocessing.get_context("fork").Pool(2) as pool:
        results |= set(pool.map(fit, range(2), chunksize=1))
    results |= set(Parallel(2, "loky")(delayed(fit)(0) for _ in range(2)))
    print(len(results))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_fits_in_forked_and_loky_processes_have_the_same_bits(tmp_path):
    """A fit before the fork leaves nothing behind that a child would wait for."""
    script = tmp_path / "fits.py"
    script.write_text(_PROCESSES)
    environment = os.environ | {"NUMBA_NUM_THREADS": "2"}
    command = [sys.executable, str(script)]
    done = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip() == "1"


def test_blocks_add_up_to_the_whole(monkeypatch):
    """Cut into eight blocks, loss and gradient are still those of the dense definition."""
    shape, factorization, dense = CASES["deep cp 2"]
    observations, theta = observe(shape, 1200), start(factorization)
    monkeypatch.setattr(cpu, "_BLOCK_WORK", 1)
    objective = FusedObjective(factorization, observations, LOSSES["huber"])
    assert len(objective._blocks) == 8
    leaf = torch.tensor(theta, requires_grad=True)
    expected = oracle(dense, observations, "huber")(leaf)
    expected.backward()
    value, gradient = objective(theta)
    np.testing.assert_allclose(value, expected.item(), rtol=1e-13)
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_a_fit_takes_at_most_100_bytes_a_cell():
    """So 10^8 cells fit in 10 GB, data included; cells are held out, then all are fitted.

    At 2 million cells the sample, which does not grow with them, takes 10 bytes each.
    """
    rng = np.random.default_rng(0)
    X = rng.integers(0, 100, (2_000_000, 3), dtype=np.int32)
    y = rng.standard_normal(2_000_000, dtype=np.float32) + X[:, 0] % 7 * np.float32(0.1) * X[:, 1]
    model = CPCompletion(4, n_init=1, dtype="float32", random_state=0)
    model.fit(X[:1000], y[:1000])  # what is imported and compiled first is no matter of cells
    tracemalloc.start()
    model.fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert model.validation_score_ is not None
    assert model.rank_ > 0
    assert X.nbytes + y.nbytes + peak < 100 * len(X)


def test_small_problems_are_one_block():
    """A block is worth a thread from a million multiplications on."""
    _, factorization, _ = CASES["cp order 3"]
    objective = FusedObjective(factorization, observe((4, 5, 3)), LOSSES["squared"])
    assert len(objective._blocks) == 1


@pytest.mark.parametrize("kind", [FusedObjective, TorchObjective])
def test_the_gradient_is_a_copy(kind):
    """A later call doesn't write to a gradient that was returned earlier."""
    shape, factorization, _ = CASES["cp order 3"]
    arguments = {"device": "cpu", "dtype": "float64"}
    objective = kind(factorization, observe(shape), LOSSES["squared"], **arguments)
    theta = start(factorization)
    _, gradient = objective(objective.from_numpy(theta))
    kept = objective.to_numpy(gradient).copy()
    objective(objective.from_numpy(2 * theta))
    np.testing.assert_array_equal(objective.to_numpy(gradient), kept)


@pytest.mark.parametrize("kind", [FusedObjective, TorchObjective])
def test_with_loss_changes_the_loss_alone(kind):
    """The first objective keeps its loss; the second has that of the definition."""
    shape, factorization, dense = CASES["cp order 3"]
    observations, theta = observe(shape), start(factorization)
    arguments = {"device": "cpu", "dtype": "float64"}
    huber = kind(factorization, observations, LOSSES["huber"], **arguments)
    squared = huber.with_loss(LOSSES["squared"])
    for objective, loss in ((huber, "huber"), (squared, "squared")):
        expected = oracle(dense, observations, loss)(torch.tensor(theta)).item()
        value, _ = objective(objective.from_numpy(theta))
        np.testing.assert_allclose(value, expected, rtol=1e-13)
