"""PosteriorCompletion is a scikit-learn estimator."""

import pytest
from cases.ensembles import SMALL
from conftest import low_rank_entries, name_of
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_param_validation,
    parametrize_with_checks,
)

from sktf import CPCompletion, PosteriorCompletion

# Short fits of few rows are the point here; what they end with is tested where it matters.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]
SHORT = {"n_components": 2, "n_samples": 4, "n_warmup": 3, "n_chains": 2, "random_state": 0}


def expected_failed_checks(estimator):
    """Return the one check that an estimator of index rows fails by being right."""
    return {
        "check_sample_weight_equivalence_on_dense_data": (
            "feeds fractions in [0, 1) as indices; and a weight is a precision, not a number of "
            "rows: two rows tell more of the noise than one of weight two"
        )
    }


@parametrize_with_checks(
    [PosteriorCompletion(SMALL, **SHORT)], expected_failed_checks=expected_failed_checks
)
def test_scikit_learn_checks(estimator, check):
    """Every check of scikit-learn passes but the one listed, which must fail."""
    check(estimator)


@pytest.mark.parametrize(
    "check", [check_param_validation, check_dataframe_column_names_consistency]
)
def test_checks_that_third_parties_are_not_given(check):
    """Checks that scikit-learn runs on its own estimators alone hold here too."""
    model = PosteriorCompletion(clone(SMALL).set_params(max_iter=3), **SHORT)
    check(name_of(model), model)


def test_grid_search_over_both_levels():
    """Parameters of the chains and of the descent."""
    X, y = low_rank_entries((8, 7, 6), 2, 0.8)
    model = PosteriorCompletion(CPCompletion(shape=(8, 7, 6), n_init=1), **SHORT)
    grid = {"n_components": [1, 3], "estimator__offset": [None, "additive"]}
    search = GridSearchCV(model, grid, cv=KFold(2, shuffle=True, random_state=0)).fit(X, y)
    assert search.best_params_["n_components"] == 3
