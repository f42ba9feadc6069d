r"""
An entry that no norm explains
==============================

Of a 2 x 2 matrix :math:`W_{12} = W_{21} = 1` and :math:`W_{22} = 0` are seen. If
:math:`\det W > 0`, then :math:`|W_{11}| \geq (1 - \sqrt{2\ell})^2 / \sqrt{2\ell}` at
:math:`\ell = \frac12 \sum_\Omega (W_{ij} - b_{ij})^2`: as the loss falls every norm of the matrix
grows without bound, while its distance to rank 1 goes to zero. Razin and Cohen (2020).
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

from sktf import CompletionWarning, DeepMatrixCompletion
from sktf.dynamics import balanced_layers, unobserved_entry_bound

# fit warns of predictions far beyond the data: here they are the point.
warnings.simplefilter("ignore", CompletionWarning)
X, y = np.array([[0, 1], [1, 0], [1, 1]]), np.array([1.0, 1.0, 0.0])


def descend(depth, scale, until):
    """Plain descent from a balanced start of positive determinant, to half a sum of squares."""
    return DeepMatrixCompletion(
        depth,
        shape=(2, 2),
        init=balanced_layers((2, 2), depth, scale, det_sign=1, random_state=0),
        loss="squared",
        step="constant",
        learning_rate=6e-3 * len(y) / 2,
        scale=False,
        early_stopping=False,
        max_iter=100_000,
        tol=until * 2 / len(y),
        record_every="log",
        measures={
            "entry": lambda factors: abs((factors[0] @ factors[1].T)[0, 0]),
            "det": lambda factors: np.linalg.det(factors[0] @ factors[1].T),
        },
    ).fit(X, y)


# %%
# The learning rate is that of :math:`\ell`, which is 3/2 of the mean that sktf descends on.

models = {2: descend(2, 1e-5, 1e-4), 3: descend(3, 1e-5, 1e-3), 4: descend(4, 1e-3, 1e-3)}

# %%
# The determinant cannot change sign along the flow, but at depth 2 the boundary repels too little
# for a step of finite length: the matrix slips through and its entry stops growing.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for (depth, model), color, style in zip(
    models.items(), ["#D55E00", "#0072B2", "#009E73"], ["-", "-", "--"], strict=True
):
    loss = model.trace_["loss"] * len(y) / 2
    left.plot(loss, model.trace_["entry"], style, color=color, lw=2, label=f"depth {depth}")
    right.plot(loss, model.trace_["det"], style, color=color, lw=2, label=f"depth {depth}")
    ratio = model.trace_["entry"][-1] * np.sqrt(2 * loss[-1])
    flips = np.flatnonzero(model.trace_["det"] < 0)
    print(f"depth {depth}: |W_11| sqrt(2 l) = {ratio:.3f} at loss {loss[-1]:.0e};", end=" ")
    print(f"det < 0 from loss {loss[flips[0]]:.3f}" if flips.size else "det > 0 throughout")
grid = np.geomspace(1e-4, 0.4)
left.plot(grid, unobserved_entry_bound(grid), "k:", label="bound for det > 0")
right.axhline(0, color="black", lw=0.8)
left.set(yscale="log", ylim=(0.05, 200), ylabel=r"unobserved entry $|W_{11}|$")
right.set_yscale("symlog", linthresh=1e-5)
right.set(ylabel=r"determinant of $W$", ylim=(-2, 2), yticks=[-1, -1e-3, 0, 1e-3, 1])
for ax in (left, right):
    ax.set(xscale="log", xlim=(1.2, 1e-4), xlabel=r"loss $\ell$ (half the sum of squares)")
left.legend(frameon=False)

# %%
# At depths 3 and 4 the entry follows its bound, 22 at a loss of 0.001, and grows as long as the
# loss falls; at depth 2 the determinant flips and the entry ends at 7.5.
