"""scikit-learn's base classes and its decorator of ``fit``, as type checkers see them.

scikit-learn ships no types, and below a class of no type a checker accepts every parameter.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, TypeVar

from sklearn.base import _fit_context

from sktf._cells.record import recorded

_Fit = TypeVar("_Fit", bound=Callable)

if TYPE_CHECKING:

    class BaseEstimator:
        """What every estimator has."""

        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_params(self, **params: Any) -> Self: ...
        def __sklearn_tags__(self) -> Any: ...
        def _get_params_html(self, *args: Any, **options: Any) -> Any: ...
        def __getattr__(self, name: str) -> Any: ...  # what fit leaves

    class RegressorMixin:
        """What every regressor has."""

        def score(self, X: Any, y: Any, sample_weight: Any = None) -> float: ...

    class ClassifierMixin:
        """What every classifier has."""

        def score(self, X: Any, y: Any, sample_weight: Any = None) -> float: ...

    class OneToOneFeatureMixin:
        """What has an output for each feature."""

        def get_feature_names_out(self, input_features: Any = None) -> Any: ...

    class TransformerMixin:
        """What every transformer has."""

        def fit_transform(self, X: Any, y: Any = None, **params: Any) -> Any: ...
        def set_output(self, *, transform: str | None = None) -> Self: ...

    class MetaEstimatorMixin:
        """What wraps an estimator."""

    class CallbackSupportMixin:
        """What takes callbacks."""

    class BaseComposition(BaseEstimator):
        """What has estimators by name."""

        def _get_params(self, attr: str, deep: bool) -> dict[str, Any]: ...
        def _set_params(self, attr: str, **params: Any) -> Self: ...
        def _validate_names(self, names: Any) -> None: ...

else:
    from sklearn.base import (
        BaseEstimator,
        ClassifierMixin,
        MetaEstimatorMixin,
        OneToOneFeatureMixin,
        RegressorMixin,
        TransformerMixin,
    )
    from sklearn.utils.metaestimators import _BaseComposition as BaseComposition

    from sktf._models.old_sklearn import CallbackSupportMixin

__all__ = [
    "BaseComposition", "BaseEstimator", "CallbackSupportMixin", "ClassifierMixin",
    "MetaEstimatorMixin", "OneToOneFeatureMixin", "RegressorMixin", "TransformerMixin",
]  # fmt: skip


def checks_parameters(*, skip_nested: bool = True) -> Callable[[_Fit], _Fit]:
    """Return a decorator of a ``fit``: checks parameters, keeps a record, and ends callbacks."""
    checked = _fit_context(prefer_skip_nested_validation=skip_nested)
    return lambda fit: checked(recorded(fit))
