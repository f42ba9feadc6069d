"""Completion of matrices and tensors without being told the rank."""

from importlib import import_module

__version__ = "0.1.0.dev0"

_WHERE = {
    "CPCompletion": "_cp",
    "DeepCPCompletion": "_deep_cp",
    "DeepMatrixCompletion": "_deep_matrix",
    "DeepTuckerCompletion": "_deep_tucker",
    "HierarchicalCompletion": "_hierarchical",
    "CompletionEnsemble": "_ensemble",
    "CPALSCompletion": "_als",
    "NuclearNormCompletion": "_nuclear",
    "CompletionWarning": "_identifiability",
}
_MODULES = ("metrics", "datasets", "dynamics", "model_selection", "plotting")

__all__ = [*_WHERE, *_MODULES]


def __getattr__(name):
    """Import estimators and modules when they are first asked for."""
    if name in _WHERE:
        return getattr(import_module(f".{_WHERE[name]}", __name__), name)
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return [*globals(), *__all__]
