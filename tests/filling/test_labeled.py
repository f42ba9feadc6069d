"""``complete`` on the labeled arrays of xarray."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from sktf import CompletionEnsemble, CPCompletion, complete
from sktf.datasets import dense_from_entries, load_il2

xr = pytest.importorskip("xarray")

# Short fits are the point here.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]


@pytest.fixture
def labeled(tensor):
    """Return a DataArray with gaps: coordinates, a scalar one, attributes, a name."""
    coords = {"cell": list("abcdefgh"), "hour": 2.0 * np.arange(7), "plate": 3}
    coords["tissue"] = "cell", list("xxxxyyyy")
    dims, attrs = ("cell", "hour", "dose"), {"unit": "mol"}
    return xr.DataArray(tensor[1], coords, dims, name="response", attrs=attrs)


def test_labels_are_kept(labeled, quick):
    """Only the gaps differ; the data are not changed."""
    before = labeled.copy(deep=True)
    estimator = CompletionEnsemble(quick, n_estimators=2, random_state=0)
    found = complete(labeled, estimator, return_std=True)
    expected = complete(labeled.to_numpy(), estimator, return_std=True)
    for array, values in zip(found, expected, strict=True):
        xr.testing.assert_identical(array, labeled.copy(data=values))
    xr.testing.assert_identical(labeled, before)


def test_an_assay_in_one_line():
    """The labels of IL-2 are kept, and the numbers are those of the array."""
    X, y, shape = load_il2()
    array = dense_from_entries(X, y, shape)
    array[np.random.RandomState(0).random_sample(shape) < 0.3] = np.nan
    labeled = xr.DataArray(array, dims=["ligand", "time", "dose", "cell"])
    filled = complete(labeled, random_state=1)
    assert filled.dims == labeled.dims
    assert_array_equal(filled, complete(array, random_state=1))


def test_variables_of_a_dataset(labeled, quick):
    """One by one, of any shape; those without gaps come back as they are."""
    matrix = labeled[:, :, 0].drop_vars("plate").rename("slice")
    data = xr.Dataset(
        {"tensor": labeled, "matrix": matrix, "count": ("hour", np.arange(7))},
        attrs={"source": "assay"},
    )
    estimator = CompletionEnsemble(quick, n_estimators=2, random_state=0)
    filled, std, models = complete(data, estimator, return_std=True, return_model=True)
    assert filled.attrs == std.attrs == {"source": "assay"}
    assert list(filled.data_vars) == list(std.data_vars) == list(data.data_vars)
    xr.testing.assert_identical(filled["count"], data["count"])
    assert filled["count"].dtype == data["count"].dtype and not std["count"].any()
    for name in "tensor", "matrix":
        alone = complete(data[name], estimator, return_std=True)
        for found, expected in zip((filled[name], std[name]), alone, strict=True):
            xr.testing.assert_identical(found, expected)
    assert {name: model.shape_ for name, model in models.items()} == {
        "tensor": (8, 7, 6),
        "matrix": (8, 7),
    }
    xr.testing.assert_identical(complete(data, estimator), filled)


def test_a_dataset_without_gaps(monkeypatch):
    """Nothing is fitted."""
    monkeypatch.setattr(CPCompletion, "fit", lambda *_: pytest.fail("fitted"))
    data = xr.Dataset({"a": ("x", [1, 2])})
    filled, models = complete(data, return_model=True)
    xr.testing.assert_identical(filled, data)
    assert models == {}


BAD = {
    "strings": (["a", "b"], TypeError, "Variable 'v' holds no numbers.*drop_vars"),
    "dates": (np.array(["2024", "NaT"], "M8[ns]"), TypeError, "Variable 'v' holds no numbers"),
    "one mode": ([1.0, np.nan], ValueError, "Variable 'v': array has shape .2,.; pass two modes"),
}


@pytest.mark.parametrize("case", BAD)
def test_variables_that_cannot_be_filled(case):
    """Are named."""
    values, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        complete(xr.Dataset({"v": ("x", values)}))


def test_the_model_knows_the_labels(labeled, quick):
    """It predicts by them what it filled in, and lists its factors by them."""
    filled, model = complete(labeled, quick, return_model=True)
    assert list(model.feature_names_in_) == list(labeled.dims)
    hours = labeled["hour"].to_numpy()
    gaps = np.isnan(labeled.sel(cell="b", dose=3).to_numpy())
    expected = filled.sel(cell="b", dose=3).to_numpy()
    table = pd.DataFrame({"cell": "b", "hour": hours, "dose": 3})
    assert 0 < gaps.sum() < len(gaps)
    assert_array_equal(model.predict(table)[gaps], expected[gaps])
    assert list(model.factor_frame("hour").index) == list(hours)


def test_coordinates_of_categories_are_read_by_position(labeled, quick):
    """Not in the order of the categories."""
    cells = pd.CategoricalIndex(labeled["cell"].to_numpy(), list("zhgfedcba"))
    model = complete(labeled.assign_coords(cell=cells), quick, return_model=True)[1]
    assert model.categories_[0].tolist() == list("abcdefgh")
