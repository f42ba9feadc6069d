"""offset="auto": held-out cells choose between components alone and those beside additive terms."""

# An additive offset whose error is within this factor of that of the race gets a race of its own:
# where it explains far less, the terms that it fits are in the way of components.
_NEAR = 1.15


def best_offset(fitting, run, rng):
    """Return the fitting and its run, or those with an additive offset, of less held-out error."""
    additive = fitting.with_frame(fitting.frame.with_terms(fitting.training))
    enough = min(_NEAR * fitting.verdict.error, fitting.verdict.error_of_mean)
    if run.stopped or additive.offset_error() > enough:
        return fitting, run
    beside = additive.descend(rng)
    if beside.stopped or not additive.verdict.error < fitting.verdict.error:
        run.status = beside.status if beside.stopped else run.status
        return fitting, run
    return additive, beside
