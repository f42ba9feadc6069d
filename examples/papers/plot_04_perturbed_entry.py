r"""
How far the entry goes when it need not diverge
===============================================

Of a 2 x 2 matrix :math:`W_{12} = -2`, :math:`W_{21} = 1/2` and :math:`W_{22} = \varepsilon` are
seen. With :math:`\varepsilon \neq 0` and :math:`\det W < 0`, loss zero asks for
:math:`|W_{11}| \geq |W_{12} W_{21}| / |\varepsilon| = 1 / |\varepsilon|`, and rank 1 for exactly
that; with :math:`\varepsilon = 0` it diverges. Razin and Cohen (2020), the perturbed problem.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

from sktf import CompletionWarning, DeepMatrixCompletion
from sktf.dynamics import balanced_layers

# fit warns of predictions far beyond the data: here they are the point.
warnings.simplefilter("ignore", CompletionWarning)
X = np.array([[0, 1], [1, 0], [1, 1]])


def descend(epsilon, until):
    """Descend on three layers from a balanced start of negative determinant."""
    return DeepMatrixCompletion(
        3,
        shape=(2, 2),
        init=balanced_layers((2, 2), 3, 1e-5, det_sign=-1, random_state=0),
        loss="squared",
        scale=False,
        early_stopping=False,
        max_iter=100_000,
        tol=until * 2 / 3,
        record_every="log",
        measures={"entry": lambda factors: abs((factors[0] @ factors[1].T)[0, 0])},
    ).fit(X, [-2.0, 0.5, epsilon])


# %%
# To a loss of one millionth; without perturbation, where that takes very long, of one thousandth.

models = {epsilon: descend(epsilon, 1e-6) for epsilon in (0.5, 0.2, 0.1, 0.05)}
models[0.0] = descend(0.0, 1e-3)

figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
colors = plt.get_cmap("viridis")(np.linspace(0.85, 0, len(models)))
for (epsilon, model), color in zip(models.items(), colors, strict=True):
    loss, entry = model.trace_["loss"] * 3 / 2, model.trace_["entry"]
    ax.plot(loss, entry, color=color, lw=2)
    if epsilon:
        ax.axhline(1 / epsilon, color=color, lw=1, ls=":")
        print(f"epsilon {epsilon}: |W_11| = {entry[-1]:.2f}, 1 / epsilon = {1 / epsilon:.0f}")
    ax.annotate(
        rf"$\varepsilon = {epsilon:g}$", (loss[-1], entry[-1]), (4, 4), textcoords="offset points"
    )
ax.set(xscale="log", xlim=(3, 1e-7), yscale="log", ylim=(0.05, 60))
ax.set(xlabel=r"loss $\ell$ (half the sum of squares)", ylabel=r"unobserved entry $|W_{11}|$")

# %%
# With :math:`\varepsilon = 0` the entry grows as long as the loss falls; otherwise it ends within
# 3 % of :math:`1 / \varepsilon` (dotted), where W has rank 1: not at the zero that every norm
# prefers.
