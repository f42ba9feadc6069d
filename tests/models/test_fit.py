"""Habits of every fit: warnings, warm starts, failures, global state, seeds."""

import os
import pickle
import random
import re
import threading
import time
import warnings

import numpy as np
import pytest
import sklearn
from cases.estimators import SHAPE, recorded
from conftest import low_rank_entries, name_of
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.utils.fixes import parse_version
from threadpoolctl import threadpool_info

from sktf import CPCompletion

# Short runs are the point here; that they end early is tested where it matters.
# scikit-learn's checks fit a handful of random rows, which determine no model.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]


# The fitted object ---------------------------------------------------------------------------


@pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.9"), reason="pages have no tooltips"
)
def test_html_has_links_and_tooltips(estimator):
    """The HTML page links to the documentation and explains each parameter."""
    html = estimator._repr_html_()
    page = rf"https://sktf\.readthedocs\.io/[^\"]*sktf\.{name_of(estimator)}\.html"
    assert re.search(page, html)
    assert "Mode sizes. None: largest index plus one" in re.sub(r"\s+", " ", html)


@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")
def test_one_warning_at_the_end_of_max_iter(gradient_estimator, small_tensor):
    """max_iter ends the run: one ConvergenceWarning, that names max_iter and its value."""
    with pytest.warns(ConvergenceWarning, match="max_iter=3 ") as caught:
        gradient_estimator.set_params(max_iter=3).fit(*small_tensor)
    assert len(caught) == 1
    assert not gradient_estimator.converged_


@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")
def test_the_warning_points_at_the_caller(small_tensor):
    """The ConvergenceWarning carries the line that called fit, so that each call is shown."""
    with pytest.warns(ConvergenceWarning) as caught:
        CPCompletion(max_iter=3, random_state=0).fit(*small_tensor)
    assert caught[0].filename == __file__


def test_n_iter_is_at_least_one(estimator, small_tensor):
    """n_iter_ is positive even where there was nothing to do."""
    X, y = small_tensor
    assert estimator.fit(X, np.zeros(len(y))).n_iter_ >= 1


def test_set_params_is_honoured_by_the_next_fit(estimator, small_tensor):
    """A second fit follows the parameters of its own time."""
    X, y = small_tensor
    assert estimator.fit(X, y).shape_ == SHAPE
    estimator.set_params(shape=(9, 9, 9)).fit(X, y)
    assert estimator.shape_ == (9, 9, 9)
    if "n_components" in estimator.get_params():
        assert estimator.set_params(n_components=3).fit(X, y).factors_[0].shape == (9, 3)


def plain(**settings):
    """Return plain descent with a constant step, which has no memory to lose."""
    fixed = dict(step="constant", loss="squared", learning_rate=0.1, early_stopping=False)
    return recorded(init_scale=0.3, n_init=1, **fixed, **settings)


def test_warm_start_goes_on(small_tensor):
    """With a constant step, twice 20 iterations from a warm start are 40 iterations."""
    X, y = small_tensor
    warm = plain(max_iter=20, warm_start=True).fit(X, y).fit(X, y)
    whole = plain(max_iter=40).fit(X, y)
    assert warm.n_iter_ == 20 and whole.n_iter_ == 40
    assert_array_equal(warm.predict(X), whole.predict(X))
    assert_array_equal(warm.loss_curve_, whole.loss_curve_[20:])


@pytest.mark.parametrize("change", [{"shape": (9, 9, 9)}, {"n_components": 3}], ids=str)
def test_warm_start_needs_the_same_sizes(small_tensor, change):
    """Another shape or number of components is an error, and the old fit stays as it was."""
    X, y = small_tensor
    model = plain(max_iter=5, warm_start=True).fit(X, y)
    before = model.predict(X)
    with pytest.raises(ValueError, match=r"warm_start=True.*set warm_start=False"):
        model.set_params(**change).fit(X, y)
    assert_array_equal(model.predict(X), before)


def test_warm_start_after_nothing_was_left(small_tensor):
    """After a fit of constant values a warm start can still learn others."""
    X, y = small_tensor
    model = recorded(offset="mean", early_stopping=False, warm_start=True, max_iter=500)
    model.fit(X, np.ones(len(y))).fit(X, y)
    assert model.score(X, y) > 0.99


