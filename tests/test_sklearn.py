"""sktf inside the scikit-learn world: checks, meta-estimators, callbacks, state, side effects."""

import importlib.util
import os
import pickle
import random
import re
import sys
import threading
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import ESTIMATORS, low_rank_entries, name_of
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.metrics import r2_score
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_param_validation,
    parametrize_with_checks,
)
from threadpoolctl import threadpool_info

from sktf import CPCompletion, DeepMatrixCompletion, _callbacks

# Short runs are the point here; that they end early is tested where it matters.
# scikit-learn's checks fit a handful of random rows, which determine no model.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]

SHAPE = (7, 6, 5)
FOLDS = KFold(3, shuffle=True, random_state=0)


def expected_failed_checks(estimator):
    """Return the one check that an estimator of index rows fails by being right."""
    return {
        "check_sample_weight_equivalence_on_dense_data": (
            "feeds fractions in [0, 1) as indices, without looking at the categorical tag; "
            "see test_weights_equal_repeated_rows"
        )
    }


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failed_checks)
def test_scikit_learn_checks(estimator, check):
    """Every check of scikit-learn passes but the one listed, which must fail."""
    check(estimator)


@pytest.mark.parametrize(
    "check", [check_param_validation, check_dataframe_column_names_consistency]
)
def test_checks_that_third_parties_are_not_given(estimator, check):
    """Checks that scikit-learn runs on its own estimators alone hold here too."""
    # Neither check looks at what was learned, and eight modes unfold to wide matrices.
    check(name_of(estimator), estimator.set_params(max_iter=3))


def test_array_api_dispatch_is_possible(small_tensor):
    """The checks above ran with the array API enabled, and dispatch changes no prediction."""
    X, y = small_tensor
    model = CPCompletion(4, max_iter=20, random_state=0)
    expected = clone(model).fit(X, y).predict(X)
    with config_context(array_api_dispatch=True):  # raises unless scipy was told to
        assert_array_equal(clone(model).fit(X, y).predict(X), expected)


def without_holding_out(estimator):
    """Switch off what depends on the number of rows."""
    if "early_stopping" in estimator.get_params():
        estimator.set_params(early_stopping=False, max_iter=60)
    return estimator


def test_weights_equal_repeated_rows(estimator, small_tensor):
    """A whole-number weight is that many copies of the row, and zero is none."""
    X, y = small_tensor
    rng = np.random.RandomState(0)
    weights = rng.randint(0, 4, len(y))
    times = np.repeat(np.arange(len(y)), weights)
    rng.shuffle(times)
    estimator = without_holding_out(estimator.set_params(shape=SHAPE))
    weighted = clone(estimator).fit(X, y, sample_weight=weights)
    repeated = clone(estimator).fit(X[times], y[times])
    # Sums of the same terms in another order: rounding errors of 1e-16, which descent away
    # from its small start, and alternating solves, enlarge by a few orders of magnitude.
    assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-7, atol=1e-7)


