"""What held-out cells choose: how many components, where chains begin, what weight they have."""

from typing import NamedTuple

import numpy as np

from sktf._averages.gibbs import Sampler
from sktf._averages.posterior_space import Space
from sktf._descent.race import as_good
from sktf._models.verdict import Verdict, judge, share_of_step, sums_of_cells

# Where chains begin: at the descent, and at small random factors.
BOTH = "descent", "small"
# Cells are held out from so many distinct ones on: this share, and at most so many.
_ENOUGH, _SHARE, _MOST = 100, 0.1, 20_000
# Components that chains have at least, unless held-out cells prefer a lower rank, and at most, or
# twice the rank if that is more.
_FEWEST, _MOST_COMPONENTS = 10, 40
# Where a sweep takes no more multiplications than these, all numbers are tried; else more as long
# as they leave at most this share of the squares.
_CHEAP = 5e7
_WORTH = 0.98
# So many held-out cells tell of the number of components; fewer, in so many more folds.
_TELLING, _FOLDS = 500, 8
# Sweeps of a trial: those that are dropped, and those that are averaged.
_WARM, _AVERAGED = 20, 40
# Standard errors by which held-out cells must ask for a share of the descent.
_SIGNIFICANT = 2


class Choice(NamedTuple):
    """What held-out cells have chosen; chains take the ``begins``, one or ``BOTH``, in turn.

    ``weight`` is that of the chains beside the descent; ``verdict`` that of the held-out cells
    on the mean of both, None without such cells.
    """

    n_components: int
    begins: tuple
    weight: float = 1.0
    verdict: Verdict | None = None


class _Fold(NamedTuple):
    """Cells to train on as a chain reads them, and those held out: rows, values, shares."""

    space: Space
    sampler: Sampler
    rows: np.ndarray
    values: np.ndarray
    shares: np.ndarray

    @classmethod
    def of(cls, training, held_out):
        """Return the fold of these cells."""
        space = Space.of(training)
        rows, values = space.rows(held_out.coords), space.standardized(held_out.values)
        shares = held_out.weights / held_out.weights.sum()
        return cls(space, space.sampler(training), rows, values, shares)

    def predicted(self, begin, model, n_components, rng):
        """Return the mean prediction of a short chain."""
        begin = self.space.begin(begin, model, n_components, rng)
        state, total = self.sampler.begin(*begin, rng), 0.0
        for sweep in range(_WARM + _AVERAGED):
            state = self.sampler.sweep(state)
            total = total + state.with_mean_row().at(self.rows) if sweep >= _WARM else 0.0
        return total / _AVERAGED

    def squares(self, predicted):
        """Return what each cell adds to the mean squared error."""
        return self.shares * (self.values - predicted) ** 2

    def error(self, predicted):
        """Return the root mean squared error in units of y."""
        return self.space.frame.offset.scale * np.sqrt(self.squares(predicted).sum())


class _Trial(NamedTuple):
    """Short chains of so many components: what the chosen of them predict.

    ``error`` is the mean over folds of the mean squared error of their held-out cells.
    """

    n_components: int
    begins: tuple
    predicted: np.ndarray
    error: float


def split(observations, rng):
    """Return the cells to train on, and those held out, or None of few.

    Every index keeps a cell to train on.
    """
    numbered = observations.numbered()
    n_cells = numbered.n_distinct
    if n_cells < _ENOUGH or len(observations.shape) < 2:
        return observations, None
    chosen = np.zeros(n_cells, bool)
    chosen[rng.permutation(n_cells)[: min(int(_SHARE * n_cells), _MOST)]] = True
    training, held_out = observations.apart(numbered.mask(chosen))
    unread = observations.unread(training.row_counts(observations.shape))
    chosen[numbered.of(unread)] = False
    training, held_out = observations.apart(numbered.mask(chosen))
    return (training, held_out) if len(held_out.values) else (observations, None)


def _more(training, held_out, rng):
    """Return further cells to train on and held out, where those held out are few."""
    n_folds = min(_FOLDS, _TELLING // len(held_out.values))
    parts = (split(training, rng) for _ in range(n_folds))
    return [(some, others) for some, others in parts if others is not None]


def choose(model, training, held_out, n_components, rng, say):
    """Return what held-out cells choose.

    Parameters
    ----------
    model : BaseCompletion
        The descent.
    training, held_out : Observations
        Cells to train on and those held out, or None.
    n_components : int or None
        How many the user asks for.
    rng : RandomState
        Draws the chains.
    say : callable
        Is given a line for each number of components.
    """
    n_components = n_components and int(n_components)
    numbers = [n_components] if n_components else _numbers(model.rank_)
    if held_out is None:
        return Choice(n_components or max(_FEWEST, model.rank_), BOTH)
    fold, others, best = _Fold.of(training, held_out), [], None
    if len(numbers) > 1:
        others = [_Fold.of(*parts) for parts in _more(training, held_out, rng)]
    for number in numbers:
        is_cheap = len(training.values) * len(training.shape) * number**2 <= _CHEAP
        trial = _tried(fold, others, model, number, rng)
        say(f"{number} components: held-out RMSE {fold.error(trial.predicted):.4g}")
        if best is None or trial.error < (1.0 if is_cheap else _WORTH) * best.error:
            best = trial
        elif not is_cheap:
            break
    descent = model.predict(held_out.coords)
    of_cells = sums_of_cells(held_out)
    weight = _weight(fold, best.predicted, fold.space.standardized(descent), of_cells)
    predicted = weight * fold.space.values(best.predicted) + (1 - weight) * descent
    verdict = _verdict(predicted, training, held_out)
    return Choice(best.n_components, best.begins, weight, verdict)


def _numbers(rank):
    """Return the numbers of components to try: the rank, if it is below ten, and more."""
    first = max(rank, _FEWEST)
    doubled = [first * 2**k for k in range(8) if first * 2**k <= max(_MOST_COMPONENTS, 2 * rank)]
    return [rank, *doubled] if 0 < rank < _FEWEST else doubled


def _tried(fold, others, model, n_components, rng):
    """Return short chains from the descent and from a small start, or those that are better.

    In the other folds, which tell of the number of components alone, chains begin small.
    """
    predicted = {(begin,): fold.predicted(begin, model, n_components, rng) for begin in BOTH}
    predicted[BOTH] = sum(predicted.values()) / 2
    squares = {begins: fold.squares(its) for begins, its in predicted.items()}
    best = min(squares, key=lambda begins: squares[begins].sum())
    best = BOTH if as_good(squares[BOTH], squares[best]) else best
    more = [its.squares(its.predicted("small", None, n_components, rng)) for its in others]
    error = float(np.mean([each.sum() for each in (squares[best], *more)]))
    return _Trial(n_components, best, predicted[best], error)


def _weight(fold, chains, descent, of_cells):
    """Return the weight of chains beside a descent, by least squares (stacking, Wolpert 1992).

    It is larger than that by two standard errors: held-out cells have to ask for the descent, and
    few of them cannot.
    """
    step, left = chains - descent, fold.values - descent
    if len(of_cells(left)) < _ENOUGH or not step.any():
        return 1.0
    return share_of_step(left, step, fold.shares, _SIGNIFICANT, of_cells)


def _verdict(predicted, training, held_out):
    """Return the verdict of held-out cells on predictions, beside the mean of the others."""
    mean = training.mean()
    how = {"mean_will_do": True, "doubts": False}
    return judge(held_out, predicted, np.full(len(predicted), mean), mean, **how)
