"""An ensemble is a scikit-learn estimator."""

import pytest
from cases.ensembles import SMALL
from conftest import name_of
from sklearn.base import clone
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_param_validation,
    parametrize_with_checks,
)

from sktf import (
    CompletionEnsemble,
)

# Short fits of few rows are the point here; what they end with is tested where it matters.
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sktf.CompletionWarning"),
]


def expected_failed_checks(estimator):
    """Return the one check that an estimator of index rows fails by being right."""
    return {
        "check_sample_weight_equivalence_on_dense_data": (
            "feeds fractions in [0, 1) as indices, without looking at the categorical tag; "
            "see test_weights_equal_repeated_rows"
        )
    }


@parametrize_with_checks(
    [CompletionEnsemble(SMALL, n_estimators=2, random_state=0)],
    expected_failed_checks=expected_failed_checks,
)
def test_scikit_learn_checks(estimator, check):
    """Every check of scikit-learn passes but the one listed, which must fail."""
    check(estimator)


@pytest.mark.parametrize(
    "check", [check_param_validation, check_dataframe_column_names_consistency]
)
def test_checks_that_third_parties_are_not_given(check):
    """Checks that scikit-learn runs on its own estimators alone hold here too."""
    member = clone(SMALL).set_params(max_iter=3)
    ensemble = CompletionEnsemble(member, n_estimators=2, random_state=0)
    check(name_of(ensemble), ensemble)
