"""The numbers of a summary: held-out error, shares of the variance, how a fit ended."""

import numpy as np
import pytest
from cases.ensembles import Interrupted
from cases.summaries import SHAPE, told
from conftest import low_rank_entries
from numpy.testing import assert_allclose
from sklearn.metrics import r2_score

from sktf import (
    CompletionEnsemble,
    CPALSCompletion,
    CPCompletion,
    DeepMatrixCompletion,
)
from sktf._cells.validation import Observations
from sktf._models.facts import variance_shares
from sktf._models.verdict import judge
from sktf.datasets import make_low_rank

# Short fits of few cells are the point here; what they warn of is looked at in test_record.py.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]


def jackknife(values, predicted):
    """Return the standard error of R^2 from leaving out one cell after another."""
    n = len(values)
    scores = [r2_score(np.delete(values, i), np.delete(predicted, i)) for i in range(n)]
    return np.sqrt((n - 1) / n * np.sum((scores - np.mean(scores)) ** 2))


@pytest.mark.parametrize("weighted", [False, True])
def test_the_held_out_score_and_its_error(weighted):
    """R^2 of the given cells, and its error by the formula, written otherwise."""
    rng = np.random.default_rng(0)
    X, y = low_rank_entries((9, 8, 7), 2, 0.8, seed=1)
    y = y + 0.8 * rng.standard_normal(len(y))
    out = rng.permutation(len(y))[:90]
    training = np.delete(X, out, axis=0), np.delete(y, out)
    weights = rng.uniform(0.5, 2, len(training[1])) if weighted else None
    model = CPCompletion(3, n_init=2, random_state=0)
    model.fit(*training, weights, X_val=X[out], y_val=y[out])
    rows, values, predicted = told(model), y[out], model.predict(X[out])
    assert_allclose(rows["held-out R^2"], r2_score(values, predicted), rtol=1e-9)
    squares, others = (values - predicted) ** 2, (values - values.mean()) ** 2
    left = squares - squares.mean() / others.mean() * others
    expected = np.sqrt(len(values)) * left.std() / others.sum()
    assert_allclose(rows["standard error"], expected, rtol=1e-9)
    assert rows["held-out cells"] == 90


def test_the_error_of_the_score_is_near_that_of_the_jackknife():
    """Which divides what a cell adds by one less its share of the squares.

    Of 1000 normal values the largest, of about 3.5 deviations, has a share of 1.2 %.
    """
    values, noise = np.random.default_rng(0).standard_normal((2, 1000))
    coords = np.column_stack([np.arange(1000), np.zeros(1000, int)])
    held_out = Observations(coords, values, np.ones(1000), (1000, 1))
    predicted = values + 0.7 * noise
    how = {"mean_will_do": False, "doubts": False}
    verdict = judge(held_out, predicted, np.zeros(1000), 0.0, **how)
    assert_allclose(verdict.score_error, jackknife(values, predicted), rtol=0.012)


def test_a_rank_search_tells_the_error_that_chose(small_tensor):
    """Of alternating least squares, in the units of y: it was compared by squares alone."""
    model = CPALSCompletion([1, 2], n_init=1, solver="sparse", random_state=0).fit(*small_tensor)
    rows, losses = told(model), model.validation_scores_["loss"]
    assert rows["held-out RMSE"] == pytest.approx(model.scale_ * np.sqrt(min(losses)))
    assert rows["held-out cells"] == int(np.ceil(0.1 * len(small_tensor[1])))
    assert "held-out RMSE" not in told(model.set_params(n_components=2).fit(*small_tensor))


def row_numbers(X, group):
    """Return the row of a factor that each cell reads."""
    return np.ravel_multi_index(X[:, group].T, np.take(SHAPE, group))


@pytest.mark.parametrize("offset", [None, "mean", "additive"])
@pytest.mark.parametrize("kind", [CPCompletion, DeepMatrixCompletion])
def test_shares_of_variance_are_those_of_the_cells(kind, offset):
    """Of all cells whose rows have cells, one by one: ``cov(c, T) / var(T)``; index 7 has none."""
    X, y = low_rank_entries((7, 6, 5), 2, 0.6)
    model = kind(offset=offset, shape=SHAPE, prune=False, max_iter=100, random_state=0)
    model.fit(X, y + X.sum(axis=1))
    groups, cells, parts = model._mode_groups(3), np.argwhere(np.ones(SHAPE)), 1.0
    for group in groups:
        cells = cells[np.isin(row_numbers(cells, group), row_numbers(X, group))]
    for group, factor in zip(groups, model.factors_, strict=True):
        parts = parts * factor[row_numbers(cells, group)]
    parts, more = parts[:, :10], parts[:, 10:].sum(axis=1)
    terms = [term[column] for term, column in zip(model.offset_terms_, cells.T, strict=False)]
    parts = np.column_stack([parts, more, sum(terms, 0 * more)])
    parts = parts[:, parts.any(axis=0)]
    total = parts.sum(axis=1)
    expected = [np.cov(part, total, bias=True)[0, 1] / total.var() for part in parts.T]
    table = model.summary().tables["components"]
    assert len(table) > 2
    assert_allclose([line["share of variance"] for line in table], expected, atol=1e-9)
    assert_allclose([line["norm"] for line in table][:2], model.component_norms_[:2])


