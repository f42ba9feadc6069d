r"""
A tree of modes and the rank of its nodes
=========================================

A hierarchical factorization joins four modes in pairs, (0, 1) and (2, 3), then the pairs:
:math:`T_v[\cdot, s] = \sum_r W_v[r, s]\, T_a[\cdot, r] \otimes T_b[\cdot, r]` at a node v of
children a and b. The rank of node v is that of the tensor unfolded by the modes below v.
"""

# %%
# Pairs of modes that talk to each other a lot and to the other pair little: three directions
# inside every pair, but only two ways to combine the pairs. We show 30 % of the cells.

import matplotlib.pyplot as plt
import numpy as np

from sktf import HierarchicalCompletion
from sktf.datasets import sample_entries

rng = np.random.default_rng(0)
i, j, k, m = (np.linalg.qr(rng.standard_normal((10, 3)))[0] for _ in range(4))
left, right = (np.linalg.qr(rng.standard_normal((3, 2)))[0] for _ in range(2))
tensor = np.einsum("ia,ja,kb,mb,ac,bc,c->ijkm", i, j, k, m, left, right, [1.0, 0.6])
tensor /= tensor.std()
X, y = sample_entries(tensor, 0.3, random_state=0)

# %%
# Eight local components at every node, from one small balanced start. The Huber loss keeps the
# first of them from fitting single large cells.

model = HierarchicalCompletion(
    8, init="balanced", init_scale=0.15, loss="huber", max_iter=5000, tol=1e-4,
    early_stopping=False, random_state=0,
).fit(X, y)  # fmt: skip
error = np.linalg.norm(model.to_dense() - tensor) / np.linalg.norm(tensor)
print(f"nodes {model.nodes_[:-1]}: ranks {model.hierarchical_rank_}, relative error {error:.3f}")

# %%
# Singular values of a leaf and of a pair; gray are those that the tensor does not have.

figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True, layout="constrained")
for axis, node, rank in zip(axes, (0, 4), (3, 2), strict=True):
    values = model.trace_["singular_values"][:, node, :8]
    axis.plot(model.trace_["iteration"], values[:, :rank], lw=2)
    axis.plot(model.trace_["iteration"], values[:, rank:], color="0.7", lw=1)
    axis.set(title=f"modes {model.nodes_[node]}: {rank} of 8 grow", xlabel="iteration")
axes[0].set_ylabel("singular values of the matricization")
plt.show()

# %%
# Descent finds a rank for every node of the tree: three for a single mode, two for a pair.
