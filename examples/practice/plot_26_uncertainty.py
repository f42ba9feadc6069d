r"""
Does the uncertainty hold?
==========================

A model that says "90 %" should be right nine times in ten. ``CalibrationDisplay`` counts: across,
the coverage that intervals claim, up, the share of held-out cells whose values lie inside. It
matters which cells are held out.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

from sktf import CompletionWarning, CPCompletion, PosteriorCompletion
from sktf.datasets import load_il2, make_ratings, split_entries
from sktf.plotting import CalibrationDisplay

# Real data settle no solution, and whole curves are hidden on purpose: fit tells of both.
warnings.simplefilter("ignore", CompletionWarning)


def fitted(X, y, shape):
    return PosteriorCompletion(CPCompletion(shape=shape), random_state=0).fit(X, y)


# %%
# Ratings: many users and films have few. Do their cells know that they know little?

X, y, shape = make_ratings(400, 300, 4000, random_state=0)
X_train, X_test, y_train, y_test = split_entries(X, y, 0.4, random_state=0)
ratings = fitted(X_train, y_train, shape)

# %%
# An assay: half of the cells are hidden as single cells, as whole dose curves, and as whole tables
# of times and doses, of a ligand and a cell type.

X, y, shape = load_il2()
patterns = {
    "single cells": {},
    "dose curves": {"pattern": "fibers", "mode": 2},
    "tables": {"pattern": "blocks", "block_shape": (1, None, None, 1)},
}
levels, observed, n_cells = np.append(np.arange(1, 10) / 10, 0.95), [], []
for name, pattern in patterns.items():
    X_seen, X_hidden, y_seen, y_hidden = split_entries(X, y, 0.5, random_state=0, **pattern)
    model = fitted(X_seen, y_seen, shape)
    low = model.predict_quantiles(X_hidden, (1 - levels) / 2)
    high = model.predict_quantiles(X_hidden, (1 + levels) / 2)
    observed.append(((low <= y_hidden) & (y_hidden <= high)).mean(axis=1))
    n_cells.append(len(y_hidden))
    print(f"{name}: {observed[-1][levels == 0.9][0]:.0%} of the values lie inside 90 %")

figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 4.6), layout="constrained")
CalibrationDisplay.from_estimator(ratings, X_test, y_test, X_train=X_train, ax=left)
left.set_title("Ratings, by rarity")
assay = CalibrationDisplay(nominal=levels, observed=observed, labels=[*patterns], n_cells=n_cells)
assay.plot(right)
right.set_title("Assay, by what is missing")

# %%
# Ratings: the intervals hold, also for users and films that were never seen. The assay: those of
# single cells are wide enough, and too wide in the middle, since its noise is not alike at all
# cells. Those of whole tables are too narrow at 90 %: hide what will be missing, and count.
