"""The peers: ``fit(shape, X, y, setting, seed)`` returns a function from cells to their values."""

import os
import warnings
from importlib import import_module
from itertools import product
from typing import NamedTuple

os.environ.setdefault("TQDM_DISABLE", "1")

import common
import numpy as np
from scipy.sparse import csr_array
from sklearn.impute import KNNImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sktf import CPALSCompletion

_NAMES = ("myfm", "pandas", "pyttb.gcp.optimizers", "surprise", "tensorly.decomposition")


def load(names=_NAMES):
    """Import the peers, so that the first fit of each is not charged for it."""
    with warnings.catch_warnings(action="ignore"):
        for name in names:
            import_module(name)


def search(fit, shape, X, y, settings, n_starts=1, patience=None, refit=None, out=None):
    """Return the predictor whose setting does best on a tenth of the seen cells.

    ``out`` names other rows to choose by. ``patience`` ends an ascending list after so many
    settings without progress. The best is fitted once more, on all cells;
    ``refit(shape, X, y, predictor)`` goes on from its solution instead.
    """
    if out is None:
        out = np.random.default_rng(0).permutation(len(y)) < len(y) // 10
    tried = []
    for number, setting in enumerate(settings):
        for seed in range(n_starts):
            predict = fit(shape, X[~out], y[~out], setting, seed)
            error = float(np.mean((predict(X[out]) - y[out]) ** 2))
            tried.append((error, number, setting, seed, predict))
        _, best, setting, seed, predict = min(tried, key=lambda one: one[0])
        if patience is not None and number - best >= patience:
            break
    return refit(shape, X, y, predict) if refit else fit(shape, X, y, setting, seed)


def als_fit(solver, shape, X, y, rank, seed):
    """Alternating least squares from one start; tensorly's, or over the seen cells."""
    model = CPALSCompletion(rank, shape=shape, solver=solver, n_init=1, random_state=seed)
    return model.fit(X, y).predict


def als_search(solver, shape, X, y, ranks, n_starts):
    """Take the rank by a tenth of the seen cells and go on from the best start with all of them."""
    model = CPALSCompletion(
        list(ranks), shape=shape, solver=solver, n_init=n_starts, random_state=0
    )
    return model.fit(X, y).predict


class Components(NamedTuple):
    """Factors of shapes (size of the mode, rank); called with cells, it returns their values."""

    factors: list

    def __call__(self, X):
        rows = [factor[column] for factor, column in zip(self.factors, X.T, strict=True)]
        return np.prod(rows, axis=0).sum(axis=1)


def pyttb_fit(shape, X, y, rank, seed, init="random", lower=-np.inf):
    """GCP with its Gaussian loss, a mask and L-BFGS-B, on data of RMS 1; no entry below a bound."""
    import pyttb
    from pyttb.gcp import handles
    from pyttb.gcp.optimizers import LBFGSB

    rms = np.sqrt(np.mean(y**2))
    tensor, mask = np.zeros(shape, order="F"), np.zeros(shape, order="F")
    tensor[tuple(X.T)], mask[tuple(X.T)] = y / rms, 1.0
    np.random.seed(seed)  # noqa: NPY002  pyttb draws from the global state
    loss = handles.gaussian, handles.gaussian_grad, lower
    model = pyttb.gcp_opt(
        pyttb.tensor(tensor),
        rank,
        loss,
        LBFGSB(maxiter=300),
        init=init,
        mask=pyttb.tensor(mask),
        printitn=0,
    )[0]
    first, *others = model.factor_matrices
    return Components([rms * first * model.weights, *others])


def pyttb_search(shape, X, y, ranks, n_starts):
    """Take the rank by a tenth of the seen cells and go on from the best start with all of them."""

    def refit(shape, X, y, found):
        first, *others = found.factors
        init = [first / np.sqrt(np.mean(y**2)), *others]
        return pyttb_fit(shape, X, y, first.shape[1], 0, init)

    return search(pyttb_fit, shape, X, y, ranks, n_starts, patience=3, refit=refit)


def myfm_fit(shape, X, y, rank, seed, n_iter=100):
    """Bayesian factorization machine by Gibbs sweeps, one group of variances for each mode."""
    from myfm import MyFMRegressor

    encoder = OneHotEncoder(categories=[np.arange(size) for size in shape])
    model = MyFMRegressor(rank, random_seed=seed)
    model.fit(encoder.fit_transform(X), y, n_iter=n_iter, group_shapes=list(shape))
    return lambda X: model.predict(encoder.transform(X))


