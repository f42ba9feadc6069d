"""What a fit tells of itself: a table as text, as HTML and as plain data."""

import json
import pickle
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from cases.summaries import ALL, NAMES, SHAPE, all_fitted, cells, told
from conftest import name_of
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_html_repr
from sklearn.utils.fixes import parse_version

from sktf._models.summary import Summary

# Short fits of few cells are the point here; what they warn of is looked at in test_record.py.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]


# There a number beside a default that is text ends scikit-learn's page, also that of its SVC.
draws_pages = pytest.mark.skipif(
    parse_version(np.__version__) < parse_version("2.2"), reason="no pages with NumPy below 2.2"
)
MARK = '<div class="sktf-summary">'


@pytest.fixture(params=range(len(ALL)), ids=lambda n: f"{n}-{name_of(ALL[n])}")
def model(request):
    """Each of them."""
    return all_fitted()[request.param]


def test_counts_are_those_of_the_table(model):
    """By pandas; an index without cells is counted, and rows of one cell are told apart."""
    X, _ = cells()
    rows, table = told(model), model.summary().tables["modes"]
    assert rows["cells"] == len(X) and rows["distinct cells"] == len(X.drop_duplicates())
    assert_allclose(rows["share of the tensor"], len(X.drop_duplicates()) / np.prod(SHAPE))
    for line, name, size in zip(table, NAMES, SHAPE, strict=True):
        counts = X[name].value_counts()
        expected = [name, size, len(counts), size - len(counts)]
        expected += [counts.min(), counts.median(), counts.max()]
        assert [*line.values()][1:] == expected


def test_text_is_a_table_of_80_columns_without_nan(model):
    """It begins with the estimator; no line is longer, and nothing unknown is shown."""
    text = str(model.summary())
    assert text == repr(model.summary()) and text.startswith(type(model).__name__ + "(")
    assert max(map(len, text.splitlines())) <= 80
    assert not re.search(r"\b(nan|None|inf)\b", text.split("=\n", 1)[1])
    assert "a name that is long..." in text


def test_data_are_plain_python(model):
    """So that they can be logged: JSON without NaN."""
    summary = model.summary()
    assert json.loads(json.dumps(summary.rows, allow_nan=False))
    assert json.loads(json.dumps(summary.tables, allow_nan=False))
    assert pickle.loads(pickle.dumps(summary)) == summary


def test_rows_are_the_fitted_attributes(model):
    """What has a name with a trailing underscore is told as it is."""
    rows = told(model)
    for name, attribute in {"rank": "rank_", "iterations": "n_iter_", "scale": "scale_"}.items():
        if name in rows:
            assert rows[name] == getattr(model, attribute)
    score = getattr(model, "validation_score_", None)
    assert rows.get("held-out R^2") == score
    assert 0 < rows["seconds"] < 100


class Balance(HTMLParser):
    """Counts the tags that are open."""

    def __init__(self, page):
        super().__init__()
        self.open, self.words = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_html_is_whole_and_escaped(model):
    """All tags are closed, names of columns are text, and nothing is loaded from elsewhere."""
    page = model.summary()._repr_html_()
    read = Balance(page)
    assert not read.open and "<b>dose</b>" in read.words and "<b>" not in page
    assert not re.search(r"https?:|url\(|color", page)


@draws_pages
@pytest.mark.parametrize("estimator", ALL, ids=name_of)
def test_an_estimator_that_is_not_fitted(estimator):
    """It has no summary, and its page no place for one."""
    with pytest.raises(NotFittedError):
        clone(estimator).summary()
    assert MARK not in estimator_html_repr(clone(estimator))


@draws_pages
def test_the_page_of_a_fit_shows_its_summary_once(model):
    """By all ways that lead to the page, also inside a pipeline."""
    pages = estimator_html_repr(model), model._repr_html_(), model._repr_mimebundle_()["text/html"]
    for page in pages:
        assert page.count(MARK) == 1
        assert page.index("Parameters") < page.index(MARK)
    assert "FunctionTransformer" in make_pipeline(FunctionTransformer(), model)._repr_html_()


@draws_pages
def test_a_summary_that_fails_leaves_the_page(model, monkeypatch):
    """As it is without one."""
    monkeypatch.setattr(Summary, "to_html", lambda self: 1 / 0)
    assert "Parameters" in model._repr_html_() and MARK not in model._repr_html_()


def test_a_fit_without_record(model):
    """Pickled before there were records: what is known all the same is told."""
    old = pickle.loads(pickle.dumps(model))
    for one in [old, *getattr(old, "estimators_", [])]:
        del one._record, one._seconds
    rows = told(old)
    assert rows["rank"] == model.rank_ and not {"cells", "seconds"} & set(rows)
    assert [line["size"] for line in old.summary().tables["modes"]] == [*SHAPE]
    assert "nan" not in str(old.summary()).split("=\n", 1)[1]