# What fit leaves alone -----------------------------------------------------------------------

FAILURES = {
    "y is NaN": ({}, {"y": lambda y: y * np.nan}),
    "index outside shape": ({"shape": (7, 6, 4)}, {}),
    "X_val alone": ({}, {"X_val": lambda X: X}),
    "held-out index outside shape": ({}, {"X_val": lambda X: X + 1, "y_val": lambda y: y}),
}


def fail(estimator, X, y, failure):
    """Make a fit fail, with the given change of parameters and data."""
    params, data = FAILURES[failure]
    estimator.set_params(**params)
    made = {name: make(y if name[0] == "y" else X) for name, make in data.items()}
    with pytest.raises(ValueError, match=r"NaN|mode \d|belong together"):
        estimator.fit(X, made.pop("y", y), **made)


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_fit_leaves_a_fresh_object_unfitted(estimator, small_tensor, failure):
    """Only what scikit-learn's validation sets may stay, and predict says it isn't fitted."""
    X, y = small_tensor
    before = set(vars(estimator))
    fail(estimator, X, y, failure)
    assert set(vars(estimator)) - before <= {"n_features_in_"}
    with pytest.raises(NotFittedError):
        estimator.predict(X)


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_fit_keeps_the_fit_before(estimator, small_tensor, failure):
    """Fitted attributes are those of the last fit that succeeded, all of them."""
    X, y = small_tensor
    estimator.fit(X, y)
    expected, before = estimator.predict(X), dict(vars(estimator))
    fail(estimator, X, y, failure)
    assert vars(estimator).keys() == before.keys()
    changed = {name for name, value in before.items() if vars(estimator)[name] is not value}
    assert changed <= set(estimator.get_params())
    assert_array_equal(estimator.predict(X), expected)


def test_a_diverged_fit_keeps_the_fit_before(gradient_estimator, small_tensor):
    """Divergence is one ValueError with its cure, and no state changes."""
    X, y = small_tensor
    expected = gradient_estimator.fit(X, y).predict(X)
    gradient_estimator.set_params(step="constant", learning_rate=1e6)
    with pytest.raises(ValueError, match=r"diverged at iteration [1-9].*learning_rate=1000000"):
        gradient_estimator.fit(X, y)
    assert_array_equal(gradient_estimator.predict(X), expected)


def world():
    """Return the global state that a library must leave alone."""
    return {
        "numpy seed": pickle.dumps(np.random.mtrand._rand.get_state()),
        "python seed": random.getstate(),
        "print options": np.get_printoptions(),
        "float errors": np.geterr(),
        "warning filters": list(warnings.filters),
        "environment": dict(os.environ),
        "BLAS and OpenMP threads": sorted(
            (lib["filepath"], lib["num_threads"]) for lib in threadpool_info()
        ),
        "live threads": threading.active_count(),
    }


def test_global_state_is_untouched(estimator, small_tensor):
    """Fit and predict move no seed, thread count, option, filter or variable of the process."""
    X, y = small_tensor
    estimator.fit(X, y)  # what imports happen have happened
    before = world()
    estimator.fit(X, y).predict(X)
    assert world() == before


def test_threads_end_with_the_fit():
    """The threads that a large problem is spread over do not outlive it."""
    X, y = low_rank_entries((60, 50, 40), 2, 0.5)
    before = threading.active_count()
    CPCompletion(30, max_iter=3, n_init=1, random_state=0).fit(X, y)
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_the_same_seed_gives_the_same_bits(estimator, small_tensor):
    """Two fits with one int seed agree bit for bit, also beside another seed's fit."""
    X, y = small_tensor
    first = clone(estimator).fit(X, y).predict(X)
    assert_array_equal(clone(estimator).fit(X, y).predict(X), first)


def test_fit_does_not_write_to_its_input(estimator, small_tensor):
    """Read-only X, y and weights, as joblib hands them over, are good enough."""
    X, y = small_tensor
    weights = np.ones(len(y))
    for array in (X, y, weights):
        array.setflags(write=False)
    estimator.fit(X, y, sample_weight=weights).predict(X)