def cmfrec_fit(shape, X, y, setting, seed):
    """Alternating ridge regressions of a matrix with biases."""
    import pandas as pd
    from cmfrec import CMF

    rank, penalty = setting
    ratings = pd.DataFrame({"UserId": X[:, 0], "ItemId": X[:, 1], "Rating": y})
    model = CMF(
        k=rank, lambda_=penalty, verbose=False, nthreads=common.THREADS, random_state=seed
    ).fit(ratings)
    return lambda X: model.predict(*X.T)


def additive_fit(shape, X, y, ridge, seed):
    """One number for each index of each mode."""
    encoder = OneHotEncoder(categories=[np.arange(size) for size in shape])
    return make_pipeline(encoder, Ridge(ridge)).fit(X, y).predict


def surprise_fit(name, shape, X, y, setting, seed):
    """SVD or SVD++ of scikit-surprise; predictions are clipped to the range of the ratings."""
    import pandas
    import surprise

    table = pandas.DataFrame({"row": X[:, 0], "column": X[:, 1], "value": y})
    reader = surprise.Reader(rating_scale=(float(y.min()), float(y.max())))
    data = surprise.Dataset.load_from_df(table, reader).build_full_trainset()
    model = getattr(surprise, name)(**setting, random_state=seed).fit(data)
    return lambda X: np.array([model.predict(*cell).est for cell in X.tolist()])


SVD_SETTINGS = [
    {"n_factors": n_factors, "reg_all": reg, "n_epochs": n_epochs}
    for n_factors, reg, n_epochs in product((2, 20, 100), (0.02, 0.1), (20, 60))
]


def ridge_als_fit(shape, X, y, setting, seed, n_sweeps=15):
    """Alternating ridge regressions on the seen cells around their mean, after ``implicit``."""
    (rank, ridge), level = setting, y.mean()
    cells = csr_array((y - level, tuple(X.T)), shape=shape)
    flipped, right = cells.T.tocsr(), np.random.default_rng(seed).random((shape[1], rank))
    for _ in range(n_sweeps):
        left = _ridge_rows(right, cells, ridge)
        right = _ridge_rows(left, flipped, ridge)
    predict = Components([left, right])
    return lambda X: level + predict(X)


def _ridge_rows(fixed, matrix, ridge):
    """Return the row vectors that fit each row of a sparse matrix to those of its columns."""
    found = np.zeros((matrix.shape[0], fixed.shape[1]))
    for row, (start, stop) in enumerate(zip(matrix.indptr, matrix.indptr[1:], strict=False)):
        design = fixed[matrix.indices[start:stop]]
        gram = design.T @ design + ridge * np.eye(fixed.shape[1])
        found[row] = np.linalg.solve(gram, design.T @ matrix.data[start:stop])
    return found


def _unfolded(shape):
    """Return the function from cells to rows and columns; the first half of the modes are rows."""
    half = len(shape) // 2
    halves = (slice(None, half), slice(half, None))
    return lambda X: tuple(np.ravel_multi_index(tuple(X[:, h].T), shape[h]) for h in halves)


def soft_impute_fit(shape, X, y, share, seed, n_iter=100):
    """SoftImpute: singular values lowered by a share of the largest, missing cells filled in."""
    place, level = _unfolded(shape), y.mean()
    half = len(shape) // 2
    seen = np.zeros((np.prod(shape[:half]), np.prod(shape[half:])))
    seen[place(X)] = y - level
    low, threshold = np.zeros_like(seen), share * np.linalg.norm(seen, 2)
    for _ in range(n_iter):
        before, low[place(X)] = low.copy(), seen[place(X)]
        left, values, right = np.linalg.svd(low, full_matrices=False)
        low = left * np.maximum(values - threshold, 0) @ right
        if np.linalg.norm(low - before) < 1e-3 * np.linalg.norm(before):
            break
    return lambda X: level + low[place(X)]


def knn_fit(shape, X, y, setting, seed):
    """Mean of the most similar rows, or columns, of the unfolded tensor."""
    (n_neighbors, along_columns), place, half = setting, _unfolded(shape), len(shape) // 2
    table = np.full((np.prod(shape[:half]), np.prod(shape[half:])), np.nan)
    table[place(X)] = y - y.mean()
    table = table.T if along_columns else table
    filled = KNNImputer(n_neighbors=n_neighbors, keep_empty_features=True).fit_transform(table)
    filled = filled.T if along_columns else filled
    return lambda X: y.mean() + filled[place(X)]
