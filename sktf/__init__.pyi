from . import datasets, dynamics, metrics, model_selection, plotting
from ._averages.classifier import CompletionClassifier
from ._averages.ensemble import CompletionEnsemble
from ._averages.posterior import PosteriorCompletion
from ._baselines.als import CPALSCompletion
from ._baselines.nuclear import NuclearNormCompletion
from ._cells.identifiability import CompletionWarning
from ._filling.complete import complete
from ._filling.imputer import CompletionImputer
from ._models.cp import CPCompletion
from ._models.deep_cp import DeepCPCompletion
from ._models.deep_matrix import DeepMatrixCompletion
from ._models.deep_tucker import DeepTuckerCompletion
from ._models.hierarchical import HierarchicalCompletion
from ._models.nonnegative import NonNegativeCPCompletion
from ._versions import show_versions

__all__ = [
    "CPALSCompletion",
    "CPCompletion",
    "CompletionClassifier",
    "CompletionEnsemble",
    "CompletionImputer",
    "CompletionWarning",
    "DeepCPCompletion",
    "DeepMatrixCompletion",
    "DeepTuckerCompletion",
    "HierarchicalCompletion",
    "NonNegativeCPCompletion",
    "NuclearNormCompletion",
    "PosteriorCompletion",
    "complete",
    "datasets",
    "dynamics",
    "metrics",
    "model_selection",
    "plotting",
    "show_versions",
]

__version__: str
