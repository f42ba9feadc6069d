"""Devices by name or as objects of PyTorch, and what is said of those that cannot be used."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

from sktf import CPCompletion, DeepMatrixCompletion

# Short runs are the point here.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def fitted(small_tensor, device):
    """Return a short fit on a device."""
    model = CPCompletion(3, n_init=1, max_iter=20, device=device, random_state=0)
    return model.fit(*small_tensor)


@pytest.mark.parametrize("name", ["cpu", "cpu:0"])
def test_a_device_of_torch_works_like_its_name(small_tensor, name):
    """The same bits, and the parameter is kept as it was given, also by a clone."""
    torch = pytest.importorskip("torch")
    X, _ = small_tensor
    device = torch.device(name)
    model = fitted(small_tensor, device)
    assert_array_equal(model.predict(X), fitted(small_tensor, name).predict(X))
    assert model.get_params()["device"] == device == clone(model).device


def test_measurements_take_the_device_of_torch():
    """fit_measurements runs on the CPU, however that is written."""
    torch = pytest.importorskip("torch")
    A = np.random.RandomState(0).standard_normal((30, 4, 5))
    model = DeepMatrixCompletion(max_iter=3, device=torch.device("cpu"), random_state=0)
    assert model.fit_measurements(A, A.sum(axis=(1, 2))).shape_ == (4, 5)
    with pytest.raises(ValueError, match="^device='meta': fit_measurements needs device='cpu'"):
        model.set_params(device=torch.device("meta")).fit_measurements(A, A.sum(axis=(1, 2)))


@pytest.mark.parametrize("value", [0, None, np.dtype("float64")])
def test_no_device_at_all(small_tensor, value):
    """The message names both types that a device may have."""
    message = "'device' parameter .* 'str' or an instance of 'torch.device'"
    with pytest.raises(ValueError, match=message):
        fitted(small_tensor, value)


@pytest.mark.parametrize("device", ["vulkan", "xla", "hpu", "cuda:77", "cuda:x", "tpu", "CPU"])
def test_an_unusable_device_is_told_in_a_line(small_tensor, device):
    """Without the list of back ends that PyTorch prints, of which mkldnn is one."""
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match=f"^device='{device}' cannot be used here") as caught:
        fitted(small_tensor, device)
    told = str(caught.value)
    assert len(told) < 200 and "mkldnn" not in told and "needs PyTorch" not in told
    assert told.endswith("device='cpu' always can.")


@pytest.mark.parametrize("without_torch", [False, True])
@pytest.mark.parametrize("device", ["gpu", "auto"])
def test_other_names_of_a_gpu(small_tensor, monkeypatch, device, without_torch):
    """Whether PyTorch is there or not, the name is what is wrong."""
    if without_torch:
        monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ValueError, match=f"device='{device}' cannot .*'cuda'.*device='cpu'"):
        fitted(small_tensor, device)


def test_without_torch_the_extra_is_named(small_tensor, monkeypatch):
    """An ImportError, as of every package that is missing, in quotes that zsh needs."""
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r'device=\'cuda\' needs PyTorch: pip.* "sktf\[torch\]"'):
        fitted(small_tensor, "cuda")
