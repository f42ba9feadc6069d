"""Chains that learn rows for indices that had no cells: what they draw, and what stays."""

import pickle

import numpy as np
import pandas as pd
import pytest
from cases.posteriors import SHAPE, noisy, small
from numpy.testing import assert_array_equal
from scipy.stats import kstest

from sktf import CompletionEnsemble, CPCompletion

pytestmark = pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
NEW = SHAPE[0] - 2


@pytest.fixture(scope="module")
def fitted():
    """A fit to the first ten slices, cells of the last two, and hidden ones with their truth."""
    X, y, X_hidden, truth = noisy(seen=0.6)
    old, unseen = X[:, 0] < NEW, X_hidden[:, 0] >= NEW
    model = small(estimator=CPCompletion(4, n_init=2)).fit(X[old], y[old])
    return model, (X[~old], y[~old]), (X_hidden[unseen], truth[unseen])


def copied(model):
    """Return a copy by way of a pickle."""
    return pickle.loads(pickle.dumps(model))


def test_new_slices_are_learned(fitted):
    """With noise of .1 and half of 80 cells for two rows of three numbers, to less than .1."""
    model, told, (X, truth) = fitted
    grown = copied(model).extend(*told, mode=0)
    assert grown.shape_ == SHAPE == grown.estimator_.shape_
    mean, std = grown.predict(X, return_std="mean")
    assert np.sqrt(np.mean((mean - truth) ** 2)) < 0.1
    # Nine in ten are within 1.64 deviations; a share below .7 of these some 60 cells is no chance.
    assert np.mean(np.abs(mean - truth) < 1.64 * std) > 0.7
    assert grown.to_dense().shape == SHAPE
    assert_array_equal(copied(grown).predict(X), mean)


def test_what_was_known_stays(fitted):
    """To the bit, in the mean and in the deviation."""
    model, told, _ = fitted
    X = np.argwhere(np.ones((NEW, *SHAPE[1:])))
    before = model.predict(X, return_std=True)
    after = copied(model).extend(*told, mode=0).predict(X, return_std=True)
    assert_array_equal(before, after)


@pytest.mark.parametrize("n_cells", [1, 3, 40])
def test_rows_are_draws_of_their_conditional_distribution(fitted, n_cells):
    """Whitened by mean and precision in closed form they are standard normal (Kolmogorov-Smirnov).

    1,600 draws of rows of four numbers; a p of 1e-3 is met by chance once in a thousand seeds.
    """
    model, (X, y), _ = fitted
    X, y = X[X[:, 0] == NEW][:n_cells], y[X[:, 0] == NEW][:n_cells]
    draw, space = model._draws.draws[0], model._space
    factors, terms, alpha = draw.state[:3]
    numbers = space.rows(X, known=[False, True, True])
    B, C = (factors[n][numbers[:, n]].astype(float) for n in (1, 2))
    design = np.column_stack([B * C, np.ones(len(X))])
    left = space.standardized(y) - terms[1][numbers[:, 1]] - terms[2][numbers[:, 2]]
    prior = np.linalg.inv(draw.covariances[0].astype(float))
    mean = np.append(factors[0][-1], terms[0][-1])
    precision = alpha * design.T @ design + prior
    expected = np.linalg.solve(precision, alpha * design.T @ left + prior @ mean)
    root, found = np.linalg.cholesky(precision), []
    for seed in range(400):
        grown = copied(model).set_params(random_state=seed).extend(X, y, mode=0)
        state = grown._draws.draws[0].state
        found.append(np.append(state.factors[0][NEW], state.terms[0][NEW]))
    white = (np.array(found) - expected) @ root
    assert kstest(white.ravel(), "norm").pvalue > 1e-3


