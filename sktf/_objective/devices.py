"""Which objective, and which normal equations, run on which device, or on several ranks."""

import numpy as np

from sktf._cells.offset import largest
from sktf._objective.cpu import FusedObjective
from sktf._objective.linked import LinkedObjective
from sktf._objective.row_equations import CellsByRow
from sktf._objective.torch import TorchObjective

# What users of other packages call a GPU.
_OTHER_NAMES = ("auto", "gpu")


def make_objective(factorization, observations, loss, *, device, dtype):
    """Return ``theta -> (loss, gradient)``: weighted mean loss over the observations."""
    if observations.ranks is not None:
        return observations.objective(factorization, loss, device=device, dtype=dtype)
    device = str(device)
    most = np.finfo(np.dtype(dtype)).max
    if largest(observations.values) > most:
        raise ValueError(
            f"dtype={np.dtype(dtype)} ends at {most:.1e}, and y is larger; set scale=True, or "
            'dtype="float64".'
        )
    on_cpu = LinkedObjective if loss.linked else FusedObjective
    kind = on_cpu if device == "cpu" else TorchObjective
    return kind(factorization, observations, loss, device=device, dtype=dtype)


def cells_by_row(observations, mode, dtype=np.float64):
    """Return observations in the order of their rows in a mode, wherever they lie."""
    if observations.ranks is not None:
        return observations.by_row(mode, dtype)
    return CellsByRow.of(observations, mode, dtype)


def check_device(device):
    """Raise unless arrays can be put on ``device``: ImportError where PyTorch is missing."""
    device = str(device)
    if device == "cpu":
        return
    if device in _OTHER_NAMES:
        raise _unusable(device, "PyTorch calls a GPU 'cuda'")
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"device={device!r} needs PyTorch: pip install \"sktf[torch]\", or use device='cpu'."
        ) from error
    try:
        torch.device(device)
    except RuntimeError as error:
        raise _unusable(device, "PyTorch has none of that name; it calls a GPU 'cuda'") from error
    try:
        torch.zeros(1, device=device).item()  # "meta" makes tensors that hold no numbers
    except (AssertionError, ImportError, RuntimeError) as error:
        # What follows the first sentence is pages of back ends.
        raise _unusable(device, str(error).splitlines()[0].split(". ")[0]) from error


def _unusable(device, why):
    return ValueError(f"device={device!r} cannot be used here ({why}); device='cpu' always can.")
