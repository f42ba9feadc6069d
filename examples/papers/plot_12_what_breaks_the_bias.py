r"""
What breaks the bias
====================

Gradient flow on :math:`W = W_3 W_2 W_1` conserves :math:`W_{j+1}^\top W_{j+1} - W_j W_j^\top`.
From a small start these stay small, the layers balanced, and :math:`\dot\sigma_r =
-3\,\sigma_r^{4/3}\,\langle\nabla\ell, u_r v_r^\top\rangle`. A step size for every parameter
breaks the conservation; a large or an unbalanced start never had the premise.
"""

import matplotlib.pyplot as plt
import numpy as np

from sktf.datasets import make_low_rank, sample_entries
from sktf.dynamics import balanced_layers, matrix_gradients, matrix_invariants
from sktf.metrics import effective_rank


class GroupRMSprop:  # one step size for all parameters: that of the papers
    square = 0.0

    def __call__(self, t, gradient, rate=1e-2):
        self.square = 0.99 * self.square + 0.01 * (gradient**2).sum()
        return rate * gradient / (np.sqrt(self.square / (1 - 0.99**t)) + 1e-6)


class Adam:  # a step size for every parameter
    mean = square = 0.0

    def __call__(self, t, gradient, rate=1e-3):
        self.mean = 0.9 * self.mean + 0.1 * gradient
        self.square = 0.999 * self.square + 0.001 * gradient**2
        return rate * self.mean / (1 - 0.9**t) / (np.sqrt(self.square / (1 - 0.999**t)) + 1e-8)


def imbalance(layers):
    """Return the largest invariant relative to the largest layer: 0 when balanced."""
    size = max(np.linalg.norm(layer @ layer.T) for layer in layers)
    return max(map(np.linalg.norm, matrix_invariants(list(layers)))) / size


def descend(T, seen, layers, step):
    """Descend on squared residuals to a mean of 1e-5; return records of 20 steps, and the error."""
    records, loss, t = [], np.inf, 0
    while loss > 1e-5:
        W, t = layers[2] @ layers[1] @ layers[0], t + 1
        loss, residual = np.mean((W - T)[seen] ** 2), np.where(seen, W - T, 0)
        if t % 20 == 1:
            records.append((t, imbalance(layers), effective_rank(W)))
        layers = layers - step(t, np.array(matrix_gradients(list(layers), residual)))
    return np.transpose(records), np.linalg.norm(W - T) / np.linalg.norm(T)


# %%
# 480 cells of a 40 x 40 matrix of rank 3. The unbalanced start has the small one's product.

T, _ = make_low_rank((40, 40), 3, random_state=0)
seen = np.zeros(T.shape, bool)
seen[tuple(sample_entries(T, 480, random_state=0)[0].T)] = True
small, large = (np.array(balanced_layers(T.shape, 3, a, random_state=0)) for a in (1e-5, 0.1))
runs = {
    "one step size, small start": (small, GroupRMSprop(), "#0072B2", "-"),
    "Adam": (small, Adam(), "#D55E00", "--"),
    "large start": (large, GroupRMSprop(), "#009E73", "-."),
    "unbalanced start": (small * np.reshape([100, 1, 0.01], (3, 1, 1)), GroupRMSprop(), "k", ":"),
}
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for name, (layers, step, color, style) in runs.items():
    (t, unbalanced, rank), error = descend(T, seen, layers, step)
    axes[0].plot(t, unbalanced, style, color=color)
    axes[1].plot(t, rank, style, color=color, label=name)
    print(f"{name}: imbalance to {unbalanced.max():.3f}, rank {rank[-1]:.2f}, error {error:.1%}")
axes[0].set(xlabel="iteration", yscale="log", ylim=(1e-5, 3), ylabel="imbalance of the layers")
axes[1].set(xlabel="iteration", yscale="log", ylim=(0.9, 40), ylabel="effective rank")
axes[1].set_yticks([1, 3, 10, 30], [1, 3, 10, 30])
axes[1].legend(frameon=False, fontsize="small")

# %%
# One step size from a small balanced start keeps balance within 1 % and ends at effective rank
# 3.0; Adam unbalances the layers by 37 % and ends at 3.3, the other starts end at 5.3 and 12.6.
