r"""
The rank of every mode is found
===============================

A tensor of multilinear rank (4, 2, 3) has unfoldings of three different ranks; no single number
of CP components says that. The Tucker model :math:`\sum_j G_{j_1 j_2 j_3} u_{j_1} \otimes
v_{j_2} \otimes w_{j_3}` with a core of 10 x 10 x 10, descending from near zero, has room for all.
"""

# %%
# A tensor of that rank, its directions in every mode of falling size; we show 30 % of the cells.

import matplotlib.pyplot as plt
import numpy as np

from sktf import DeepTuckerCompletion
from sktf.datasets import sample_entries

RANKS = (4, 2, 3)
rng = np.random.default_rng(0)
core = rng.standard_normal(RANKS)
for mode, rank in enumerate(RANKS):
    falling = np.moveaxis(core, mode, -1) * 0.7 ** np.arange(rank)
    core = np.moveaxis(falling, -1, mode)
u, v, w = (np.linalg.qr(rng.standard_normal((16, rank)))[0] for rank in RANKS)
tensor = np.einsum("abc,ia,jb,kc->ijk", core, u, v, w)
tensor /= tensor.std()
X, y = sample_entries(tensor, 0.3, random_state=0)

# %%
# One balanced start, so that the figure shows a single descent. The trace holds the singular
# values of every unfolding; they come from the factors, the tensor is never formed.

model = DeepTuckerCompletion(
    ranks=10, init="balanced", init_scale=0.005, loss="squared", max_iter=10000, tol=1e-4,
    early_stopping=False, random_state=0,
).fit(X, y)  # fmt: skip
error = np.linalg.norm(model.to_dense() - tensor) / np.linalg.norm(tensor)
print(f"multilinear rank {model.multilinear_rank_}, relative error {error:.3f}")

# %%
# Each panel is one unfolding, each line one of its ten largest singular values.

figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), sharey=True, layout="constrained")
for mode, axis in enumerate(axes):
    values = model.trace_["singular_values"][:, mode, :10]
    axis.plot(model.trace_["iteration"], values[:, : RANKS[mode]], lw=2)
    axis.plot(model.trace_["iteration"], values[:, RANKS[mode] :], color="0.7", lw=1)
    axis.set(title=f"mode {mode}: {RANKS[mode]} of 10 grow", xlabel="iteration")
axes[0].set_ylabel("singular values of the unfolding")
plt.show()

# %%
# In every mode exactly as many singular values grow as the tensor has, and the others stay at zero.