def labelled(X):
    """Return index rows as a pandas DataFrame of labels, and the labels of each mode."""
    names = ["user", "item", "day"]
    categories = [
        [f"{name}-{code:02d}" for code in range(size)]
        for name, size in zip(names, SHAPE, strict=True)
    ]
    columns = [np.array(c)[column] for c, column in zip(categories, X.T, strict=True)]
    return pd.DataFrame(dict(zip(names, columns, strict=True))), categories


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_pipeline_from_labels(small_tensor, library):
    """An OrdinalEncoder that knows all labels makes a table of strings fit like its codes."""
    X, y = small_tensor
    table, categories = labelled(X)
    if library == "polars":
        table = pytest.importorskip("polars").DataFrame(table.to_dict("list"))
    model = CPCompletion(4, shape=SHAPE, max_iter=30, random_state=0)
    pipeline = make_pipeline(OrdinalEncoder(categories=categories), clone(model)).fit(table, y)
    assert_array_equal(pipeline.predict(table), clone(model).fit(X, y).predict(X))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_column_names_are_kept(estimator, small_tensor, library):
    """feature_names_in_ holds the columns of a DataFrame, and predict checks them."""
    X, y = small_tensor
    module = pytest.importorskip(library)
    table = module.DataFrame(dict(zip("abc", X.T, strict=True)))
    estimator.fit(table, y)
    assert estimator.feature_names_in_.tolist() == ["a", "b", "c"]
    assert_array_equal(estimator.predict(table), clone(estimator).fit(X, y).predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.predict(module.DataFrame(dict(zip("abd", X.T, strict=True))))


def test_scaled_indices_are_refused_with_the_remedy(small_tensor):
    """A scaler in front of X fails with the message that names the encoder."""
    X, y = small_tensor
    with pytest.raises(ValueError, match="Negative values in data"):
        make_pipeline(StandardScaler(), CPCompletion()).fit(X, y)
    with pytest.raises(ValueError, match=r"whole-number indices.*OrdinalEncoder"):
        make_pipeline(StandardScaler(with_mean=False), CPCompletion()).fit(X, y)


@pytest.mark.slow
def test_grid_search_is_the_same_in_processes_and_threads(small_tensor):
    """Two loky workers, two threads and no parallelism find bitwise equal scores."""
    X, y = small_tensor
    grid = {"depth": [2, 3], "init_scale": [1e-3, 1e-2]}
    model = DeepMatrixCompletion(shape=SHAPE, n_init=2, max_iter=40, random_state=0)
    scores = []
    for backend, n_jobs in [("loky", 2), ("threading", 2), ("sequential", 1)]:
        with parallel_config(backend, n_jobs=n_jobs):
            search = GridSearchCV(model, grid, cv=FOLDS).fit(X, y)
        scores.append([search.cv_results_[f"split{fold}_test_score"] for fold in range(3)])
    assert np.isfinite(scores).all() and len(np.unique(scores[0])) > 4
    assert_array_equal(scores[0], scores[1])
    assert_array_equal(scores[1], scores[2])


def test_halving_search_over_max_iter(small_tensor):
    """max_iter serves as the resource of a halving search."""
    X, y = small_tensor
    search = HalvingGridSearchCV(
        CPCompletion(shape=SHAPE, n_init=1, random_state=0),
        {"n_components": [1, 2, 4]},
        resource="max_iter",
        min_resources=10,
        max_resources=90,
        cv=FOLDS,
    ).fit(X, y)
    assert search.n_resources_ == [10, 30, 90][: len(search.n_resources_)]
    assert len(search.n_resources_) > 1 and np.isfinite(search.best_score_)


def test_the_constructor_only_assigns(estimator):
    """Parameters are the very objects that were passed, and a clone has the same values."""
    params = estimator.get_params()
    assert all(vars(estimator)[name] is value for name, value in params.items())
    assert vars(clone(estimator)).keys() == params.keys()
    assert clone(estimator).get_params() == params


def test_fit_writes_no_parameter(estimator, small_tensor):
    """After fit every parameter is the object it was before."""
    before = estimator.get_params()
    estimator.fit(*small_tensor)
    assert all(estimator.get_params()[name] is value for name, value in before.items())


def test_pickle_and_skops_keep_every_bit(estimator, small_tensor):
    """A saved model predicts the same bits, and its state is free of torch."""
    io = pytest.importorskip("skops.io")
    X, y = small_tensor
    expected = estimator.fit(X, y).predict(X)
    assert_array_equal(pickle.loads(pickle.dumps(estimator)).predict(X), expected)
    assert b"torch" not in pickle.dumps(estimator)
    saved = io.dumps(estimator)
    untrusted = io.get_untrusted_types(data=saved)
    assert untrusted == [f"{type(estimator).__module__}.{name_of(estimator)}"]
    assert_array_equal(io.loads(saved, trusted=untrusted).predict(X), expected)


def test_sample_weight_is_routed_to_fit_and_score(small_tensor):
    """With routing on, each fold fits and scores with its own share of the weights."""
    X, y = small_tensor
    weights = np.random.RandomState(0).uniform(0.1, 2, len(y))
    model = CPCompletion(4, shape=SHAPE, n_init=1, max_iter=30, random_state=0)
    expected = []
    for train, test in FOLDS.split(X):
        fitted = clone(model).fit(X[train], y[train], sample_weight=weights[train])
        expected.append(r2_score(y[test], fitted.predict(X[test]), sample_weight=weights[test]))
    with config_context(enable_metadata_routing=True):
        routed = clone(model).set_fit_request(sample_weight=True)
        routed.set_score_request(sample_weight=True)
        scores = cross_val_score(routed, X, y, cv=FOLDS, params={"sample_weight": weights})
    assert_array_equal(scores, expected)


# Callbacks -----------------------------------------------------------------------------------

callback = pytest.importorskip("sklearn.callback")


class AtRecord:
    """A callback that acts at the record of the given number and counts what it sees."""

    def __init__(self, number=None, action=None):
        self.number, self.action = number, action
        self.n_records = self.n_fits = self.n_teardowns = 0

    def setup(self, estimator, context):
        self.n_fits += 1

    def teardown(self, estimator, context):
        self.n_teardowns += 1

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        if context.task_name == "fit":
            return None
        self.n_records += 1
        return self.action() if self.n_records == self.number else None


def interrupt():
    """Do what Ctrl-C does."""
    raise KeyboardInterrupt


def recorded(**settings):
    """Return a CPCompletion that records every iteration."""
    defaults = dict(n_components=4, max_iter=60, record_every=1, random_state=0)
    return CPCompletion(**(defaults | settings))


def test_progress_bar_through_grid_search(small_tensor, capsys):
    """A ProgressBar on a search draws one bar per fit."""
    pytest.importorskip("rich")
    model = CPCompletion(4, shape=SHAPE, n_init=1, max_iter=10, random_state=0)
    search = GridSearchCV(model, {"n_components": [1, 2]}, cv=FOLDS)
    search.set_callbacks(callback.ProgressBar()).fit(*small_tensor)
    out = capsys.readouterr().out
    assert out.count("CPCompletion - fit") >= 2 * 3 + 1


def test_progress_bar_of_a_fit_reaches_its_end(small_tensor, capsys):
    """The bar of a single fit ends at 100 %."""
    pytest.importorskip("rich")
    recorded().set_callbacks(callback.ProgressBar()).fit(*small_tensor)
    assert "100%" in capsys.readouterr().out


def test_scoring_monitor_scores_the_live_model(small_tensor):
    """A ScoringMonitor sees a model that predicts at every record; its last score is final."""
    X, y = small_tensor
    monitor = callback.ScoringMonitor(scoring="r2")
    model = recorded(early_stopping=False).set_callbacks(monitor).fit(X, y)
    scores = [row["r2"] for row in monitor.get_logs().data if "r2" in row]
    assert len(scores) >= len(model.loss_curve_)
    assert_allclose(scores[-1], r2_score(y, model.predict(X)), rtol=1e-12)


@pytest.mark.parametrize("number", [1, 10])
@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_a_callback_ends_the_fit(small_tensor, number):
    """True from a callback ends the fit there, without a warning and with a usable model."""
    X, y = small_tensor
    stop = AtRecord(number, lambda: True)
    model = recorded(early_stopping=False, n_init=1).set_callbacks(stop).fit(X, y)
    # Record k is of iteration k - 1, and n_iter_ is at least 1 by scikit-learn's rule.
    assert model.n_iter_ == max(1, number - 1) and len(model.loss_curve_) == number
    assert not model.converged_ and np.isfinite(model.predict(X)).all()
    assert stop.n_fits == stop.n_teardowns == 1


@pytest.mark.parametrize("share", [0.1, 0.4, 0.6, 0.8, 0.95])
@pytest.mark.parametrize("settings", [{"n_init": 2}, {"n_init": 5}], ids=str)
def test_ctrl_c_keeps_the_best_state(small_tensor, settings, share):
    """Whenever Ctrl-C comes, fit ends at once with a warning and the best of what it has."""
    X, y = small_tensor
    settings = settings | {"early_stopping": True}
    counter = AtRecord()
    recorded(**settings).set_callbacks(counter).fit(X, y)
    stop = AtRecord(int(share * counter.n_records), interrupt)
    with pytest.warns(ConvergenceWarning, match="Interrupted"):
        model = recorded(**settings).set_callbacks(stop).fit(X, y)
    assert stop.n_records <= stop.number + 1
    assert not model.converged_ and stop.n_teardowns == 1
    assert np.isfinite(model.predict(X)).all()


def test_ctrl_c_after_some_progress_keeps_it(small_tensor):
    """Ctrl-C in the second of two starts does not throw the finished first one away."""
    X, y = small_tensor
    settings = dict(early_stopping=True, prune=False, max_iter=500)
    counter, stop = AtRecord(), AtRecord()
    finished = recorded(n_init=1, refit=False, **settings).set_callbacks(counter).fit(X, y)
    stop.number, stop.action = counter.n_records + 3, interrupt
    with pytest.warns(ConvergenceWarning, match="Interrupted"):
        model = recorded(n_init=2, **settings).set_callbacks(stop).fit(X, y)
    assert_array_equal(model.predict(X), finished.predict(X))


def test_ctrl_c_in_the_first_gradient_of_a_stage_keeps_the_stage_before(small_tensor, monkeypatch):
    """The squared stage never gets a gradient; in the very first stage nothing is there to keep."""
    from sktf import _schedule

    original, stages = _schedule.gradient_descent, []

    def impatient(*args, **options):
        stages.append(1)
        return interrupt() if len(stages) == last else original(*args, **options)

    monkeypatch.setattr(_schedule, "gradient_descent", impatient)
    X, y = small_tensor
    settings = dict(n_init=1, early_stopping=False, random_state=0)
    last = 2
    with pytest.warns(ConvergenceWarning, match="Interrupted"):
        model = CPCompletion(loss="auto", **settings).fit(X, y)
    last = 0
    expected = CPCompletion(loss="huber", **settings).fit(X, y)
    assert_array_equal(model.predict(X), expected.predict(X))
    stages.clear()
    last = 1
    with pytest.raises(KeyboardInterrupt):
        CPCompletion(**settings).fit(X, y)


def test_dask_tells_fits_of_other_data_apart(small_tensor):
    """What dask names a task by: equal for equal fits, another one for other data."""
    X, y = small_tensor
    one, same, other = (
        recorded(early_stopping=False).fit(X, values).__dask_tokenize__() for values in (y, y, -y)
    )
    assert one[:2] == same[:2] == other[:2] == ("sktf._cp", "CPCompletion")
    assert_array_equal(one[2]["_theta"], same[2]["_theta"])
    assert not np.array_equal(one[2]["_theta"], other[2]["_theta"])


@pytest.mark.parametrize("step", ["adaptive", "constant"])
def test_ctrl_c_between_two_records(small_tensor, monkeypatch, step):
    """Before compiled steps, or in the middle of a gradient: theta as it was, and its loss."""
    from sktf._objective import FusedObjective
    from sktf._walk import CompiledWalk

    owner, name = {
        "adaptive": (CompiledWalk, "go"),
        "constant": (FusedObjective, "__call__"),
    }[step]
    original, n_calls = getattr(owner, name), []

    def impatient(self, *arguments):
        n_calls.append(1)
        return interrupt() if len(n_calls) == 20 else original(self, *arguments)

    monkeypatch.setattr(owner, name, impatient)
    with pytest.warns(ConvergenceWarning, match="Interrupted"):
        model = recorded(early_stopping=False, step=step).fit(*small_tensor)
    X, y = small_tensor
    assert len(n_calls) == 20
    # Rounding alone: the loss of the scaled data, of another order of sums.
    expected = np.mean((model.predict(X) - y) ** 2) / model.scale_**2
    np.testing.assert_allclose(model.loss_, expected, rtol=1e-9)


def test_stand_in_for_older_scikit_learn(small_tensor, monkeypatch):
    """Without sklearn.callback the stand-in changes nothing but that there are no callbacks."""
    X, y = small_tensor
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    spec = importlib.util.spec_from_file_location("stand_in", _callbacks.__file__)
    stand_in = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stand_in)
    mixin = stand_in.CallbackSupportMixin
    assert mixin.__module__ == "stand_in" and not hasattr(mixin, "set_callbacks")
    older = type("Older", (mixin, CPCompletion), {})
    model = older(4, max_iter=30, random_state=0).fit(X, y)
    expected = CPCompletion(4, max_iter=30, random_state=0).fit(X, y)
    assert_array_equal(model.predict(X), expected.predict(X))


# The fitted object ---------------------------------------------------------------------------


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


def test_verbose_prints_each_record(small_tensor, capsys):
    """verbose=1 prints iteration and loss of every record, verbose=0 nothing."""
    quiet = recorded(early_stopping=False, max_iter=5).fit(*small_tensor)
    assert capsys.readouterr().out == ""
    clone(quiet).set_params(verbose=1).fit(*small_tensor)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(quiet.loss_curve_)
    assert re.fullmatch(r"Iteration 0, loss = \d\.\d{8}", lines[0])


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
