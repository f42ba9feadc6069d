r"""
A hyperspectral image from a tenth of its values
================================================

A satellite saw a field at 200 wavelengths. Say that one value in ten arrived, scattered over pixels
and bands. Pixels of the same ground have the same spectrum, so that the matrix of 4,096 pixels by
200 bands is near a low rank; ``row_modes`` reads the two modes of the image as its rows.
"""

import matplotlib.pyplot as plt
import numpy as np

from sktf import DeepMatrixCompletion
from sktf.datasets import dense_from_entries, load_indian_pines, sample_entries

X, y, shape = load_indian_pines()
image = dense_from_entries(X, y, shape)[:64, :64]
X_seen, y_seen = sample_entries(image, 0.1, random_state=0)
seen = dense_from_entries(X_seen, y_seen, image.shape)
hidden = np.isnan(seen)

# %%
# Every pixel and every band has a level of its own, ``offset="additive"``; a product of two
# matrices of inner width 8 takes what is left.

model = DeepMatrixCompletion(
    2, hidden=8, row_modes=(0, 1), shape=image.shape, offset="additive", n_init=3, random_state=0
).fit(X_seen, y_seen)
completed = model.to_dense()

# %%
# A plainer guess draws lines between the bands that a pixel has. Errors are relative to the
# contrast, what an image differs by from the mean of each band.

bands = np.arange(image.shape[2])
spectra = seen.reshape(-1, len(bands))
lines = [np.interp(bands, bands[~np.isnan(s)], s[~np.isnan(s)]) for s in spectra]
lines = np.reshape(lines, image.shape)
contrast = np.linalg.norm((image - np.nanmean(seen, axis=(0, 1)))[hidden])
for name, guess in {"completed": completed, "lines": lines}.items():
    print(f"{name}: error {np.linalg.norm((guess - image)[hidden]) / contrast:.2f} of the contrast")

# %%
# One band: what arrived, the two guesses, what was there.

BAND = 32
pictures = {"seen": seen, "lines": lines, "completed": completed, "truth": image}
figure, axes = plt.subplots(1, 4, figsize=(10, 2.8), layout="constrained")
low, high = np.percentile(image[:, :, BAND], [1, 99])
for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
    axis.imshow(picture[:, :, BAND], vmin=low, vmax=high, cmap="gray", interpolation="nearest")
    axis.set(title=title, xticks=[], yticks=[], facecolor="#56B4E9")

# %%
# From a tenth of the values fields and roads are back, at 0.33 of the contrast; lines between bands
# miss the spectrum by more than the contrast.
