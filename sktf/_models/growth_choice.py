"""Which fits race from random starts, and of which components grow a few at a time."""

from math import inf, prod

from sktf._models.fitting import Fitting
from sktf._models.linked import LinkedFitting, LinkedGrowth
from sktf._models.sampled import SampledFitting
from sktf._models.streamed import StreamedFitting, check_streams

# Components grow where so many cells are trained on, and of fewer, down to ``_FEW``, where these
# are a small share of a tensor or a deep model has so many parameters.
_MANY, _FEW, _SPARSE, _LONG = 15_000, 500, 0.06, 100_000
# Of more cells a race would take too long, whatever the values are.
_TOO_MANY = 2**20
# Values of a larger kurtosis have single cells that outweigh all others: what grows and is polished
# by squares would follow them, while a race begins with a bounded pull.
_HEAVY = 300
# A level that holds a larger share of the squares asks for starts of positive mean.
_LEVEL = 0.25


def kind_of_fitting(estimator, frame, training, held_out):
    """Return the class of the call of fit that suits the cells."""
    if not training.in_memory:
        check_streams(estimator, asks_for_nothing(estimator, held_out))
        return StreamedFitting
    if frame.loss is not None:
        # Of few answers in a matrix random starts find what stands out in no subspace.
        few = _MANY if len(frame.sizes) == 2 and frame.loss.most < inf else _FEW
        grows = len(frame.sizes) > 1 and estimator._grows and len(training.values) >= few
        grows = grows and not estimator._nonnegative  # whose rows are no Newton steps
        grows = grows and asks_for_nothing(estimator, held_out, frame.loss.name)
        return LinkedGrowth if grows else LinkedFitting
    grows = (
        len(frame.sizes) > 1
        and estimator._grows
        and asks_for_nothing(estimator, held_out)
        and _are_many_or_sparse(estimator, frame, training)
        and _are_tame(estimator, frame, training, held_out)
    )
    return SampledFitting if grows else Fitting


def asks_for_nothing(estimator, held_out, loss="auto"):
    """Whether no parameter asks for one plain descent, and cells are held out."""
    told = (estimator.init_scale, estimator.init_mean, estimator.learning_rate)
    told += (estimator.record_every, estimator.measures, estimator.warm_start or None)
    names = (estimator.loss, estimator.step) == (loss, "adaptive") and estimator._is_auto()
    usual = names and all(parameter is None for parameter in told)
    return usual and estimator._prunes(held_out is not None)


def _are_many_or_sparse(estimator, frame, training):
    """Whether a race takes long, or large cells capture its random starts."""
    sizes, n_cells = frame.sizes, len(training.values)
    if n_cells >= _MANY or n_cells < _FEW:
        return n_cells >= _MANY
    model = estimator._factorization(sizes, n_cells)
    sparse = len(sizes) > 2 and n_cells < _SPARSE * prod(map(float, sizes))
    return sparse or (not model.theta_is_factors and model.n_parameters > _LONG)


def _are_tame(estimator, frame, training, held_out):
    """Whether squares, and starts inside subspaces, will do for these values."""
    if len(frame.sizes) > 2 and not estimator._starts_positive and training.level_share() > _LEVEL:
        return False
    if len(training.values) > _TOO_MANY:
        return True
    return max(cells.kurtosis() for cells in (training, held_out)) <= _HEAVY
