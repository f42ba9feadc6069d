r"""
Natural data have low tensor rank
=================================

An image of n pixels, each on or off, names one of the :math:`2^n` cells of a tensor of order n,
whose value is the label. Images with labels are thus observed cells, and prediction is completion
by :math:`\sum_{r=1}^R \prod_{i=1}^n w_r^i[x_i]`: how low may R be? Razin, Maman and Cohen (2021).
Given the folder of the files ``train-*-ubyte.gz`` of MNIST or Fashion-MNIST as its argument, the
script takes 10,000 of those images in place of scikit-learn's digits.
"""

import gzip
import sys
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from sktf import CompletionWarning, CPCompletion

# All fits get the same number of iterations, and of cells that name no image nothing is asked.
warnings.simplefilter("ignore", ConvergenceWarning)
warnings.simplefilter("ignore", CompletionWarning)


def load(folder=None):
    """Return pixels (n_images, n_pixels) and digits, or classes."""
    if folder is None:
        return load_digits(return_X_y=True)
    pixels, classes = (next(Path(folder).glob(f"train-{k}-*.gz")) for k in ("images", "labels"))
    pixels, classes = (gzip.decompress(path.read_bytes()) for path in (pixels, classes))
    pixels = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 28 * 28)
    return pixels[:10_000], np.frombuffer(classes, np.uint8, offset=8)[:10_000]


def errors(images, labels, n_components):
    """Quarters of the mean squared training and test error, the latter clipped at 4 per image."""
    seen, unseen, y, y_unseen = train_test_split(images, labels, test_size=0.22, random_state=0)
    options = dict(init="gaussian", init_mean=1.0, init_scale=0.8 / np.sqrt(images.shape[1]))
    options |= dict(shape=(2,) * images.shape[1], offset=None, scale=False, early_stopping=False)
    model = CPCompletion(n_components, loss="squared", max_iter=1000, random_state=0, **options)
    missed = (model.fit(seen, y).predict(unseen) - y_unseen) ** 2
    return model.loss_ / 4, np.minimum(missed, 4).mean() / 4


# %%
# Labels are 2 for a six and 0 for the rest. The controls have the same labels in random order, or
# random images.

pixels, digits = load(*sys.argv[1:2])
images, labels = (pixels >= pixels.max() / 2).astype(int), 2.0 * (digits == 6)
rng = np.random.default_rng(0)
data = {
    "images": (images, labels),
    "random images": (rng.integers(0, 2, images.shape), labels),
    "random labels": (images, rng.permutation(labels)),
}
ranks = [1, 5, 15]
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
for (name, pair), color, marker in zip(
    data.items(), ["#0072B2", "#D55E00", "#009E73"], "os^", strict=True
):
    scores = np.array([errors(*pair, n_components) for n_components in ranks])
    for ax, score in zip(axes, scores.T, strict=True):
        ax.plot(ranks, score, color=color, marker=marker, label=name)
    print(f"{name}: training {scores[:, 0].round(3)}, test {scores[:, 1].round(3)}, R = {ranks}")
for ax, title in zip(axes, ["training", "test"], strict=True):
    ax.axhline(labels.var() / 4, color="black", ls=":", label="predicting the mean")
    ax.set(title=title, xlabel="components R", xticks=ranks, ylim=(0, None))
axes[0].set_ylabel("squared error, share of the largest")
axes[0].legend(frameon=False, fontsize="small")

# %%
# Of the digits a single component fits the seen and predicts the unseen images, with errors of
# 0.007 and 0.012 where the mean has 0.09; it fits neither random labels nor random images (0.089
# and 0.073), and more components learn of those by heart, without predicting any.
