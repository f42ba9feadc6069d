r"""
Growth laws of deep components
==============================

Deep CP puts k square matrices before every vector: the norm of a component is
:math:`S = \prod_n \lVert A_k^n \cdots A_1^n w^n \rVert`, that of its vectors
:math:`s = \prod_n \lVert w^n \rVert`. From blocks of equal norms
:math:`\dot s = N \delta\, s^{2 - 2/N + k}`, with aligned matrices also
:math:`\dot S = N(k + 1)\, \gamma\, S^{2 - 2/(N(k + 1))}`. Hariz et al. (2022), the first law.
"""

import matplotlib.pyplot as plt
import numpy as np

from sktf.datasets import dense_from_factors, make_low_rank
from sktf.dynamics import cp_gradients, cp_growth, gradient_flow, vector_part_growth

N, d, R = 3, 4, 3
T, _ = make_low_rank((d,) * N, 2, norm=3.0, random_state=0)
seen = np.random.default_rng(0).random(T.shape) < 0.7


def unit(array, axis):
    return array / np.linalg.norm(array, axis=axis, keepdims=True)


def start(k, norm):
    """Return aligned blocks of equal norms, flat: each matrix maps a unit vector on the next."""
    rng = np.random.default_rng(0)
    u = unit(rng.standard_normal((k + 1, N, d, R)), axis=2)
    matrices = norm * np.einsum("knir,knjr->nkrij", u[1:], u[:-1])
    return np.concatenate([norm * u[0].ravel(), matrices.ravel()])


def blocks(theta):
    """Return the vectors (N, d, R), the matrices (N, k, R, d, d) and the gradient at the tensor."""
    vectors, matrices = theta[: N * d * R].reshape(N, d, R), theta[N * d * R :]
    matrices, factors = matrices.reshape(N, -1, R, d, d), vectors
    for k in range(matrices.shape[1]):
        factors = np.einsum("nrij,njr->nir", matrices[:, k], factors)
    return vectors, seen * (dense_from_factors(list(factors)) - T), matrices


def gradient(theta):
    vectors, at_tensor, matrices = blocks(theta)
    pulled = cp_gradients(list(vectors), at_tensor, list(matrices))
    return np.concatenate([block.ravel() for block in pulled])


# %%
# Gradient flow of half the sum of squares, integrated almost to rounding; at each time the rates of
# growth by the chain rule, and by the laws.

figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for k, color, marker in zip(range(3), ["#D55E00", "#0072B2", "#009E73"], "so^", strict=True):
    path = gradient_flow(gradient, start(k, norm=0.8), np.linspace(0, 15, 60))
    laws = (vector_part_growth, 2 - 2 / N + k), (cp_growth, 2 - 2 / (N * (k + 1)))
    for ax, (law, exponent) in zip(axes, laws, strict=True):
        rates = [law(list(v), g, list(A)) for v, g, A in map(blocks, path)]
        size = np.ravel([rate.value for rate in rates])
        pull = np.ravel([rate.predicted for rate in rates]) / size**exponent
        reduced = np.ravel([rate.measured for rate in rates]) / pull
        line = np.geomspace(size.min(), size.max())
        ax.plot(size, reduced, marker, color=color, markersize=4, alpha=0.5)
        ax.plot(line, line**exponent, color=color, label=f"k = {k}: exponent {exponent:.2f}")
        worst = max(rate.error for rate in rates)
        print(f"k = {k}, {law.__name__}: sizes to {size.max():.2f}, largest error {worst:.0e}")
axes[0].set(xlabel="norm s of the vectors", ylabel=r"$\dot s / (N \delta)$")
axes[1].set(xlabel="norm S of the component", ylabel=r"$\dot S / (N (k + 1) \gamma)$")
for ax in axes:
    ax.set(xscale="log", yscale="log", xlim=(0.04, 4))
    ax.legend(frameon=False)

# %%
# Both laws hold to nine digits. Depth raises the exponent of the vectors beyond 2, to 3.33 at
# k = 2; that of the component itself rises to 1.78 and reaches 2 at no depth.