def test_indices_inside_without_cells():
    """Their rows stand where they belong; that of no cells stays that of no cells."""
    X, y, X_hidden, truth = noisy(seen=0.6)
    gap, shown = X[:, 0] == 4, np.arange(len(X)) % 2 == 0
    model = small(estimator=CPCompletion(4, shape=(14, 10, 8), n_init=2)).fit(X[~gap], y[~gap])
    empty = model.predict([[13, 2, 3]], return_std=True)
    model.extend(X[gap & shown], y[gap & shown], mode=0)
    at = X_hidden[:, 0] == 4
    assert np.sqrt(np.mean((model.predict(X_hidden[at]) - truth[at]) ** 2)) < 0.15
    assert_array_equal(model.predict([[13, 2, 3]], return_std=True), empty)
    model.extend([[12, 0, 0]], [1.0], mode=0)
    assert model.shape_ == (14, 10, 8) and len(model._draws.draws[0].state.factors[0]) == 14
    with pytest.raises(ValueError, match="Row 0 of X has index 4 in mode 0, which had cells"):
        model.extend(X[gap & ~shown], y[gap & ~shown], mode=0)


def test_labels_and_names():
    """New labels get the numbers after those known, in all that the estimator holds."""
    X, y, *_ = noisy(seen=0.6)
    table = pd.DataFrame({name: [f"{name}{n:02}" for n in X[:, k]] for k, name in enumerate("abc")})
    old = X[:, 1] != 9
    model = small(estimator=CPCompletion(4, encode=True, n_init=2)).fit(table[old], y[old])
    model.extend(table[~old], y[~old], mode="b")
    assert model.categories_[1][-1] == "b09" == model.estimator_.categories_[1][-1]
    assert model.score(table[~old], y[~old]) > 0.9
    assert model.summary().tables["modes"][1]["size"] == 10


def test_a_refusal_changes_nothing(fitted):
    """Whatever is wrong with the cells."""
    model, (X, y), _ = copied(fitted[0]), *fitted[1:]
    state = {**vars(model)}
    with pytest.raises(ValueError, match="index 99 in mode 1"):
        model.extend(np.where([False, True, False], 99, X), y, mode=0)
    with pytest.raises(ValueError, match="NaN"):
        model.extend(X, np.full(len(y), np.nan), mode=0)
    assert all(state[name] is value for name, value in vars(model).items())


def test_a_warm_start_begins_anew():
    """The chains before know nothing of the new rows."""
    X, y, *_ = noisy(seen=0.6)
    old = X[:, 0] < NEW
    model = small(estimator=CPCompletion(4, n_init=2), warm_start=True).fit(X[old], y[old])
    model.extend(X[~old], y[~old], mode=0).fit(X, y)
    anew = small(estimator=CPCompletion(4, n_init=2)).fit(X, y)
    assert_array_equal(model.predict(X), anew.predict(X))


def test_in_an_ensemble(fitted):
    """Members that are chains learn with the others."""
    X, y, *_ = noisy(seen=0.6)
    old = X[:, 0] < NEW
    kinds = [("chains", small(estimator=CPCompletion(4, n_init=2))), ("cp", CPCompletion(4))]
    model = CompletionEnsemble(estimators=kinds, random_state=0).fit(X[old], y[old])
    assert model.extend(X[~old], y[~old], mode=0).shape_ == SHAPE
    assert model.score(X[~old], y[~old]) > 0.9


def test_more_cells_tell_more():
    """The deviation of what is predicted falls as cells come, from that of no cells."""
    X, y, *_ = noisy(seen=0.6)
    old = X[:, 0] < NEW
    model = small(estimator=CPCompletion(4, shape=SHAPE, n_init=2)).fit(X[old], y[old])
    new, at = np.flatnonzero(X[:, 0] == NEW), [[NEW, 1, 2], [NEW, 5, 6]]
    deviations = [model.predict(at, return_std="mean")[1].mean()]
    for n_cells in (2, 20):
        grown = copied(model).extend(X[new[:n_cells]], y[new[:n_cells]], mode=0)
        deviations.append(grown.predict(at, return_std="mean")[1].mean())
    assert deviations[0] > deviations[1] > deviations[2]
