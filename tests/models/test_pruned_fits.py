"""Fits whose runs are averaged and pruned."""

import numpy as np
import pytest
from conftest import low_rank_entries
from sklearn.metrics import r2_score

from sktf import CPCompletion, DeepCPCompletion, DeepMatrixCompletion
from sktf._descent import race
from sktf.datasets import make_low_rank, sample_entries
from sktf.metrics import relative_error
from sktf.model_selection import FiberKFold

SHAPE = (12, 10, 8)


def cells(noise=0.0, seed=0):
    """Return 40 % of a tensor of rank 2."""
    tensor, _ = make_low_rank(SHAPE, 2, random_state=seed)
    return sample_entries(tensor, 0.4, noise=noise, random_state=seed)


def fitted(X, y, estimator=CPCompletion, **options):
    return estimator(**{"shape": SHAPE, "random_state": 0} | options).fit(X, y)


@pytest.mark.filterwarnings("ignore:Whole fibers:sktf.CompletionWarning")
def test_a_fit_that_is_wild_where_nothing_is_seen_spoils_nothing():
    """A fit of these 256 cells, in reach of the best on 26 held-out ones, has twice its norm.

    In the mean it would leave an error of 0.5. The noise that 56 parameters take up from 256 cells
    is ``0.1 sqrt(56 / 256) = 0.05``; the bound is twice that.
    """
    tensor, _ = make_low_rank(SHAPE, 2, random_state=0)
    X, y = cells(noise=0.1)
    *_, (seen, _) = FiberKFold(3, mode=2, random_state=0).split(X)
    model = fitted(X[seen], y[seen], n_init=6)
    assert relative_error(model.to_dense(), tensor) < 0.1


@pytest.mark.parametrize("n_init", [1, 3])
def test_components_beyond_the_ones_chosen_stay_zero(n_init):
    """Two components are kept of eight, the others are exact zeros; without pruning none is."""
    X, y = cells()
    options = dict(n_components=8, n_init=n_init)
    assert np.count_nonzero(fitted(X, y, **options).component_norms_) == 2
    assert np.all(fitted(X, y, prune=False, **options).component_norms_ > 0)


@pytest.mark.slow
def test_pruned_components_stay_zero_in_a_warm_start():
    """A component of zeros is a stationary point, whatever the new data; a new start is not."""
    model = fitted(*cells(), warm_start=True)
    X, y = low_rank_entries(SHAPE, 4, 0.6, seed=1)
    assert np.count_nonzero(model.fit(X, y).component_norms_) == 2
    assert model.set_params(warm_start=False).fit(X, y).rank_ == 4


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_validation_score_is_that_of_the_held_out_cells(dtype):
    """Cells given to stop on are not trained on later, so that ``score`` repeats it."""
    X, y = cells(noise=0.3)
    model = CPCompletion(shape=SHAPE, dtype=dtype, random_state=0)
    model.fit(X[60:], y[60:], X_val=X[:60], y_val=y[:60])
    expected = r2_score(y[:60], model.predict(X[:60]))
    assert model.validation_score_ == pytest.approx(expected, rel=1e-5)


def test_without_held_out_cells_there_is_no_validation_score():
    """None, not NaN: nothing was measured."""
    assert fitted(*cells(), early_stopping=False).validation_score_ is None


@pytest.mark.slow
def test_single_precision_prunes_as_double():
    """On clean cells both find two components and the values to four digits."""
    models = [fitted(*cells(), dtype=dtype) for dtype in ("float32", "float64")]
    assert [np.count_nonzero(model.component_norms_) for model in models] == [2, 2]
    assert relative_error(models[0].to_dense(), models[1].to_dense()) < 1e-2


@pytest.mark.slow
def test_torch_prunes_as_the_kernels_do():
    """The reference objective on another device finds the same two components."""
    pytest.importorskip("torch")
    model = fitted(*cells(), device="cpu:0", n_components=4, n_init=3, tol=1e-4)
    assert np.count_nonzero(model.component_norms_) == 2


