r"""
Spectra as sums of positive parts
=================================

Fluorescence adds up from substances, :math:`T = \sum_r a_r \otimes e_r \otimes x_r \otimes t_r`,
each with a spectrum and an amount that are never negative. ``NonNegativeCPCompletion`` has factors
:math:`w = v \odot v`, and gradient descent moves the :math:`v`. We keep 5 % of the readings.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

from sktf import CompletionWarning, CPCompletion, NonNegativeCPCompletion
from sktf.datasets import load_kinetic, split_entries
from sktf.metrics import normalized_rmse

X, y, shape = load_kinetic()
X_seen, X_hidden, y_seen, y_hidden = split_entries(X, y, test_size=0.95, random_state=0)

# %%
# Four parts, with signs and without.

options = {"n_components": 4, "shape": shape, "n_init": 6, "random_state": 0}
models = {"with signs": CPCompletion(**options), "parts": NonNegativeCPCompletion(**options)}
warnings.simplefilter("ignore", CompletionWarning)  # with signs, more components would do better
for name, model in models.items():
    model.fit(X_seen, y_seen)
    error = normalized_rmse(y_hidden, model.predict(X_hidden))
    mixed = [factor.min(axis=0) * factor.max(axis=0) < 0 for factor in model.factors_]
    print(f"{name}: NRMSE {error:.3f}, {np.sum(mixed)} of 16 vectors have entries of both signs")

# %%
# One line for each component: its spectra and its course, each with largest entry 1.

axes_of = {
    "emission (nm)": np.linspace(472, 554.5, shape[1]),
    "excitation (nm)": np.linspace(362, 416, shape[2]),
    "time (min)": np.arange(1, shape[3] + 1) / 3,
}
figure, grid = plt.subplots(2, 3, figsize=(9, 4.6), sharex="col", layout="constrained")
for row, (name, model) in zip(grid, models.items(), strict=True):
    for ax, where, factor in zip(row, axes_of.values(), model.factors_[1:], strict=True):
        peaks = factor[np.abs(factor).argmax(axis=0), np.arange(factor.shape[1])]
        ax.axhline(0, color="0.7", lw=1)
        ax.plot(where, factor / np.where(peaks == 0, 1, peaks))
        ax.set(ylim=(-0.4, 1.1))
    row[0].set_ylabel(name)
for ax, label in zip(grid[-1], axes_of, strict=True):
    ax.set_xlabel(label)
plt.show()

# %%
# Both predict the hidden readings equally well. With signs, one component takes away what another
# has too much of; parts can be read as the spectra and the course of what is in the samples.
