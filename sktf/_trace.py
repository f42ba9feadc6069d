"""What is recorded of a descent, and when it is watched on held-out cells."""

from math import inf

import numpy as np

# Recording by itself keeps at most this many records, evenly spaced.
_MOST_RECORDS = 200
# Leading binary digits that tell the iterations of a logarithmic record apart: 16 per doubling.
_DIGITS = 5
# What a trace holds without being asked; no measure may have these names.
_BUILT_IN = {
    "iteration",
    "time",
    "loss",
    "validation_loss",
    "component_norms",
    "singular_values",
}
# Iterations between two looks at the held-out loss.
CHECK_EVERY = 10
# A held-out loss counts as better when it is smaller by this share.
_BETTER = 1e-3


class Recorder:
    """Records of one descent, over all its stages.

    Parameters
    ----------
    measure : callable
        theta -> dict of numbers and arrays to record.
    every : int, "log" or None
        Iterations between two records. "log": 1 below iteration 32, and from ``2^k`` to
        ``2^(k+1)`` as many as make 16 records. None: chosen as the descent goes on, by leaving
        out every second record whenever ``_MOST_RECORDS`` are reached.
    notify : callable
        ``(iteration, loss, theta) -> bool``, called once per record; True ends the descent.
    first : int
        With None, iterations between the first two records.
    """

    def __init__(self, measure, every, notify, first=1):
        self._measure, self._notify = measure, notify
        self._thinned, self._log = every is None, every == "log"
        self._every = first if self._thinned else 1 if self._log else every
        self._records = []
        self.iteration, self.time = 0, 0.0

    def observe(self, iteration, time, loss, theta, **extra):
        """Record if it is time to; return "callback" when a callback asks to stop."""
        iteration, time = self.iteration + iteration, self.time + time
        if iteration % self._spacing(iteration) or iteration == self._latest:
            return None
        return self._record(iteration, time, loss, theta, extra)

    def due(self, iteration):
        """Return the iteration of this stage at which the next record is made."""
        spacing = self._spacing(self.iteration + iteration)
        return iteration + spacing - (self.iteration + iteration) % spacing

    @property
    def _latest(self):
        """The iteration of the latest record; a stage begins where the one before it ended."""
        return self._records[-1]["iteration"] if self._records else None

    def _spacing(self, iteration):
        return 2 ** max(0, iteration.bit_length() - _DIGITS) if self._log else self._every

    def _record(self, iteration, time, loss, theta, extra):
        record = {"iteration": iteration, "time": time, "loss": loss}
        self._records.append(record | self._measure(theta) | extra)
        if self._thinned and len(self._records) > _MOST_RECORDS:
            self._every *= 2
            *before, last = self._records
            self._records = [r for r in before if r["iteration"] % self._every == 0] + [last]
        return "callback" if self._notify(iteration, loss, theta) else None

    def end_stage(self, result, **extra):
        """Record where a stage ended, and count on from there."""
        self.iteration += result.n_iter
        self.time += result.time
        if self._latest != self.iteration:
            self._record(self.iteration, self.time, result.loss, result.theta, extra)

    def trace(self):
        """Return the records as a dict of arrays, first axis the record."""
        names = dict.fromkeys(name for record in self._records for name in record)
        return {name: np.array([r.get(name, np.nan) for r in self._records]) for name in names}


def to_frame(trace):
    """Return a trace as a pandas DataFrame, one column per entry of what a record holds."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("trace_frame needs pandas: install it, or read trace_.") from error
    columns = {
        "_".join([name, *map(str, entry)]): values[(slice(None), *entry)]
        for name, values in trace.items()
        for entry in np.ndindex(values.shape[1:])
    }
    return pd.DataFrame(columns).set_index("iteration")


class Measures:
    """What the user measures at each record: name -> function of the factors.

    Calling it returns a copy of what each function returns, a number or an array that keeps its
    shape; anything else is an error that names the measure.
    """

    def __init__(self, functions):
        self._functions, self._shapes = functions or {}, {}
        for name, function in self._functions.items():
            if not isinstance(name, str) or not callable(function):
                raise TypeError(
                    f"measures: expected names and functions of the factors, got {name!r}: "
                    f"{function!r}."
                )
            if name in _BUILT_IN:
                raise ValueError(f"measures: trace_ holds its own {name!r}; choose another name.")

    def __call__(self, factors):
        return {
            name: self._value(name, measure(factors)) for name, measure in self._functions.items()
        }

    def _value(self, name, returned):
        try:
            value = np.array(returned)
        except ValueError as error:  # a list of lists of different lengths
            raise TypeError(_NO_NUMBER.format(name, type(returned).__name__)) from error
        if value.dtype.kind not in "biuf":
            raise TypeError(_NO_NUMBER.format(name, type(returned).__name__))
        shape = self._shapes.setdefault(name, value.shape)
        if value.shape != shape:
            raise ValueError(
                f"measures[{name!r}] returned shape {value.shape} after {shape}; the shape of a "
                "measure must stay the same."
            )
        return value


_NO_NUMBER = "measures[{!r}] returned {}; expected a real number or an array of them."


class HeldOut:
    """Watches held-out cells through one stage and keeps the best theta.

    Patience is counted in progress first: its ``patience`` iterations begin once the training
    loss has moved by the share ``progress`` since the best held-out loss. On a plateau before the
    next component nothing moves, and nothing is counted.
    """

    def __init__(self, objective, patience, progress=0.3):
        self._objective, self._patience, self._progress = objective, patience, progress
        self.loss, self._training, self._moved_at = inf, inf, None
        self.theta, self.latest = None, inf

    def observe(self, iteration, loss, theta):
        """Return "held_out" when the held-out cells have had enough."""
        if iteration % CHECK_EVERY or self.look(loss, theta):
            return None
        if self._moved_at is None and loss < (1 - self._progress) * self._training:
            self._moved_at = iteration
        enough = self._moved_at is not None and iteration - self._moved_at >= self._patience
        return "held_out" if enough else None

    def due(self, iteration):
        """Return the iteration at which to look next."""
        return iteration + CHECK_EVERY - iteration % CHECK_EVERY

    def look(self, loss, theta):
        """Evaluate the held-out loss; return whether it is the best so far."""
        self.latest = self._objective.loss(theta)
        better = self.theta is None or self.latest < (1 - _BETTER) * self.loss
        if better:
            self.loss, self._training, self._moved_at = self.latest, loss, None
            self.theta = theta
        return better

    def best(self, result):
        """Return ``result`` with the best theta in place of the last."""
        self.look(result.loss, result.theta)
        return result._replace(theta=self.theta, loss=self._training)

    @property
    def turned(self):
        """Whether the held-out loss has risen since its best."""
        return self.latest > (1 + _BETTER) * self.loss
