"""What is kept of a call of fit: its warnings, its seconds, and what extend adds."""

import pickle
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from time import perf_counter

import numpy as np
import pytest
from cases.summaries import ALL, NAMES, SMALL, cells, told, with_shape
from conftest import name_of
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import sktf
from sktf import (
    CPALSCompletion,
    CPCompletion,
)

# Short fits of few cells are the point here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]


@pytest.mark.parametrize("estimator", ALL, ids=name_of)
def test_warnings_are_kept_that_were_given(estimator):
    """All and no others, each once, whatever the filters; a further fit begins anew."""
    X, y = cells()
    estimator = with_shape(estimator)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kept = estimator.fit(X, y).summary().warnings
    assert kept == list(dict.fromkeys(str(warning.message) for warning in caught))
    assert any("No cell tells of 1 of the 8 indices of mode 0" in text for text in kept)
    assert {warning.filename for warning in caught} == {__file__}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert estimator.fit(X, y).summary().warnings == kept


def test_a_later_fit_forgets_the_warnings_before(small_tensor):
    """A ConvergenceWarning counts as well."""
    model = CPCompletion(2, early_stopping=False, max_iter=3, random_state=0)
    with pytest.warns(ConvergenceWarning):
        (text,) = model.fit(*small_tensor).summary().warnings
    assert "max_iter=3" in text and "max_iter=3" in str(model.summary())
    assert model.set_params(max_iter=5000).fit(*small_tensor).summary().warnings == []


def test_fits_beside_each_other_keep_their_own_warnings(small_tensor):
    """In two threads that meet inside their fits."""
    meet = Barrier(2, timeout=20)

    def fit(max_iter):
        model = CPCompletion(2, early_stopping=False, max_iter=max_iter, random_state=0)
        waits = iter([True])
        model.set_params(measures={"meet": lambda _: meet.wait() if next(waits, False) else 0})
        return model.fit(*small_tensor).summary().warnings

    with ThreadPoolExecutor(2) as pool:
        found = [*pool.map(fit, (3, 4))]
    assert [re.findall(r"max_iter=\d", text) for (text,) in found] == [
        ["max_iter=3"],
        ["max_iter=4"],
    ]


def test_only_what_is_no_fit_warns_past_the_record():
    """Exports, pickles and the compiler's cache: their warnings are of another call."""
    paths = Path(sktf.__file__).parent.rglob("*.py")
    found = {path.stem for path in paths if "warnings.warn(" in path.read_text("utf-8")}
    assert found == {"record", "base", "pickles", "_compile"}


def test_seconds_are_those_of_the_last_fit_that_succeeded(small_tensor):
    """Within what a clock outside shows; a fit that fails changes nothing."""
    model, began = clone(SMALL), perf_counter()
    first = told(model.fit(*small_tensor))["seconds"]
    assert 0 < first < perf_counter() - began
    with pytest.raises(ValueError, match="NaN"):
        model.fit(small_tensor[0], np.full(len(small_tensor[1]), np.nan))
    assert told(model)["seconds"] == first


def test_seconds_do_not_tell_equal_fits_apart(small_tensor):
    """To dask, that is; all else of the record is the same."""
    one, same = (CPALSCompletion(2, random_state=0).fit(*small_tensor) for _ in range(2))
    assert one._seconds != same._seconds
    first, second = (pickle.dumps(model.__dask_tokenize__()) for model in (one, same))
    assert first == second


def test_extend_is_told():
    """Two new indices of mode 0, of 3 and 1 cells; the rest is of the fit, as it says."""
    X, y = cells()
    model = with_shape(SMALL).set_params(offset="additive").fit(X.to_numpy(), y)
    before = model.summary()
    new = np.array([[7, 0, 0], [7, 1, 1], [7, 1, 1], [9, 2, 2]])
    copy = pickle.loads(pickle.dumps(model)).extend(new, [1.0, 2.0, 2.0, 3.0], mode=0)
    rows, table = told(copy), copy.summary().tables["modes"]
    assert rows["cells"] == len(X) + 4
    assert rows["distinct cells"] == len(X.drop_duplicates()) + 3
    assert rows["share of the tensor"] == pytest.approx(rows["distinct cells"] / (10 * 6 * 5))
    counts = np.append(np.unique(X[NAMES[0]], return_counts=True)[1], [3, 1])
    assert [*table[0].values()][2:] == [10, 9, 1, 1, np.median(counts), counts.max()]
    assert table[1:] == before.tables["modes"][1:]
    assert rows["new indices"].startswith("2 of mode 0; ") and "fit before" in rows["new indices"]
    assert model.summary() == before
    again = copy.extend([[8, 0, 0]], [1.0], mode=0)
    assert told(again)["new indices"].startswith("3 of mode 0; ")
