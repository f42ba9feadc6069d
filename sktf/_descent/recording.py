"""What is recorded of a descent, and when."""

import numpy as np

from sktf._objective.components import stack_padded

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
    first : int
        With None, iterations between the first two records.
    """

    def __init__(self, measure, every, first=1):
        self._measure = measure
        self._thinned, self._log = every is None, every == "log"
        self._every = first if self._thinned else 1 if self._log else every
        self._records = []
        self.iteration, self.time = 0, 0.0

    def observe(self, iteration, time, loss, theta, **extra):
        """Record if it is time to; return whether it was."""
        iteration, time = self.iteration + iteration, self.time + time
        is_time = iteration % self._spacing(iteration) == 0 and iteration != self.latest
        if is_time:
            self._record(iteration, time, loss, theta, extra)
        return is_time

    def due(self, iteration):
        """Return the iteration of this stage at which the next record is made."""
        spacing = self._spacing(self.iteration + iteration)
        return iteration + spacing - (self.iteration + iteration) % spacing

    @property
    def latest(self):
        """The iteration of the latest record; a stage begins where the one before it ended."""
        return self._records[-1]["iteration"] if self._records else None

    @property
    def state(self):
        """All that is recorded so far, and where the next record begins to count."""
        return [*self._records], self._every, self.iteration, self.time

    @state.setter
    def state(self, state):
        records, self._every, self.iteration, self.time = state
        self._records = [*records]

    def _spacing(self, iteration):
        return 2 ** max(0, iteration.bit_length() - _DIGITS) if self._log else self._every

    def _record(self, iteration, time, loss, theta, extra):
        record = {"iteration": iteration, "time": time, "loss": loss}
        self._records.append(record | self._measure(theta) | extra)
        if self._thinned and len(self._records) > _MOST_RECORDS:
            self._every *= 2
            *before, last = self._records
            self._records = [r for r in before if r["iteration"] % self._every == 0] + [last]

    def end_stage(self, result, **extra):
        """Record where a stage ended, and count on from there; return whether that was new."""
        self.iteration += result.n_iter
        self.time += result.time
        is_new = self.latest != self.iteration
        if is_new:
            self._record(self.iteration, self.time, result.loss, result.theta, extra)
        return is_new

    def trace(self):
        """Return the records as a dict of arrays, first axis the record.

        Vectors that became longer are padded with zeros: of components that were not there yet.
        """
        names = dict.fromkeys(name for record in self._records for name in record)
        return {name: _stack([r.get(name, np.nan) for r in self._records]) for name in names}


def _stack(values):
    """Return an array of numbers or arrays."""
    lengths = {len(value) for value in values if np.ndim(value) == 1}
    return stack_padded(values) if len(lengths) > 1 else np.array(values)


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
