"""How long a size takes to leave zero."""

import numpy as np


def escape_time(start, stop, order, gamma=1.0):
    """Return the time in which a size grows by ``ds/dt = N gamma s^(2 - 2/N)``.

    Parameters
    ----------
    start, stop : float or ndarray
        Sizes, ``0 < start <= stop``.
    order : int
        N: the order of CP, the depth of a matrix product (s a singular value), N (k + 1) of deep
        CP with aligned matrices.
    gamma : float or ndarray, default=1.0
        Pull of the loss on the unit component, positive and constant.

    Returns
    -------
    float or ndarray
        ``(start^(2/N - 1) - stop^(2/N - 1)) / (gamma (N - 2))``, for N = 2
        ``log(stop / start) / (2 gamma)``. Balanced blocks of norm a start at ``a^N``: from N = 3
        on leaving zero takes a time proportional to ``a^-(N - 2)``.

    Examples
    --------
    >>> from sktf.dynamics import escape_time
    >>> print(round(escape_time(0.005**4, 0.5, 4) / escape_time(0.01**4, 0.5, 4), 3))
    4.0
    """
    start, stop, gamma = (np.asarray(x, float) for x in (start, stop, gamma))
    if not (np.all(start > 0) and np.all(stop >= start) and np.all(gamma > 0) and order >= 1):
        raise ValueError(
            f"start={start}, stop={stop}, order={order}, gamma={gamma}: pass 0 < start <= stop, "
            "order >= 1 and gamma > 0."
        )
    if order == 2:
        return np.log(stop / start) / (2 * gamma)
    return (start ** (2 / order - 1) - stop ** (2 / order - 1)) / (gamma * (order - 2))
