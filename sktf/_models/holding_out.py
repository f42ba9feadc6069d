"""Which cells are held out to stop on, and to choose by."""

import numpy as np

# early_stopping="auto" holds cells out from this many distinct observed cells on.
_ENOUGH_TO_HOLD_OUT = 100
# Held-out cells there are at most, and cells from which on these are drawn without a number each.
_MOST_HELD_OUT, _TOO_MANY_TO_NUMBER, _FIRST_ROWS = 200_000, 2**17, 2**12


def hold_out(estimator, observations, given, frame, rng):
    """Split off held-out cells: those given, a random share, or None."""
    if given is not None or not estimator.early_stopping:
        return observations, given
    n_rows = len(observations.values)
    many = n_rows > _TOO_MANY_TO_NUMBER
    if many and len(observations.shape) > 1 and are_many(observations):
        training, held_out = observations.drawn_apart(_share_of(estimator, n_rows), rng)
        if not len(held_out.values):
            raise ValueError(
                f"validation_fraction={estimator.validation_fraction} holds out none of {n_rows} "
                f"observed cells; set it to {_ENOUGH_TO_HOLD_OUT / n_rows:.0e} or more."
            )
        return training, held_out
    numbered = observations.rows_read(frame).numbered()
    n_cells = numbered.n_distinct
    # A vector tells of no index by its other ones.
    enough = n_cells >= _ENOUGH_TO_HOLD_OUT and len(observations.shape) > 1
    if estimator.early_stopping == "auto" and not enough:
        return observations, None
    n_held_out = int(np.ceil(_share_of(estimator, n_cells) * n_cells))
    if n_held_out >= n_cells:
        raise ValueError(
            f"early_stopping=True with validation_fraction={estimator.validation_fraction} leaves "
            f"no cell to train on, of {n_cells} observed; set early_stopping=False."
        )
    chosen = np.zeros(n_cells, bool)
    chosen[rng.permutation(n_cells)[:n_held_out]] = True
    return observations.apart(numbered.mask(chosen))


def are_many(observations):
    """Whether the first rows, of very many, are mostly of distinct cells."""
    first = observations.take(slice(0, _FIRST_ROWS))
    return first.n_distinct() > _FIRST_ROWS / 2


def _share_of(estimator, n_cells):
    """Return the share of cells that is held out; more would tell no more."""
    return min(estimator.validation_fraction, _MOST_HELD_OUT / n_cells)
