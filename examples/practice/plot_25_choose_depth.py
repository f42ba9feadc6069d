r"""
Choosing the depth by cross-validation
======================================

A product :math:`W_N \cdots W_1` of N matrices prefers low rank the more strongly the deeper it
is, and descends the longer. Which depth suits a matrix can be asked of the data: ``GridSearchCV``
holds out folds of the seen cells.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from sktf import CompletionWarning, DeepMatrixCompletion
from sktf.datasets import entries_from_dense, make_low_rank, sample_entries
from sktf.model_selection import CellKFold

# One of the fits ends at max_iter, and depth 1 learns nothing: both say so, the figure shows it.
warnings.simplefilter("ignore", ConvergenceWarning)
warnings.simplefilter("ignore", CompletionWarning)

matrix, _ = make_low_rank((40, 40), 3, random_state=0)
X, y = sample_entries(matrix, 0.3, noise=0.1, random_state=0)
everything = entries_from_dense(matrix)

# %%
# One start of mean zero each, so that depth is all that differs.

model = DeepMatrixCompletion(shape=matrix.shape, init="gaussian", max_iter=5000, random_state=0)
depths = [1, 2, 3, 4]
search = GridSearchCV(model, {"depth": depths}, cv=CellKFold(5, random_state=0)).fit(X, y)
print("chosen:", search.best_params_)

# %%
# The search has seen 30 % of the cells, with noise; what it was after is the score on all.

folds = np.column_stack([search.cv_results_[f"split{i}_test_score"] for i in range(5)])
truth, ranks = [], []
for depth in depths:
    model.set_params(depth=depth).fit(X, y)
    truth.append(model.score(*everything))
    ranks.append(model.effective_rank_)
    print(f"depth {depth}: R^2 {truth[-1]:.3f} on all cells, effective rank {ranks[-1]:.1f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.plot(depths, folds, ".", color="0.6")
left.plot(depths, folds.mean(axis=1), "o-", color="#0072B2", label="mean of the folds")
left.plot(depths, truth, "s--", color="#D55E00", label="all cells")
left.set(xlabel="depth", ylabel="$R^2$", xticks=depths)
left.legend(frameon=False)
right.plot(depths, ranks, "o-", color="#0072B2")
right.axhline(3, color="0.5", lw=1, label="truth")
right.set(xlabel="depth", ylabel="effective rank", xticks=depths, ylim=(0, None))
right.legend(frameon=False)

# %%
# Depth 3 is chosen: depth 1 memorizes, depth 2 leaves a rank of 5, and depth 4, right on all seen
# cells, fails in the folds, which train on a fifth fewer.
