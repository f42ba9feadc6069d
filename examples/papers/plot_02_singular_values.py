r"""
Singular values grow one after another
======================================

From a balanced start gradient flow on :math:`W = W_L \cdots W_1` moves the singular values by
:math:`\dot\sigma_r = -L\,\sigma_r^{2 - 2/L}\,\langle\nabla\ell(W),\, u_r v_r^\top\rangle`: the
exponent is 0 at depth 1, 1 at depth 2, 4/3 at depth 3, and the larger it is the more the large
ones run ahead of the small. Arora, Cohen, Hu and Luo (2019).
"""

import matplotlib.pyplot as plt
import numpy as np

from sktf import DeepMatrixCompletion
from sktf.datasets import make_low_rank, sample_entries
from sktf.metrics import effective_rank, relative_error

T, _ = make_low_rank((40, 40), 3, random_state=0)
X, y = sample_entries(T, 480, random_state=0)

# %%
# Plain gradient descent from :math:`W_j(0) = \alpha^{1/L} I` with :math:`\alpha = 10^{-3}`.

models = {
    depth: DeepMatrixCompletion(
        depth,
        shape=T.shape,
        init="identity",
        init_scale=1e-3,
        loss="squared",
        step="constant",
        learning_rate=0.5,
        scale=False,
        early_stopping=False,
        max_iter=10_000,
        tol=1e-5,
        record_every=10,
        measures={"effective_rank": lambda factors: effective_rank(factors[0] @ factors[1].T)},
    ).fit(X, y)
    for depth in (1, 2, 3)
}

# %%
# Above the ten largest singular values, below the effective rank.

figure, axes = plt.subplots(2, 3, figsize=(10, 5), sharex="col", sharey="row", layout="constrained")
colors = plt.get_cmap("cividis")(np.linspace(0, 0.9, 10))
for column, (depth, model) in zip(axes.T, models.items(), strict=True):
    time = model.trace_["time"]
    for r in reversed(range(10)):
        column[0].plot(time, model.trace_["singular_values"][:, r], color=colors[r])
    for value in np.linalg.svd(T, compute_uv=False)[:3]:
        column[0].axhline(value, color="black", lw=0.8, ls=":")
    column[1].plot(time, model.trace_["effective_rank"], color="#0072B2")
    column[1].axhline(effective_rank(T), color="black", lw=0.8, ls=":", label="truth")
    column[0].set_title(f"depth {depth}")
    column[1].set(xlabel="gradient-flow time (sum of steps)", xlim=(0, 800), yscale="log")
    rank, error = model.effective_rank_, relative_error(model.to_dense(), T)
    print(f"depth {depth}: effective rank {rank:.2f}, relative error {error:.3f}")
axes[0, 0].set_ylabel("singular values (truth dotted)")
axes[1, 0].set(ylabel="effective rank", ylim=(1, 50), yticks=[1, 3, 10, 30])
axes[1, 0].set_yticklabels(["1", "3", "10", "30"])
axes[1, 0].legend(frameon=False)

# %%
# At depth 1 all singular values grow together and stop at a memorized matrix; at depth 2 three
# lead, short of the truth, and others follow; at depth 3 three grow one after another and the
# others do not, and the effective rank ends at 3.0, that of the truth.
