"""offset="auto": held-out cells choose between components alone and those beside additive terms."""

import numpy as np

# An additive offset whose error is within this factor of that of the race gets a race of its own:
# where it explains far less, the terms that it fits are in the way of components.
_NEAR = 1.15


def best_offset(fitting, run, rng):
    """Return the fitting and its run, or those with an additive offset, of less held-out error."""
    frame = fitting.frame.with_terms(fitting.training)
    enough = min(_NEAR * fitting.verdict.error, fitting.verdict.error_of_mean)
    if run.stopped or _error(frame.offset, fitting.held_out) > enough:
        return fitting, run
    try:
        additive, beside = fitting.beside(rng, frame)
    except KeyboardInterrupt:  # before it has reached anything
        run.status = "interrupted"
        return fitting, run
    if beside.stopped or not additive.verdict.error < fitting.verdict.error:
        run.status = beside.status if beside.stopped else run.status
        return fitting, run
    return additive, beside


def _error(offset, held_out):
    """Return the root mean squared error of an offset alone; no square over- or underflows."""
    left = held_out.values - offset.at(held_out.coords)
    unit = np.abs(left).max() or 1.0
    return unit * float(np.sqrt(np.average((left / unit) ** 2, weights=held_out.weights)))
