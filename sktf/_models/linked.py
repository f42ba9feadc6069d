"""One call of fit below a link: counts, and yes or no."""

import numpy as np

from sktf._descent.growth import agree
from sktf._descent.linked_polish import LinkedPolish, LinkedRun
from sktf._descent.steps import Adaptive
from sktf._models.events import Event
from sktf._models.fitting import Fitting
from sktf._models.sampled import SampledFitting
from sktf._models.verdict import judge_linked

# How many times as long as the last one a step may be: where means near no or yes the deviance is
# flat, and a step that grows faster leaps over all that cells tell.
_LENGTHENING = 1.05
# Cells of a sample, also for each row, beside which one start will do.
_ENOUGH, _PER_ROW = 40_000, 100


class LinkedFitting(Fitting):
    """What ``Fitting`` is, of a loss with a link: starts race on its deviance."""

    def _new_problem(self, training):
        problem, loss = super()._new_problem(training), self.estimator._losses()[-1]
        y, weights = self.training.values, self.training.weights
        level = np.full(len(y), loss.level(self.training.mean(), len(y)))
        # The unit of deviances is that of counts, or rates: what is small is so beside the mean's.
        around = float(np.average(loss.value(level, y), weights=weights))
        unit = self.frame.offset.scale if loss.scaled else 1.0
        # Of values that are all alike nothing is left beside a level.
        nothing_left = y.min() == y.max() and self.estimator.offset is not None
        return problem._replace(tol=np.inf if nothing_left else problem.tol * around / unit)

    def _loss(self):
        return self.problem.losses[-1]

    def _mean_will_do(self):
        return False  # the offset is the mean

    def _judged(self, run, doubts):
        event = Event.of(self.training, self._loss())
        return judge_linked(self.held_out, *self._at_held_out(run), event, doubts=doubts)

    def error(self, run):
        """Return how far a value leaves the linear predictor of its cell off, at the mean."""
        loss, mean = self._loss(), self.training.mean()
        return float(np.sqrt(loss.variance(mean)) / max(loss.slope(mean), 1e-12))


class LinkedGrowth(LinkedFitting, SampledFitting):
    """What ``SampledFitting`` is below a link; the level is fitted with the components."""

    _run_kind, _polish_kind, _last_polish = LinkedRun, LinkedPolish, LinkedPolish
    _step = Adaptive()

    def _new_problem(self, training):
        self._alone = self.frame.offset  # components move the level, and terms
        problem = super()._new_problem(training)
        if np.isinf(problem.losses[-1].most):
            return problem
        return problem._replace(step=Adaptive(growth=_LENGTHENING))

    def _without(self, frame, terms):
        return frame._replace(offset=frame.offset._replace(level=0.0, terms=terms))

    def _empty(self):
        level = None if self.estimator.offset is None else self.frame.offset.level
        return super()._empty()._replace(level=level, loss=self.estimator._losses()[-1])

    def _take_terms(self, model):
        super()._take_terms(model)
        if model.level is not None:
            offset = self.frame.offset._replace(level=model.level)
            self.frame = self.frame._replace(offset=offset)

    def _at_held_out(self, run):
        offset, components = super()._at_held_out(run)
        alone = self._alone.at(self.held_out.coords)
        return alone, components + (offset - alone)

    def _told_frame(self):
        """Return the frame that predicts: its offset goes as far from that alone as components."""
        if self.learned:
            return self.frame
        share, alone, offset = self.verdict.share, self._alone, self.frame.offset
        pairs = zip((alone.level, *alone.terms), (offset.level, *offset.terms), strict=True)
        level, *terms = (mine + share * (its - mine) for mine, its in pairs)
        return self.frame._replace(offset=offset._replace(level=level, terms=tuple(terms)))

    def _refit(self, everything, run):
        if not self.learned and self.verdict.share:
            self.training = everything
            return run  # the share was judged of components and terms as they are
        run = super()._refit(everything, run)
        if self.frame.offset.terms:
            self._alone = self.frame.offset
        elif not self.learned:
            kind = None if self.estimator.offset is None else "mean"
            self._alone = everything.fit_link_offset(kind, self._loss())
        return run

    def _enough(self):
        return min(super()._enough(), max(_ENOUGH, _PER_ROW * sum(self.frame.sizes)))

    def _start(self, kind, n_components, cells, rng):
        if kind is not None:  # subspaces are those of how far values are off their means
            y, eta = cells.values.T
            cells = cells._replace(values=y - self._loss().mean(eta))
        return super()._start(kind, n_components, cells, rng)

    def _are_enough(self, runs):
        found = [run for run in runs if run.theta.n_components]
        return bool(found) and (self._is_sampled() or agree(found))
