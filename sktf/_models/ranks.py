"""A fit on all processes of a group: each reads its rows, rank 0 fits, all get the result."""

import numpy as np

from sktf._cells.labels import joined_labels
from sktf._cells.record import current_record, give, holding_back
from sktf._cells.validation import check_held_out, check_observations, has_rows, labels_of
from sktf._models.inner import parameters_named

# Up to so many rows rank 0 gathers all, and fits as a single process does; more stay where they
# are.
FEW_ROWS = 2**20


def fit_on_ranks(estimator, fit, X, y, sample_weight, X_val, y_val, *, read_as=None):
    """Fit an estimator to the rows of all ranks; return it.

    ``fit(observations, held_out, data)`` is called on rank 0; ``read_as`` is the estimator whose
    ``shape`` and ``encode`` count.
    """
    from sktf._objective.distributed import Ranks

    before = dict(vars(estimator))
    with Ranks() as ranks:
        try:
            reader = read_as or estimator
            ranks.agree(reader._check_parameters)
            cells, counts = _read(ranks, estimator, reader, X, y, sample_weight)
            given = ranks.agree(lambda: _held_out(estimator, X_val, y_val, cells.shape))
            ranks.hold("cells", cells)
            ranks.hold("device", str(reader.device))
            with holding_back() as held:
                if ranks.rank:
                    _follow(ranks, estimator)
                else:
                    _lead(ranks, estimator, fit, counts, given, {"X": X, "y": y})
        except BaseException as error:
            if not ranks.lost:
                raise
            vars(estimator).clear()
            vars(estimator).update(before)
            raise ranks.is_lost() from error
    give(held, 5)  # the caller of fit
    return estimator


def refuse_ranks(estimator, what):
    """Raise where an estimator with ``distributed=True`` is given to what runs in one process."""
    if any(value is True for value in parameters_named(estimator, "distributed").values()):
        raise ValueError(f"distributed=True: {what} runs in one process; set distributed=False.")


def _read(ranks, estimator, reader, X, y, sample_weight):
    """Return this rank's observations, of the shape of all, and how many each rank has."""
    some, categories = has_rows(X, sample_weight), None
    if reader.encode:
        categories = reader._known_labels() if reader is estimator else ()
        if not len(categories):
            told = ranks.agree(lambda: labels_of(X, y, sample_weight) if some else None)
            categories = joined_labels([labels for labels in told if labels is not None])
    cells, known = None, ("n_features_in_", "feature_names_in_")

    def read():
        nonlocal cells
        if not some:
            return None
        shape = reader.shape
        cells = check_observations(estimator, X, y, sample_weight, shape, categories)
        columns = {name: vars(estimator)[name] for name in known if name in vars(estimator)}
        return len(cells.values), cells.shape, columns

    parts = ranks.agree(read)
    counts = [0 if part is None else part[0] for part in parts]
    shape, columns = _agreed([part[1:] for part in parts if part is not None])
    if cells is None:
        from sktf._objective.spread import no_cells

        cells = no_cells(shape)
        vars(estimator).update(columns)
        if categories is not None:
            estimator.categories_ = categories
    return cells._replace(shape=shape), counts


def _agreed(parts):
    """Return the shape of all, and what is known of the columns of X."""
    if not parts:
        raise ValueError("X has no row of positive weight on any rank; at least one needs some.")
    shapes, columns = zip(*parts, strict=True)
    told = {str([*its.get("feature_names_in_", range(its["n_features_in_"]))]) for its in columns}
    if len(told) > 1:
        raise ValueError(f"X has other columns on other ranks: {' and '.join(sorted(told))}.")
    return tuple(int(size) for size in np.max(shapes, axis=0)), columns[0]


def _held_out(estimator, X_val, y_val, shape):
    """Return the cells that this rank gives to stop on, or None."""
    if X_val is not None and y_val is not None and not has_rows(X_val, None):
        return None
    return check_held_out(estimator, X_val, y_val, shape)


def _lead(ranks, estimator, fit, counts, given, data):
    """Fit on rank 0, and send all others how that ended."""
    from sktf._objective.spread import cells_of_all, joined

    given = [part for part in given if part is not None]
    try:
        cells = cells_of_all(ranks, sum(counts) > FEW_ROWS)
        fit(cells, joined(given) if given else None, data)
    except KeyboardInterrupt:
        if ranks.lost:  # of which this rank was told by an interrupt
            ranks.end({}, text=str(ranks.is_lost()))
            raise
        reached = vars(estimator).get("_record") is current_record()
        ranks.end(_fitted(estimator) if reached else {}, interrupted=True)
        raise
    except Exception as error:
        if not ranks.lost:
            ranks.end({}, text=ranks.told(error))
        raise
    ranks.end(_fitted(estimator))


def _fitted(estimator):
    """Return the attributes of an estimator that are no parameters, nor belong to this rank."""
    kept = {*estimator.get_params(deep=False), "_skl_callbacks", "_seconds"}
    return {name: value for name, value in vars(estimator).items() if name not in kept}


def _follow(ranks, estimator):
    """Answer rank 0 until it has fitted; take what it has found, or raise as it did."""
    attributes, text, interrupted = ranks.serve()
    if text is not None:
        raise RuntimeError(text)
    if "_record" in attributes:
        current_record().update(attributes["_record"])
        attributes["_record"] = current_record()
    vars(estimator).update(attributes)
    if interrupted:
        raise KeyboardInterrupt("The fit was interrupted on one of the ranks.")
