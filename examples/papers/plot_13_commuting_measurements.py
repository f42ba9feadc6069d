r"""
Where least nuclear norm is what descent finds
==============================================

Of a positive semidefinite matrix T the sums :math:`y_j = \langle A_j, T \rangle` are known, the
:math:`A_j` being symmetric and commuting. As :math:`\alpha \to 0` descent on
:math:`W_L \cdots W_1` from :math:`W_l(0) = \alpha^{1/L} I` then tends to the
:math:`X \succeq 0` of least nuclear norm with these sums. Arora, Cohen, Hu and Luo (2019).
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import linprog

from sktf import DeepMatrixCompletion

# %%
# All is diagonal in one basis Q: the least nuclear norm is a linear program in the eigenvalues.

n, m = 12, 5
rng = np.random.default_rng(0)
Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
eigenvalues = rng.standard_normal((m, n)) / np.sqrt(n)
A = Q * eigenvalues[:, None] @ Q.T
y = eigenvalues @ np.r_[1.0, 0.6, np.zeros(n - 2)]
least = linprog(np.ones(n), A_eq=eigenvalues, b_eq=y).fun

# %%
# The gap to the least nuclear norm, for two depths and four scales of the start.

scales = [1e-1, 1e-2, 1e-3, 1e-4]
figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
for depth, color, marker in zip((2, 3), ["#D55E00", "#0072B2"], "so", strict=True):
    gaps = []
    for scale in scales:
        model = DeepMatrixCompletion(
            depth,
            init="identity",
            init_scale=scale,
            loss="squared",
            scale=False,
            max_iter=200_000,
            tol=1e-10,
        ).fit_measurements(A, y)
        gaps.append(model.singular_values_.sum() / least - 1)
    ax.plot(scales, gaps, marker=marker, color=color, label=f"depth {depth}")
    print(f"depth {depth}: gaps", " ".join(f"{gap:.4f}" for gap in gaps))
ax.set(xscale="log", yscale="log", xlabel=r"scale $\alpha$ of the start")
ax.set(ylabel="nuclear norm over the least, minus 1")
ax.legend(frameon=False)

# %%
# At both depths the gap goes to zero with the start, to 0.3 % and 0.1 % at :math:`\alpha =
# 10^{-4}`: for such measurements descent does find the least nuclear norm, unlike for a few
# cells.
