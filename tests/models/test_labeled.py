"""What a fitted model says by label: new ones, tables, and the nearest indices."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from conftest import ESTIMATORS, low_rank_entries
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sktf import CompletionWarning, CPCompletion, DeepMatrixCompletion, NuclearNormCompletion

# Short runs are the point here; what they end with is tested where it matters.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SHAPE = (7, 6, 5)
NAMES = ["user", "item", "day"]
DIGITS = np.array(list("0123456"))


def labeled(X):
    """Return rows of indices as a frame of labels, whose order is that of the indices."""
    return pd.DataFrame(
        {name: np.char.add(name, DIGITS[column]) for name, column in zip(NAMES, X.T, strict=True)}
    ).astype(object)


def fitted(X, y, **options):
    """Return a model of labels that fits in no time."""
    return CPCompletion(3, encode=True, max_iter=200, random_state=0, **options).fit(labeled(X), y)


@pytest.fixture
def model(small_tensor):
    """Return a model of labels, of data off zero."""
    X, y = small_tensor
    return fitted(X, y + 3)


# New labels ----------------------------------------------------------------------------------


def test_new_labels_get_the_mean_and_one_warning(model):
    """Of each mode how many, and the first names; what is predicted is the mean of the others."""
    new = labeled(np.array([[0, 1, 2]] * 6))
    new["user"] = ["user0", "zoe", "yan", "xu", "wim", "zoe"]
    new.loc[3, "day"] = "someday"
    message = (
        r"^4 labels of column 'user' \(mode 0\) are new: 'wim', 'xu', 'yan', \.\.\.; 1 label of "
        r"column 'day' \(mode 2\) is new: 'someday'\. Predicted is what the known ones predict"
    )
    with pytest.warns(CompletionWarning, match=message) as caught:
        predicted = model.predict(new)
    assert len(caught) == 1 and caught[0].filename == __file__
    dense = model.to_dense()
    mean, both = dense[:, 1, 2].mean(), dense[:, 1].mean()
    expected = [dense[0, 1, 2], mean, mean, both, mean, mean]
    assert_allclose(predicted, expected, rtol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quiet = model.set_params(handle_unknown="mean").predict(new)
    assert_array_equal(quiet, predicted)
    message = r"Row 1 of X has the label 'zoe' in column 'user' \(mode 0\), which fit.*extend, or"
    with pytest.raises(ValueError, match=message):
        model.set_params(handle_unknown="error").predict(new)


def test_auto_refuses_an_index_outside(small_tensor):
    """Without labels nothing has changed; a blank label is no new one."""
    X, y = small_tensor
    numbers = CPCompletion(2, max_iter=20).fit(X, y)
    for bad in ([7, 0, 0], [-1, 0, 0]):
        with pytest.raises(ValueError, match=r"handle_unknown='mean'"):
            numbers.predict([bad])
    table = labeled(X)
    table.loc[2, "item"] = None
    with pytest.raises(ValueError, match=r"row 2 has no label in column 'item' \(mode 1\)"):
        fitted(X, y, handle_unknown="mean").predict(table)


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_cross_validation_without_shape():
    """Folds lack labels that are scored; scores are numbers, and good ones of easy data."""
    X, y = low_rank_entries((12, 80), 1, 0.5)
    rows = np.append(np.flatnonzero(X[:, 0]), 0)  # one cell of the first user
    table = pd.DataFrame(X, columns=["user", "item"]).astype(str).iloc[rows]
    model = CPCompletion(4, encode=True, n_init=2, random_state=0)
    folds = [*KFold(4, shuffle=True, random_state=0).split(table)]
    lacking = [
        set(table["user"].iloc[test]) - set(table["user"].iloc[train]) for train, test in folds
    ]
    assert sorted(map(len, lacking)) == [0, 0, 0, 1]
    scores = cross_val_score(model, table, y[rows], cv=folds)
    # Rank 1 without noise; one cell of more than a hundred is of the unknown user.
    assert np.isfinite(scores).all() and scores.min() > 0.8


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_searches_pipelines_clones_and_pickles(model, small_tensor):
    """A fitted model, a copy of it and one inside a search predict alike."""
    X, y = small_tensor
    table = labeled(X)
    expected = model.predict(table)
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(table), expected)
    io = pytest.importorskip("skops.io")
    saved = io.dumps(model)
    assert_array_equal(io.loads(saved, trusted=["sktf.CPCompletion"]).predict(table), expected)
    assert_array_equal(clone(model).fit(table, y + 3).predict(table), expected)
    pipeline = make_pipeline(FunctionTransformer(), clone(model).set_params(n_init=1, max_iter=20))
    search = GridSearchCV(
        pipeline, {"cpcompletion__n_components": [1, 3]}, cv=KFold(2, shuffle=True, random_state=0)
    )
    assert np.isfinite(search.fit(table, y + 3).best_score_)
    assert set(search.predict(table).round(9)) <= set(
        search.best_estimator_[-1].to_dense().ravel().round(9)
    )


def test_tags_tell_what_is_read():
    """Strings, and not whole numbers alone."""
    from sklearn.utils import get_tags

    tags = [get_tags(CPCompletion(encode=encode)).input_tags for encode in (False, True)]
    assert [(t.string, t.positive_only) for t in tags] == [(False, True), (True, False)]


# extend --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_extend_learns_labels():
    """As it learns indices: they are numbered after those known, in sorted order."""
    X, y = low_rank_entries((9, 6, 5), 2, 1.0, seed=3)
    old, shown = X[:, 0] < 7, (X[:, 0] > 6) & (np.arange(len(y)) % 2 == 0)
    names = np.array([*(f"m{n}" for n in range(7)), "a", "z"], object)  # 7 and 8 are "a" and "z"
    table = pd.DataFrame({"user": names[X[:, 0]], "item": X[:, 1] * 10, "day": X[:, 2]})
    options = dict(tol=1e-12, max_iter=5000, random_state=0)
    model = CPCompletion(2, encode=True, **options).fit(table[old], y[old])
    expected = CPCompletion(2, **options).fit(X[old], y[old])
    model.extend(table[shown][::-1], y[shown][::-1], mode="user")
    expected.extend(X[shown], y[shown], mode=0)
    assert model.shape_ == (9, 6, 5) and model.categories_[0].tolist() == names.tolist()
    assert_allclose(model.predict(table), expected.predict(X), rtol=1e-9, atol=1e-9)


BAD_EXTENSIONS = {
    "known": ({}, 0, r"Row 1 of X has the label 'user1' in column 'user' \(mode 0\), which had"),
    "other mode": ({"item": "new"}, 0, r"Row 0 of X has the label 'new' in column 'item'.*may be"),
    "type": ({"user": 7}, 0, r"X has numbers in column 'user' \(mode 0\), but fit has seen str"),
    "blank": ({"user": None}, 0, r"row 0 has no label in column 'user' \(mode 0\)"),
}


@pytest.mark.parametrize("case", BAD_EXTENSIONS)
def test_bad_extension(model, case):
    """By row, label and mode; a refusal changes nothing."""
    change, mode, message = BAD_EXTENSIONS[case]
    rows = labeled(np.array([[0, 0, 0], [1, 0, 0]])).assign(user=["zoe", "user1"])
    rows = rows.assign(**change) if case in ("blank", "type") else rows
    rows.loc[0, "item"] = change.get("item", "item0")
    with pytest.raises(ValueError, match=message):
        model.extend(rows, [1.0, 2.0], mode=mode)
    assert model.shape_ == SHAPE and len(model.categories_[0]) == 7
    with pytest.raises(ValueError, match="feature names should match"):
        model.extend(rows[["item"]], [1.0, 2.0], mode="day")


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_extend_learns_a_category_without_cells(small_tensor):
    """Declared and never seen: it keeps its number."""
    X, y = small_tensor
    table = labeled(X)
    users = pd.CategoricalDtype(["ann", *sorted(table["user"].unique())])
    table["user"] = table["user"].astype(users)
    model = CPCompletion(2, encode=True, max_iter=50, random_state=0).fit(table, y)
    assert model.shape_ == (8, 6, 5)
    before = model.to_dense()
    model.extend(table[:3].assign(user="ann"), [5.0, 6.0, 7.0], mode="user")
    assert model.categories_[0].tolist() == users.categories.tolist()
    assert_allclose(model.to_dense()[1:], before[1:], rtol=1e-12, atol=1e-12)
    assert np.abs(model.to_dense()[0] - before[0]).max() > 0.1


# Tables --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:(No cell tells of|Nothing was):sktf.CompletionWarning")
@pytest.mark.parametrize("encode", [True, False])
def test_factor_frame(small_tensor, encode):
    """The columns of factors_ that are not zero, by label."""
    X, y = small_tensor
    table = labeled(X) if encode else pd.DataFrame(X, columns=NAMES)
    model = CPCompletion(5, encode=encode, shape=None if encode else (9, 6, 5), random_state=0)
    model.fit(table, y)
    alive = model.component_norms_ > 0
    assert 0 < alive.sum() < 5
    for mode, name in enumerate(NAMES):
        frame = model.factor_frame(name)
        labels = model.categories_[mode] if encode else range(model.shape_[mode])
        assert frame.index.tolist() == list(labels) and frame.index.name == name
        assert frame.columns.tolist() == list(range(alive.sum()))
        assert frame.columns.name == "component"
        assert_array_equal(frame.to_numpy(), model.factors_[mode][:, alive])
    given = model.factor_frame(1, labels=list("uvwxyz"))
    assert given.index.tolist() == list("uvwxyz")
    with pytest.raises(ValueError, match="labels has 2 entries, but mode=1 has 6 indices"):
        model.factor_frame(1, labels=["a", "b"])
    with pytest.raises(ValueError, match=r"mode='night': expected a mode number.*'day'"):
        model.factor_frame("night")


@pytest.mark.filterwarnings("ignore:(No cell|Nothing was|Some cells):sktf.CompletionWarning")
def test_factor_frame_of_a_side_of_several_modes(small_tensor):
    """One row for each pair of labels, in the order of the factor."""
    X, y = small_tensor
    model = DeepMatrixCompletion(row_modes=(2, 0), encode=True, random_state=0).fit(labeled(X), y)
    frame = model.factor_frame("user", labels=range(7))
    assert frame.index.names == ["day", "user"] and len(frame) == 35
    at = 3 * 7 + 5
    assert frame.index[at] == ("day3", 5)
    assert_array_equal(frame.iloc[at], model.factors_[0][at, model.component_norms_ > 0])
    assert model.factor_frame("item").index.tolist() == model.categories_[1].tolist()


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_a_side_too_large_for_rows():
    """Of 9 * 10^8 columns there is no table."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, high, 60) for high in (5, 30_000, 30_000)])
    model = DeepMatrixCompletion(shape=(5, 30_000, 30_000), max_iter=5, random_state=0)
    model.fit(X, np.ones(60))
    for call in (model.factor_frame, lambda mode: model.nearest(mode, 0)):
        with pytest.raises(ValueError, match=r"modes \(1, 2\), which have too many indices"):
            call(1)


