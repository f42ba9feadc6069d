"""offset="auto": held-out cells choose between components alone and those beside additive terms."""

import numpy as np

from sktf._models.events import Event

# An additive offset whose error is within this factor of that of the race gets a race of its own:
# where it explains far less, the terms that it fits are in the way of components.
_NEAR = 1.3
# Relative tolerance of the terms that this is looked up by.
_ROUGH = 1e-3


def best_offset(fitting, run, rng):
    """Return the fitting and its run, or those with an additive offset, of less held-out error."""
    cells, scale = fitting.training, bool(fitting.estimator.scale)
    enough = min(_NEAR * fitting.verdict.error, fitting.verdict.error_of_mean)
    if run.stopped:
        return fitting, run
    try:
        rough = fitting.frame.with_terms(fitting.rough_training(), scale, _ROUGH).offset
        if _error(rough, fitting.held_out, cells, fitting.frame.loss) > enough:
            return fitting, run
        additive, beside = fitting.beside(rng, fitting.frame.with_terms(cells, scale))
    except KeyboardInterrupt:  # before it has reached anything
        run.status = "interrupted"
        return fitting, run
    errors = fitting.verdict.error, additive.verdict.error
    chosen = not beside.stopped and errors[1] < errors[0]
    fitting.problem.progress.say(
        f"Additive offset: held-out RMSE {errors[1]:.3g} instead of {errors[0]:.3g}, "
        + ("chosen" if chosen else "not chosen")
    )
    if chosen:
        return additive, beside
    run.status = beside.status if beside.stopped else run.status
    return fitting, run


def _error(offset, held_out, training, loss):
    """Return the root mean squared error of an offset alone; no square over- or underflows.

    With a loss that has a link it is the root mean deviance, with one more event.
    """
    if loss is not None:
        eta = offset.at(held_out.coords)
        mean_deviance = np.average(loss.value(eta, held_out.values), weights=held_out.weights)
        mean_deviance += Event.of(training, loss).added(eta, held_out)
        return float(np.sqrt(max(mean_deviance, 0.0)))  # of the least one rounding may be left
    left = held_out.values - offset.at(held_out.coords)
    unit = np.abs(left).max() or 1.0
    return unit * float(np.sqrt(np.average((left / unit) ** 2, weights=held_out.weights)))
