"""Pickles know the version that made them."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import skops.io
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

import sktf
from sktf import CompletionEnsemble, CPALSCompletion
from sktf._models import pickles


@pytest.fixture
def fitted(estimator, small_matrix):
    """Each estimator of the table, fitted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator.fit(*small_matrix)


@pytest.fixture
def ensemble(small_matrix):
    """Two alternating least squares fits."""
    member = CPALSCompletion(1, solver="sparse")
    return CompletionEnsemble(member, n_estimators=2, random_state=0).fit(*small_matrix)


def elsewhere(monkeypatch, version="99.7"):
    """Let another version of the package be installed."""
    monkeypatch.setattr(pickles, "__version__", version)


def check_warns(load, name):
    """Loading names the class and both versions; return what is loaded."""
    with pytest.warns(UserWarning) as told:
        back = load()
    text = f"{name} was pickled by sktf {sktf.__version__} and is loaded by sktf 99.7"
    assert any(text in str(warning.message) for warning in told)
    return back


def test_another_version_warns(fitted, small_matrix, monkeypatch):
    """And loads all the same."""
    dumped, expected = pickle.dumps(fitted), fitted.predict(small_matrix[0])
    elsewhere(monkeypatch)
    back = check_warns(lambda: pickle.loads(dumped), type(fitted).__name__)
    np.testing.assert_array_equal(back.predict(small_matrix[0]), expected)
    assert vars(back).keys() == vars(fitted).keys()


def test_an_unfitted_estimator_warns_as_well(estimator, monkeypatch):
    """Parameters come and go too."""
    dumped = pickle.dumps(estimator)
    elsewhere(monkeypatch)
    check_warns(lambda: pickle.loads(dumped), type(estimator).__name__)


def test_the_same_version_is_silent_and_leaves_no_trace(fitted):
    """Copies go the same way as pickles."""
    for back in pickle.loads(pickle.dumps(fitted)), copy.copy(fitted), copy.deepcopy(fitted):
        assert vars(back).keys() == vars(fitted).keys()
    assert not [name for name in vars(clone(fitted)) if "version" in name]


def test_a_pickle_that_names_no_version_warns(fitted):
    """Those of the time before the version was kept."""
    back = type(fitted).__new__(type(fitted))
    with pytest.warns(UserWarning, match="pickled by sktf of unknown version"):
        back.__setstate__(vars(fitted))
    assert vars(back) == vars(fitted)


def test_an_ensemble_warns_of_itself_and_its_members(ensemble, small_matrix, monkeypatch):
    """Each is an estimator that was pickled."""
    dumped, expected = pickle.dumps(ensemble), ensemble.predict(small_matrix[0])
    assert vars(pickle.loads(dumped)).keys() == vars(ensemble).keys()
    elsewhere(monkeypatch)
    check_warns(lambda: pickle.loads(dumped), "CPALSCompletion")
    back = check_warns(lambda: pickle.loads(dumped), "CompletionEnsemble")
    np.testing.assert_array_equal(back.predict(small_matrix[0]), expected)


def test_skops_files_and_pipelines_warn_too(ensemble, monkeypatch):
    """Whoever pickles, and whatever is around the estimator."""
    dumped, pipeline = skops.io.dumps(ensemble), pickle.dumps(make_pipeline(ensemble))
    trusted = skops.io.get_untrusted_types(data=dumped)
    elsewhere(monkeypatch)
    check_warns(lambda: skops.io.loads(dumped, trusted=trusted), "CompletionEnsemble")
    check_warns(lambda: pickle.loads(pipeline), "CompletionEnsemble")


def test_the_warning_stands_at_the_line_that_loads(ensemble, monkeypatch):
    """So that it is shown once a line, and can be found."""
    dumped = pickle.dumps(ensemble)
    elsewhere(monkeypatch)
    with pytest.warns(UserWarning) as told:
        pickle.loads(dumped)
    assert {warning.filename for warning in told} == {__file__}