ASKED = {
    "predict": lambda model, X: model.predict(X),
    "predict_frame": lambda model, X: model.predict_frame(X),
    "score": lambda model, X: model.score(X, np.ones(len(X))),
}


@pytest.mark.parametrize("call", ASKED)
def test_the_warning_of_new_labels_names_the_line_of_the_user(call, model, small_tensor):
    """However predict is called."""
    new = labeled(small_tensor[0]).assign(user="zoe")
    with pytest.warns(CompletionWarning, match="'zoe'") as caught:
        ASKED[call](model, new)
    assert [warning.filename for warning in caught] == [__file__]


def test_predict_frame(model, small_tensor):
    """X and what is predicted, side by side."""
    X = labeled(small_tensor[0])[::-1]
    frame = model.predict_frame(X)
    pd.testing.assert_frame_equal(frame, X.assign(prediction=model.predict(X)))
    assert "prediction" not in X
    with pytest.raises(TypeError, match="X is a ndarray, no pandas DataFrame; call predict"):
        model.predict_frame(X.to_numpy())
    with pytest.raises(ValueError, match="X has a column 'std' already"):
        model.predict_frame(X.rename(columns={"day": "std"}))


# nearest -------------------------------------------------------------------------------------


def cosines(model, mode, number):
    """Return the cosines of the slices of a mode, from the dense tensor, less its offset."""
    dense = model.to_dense() - model.offset_
    for other, term in enumerate(model.offset_terms_):
        dense -= term.reshape([-1 if m == other else 1 for m in range(dense.ndim)])
    slices = np.moveaxis(dense, mode, 0).reshape(dense.shape[mode], -1)
    norms = np.linalg.norm(slices, axis=1)
    return slices @ slices[number] / (norms * norms[number])


