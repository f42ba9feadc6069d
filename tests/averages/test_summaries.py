"""What averages tell of their members and chains."""

import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from cases.ensembles import Stub
from cases.summaries import NAMES, all_fitted, cells, told
from conftest import ESTIMATORS
from sklearn.base import clone

from sktf import CompletionEnsemble, CPCompletion, PosteriorCompletion

# Short fits of few cells are the point here; what they warn of is looked at in test_record.py.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]


def test_an_extended_ensemble_tells_it_of_its_members():
    """All of them see the same cells."""
    model = pickle.loads(pickle.dumps(all_fitted()[len(ESTIMATORS)]))
    new = pd.DataFrame([[8, 0, 0], [8, 1, 1]], columns=NAMES)
    model.extend(new, [1.0, 2.0], mode=0)
    assert told(model)["cells"] == len(cells()[0]) + 2
    assert model.summary().tables["modes"][0]["size"] == 9


def test_members_of_an_ensemble_are_told():
    """Their names, weights, ranks and scores; the share that agrees on the rank."""
    plain, mixed = all_fitted()[len(ESTIMATORS) : -1]
    rows, members = told(plain), plain.summary().tables["members"]
    assert rows["averaged"] == plain.n_average_ and rows["members"] == 2
    assert rows["share of members of this rank"] == plain.rank_agreement_
    assert [line["held-out R^2"] for line in members if "held-out R^2" in line] == [
        score for score in plain.validation_scores_ if np.isfinite(score)
    ]
    members = mixed.summary().tables["members"]
    assert [line["member"] for line in members] == mixed.names_
    assert [line["weight"] for line in members] == mixed.weights_.tolist()


def test_members_beyond_ten_are_counted(small_tensor):
    """Of estimators of others, which keep no record, what they have."""
    model = CompletionEnsemble(Stub((0.5,) * 12, (2,) * 12), n_estimators=12, random_state=0)
    summary = model.fit(*small_tensor).summary()
    assert len(summary.tables["members"]) == 11
    assert summary.tables["members"][-1]["member"] == "2 more" and "2 more" in str(summary)
    assert "cells" not in told(model)


def test_chains_tell_how_they_agree():
    """The weight beside the descent, the noise, and R-hat where there is one."""
    model = all_fitted()[-1]
    rows = told(model)
    assert rows["noise deviation"] == model.noise_std_ and rows["R-hat"] == model.r_hat_
    assert rows["weight of the chains"] == model.weight_
    assert (rows["chains"], rows["draws"], rows["components"]) == (4, 16, 2)
    alone = clone(model).set_params(n_chains=1).fit(*cells())
    assert np.isnan(alone.r_hat_) and "R-hat" not in told(alone)


def test_warnings_are_told_in_any_thread():
    """Of members, and of the descent of chains, in a thread that is not the main one."""
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 6, (60, 3)), rng.standard_normal(60)
    X[X[:, 0] == 3, 0] = 4  # no cell of index 3
    small = CPCompletion(2, n_init=1, shape=(6,) * 3)
    models = [
        CompletionEnsemble(small, n_estimators=2, random_state=0),
        PosteriorCompletion(small, n_samples=4, random_state=0),
    ]
    for model in models:
        with ThreadPoolExecutor(1) as pool, warnings.catch_warnings(action="ignore"):
            beside = pool.submit(clone(model).fit, X, y).result().summary().warnings
            alone = clone(model).fit(X, y).summary().warnings
        assert alone == beside and any("No cell tells of" in text for text in alone)
