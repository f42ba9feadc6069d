"""Linear measurements of a whole tensor: reading a user's arrays, and their objective."""

from functools import reduce
from math import prod
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_array

from sktf._cells.frame import Frame
from sktf._cells.observations import Observations
from sktf._cells.offset import fit_offset
from sktf._cells.validation import check_observations, check_size, refuse_masked
from sktf._objective.cpu import FusedObjective
from sktf._objective.links import LINKS
from sktf._objective.objective import Objective

# Largest array of measurements, in entries: 8 GiB in float64.
_MAX_ENTRIES = 2**30


class Measurements(NamedTuple):
    """Sums ``values_j = <arrays_j, T>`` and their weights; first axis the measurement.

    ``unit`` is the RMS Frobenius norm of the arrays (1: not to be divided by).
    """

    arrays: np.ndarray
    values: np.ndarray
    weights: np.ndarray
    unit: float = 1.0

    def seen_by(self, frame):
        """Return the measurements of the tensor that the factorization describes, scaled."""
        if frame.offset.level or frame.offset.terms:
            raise ValueError(
                "warm_start=True: the fit to go on from took an offset off its values, which "
                "measurements cannot; set warm_start=False."
            )
        modes = [1 + mode for group in frame.groups for mode in group]
        arrays = self.arrays.transpose(0, *modes).reshape(len(self.arrays), -1)
        scale = frame.offset.scale
        values = self.values / (scale * self.unit) if scale else np.zeros_like(self.values)
        return self._replace(arrays=arrays / self.unit, values=values)

    def bounds(self):
        """Return that sums tell nothing of the bounds of cells."""
        return -np.inf, np.inf

    def n_distinct(self):
        """Return how many measurements there are."""
        return len(self.values)

    def row_counts(self, sizes):
        """Return for each side that all its rows are measured."""
        return [np.ones(size, int) for size in sizes]


def check_measurements(estimator, A, y, sample_weight):
    """Turn the input of ``fit_measurements`` into ``Measurements``."""
    if estimator.offset in ("mean", "additive"):
        raise ValueError(f"offset={estimator.offset!r}: fit_measurements needs offset=None.")
    if estimator.loss in LINKS:
        raise ValueError(
            f'loss="{estimator.loss}": a sum of cells has no link; fit_measurements takes '
            '"auto", "squared" or "huber".'
        )
    if estimator.encode:
        raise ValueError("encode=True: A measures tensors without labels; set encode=False.")
    if str(estimator.device) != "cpu":
        raise ValueError(f"device={str(estimator.device)!r}: fit_measurements needs device='cpu'.")
    refuse_masked(A, "A")
    arrays = np.asarray(A)
    if arrays.size > _MAX_ENTRIES:
        raise ValueError(
            f"A of shape {arrays.shape} has more than {_MAX_ENTRIES} entries; give fewer "
            "measurements, or cells to fit."
        )
    arrays = check_array(arrays, dtype=np.float64, allow_nd=True, input_name="A")
    shape = arrays.shape[1:]
    given = None if estimator.shape is None else tuple(estimator.shape)
    if 0 in shape or given not in (None, shape):
        raise ValueError(f"shape={estimator.shape!r}, but A measures tensors of shape {shape}.")
    # A measurement is checked as what it is to y and the weights: a row with a number.
    numbers = np.arange(len(arrays))[:, None]
    checked = check_observations(estimator, numbers, y, sample_weight, (len(arrays),))
    estimator.n_features_in_ = len(shape)
    arrays = arrays[checked.coords[:, 0]]
    unit = (estimator.scale and _rms_norm(arrays, checked.weights)) or 1.0
    check_size(float(np.abs(checked.values).max()) / unit, "y over the norm of A has values")
    return Measurements(arrays, checked.values, checked.weights, unit)


def _rms_norm(arrays, weights):
    """Return the weighted RMS of the Frobenius norms; no square over- or underflows."""
    peak = float(max(arrays.max(), -arrays.min())) or 1.0
    check_size(peak, "A has values")
    squares = [np.linalg.norm(array / peak) ** 2 for array in arrays]
    return peak * float(np.sqrt(np.average(squares, weights=weights)))


def fit_sensing_frame(measurements, groups, scale):
    """Return the frame of measurements: no offset, every cell of the tensor stored."""
    arrays, values, weights, unit = measurements
    shape = arrays.shape[1:]
    sizes = tuple(prod(shape[mode] for mode in group) for group in groups)
    numbers = np.arange(len(values))[:, None]
    offset = fit_offset(Observations(numbers, values, weights, (len(values),)), None, scale)
    offset = offset._replace(scale=offset.scale / unit)
    return Frame(shape, groups, [None] * len(groups), sizes, offset)


class SensingObjective(Objective):
    """Weighted mean loss of ``<A_j, T(theta)> - y_j`` and its gradient, through a dense T."""

    def __init__(self, factorization, measurements, loss, *, device="cpu", dtype="float64"):
        self.factorization, self.loss_function, self.dtype = factorization, loss, np.dtype(dtype)
        weights = measurements.weights / measurements.weights.sum()
        self._arrays, self._values, self._weights = (
            array.astype(self.dtype, copy=False)
            for array in (measurements.arrays, measurements.values, weights)
        )
        self._half = (len(factorization.shape) + 1) // 2
        self._one = np.ones((1, factorization.n_components), self.dtype)

    from_numpy = FusedObjective.from_numpy
    to_numpy = FusedObjective.to_numpy

    def _residual(self, rows, columns):
        return self._arrays @ (rows @ columns.T).ravel() - self._values

    def _matrices(self, factors):
        """Two matrices whose product is the tensor, its first modes in rows."""
        return khatri_rao(factors[: self._half]), khatri_rao([self._one, *factors[self._half :]])

    def __call__(self, theta):
        """Return the loss and its gradient at theta."""
        factors, memory = self.factorization.forward(theta)
        rows, columns = self._matrices(factors)
        residual = self._residual(rows, columns)
        at_tensor = (self._weights * self.loss_function.derivative(residual)) @ self._arrays
        at_tensor = at_tensor.reshape(len(rows), len(columns))
        gradients = [
            *pull_khatri_rao(factors[: self._half], at_tensor @ columns),
            *pull_khatri_rao(factors[self._half :], at_tensor.T @ rows),
        ]
        return self._mean(residual), self.factorization.pullback(theta, memory, gradients)

    def loss(self, theta):
        """Return the loss alone."""
        return self._mean(self._residual(*self._matrices(self.factorization.forward(theta)[0])))

    def _mean(self, residual):
        return float(self._weights @ self.loss_function.value(residual))


def khatri_rao(factors):
    """Return the columnwise Kronecker product, the rows of the last factor running fastest."""
    return reduce(lambda p, f: (p[:, None] * f).reshape(-1, f.shape[1]), factors)


def pull_khatri_rao(factors, gradient):
    """Return the gradients at the factors from that at their ``khatri_rao``."""
    if len(factors) < 2:
        return [gradient][: len(factors)]
    *others, last = factors
    gradient = gradient.reshape(-1, *last.shape)
    at_last = (gradient * khatri_rao(others)[:, None]).sum(axis=0)
    return [*pull_khatri_rao(others, (gradient * last).sum(axis=1)), at_last]
