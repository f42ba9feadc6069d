"""Estimators that take cells in files, and very many in memory, block by block."""

import numpy as np

from sktf._cells.stored import Stored
from sktf._docs import documented
from sktf._models.growth_choice import asks_for_nothing
from sktf._models.parameters import DescentParameters
from sktf._models.streamed import (
    check_pair,
    check_streams,
    in_blocks,
    open_stream,
    read_stored,
    refuse_weights,
)


@documented()
class FilesCompletion(DescentParameters):
    """A completion estimator that reads X and y of ``open_entries``."""

    # Whether it fits them.
    _streams = False

    def _read(self, X, y, sample_weight):
        if not (self._streams and isinstance(X, Stored)):
            return super()._read(X, y, sample_weight)
        few = read_stored(X, y)
        if few is not None:
            return super()._read(*few, sample_weight)
        check_streams(self, asks_for_nothing(self, held_out=()))
        return open_stream(self, X, sample_weight)

    def _in_blocks(self, observations, given):
        """Return very many observations in memory as a ``Stream``, and others as they are.

        The fit is the same, in less time and memory: no copy of them all is made. Cells are held
        out of them, unless others are ``given``.
        """
        holds_out = given is None and bool(self.early_stopping)
        streams = self._streams and holds_out and asks_for_nothing(self, held_out=())
        return in_blocks(observations) if streams else observations

    def predict(self, X) -> np.ndarray:
        if not isinstance(X, Stored):
            return super().predict(X)
        predicted, start = np.empty(len(X)), 0
        for chunk in X.chunks():
            predicted[start : start + len(chunk)] = super().predict(chunk)
            start += len(chunk)
        return predicted

    def score(self, X, y, sample_weight=None) -> float:
        if not isinstance(X, Stored):
            return super().score(X, y, sample_weight)
        check_pair(X, y)
        refuse_weights(sample_weight)
        moments, left = X.cells.moments, 0.0
        for coords, values in X.cells.blocks():
            left += (((values - super().predict(coords)) / moments.unit) ** 2).sum()
        spread = len(X) * moments.spread
        return float(1 - left / spread) if spread > 0 else float(left == 0)
