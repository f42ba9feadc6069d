"""A fit that fails leaves the estimator as it was: also what is known of the columns of X."""

from contextlib import contextmanager

_NAMES = "n_features_in_", "feature_names_in_", "categories_"


@contextmanager
def restoring_features(estimator):
    """Restore the attributes of the columns where an exception ends a fit that has set nothing."""
    known = {name: value for name, value in vars(estimator).items() if name in _NAMES}
    shape = vars(estimator).get("shape_")
    try:
        yield
    except BaseException:
        if vars(estimator).get("shape_") is shape:
            for name in _NAMES:
                vars(estimator).pop(name, None)
            vars(estimator).update(known)
        raise