def test_components_beyond_ten_are_told_together():
    """And all shares add up to one."""
    tensor, _ = make_low_rank((8, 8, 8), 3, random_state=0)
    X = np.argwhere(np.ones(tensor.shape))
    model = CPCompletion(14, init="gaussian", early_stopping=False, max_iter=20, random_state=0)
    table = model.fit(X, tensor.ravel()).summary().tables["components"]
    assert [line["component"] for line in table] == [*map(str, range(1, 11)), "4 more"]
    assert sum(line["share of variance"] for line in table) == pytest.approx(1)


@pytest.mark.parametrize("unit", [1e-150, 1.0, 1e150])
@pytest.mark.parametrize("level", [0.0, 1e7])
def test_shares_keep_their_digits(unit, level):
    """Two sums of independent effects of variances 1 and 4, whatever the level and the unit."""
    a, b = np.array([-1.0, 1.0]), np.array([-2.0, 2.0])
    ones, columns = np.ones(2), np.column_stack
    factors = [unit * columns([a + level, ones]), columns([ones, b])]
    assert_allclose(variance_shares(factors, []), [0.2, 0.8], rtol=1e-7)


def test_what_does_not_vary_has_no_shares():
    """Neither a constant nor nothing at all, nor what no number can hold."""
    assert variance_shares([np.full((3, 2), 1e200), np.full((4, 2), 1e200)], []) is None
    assert variance_shares([np.full((3, 2), 0.1), np.full((4, 2), 0.7)], []) is None
    assert variance_shares([np.zeros((3, 1)), np.zeros((4, 1))], []) is None
    assert variance_shares([np.zeros((3, 0)), np.zeros((4, 0))], []) is None
    model = CPCompletion(2, random_state=0).fit(np.argwhere(np.ones((3, 3))), np.zeros(9))
    assert "components" not in model.summary().tables and told(model)["rank"] == 0


ENDS = {
    "converged": {"early_stopping": False, "tol": 0.1},
    "stopped on held-out cells": {
        "early_stopping": True,
        "n_iter_no_change": 1,
        "init": "gaussian",
    },
    "stopped at max_iter": {"early_stopping": False, "max_iter": 3},
}


@pytest.mark.parametrize("end", ENDS)
def test_how_the_descent_ended(small_tensor, end):
    """In words, beside the iterations."""
    X, y = small_tensor
    y = y + np.random.default_rng(0).standard_normal(len(y))
    model = CPCompletion(4, refit=False, random_state=0, **ENDS[end]).fit(X, y)
    assert told(model)["end"] == end
    assert told(model)["iterations"] == model.n_iter_


class Impatient:
    """A measure that raises what Ctrl-C does at its fifth call."""

    n_calls = 0

    def __call__(self, factors):
        self.n_calls += 1
        if self.n_calls == 5:
            raise KeyboardInterrupt
        return 0


def test_interrupted_fits_say_so(small_tensor):
    """A descent and an ensemble, with the seconds until then."""
    descent = CPCompletion(2, record_every=1, early_stopping=False, measures={"m": Impatient()})
    ensemble = CompletionEnsemble(Interrupted(), n_estimators=4, random_state=0)
    for model in descent, ensemble:
        with pytest.raises(KeyboardInterrupt):
            model.fit(*small_tensor)
        assert told(model)["end"] == "interrupted" and told(model)["seconds"] > 0


def test_a_fit_of_measurements_has_no_cells():
    """It tells how many measurements there are."""
    A = np.random.default_rng(0).standard_normal((30, 4, 3))
    model = CPCompletion(2, random_state=0).fit_measurements(A, A[:, 0].sum(axis=1))
    rows = told(model)
    assert rows["measurements"] == 30 and "cells" not in rows and "held-out R^2" not in rows
    assert [line["size"] for line in model.summary().tables["modes"]] == [4, 3]


def test_all_modes_on_one_side():
    """Each cell has a row, the other side one: additive terms are all of the variance, or nearly.

    y is a sum of effects of both modes, of which a ridge of 1 keeps all but 1 in 12 at least.
    """
    X = np.argwhere(np.ones((12, 11)))
    model = DeepMatrixCompletion(row_modes=(0, 1), offset="additive", n_init=1, max_iter=20)
    lines = model.fit(X, X.sum(axis=1) + 1.0).summary().tables["components"]
    assert lines[-1]["component"] == "additive terms"
    assert lines[-1]["share of variance"] > 0.8
