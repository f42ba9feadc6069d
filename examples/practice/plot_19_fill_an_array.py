r"""
Fill an array with gaps
=======================

One line, ``filled = sktf.complete(array)``: an estimator, by default
:math:`T = \sum_r a_r \otimes b_r \otimes c_r`, is fitted to the known cells and predicts the
others. What was known stays exactly what it was, labels too.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr

import sktf
from sktf.datasets import dense_from_entries, load_il2
from sktf.metrics import normalized_rmse

# Real data settle no solution: the chains behind the deviations tell of that.
warnings.simplefilter("ignore", sktf.CompletionWarning)

# %%
# A real assay: the response of 8 cell types to 13 ligands at 4 times and 12 doses, of which 192
# cells were never measured. Half of the others are hidden.

X, y, shape = load_il2()
truth = dense_from_entries(X, y, shape)
array = np.where(np.random.default_rng(0).random(shape) < 0.5, np.nan, truth)
filled = sktf.complete(array, random_state=0)
hidden = np.isnan(array) & ~np.isnan(truth)
print(f"{np.isnan(array).mean():.0%} missing before, {np.isnan(filled).mean():.0%} after")
print(f"NRMSE of hidden cells: {normalized_rmse(truth[hidden], filled[hidden]):.3f}")

# %%
# A labeled array of xarray comes back labeled. With ``return_std`` a posterior fills it, and says
# how far off it may be: 0 where there was a value.

dims = ["ligand", "time", "dose", "cell"]
labeled = xr.DataArray(array, dims=dims, coords={"time": [4, 2, 1, 0.5]}, attrs={"unit": "a. u."})
filled, std = sktf.complete(labeled, return_std=True, random_state=0)
print(filled.sel(time=2, ligand=0, cell=3).round(2))
covered = (np.abs(filled - truth) < 1.645 * std).to_numpy()[hidden]
print(f"{covered.mean():.0%} of the hidden values lie in their 90 % intervals")

# %%
# A long table has a row for each known cell, with labels of any kind; ``values`` names its column
# of values. The cells without a row come back.

rows = pd.DataFrame(np.argwhere(~np.isnan(array)), columns=dims)
table = rows.assign(ligand="L" + rows["ligand"].astype(str), signal=array[~np.isnan(array)])
print(sktf.complete(table, values="signal", random_state=0).head(4))

# %%
# One cell type after two hours. What is known has no deviation: gray is missing in the first panel,
# and known in the last.

figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.2), layout="constrained", sharey=True)
panels = {"given": labeled, "filled": filled, "standard deviation": std.where(std > 0)}
for axis, (title, data) in zip(axes, panels.items(), strict=True):
    scale = {"cmap": "magma"} if data.max() < 0.5 else {"vmin": 0, "vmax": 0.7}
    image = axis.imshow(data.sel(time=2)[..., 4], **scale)
    axis.set(title=title, xlabel="dose", xticks=[0, 5, 10], facecolor="0.75")
    figure.colorbar(image, ax=axis, shrink=0.8)
axes[0].set_ylabel("ligand")
