"""Fits that are killed in the middle, without a process for each."""

import numpy as np

from sktf._descent import journal
from sktf._models import checkpoint


class Killed(BaseException):
    """Ends a fit as a kill does: nothing in the package catches it."""


class Writes:
    """In place of ``write_checkpoint``: counts, and kills the fit once it has written so often.

    Only the first write and the last before a kill reach the disk, for the one replaces the other.
    """

    def __init__(self, write):
        self._write, self.n, self.last = write, 0, None

    def __call__(self, path, content):
        self.n += 1
        if self.last is not None and self.n > self.last:
            raise Killed
        if self.n == 1 or self.n == self.last or self.last is None:
            self._write(path, content)

    def kill_after(self, last):
        """Count from 0, and let this be the last write; with None there is no last."""
        self.n, self.last = 0, last


def count_writes(monkeypatch, eager=True):
    """Have fits write at every look, if eager, and return what counts the writes."""
    writes = Writes(checkpoint.write_checkpoint)
    monkeypatch.setattr(checkpoint, "write_checkpoint", writes)
    if eager:
        monkeypatch.setattr(journal, "SECONDS", 0.0)
        monkeypatch.setattr(journal, "TIMES", 0)
    return writes


def bits(model):
    """Return all that a fit by gradient descent leaves, as bytes and numbers."""
    told = [model.trace_[name] for name in sorted(model.trace_)]
    told += [*model.factors_, *model.offset_terms_, model.component_norms_]
    told += model._theta if isinstance(model._theta, list) else [model._theta]
    numbers = model.offset_, model.scale_, model.rank_, model.loss_, model.n_iter_
    return [array.tobytes() for array in told], (*numbers, model.converged_)


def evenly(n, most):
    """Return up to so many whole numbers from 1 to n - 1, evenly spaced."""
    return sorted({int(k) for k in np.linspace(1, n - 1, most)})


def settings(path, **others):
    """Return the parameters of a small fit."""
    return dict(n_components=3, n_init=2, max_iter=40, random_state=0, checkpoint=path) | others