@pytest.mark.parametrize("value", [0.0, 3.0])
@pytest.mark.parametrize("offset", ["auto", None])
def test_equal_values_are_predicted(value, offset):
    """A constant is an offset or one component; zeros are none. To 1 %, the default ``tol``."""
    X, _ = cells()
    model = fitted(X, np.full(len(X), value), offset=offset)
    assert model.rank_ == int(value > 0 and offset is None)
    np.testing.assert_allclose(model.to_dense(), value, atol=0.01 * value)


def test_pruning_wants_held_out_cells():
    """Said before anything is fitted."""
    with pytest.raises(ValueError, match=r"prune=True.*early_stopping=True"):
        fitted(*cells(), prune=True, early_stopping=False)


def test_a_start_that_is_named_is_pruned_when_asked():
    """By default a named start is left as it ends; ``prune=True`` drops what it does not need."""
    options = dict(init="gaussian", n_components=5)
    assert np.all(fitted(*cells(), **options).component_norms_ > 0)
    assert np.count_nonzero(fitted(*cells(), prune=True, **options).component_norms_) == 2


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_deep_components_are_pruned_too(depth):
    """Layers around zero factors are zero, so that those components stay zero at any depth."""
    options = dict(depth=depth, n_components=5, n_init=2, tol=1e-4)
    model = fitted(*cells(), DeepCPCompletion, **options)
    assert model.rank_ == 2 and np.count_nonzero(model.component_norms_) < 5


def test_the_trace_goes_on_through_the_pruning():
    """Iterations never go back, and the last record is the model that is left."""
    model = fitted(*cells(noise=0.1))
    assert np.all(np.diff(model.trace_["iteration"]) >= 0)
    last = model.trace_["component_norms"][-1]
    np.testing.assert_allclose(last, model.component_norms_, rtol=1e-12)


def test_a_callback_may_stop_the_descent_from_the_mean(monkeypatch):
    """What was reached is kept, with the components chosen: 6 of 11, four of them noise."""

    X, y = cells(noise=0.1)
    started = []
    prune = race._prune

    def note(*arguments):
        started.append(True)
        return prune(*arguments)

    class Stop:
        """Asks to stop at the first record after the race."""

        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_end(self, *arguments, **data):
            return bool(started)

        on_fit_task_begin = on_fit_task_end

    monkeypatch.setattr(race, "_prune", note)
    model = CPCompletion(shape=SHAPE, random_state=0)
    if not hasattr(model, "set_callbacks"):
        pytest.skip("scikit-learn below 1.9 has no callbacks")
    model.set_callbacks(Stop()).fit(X, y)
    assert started and not model.converged_
    assert model.rank_ == 2 and np.count_nonzero(model.component_norms_) < 11


@pytest.mark.parametrize("shape", [(25, 9), (9, 25)])
def test_a_deep_matrix_is_pruned_to_the_triplets_it_needs(shape):
    """Two of the five triplets that the layers hold; what is kept beside them is no more than tol.

    The mean of fits that end at ``tol`` is of rank two up to about its root, 1e-3, of which 13
    held-out cells may call a part better by one standard error: a triplet of at most 2.5e-4 of the
    first was left in 9 of 32 fits.
    """
    X, y = low_rank_entries(shape, 2, 0.6)
    model = DeepMatrixCompletion(hidden=5, shape=shape, random_state=0).fit(X, y)
    assert model.rank_ == 2
    assert np.all(model.singular_values_[2:] < 1e-3 * model.singular_values_[0])


@pytest.mark.slow
def test_noise_at_five_per_cent_seen_keeps_rank_three():
    """30^3, rank 3, 10 % noise, 1350 cells for 264 parameters: in at least 9 of 10 draws.

    The noise that a fit of all parameters takes up has NRMSE ``0.1 sqrt(264 / 1350) = 0.044``, and
    the bound is twice that; a fourth component would raise it and is not within one standard
    error, but for a draw in twenty.
    """
    right = 0
    for seed in range(40, 50):
        tensor, _ = make_low_rank((30, 30, 30), 3, random_state=seed)
        X, y = sample_entries(tensor, 0.05, noise=0.1, random_state=seed)
        model = CPCompletion(shape=tensor.shape, random_state=seed).fit(X, y)
        right += model.rank_ == 3 and relative_error(model.to_dense(), tensor) < 0.1
    assert right >= 9
