"""Which objective runs on which device."""

from sktf._objective.cpu import FusedObjective
from sktf._objective.torch import TorchObjective


def make_objective(factorization, observations, loss, *, device, dtype):
    """Return ``theta -> (loss, gradient)``: weighted mean loss over the observations."""
    kind = FusedObjective if device == "cpu" else TorchObjective
    return kind(factorization, observations, loss, device=device, dtype=dtype)


def check_device(device):
    """Raise ValueError unless arrays can be put on ``device``."""
    if device == "cpu":
        return
    try:
        import torch

        torch.zeros(1, device=device).item()  # "meta" makes tensors that hold no numbers
    except ImportError as error:
        raise ValueError(
            f"device={device!r} needs PyTorch; install the extra sktf[torch] or use device='cpu'."
        ) from error
    except (AssertionError, RuntimeError, NotImplementedError) as error:
        raise ValueError(
            f"device={device!r} cannot be used here ({str(error).splitlines()[0]}); "
            "device='cpu' always can."
        ) from error
