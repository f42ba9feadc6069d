"""What averages make of data of one mode, and of estimators that do not go together."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sktf import CompletionEnsemble, CPCompletion, DeepMatrixCompletion, PosteriorCompletion

# Few cells determine no model, and short runs are the point here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]
SHORT = {"n_init": 1, "max_iter": 20, "random_state": 0}
ONE = CPCompletion(2, **SHORT)
X = np.random.default_rng(0).integers((6, 5), size=(60, 2))
Y = X.prod(axis=1) + 1.0


def posterior(model):
    return PosteriorCompletion(model, n_samples=2, n_warmup=1, n_chains=1, random_state=0)


@pytest.mark.parametrize(
    "model", [CompletionEnsemble(ONE, n_estimators=2, random_state=0), posterior(ONE)]
)
def test_vectors_have_deviations(model):
    """Also those of an index without cells, of a product of no other modes."""
    model = model.fit(X[X[:, 0] > 0][:, :1], Y[X[:, 0] > 0])
    mean, deviation = model.predict([[0], [1], [5]], return_std=True)
    assert np.isfinite(mean).all() and (deviation > 0).all() and np.isfinite(deviation).all()


def test_labels_fewer_than_the_shape():
    """A shape has room for more labels; chains have rows for those there are."""
    model = posterior(CPCompletion(2, encode=True, shape=(40, 40), **SHORT))
    assert model.fit(X.astype(str), Y).estimator_.shape_ == model.shape_ == (6, 5)


def test_estimators_of_one_shape():
    """Their predictions could not be averaged."""
    kinds = [("a", CPCompletion(shape=(6, 5), **SHORT)), ("b", CPCompletion(shape=(7, 5), **SHORT))]
    with pytest.raises(ValueError, match=r"shape=\(6, 5\), another shape=\(7, 5\); give all the"):
        CompletionEnsemble(estimators=kinds).fit(X, Y)


def test_one_held_out_cell_has_no_r2():
    """Weights are chosen by it all the same."""
    kinds = [("a", ONE), ("b", DeepMatrixCompletion(**SHORT))]
    model = CompletionEnsemble(estimators=kinds, random_state=0)
    model.fit(X, Y, X_val=X[:1], y_val=Y[:1])
    assert np.isnan(model.validation_scores_).all() and model.weights_.sum() == pytest.approx(1)


def test_a_side_of_two_modes_is_no_factor_of_a_mode():
    """As many sides as modes, but not the same."""
    model = posterior(DeepMatrixCompletion(row_modes=(0, 1), **SHORT))
    with pytest.raises(ValueError, match="has not one factor for each of the 2 modes"):
        model.fit(X, Y)


def test_one_unit_more_changes_no_bit():
    """An ensemble of members that agree deviates by what few cells leave open alone."""
    model = CompletionEnsemble(ONE, n_estimators=1, random_state=0).fit(X, Y)
    _, deviation = model.predict(X, return_std=True)
    assert_array_equal(deviation, np.sqrt(model.best_estimator_._variance_of_rows(X)))