@pytest.mark.filterwarnings("ignore:(Nothing was|Some cells):sktf.CompletionWarning")
@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize(
    "model",
    [
        *ESTIMATORS,
        CPCompletion(3, offset="additive", random_state=0),
        DeepMatrixCompletion(row_modes=(2, 0), random_state=0),
        NuclearNormCompletion(row_modes=(0, 1), max_iter=30, tol=1e-2),
    ],
    ids=str,
)
def test_nearest_is_the_cosine_of_dense_slices(small_tensor, model, mode):
    """Whatever the model, and whatever side of a matrix the mode is on."""
    X, y = small_tensor
    model = clone(model).set_params(encode=True).fit(labeled(X), y * 1e150)
    label = model.categories_[mode][2]
    labels, similarity = model.nearest(NAMES[mode], label, n=3)
    expected = cosines(model, mode, 2)
    order = [n for n in np.argsort(-expected, kind="stable") if n != 2][:3]
    assert labels.tolist() == model.categories_[mode][order].tolist()
    assert_allclose(similarity, expected[order], atol=1e-9)


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
def test_nearest_of_indices_without_cells_or_slices(small_tensor):
    """Those without cells are not listed, a slice of zeros is like nothing; numbers are labels."""
    X, y = small_tensor
    y = np.where(X[:, 0] == 3, 0.0, y)
    model = CPCompletion(2, shape=(9, 6, 5), offset=None, random_state=0).fit(X, y)
    labels, similarity = model.nearest(0, 1, n=20)
    assert sorted(labels) == [0, 2, 3, 4, 5, 6] and (np.diff(similarity) <= 0).all()
    model.factors_ = [factor * (np.arange(len(factor)) != 3)[:, None] for factor in model.factors_]
    labels, similarity = model.nearest(0, 3)
    assert (similarity == 0).all() and labels.tolist() == [0, 1, 2, 4, 5]


def test_bad_questions(model, small_tensor):
    """A label that is unknown, or of another mode; and fewer than one neighbor."""
    with pytest.raises(ValueError, match=r"The label 'item0' is none of categories_\[0\]"):
        model.nearest("user", "item0")
    with pytest.raises(ValueError, match="n == 0, must be >= 1"):
        model.nearest("user", "user0", n=0)
    numbers = CPCompletion(2, max_iter=20).fit(*small_tensor)
    for label in (7, -1, "a", 0.5):
        with pytest.raises(ValueError, match="mode 0 has the indices 0 to 6"):
            numbers.nearest(0, label)
