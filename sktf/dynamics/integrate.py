"""Gradient flow, followed almost to rounding."""

import numpy as np
from scipy.integrate import solve_ivp

from sktf._cells.validation import finite_array


def gradient_flow(gradient, theta0, times):
    """Integrate gradient flow almost to rounding: what small steps of descent tend to.

    Parameters
    ----------
    gradient : callable
        ``theta -> gradient of the loss``, an array or a list of arrays.
    theta0 : array-like
        Where the flow is at time 0, of any shape: layers of one shape may be stacked.
    times : array-like of shape (n_times,)
        Increasing, not negative.

    Returns
    -------
    ndarray of shape (n_times, ...)
        theta at these times, by scipy's "DOP853" (tolerances 1e-10 relative, 1e-13 absolute).

    Examples
    --------
    >>> import numpy as np
    >>> from sktf.dynamics import gradient_flow, matrix_gradients
    >>> target = np.diag([1.0, 0.5])
    >>> def gradient(layers):
    ...     return matrix_gradients(layers, layers[1] @ layers[0] - target)
    >>> first, second = gradient_flow(gradient, [0.1 * np.eye(2)] * 2, [5.0, 20.0])[-1]
    >>> np.linalg.svd(second @ first, compute_uv=False).round(4)
    array([1. , 0.5])
    """
    theta0, times = finite_array(theta0, "theta0"), finite_array(times, "times")
    if times.ndim != 1 or not times.size or times[0] < 0 or np.any(np.diff(times) <= 0):
        raise ValueError(f"times is {times}; pass increasing times, the first not negative.")
    if times[-1] == 0:
        return theta0[np.newaxis].copy()

    def velocity(time, theta):
        return -np.ravel(gradient(theta.reshape(theta0.shape)))

    settings = {"method": "DOP853", "t_eval": times, "rtol": 1e-10, "atol": 1e-13}
    solution = solve_ivp(velocity, (0.0, times[-1]), theta0.ravel(), **settings)
    if not solution.success:
        raise RuntimeError(f"The flow could not be followed: {solution.message}")
    return solution.y.T.reshape(-1, *theta0.shape)
