"""What newcomers want to do, in as many lines as it should take them."""

import numpy as np
import pandas as pd
import pytest

from sktf.datasets import dense_from_entries, load_il2, make_ratings, split_entries

#: Most lines, and the lines; names that are not defined in them are those of ``given``.
JOBS = {
    "an array with gaps": (1, "filled = sktf.complete(assay)"),
    "a table of strings, and a new user": (
        3,
        """
model = CPCompletion(encode=True).fit(table[["user", "film"]], table["stars"])
model.extend(of_zoe[["user", "film"]], of_zoe["stars"], mode="user")
predicted = model.predict(wanted)
""",
    ),
    "a search that shows its progress": (
        4,
        """
search = GridSearchCV(CPCompletion(encode=True), {"offset": ["mean", "additive"]}, cv=3)
search.set_callbacks(ProgressBar())
search.fit(table[["user", "film"]], table["stars"])
predicted = search.predict(wanted)
""",
    ),
    "factors with their labels": (1, "display = FactorsDisplay.from_estimator(labeled)"),
    "models compared by whole fibers": (
        3,
        """
folds = FiberKFold(3, mode=2, random_state=0)
cp = cross_val_score(CPCompletion(shape=shape), X, y, cv=folds).mean()
sums = cross_val_score(CPCompletion(shape=shape, offset="additive"), X, y, cv=folds).mean()
""",
    ),
    "save, load, extend, and say how far off": (
        5,
        """
joblib.dump(labeled, path)
model = joblib.load(path)
model.extend(of_zoe[["user", "film"]], of_zoe["stars"], mode="user")
posterior = PosteriorCompletion(model).fit(table[["user", "film"]], table["stars"])
mean, std = posterior.predict(table[["user", "film"]], return_std=True)
""",
    ),
}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """What a newcomer has: an array, a table, and what is public."""
    import joblib
    from sklearn.model_selection import GridSearchCV, cross_val_score

    import sktf
    from sktf.model_selection import FiberKFold
    from sktf.plotting import FactorsDisplay

    codes, stars, _ = make_ratings(80, 50, 1000, random_state=0)
    users, films = codes.T.astype(str)
    table = pd.DataFrame({"user": "u" + users, "film": "f" + films, "stars": stars})
    of_zoe = pd.DataFrame({"user": "zoe", "film": table["film"].unique()[:6], "stars": 4.0})
    wanted = pd.DataFrame({"user": ["zoe", "u3", "nobody"], "film": "f7"}, index=[7, 8, 9])
    X, y, shape = load_il2()
    seen, _, values, _ = split_entries(X, y, 0.5, random_state=0)
    return {
        **{name: getattr(sktf, name) for name in sktf.__all__},
        **{"sktf": sktf, "joblib": joblib, "GridSearchCV": GridSearchCV},
        **{
            "cross_val_score": cross_val_score,
            "FiberKFold": FiberKFold,
            "FactorsDisplay": FactorsDisplay,
        },
        **{"table": table, "of_zoe": of_zoe, "wanted": wanted, "X": seen, "y": values},
        "shape": shape,
        "assay": dense_from_entries(seen, values, shape),
        "labeled": sktf.CPCompletion(encode=True, random_state=0).fit(
            table[["user", "film"]], table["stars"]
        ),
        "path": tmp_path_factory.mktemp("saved") / "model.joblib",
    }


@pytest.mark.filterwarnings("ignore::sktf.CompletionWarning")
@pytest.mark.parametrize("job", JOBS)
def test_a_job_takes_few_lines(job, given):
    """And they do it: what they leave is finite, and of the cells that were asked for."""
    most, code = JOBS[job]
    assert len(code.strip().splitlines()) <= most
    names = dict(given)
    if "ProgressBar" in code:
        names["ProgressBar"] = pytest.importorskip("sklearn.callback").ProgressBar
    exec(code, names)
    made = {
        name: names[name] for name in names.keys() - given.keys() - {"__builtins__", "ProgressBar"}
    }
    assert made
    for value in map(made.get, ("filled", "predicted", "mean", "std", "cp", "sums")):
        assert value is None or np.isfinite(value).all()


def test_known_cells_stay_and_new_users_are_learned(given):
    """What the lines above leave: known cells as they were, a user learned from six films."""
    names = dict(given)
    exec(JOBS["an array with gaps"][1], names)
    known = ~np.isnan(names["assay"])
    np.testing.assert_array_equal(names["filled"][known], names["assay"][known])
    with pytest.warns(names["CompletionWarning"], match="'nobody'"):
        exec(JOBS["a table of strings, and a new user"][1], names)
    assert names["predicted"].shape == (3,) and "zoe" in names["model"].categories_[0]
