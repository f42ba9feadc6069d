"""What ``fuzz.py`` fits: an estimator, parameters and data, all drawn from the number of a case.

A generator of its own, and not hypothesis: a case is its number, so that any process can repeat it,
processes can share a run, and ``make test`` needs no package more. Nothing shrinks here; cases are
small enough to read.
"""

from dataclasses import dataclass, field, fields

import numpy as np
import pandas as pd
import polars as pl
from scipy import sparse

import sktf

#: Estimators that are fitted to cells, and how often each is drawn.
ESTIMATORS = {
    sktf.CPCompletion: 6,
    sktf.DeepCPCompletion: 3,
    sktf.NonNegativeCPCompletion: 3,
    sktf.DeepMatrixCompletion: 3,
    sktf.DeepTuckerCompletion: 2,
    sktf.HierarchicalCompletion: 2,
    sktf.CPALSCompletion: 3,
    sktf.NuclearNormCompletion: 1,
    sktf.CompletionEnsemble: 2,
    sktf.PosteriorCompletion: 2,
    sktf.CompletionImputer: 2,
}
#: How often counts, or yes and no, take the place of other values.
_LINKED = 0.1
#: Values of the domain of each parameter.
_VALUES = {
    "offset": ["auto", "mean", "additive", None],
    "scale": [True, False],
    "handle_unknown": ["auto", "error", "mean"],
    "clip": [None, "range", (-1, 1), [0.0, 5.0], (-np.inf, 3.0)],
    "rank_tol": [0, 0.1, 0.99],
    "n_init": [1, 2, 4, "auto"],
    "tol": [0, 1e-6, 1e-2, 1.0],
    "early_stopping": [True, False, "auto"],
    "validation_fraction": [0.01, 0.1, 0.5, 0.99],
    "n_iter_no_change": [1, 10, 100],
    "prune": [True, False, "auto"],
    "refit": [True, False],
    "warm_start": [True, False],
    "dtype": ["float32", "float64", np.float32, np.dtype("float64")],
    "init": ["auto", "auto", "gaussian", "balanced", "identity"],
    "init_scale": [None, 1e-8, 1e-3, 0.1, 1.0, 10.0],
    "init_mean": [None, -1.0, 0.0, 0.1, 2],
    "loss": ["auto", "squared", "huber"],
    "huber_delta": [1e-3, 0.3, 1e3],
    "step": ["adaptive", "grouprmsprop", "constant"],
    "learning_rate": [None, 1e-4, 0.01, 0.3, 2.0],
    "record_every": [None, 1, 7, "log"],
    "measures": [None, {}, {"largest": lambda factors: abs(factors[0]).max(initial=0)}],
    "n_components": [None, 1, 2, 5, 30],
    "depth": [0, 1, 1, 2, 3],
    "hidden": [None, 1, 3, [2, 3]],
    "row_modes": [(0,), (1,), (0, 1), [2, 0]],
    "ranks": [None, 1, 3, [2, 2], [2, 3, 1]],
    "solver": ["auto", "tensorly", "sparse"],
    "epsilon": [0, 1e-3, 0.1],
    "n_estimators": [1, 2, 3],
    "n_average": [None, 1, 2],
    "n_samples": [1, 2, 5],
    "n_warmup": [0, 1, 3],
    "n_chains": [1, 2],
    "add_indicator": [True, False],
    "keep_empty_features": [True, False],
    "shape": [None],
}
#: What is drawn for any parameter now and then, in its domain or not.
_BEYOND = [-1, 0, 1.5, 7, "nonsense", "auto", None, True, np.nan, np.inf, [], [0.5], {}, np.int8(1)]
#: What every case sets, so that it is small; ``n_jobs`` and ``verbose`` are no concern of fuzzing.
_FEW = {"n_estimators": 2, "n_samples": 2, "n_warmup": 1, "n_chains": 1}
_KEEP_ROWS = {"init": "auto", "warm_start": False}


@dataclass
class Case:
    """A call of ``fit``: ``told`` are the names of what was drawn."""

    number: int
    estimator: object
    X: object
    y: object
    options: dict = field(default_factory=dict)
    told: list = field(default_factory=list)


def draw(number):
    """Return a case by its number."""
    rng = np.random.default_rng([2026, number])
    cells, shape = _cells(rng)
    values, kind = _values(rng, cells, shape)
    estimator, told = _estimator(rng, shape)
    # A generator of its own: the other cases stay what they were.
    linked = np.random.default_rng([2027, number])
    if linked.random() < _LINKED and _descends(estimator):
        estimator, values, kind = _linked(linked, estimator, cells, shape)
    told.append(kind)
    if isinstance(estimator, sktf.CompletionImputer):
        return Case(number, estimator, _table(rng, cells, values, shape), None, {}, told)
    X, form = _as_given(rng, cells, estimator)
    y, its_form = _y_as_given(rng, values)
    options = _weights(rng, len(values)) | _held_out(rng, X, y)
    told += [form, its_form, *options]
    if rng.random() < 0.1:
        X, y, fault = _spoilt(rng, X, y)
        told.append(fault)
    return Case(number, estimator, X, y, options, told)


def _pick(rng, choices):
    return choices[rng.integers(len(choices))]


def _cells(rng):
    """Return cells (some of them twice, or none at all) and the sizes of their modes."""
    order = rng.choice(6, p=[0.05, 0.4, 0.3, 0.15, 0.05, 0.05]) + 1
    shape = tuple(np.exp(rng.uniform(0, np.log(41), order)).astype(int))
    n_cells = int(_pick(rng, [0, 1, 2, *[np.exp(rng.uniform(0, 7.6))] * 17]))
    return rng.integers(shape, size=(n_cells, order)), shape


def _values(rng, cells, shape):
    """Return the values of cells, of many kinds and magnitudes, and a name for them."""
    factors = [rng.standard_normal((size, 2)) for size in shape]
    terms = [factor[mode] for factor, mode in zip(factors, cells.T, strict=True)]
    low_rank, noise = np.prod(terms, axis=0).sum(1), rng.standard_normal(len(cells))
    kinds = {
        "low rank": low_rank,
        "noisy": low_rank + 0.3 * noise,
        "positive": np.abs(low_rank),
        "noise": noise,
        "constant": np.full(len(cells), 3.0),
        "zeros": np.zeros(len(cells)),
        "whole": np.round(3 * low_rank),
        "one spike": np.where(np.arange(len(cells)) == 0, 1e6, low_rank),
        "offset": low_rank + 1e4,
        "mixed magnitudes": noise * 10.0 ** rng.integers(-12, 12, len(cells)),
    }
    kind = _pick(rng, list(kinds))
    unit = _pick(rng, [1.0] * 6 + [1e-12, 1e12, 1e-150, 1e150, 1e-300, 1e300, 5e-324, 1e302])
    with np.errstate(over="ignore"):
        return kinds[kind] * unit, f"{kind} x {unit:g}"


def _estimator(rng, shape):
    """Return an estimator with parameters, and their names."""
    kinds = list(ESTIMATORS)
    weights = np.array([*ESTIMATORS.values()], float)
    kind = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
    estimator = _with_parameters(rng, kind(), shape)
    told = [kind.__name__]
    if "estimator" in estimator.get_params(deep=False):
        inner = _pick(rng, kinds[:5] if rng.random() < 0.8 else kinds)
        estimator.set_params(estimator=_with_parameters(rng, inner(), shape))
        told.append(inner.__name__)
    if "estimators" in estimator.get_params(deep=False) and rng.random() < 0.3:
        members = [(f"m{n}", _with_parameters(rng, _pick(rng, kinds[:7])(), shape)) for n in (0, 1)]
        estimator.set_params(estimators=members, estimator=None)
    return estimator, told


def _descends(estimator):
    """Whether an estimator, or the one in it, has losses of counts and of yes and no."""
    inner = getattr(estimator, "estimator", None)
    if isinstance(estimator, sktf.CompletionEnsemble) and inner is not None:
        estimator = inner
    return "loss" in estimator.get_params(deep=False)


def _linked(rng, estimator, cells, shape):
    """Return an estimator with a loss that has a link, or a classifier, and such values."""
    factors = [rng.standard_normal((size, 2)) for size in shape]
    terms = [factor[mode] for factor, mode in zip(factors, cells.T, strict=True)]
    eta = np.clip(_pick(rng, [0.3, 1.0, 3.0]) * np.prod(terms, axis=0).sum(1), -8, 8)
    kind = _pick(rng, ["poisson", "poisson", "logistic", "logistic", "labels"])
    for name in estimator.get_params():
        if name.split("__")[-1] == "loss":
            estimator.set_params(**{name: "logistic" if kind == "labels" else kind})
    if kind == "poisson":
        if isinstance(estimator, sktf.NonNegativeCPCompletion):
            estimator.set_params(loss="poisson_sum")
        return estimator, rng.poisson(np.exp(eta)).astype(float), kind
    yes = (rng.random(len(cells)) < 1 / (1 + np.exp(-eta))).astype(float)
    if kind == "labels":
        return sktf.CompletionClassifier(estimator, random_state=0), yes, kind
    return estimator, yes, kind


def _with_parameters(rng, estimator, shape):
    """Set some parameters; most fits are short."""
    names = [f.name for f in fields(estimator)]
    params = {name: value for name, value in _FEW.items() if name in names}
    if "max_iter" in names:
        params["max_iter"] = int(_pick(rng, [1, 2, 10, 30, 60, 60, 60, 400]))
    if "n_init" in names and rng.random() < 0.8:
        params["n_init"] = int(rng.integers(1, 4))
    if "random_state" in names:
        params["random_state"] = _pick(rng, [0, 1, np.random.RandomState(2)])
    if rng.random() < 0.6:
        sizes = [*shape] if rng.random() < 0.9 else [size + 2 for size in shape]
        params |= {"shape": sizes} if "shape" in names else {}
    free = [name for name in names if name in _VALUES]
    chosen = [name for name in free if rng.random() < 0.12]
    params |= {name: _pick(rng, _VALUES[name]) for name in chosen}
    if rng.random() < 0.06 and free:
        params[_pick(rng, free)] = _pick(rng, _BEYOND)
    return estimator.set_params(**params)


def _table(rng, cells, values, shape):
    """Return a table of features with gaps, for the imputer."""
    n_columns = min(shape[-1], 12)
    table = np.full((shape[0] if len(shape) > 1 else 8, n_columns), np.nan)
    known = cells[:, -1] < n_columns
    table[cells[known, 0] % len(table), cells[known, -1]] = values[known]
    return pd.DataFrame(table).add_prefix("feature") if rng.random() < 0.3 else table


def _as_given(rng, cells, estimator):
    """Return cells in one of the forms that users have them in; labels with ``encode``."""
    names = [name for name in estimator.get_params() if name.split("__")[-1] == "encode"]
    if names and rng.random() < 0.2:
        estimator.set_params(**dict.fromkeys(names, True))
        form = _pick(rng, list(_LABELED))
        return _LABELED[form](cells), f"encoded {form}"
    forms = _REFUSED if rng.random() < 0.08 else _FORMS
    form = _pick(rng, list(forms))
    if form == "wide gaps":  # a start that is named gives a row to every index
        names = [name for name in estimator.get_params() if name.split("__")[-1] in _KEEP_ROWS]
        estimator.set_params(**{name: _KEEP_ROWS[name.split("__")[-1]] for name in names})
    return forms[form](cells), form


def _read_only(array):
    array = array.copy()
    array.setflags(write=False)
    return array


def _frame(cells):
    return pd.DataFrame(cells, columns=[f"mode{m}" for m in range(cells.shape[1])])


_FORMS = {
    "int64": lambda cells: cells,
    "int32": lambda cells: cells.astype(np.int32),
    "uint8": lambda cells: cells.astype(np.uint8),
    "float64": lambda cells: cells.astype(float),
    "float32": lambda cells: cells.astype(np.float32),
    "object": lambda cells: cells.astype(object),
    "Fortran": np.asfortranarray,
    "strided": lambda cells: np.repeat(np.repeat(cells, 2, 0), 2, 1)[::2, ::2],
    "reversed": lambda cells: cells[::-1, ::-1],
    "read-only": _read_only,
    "masked array, no mask": np.ma.masked_array,
    "list": lambda cells: cells.tolist(),
    "pandas": _frame,
    "nullable": lambda cells: _frame(cells).astype("Int64"),
    "polars": lambda cells: pl.DataFrame(cells, [f"mode{m}" for m in range(cells.shape[1])]),
    "gaps": lambda cells: cells * 10 + 7,
    "wide gaps": lambda cells: cells * 10_000 + 7,
    "bool": lambda cells: cells.astype(bool),
}
_REFUSED = {
    "strings": lambda cells: cells.astype(str),
    "complex": lambda cells: cells.astype(complex),
    "dates": lambda cells: cells.astype("datetime64[D]"),
    "masked": lambda cells: np.ma.masked_array(cells, np.arange(cells.size).reshape(cells.shape)),
    "sparse": sparse.csr_array,
    "one column": lambda cells: cells[:, 0],
    "three axes": lambda cells: cells[:, :, None],
    "none": lambda cells: None,
    "shifted": lambda cells: cells - 1,
    "halves": lambda cells: cells / 2,
    "enormous": lambda cells: cells * 2**40,
}
_LABELED = {
    "strings": lambda cells: cells.astype(str),
    "objects": lambda cells: np.char.add("label", cells.astype(str)).astype(object),
    "dates": lambda cells: cells.astype("datetime64[D]"),
    "frame of dates": lambda cells: _frame(cells).apply(pd.to_datetime, unit="D"),
    "categories": lambda cells: _frame(cells).astype("category"),
    "bool": lambda cells: cells.astype(bool),
    "numbers with gaps": lambda cells: cells * 0.5 - 3,
    "enormous": lambda cells: cells * 2**40,
    "polars": lambda cells: _FORMS["polars"](cells).cast(pl.String),
    "mixed": lambda cells: np.where(cells % 2, cells.astype(object), cells.astype(str)),
    "bytes": lambda cells: cells.astype("S"),
    "sparse": sparse.csr_array,
}
_TARGETS = {
    "y float64": lambda y: y,
    "y again": lambda y: y,
    "y list": lambda y: y.tolist(),
    "y float32": lambda y: y.astype(np.float32),
    "y float16": lambda y: y.astype(np.float16),
    "y int": lambda y: np.nan_to_num(y).clip(-1e18, 1e18).astype(int),
    "y uint8": lambda y: np.nan_to_num(y).clip(0, 255).astype(np.uint8),
    "y bool": lambda y: y > 0,
    "y object": lambda y: y.astype(object),
    "y read-only": _read_only,
    "y strided": lambda y: np.repeat(y, 2)[::2],
    "y series": pd.Series,
    "y long double": lambda y: y.astype(np.longdouble),
    "y column": lambda y: y[:, None],
    "y strings": lambda y: np.full(len(y), "high"),
    "y complex": lambda y: y + 1j,
    "y short": lambda y: y[:-1],
    "y none": lambda y: None,
}


def _y_as_given(rng, values):
    form = _pick(rng, [*list(_TARGETS), *["y float64"] * 30])
    with np.errstate(over="ignore"):
        return _TARGETS[form](values), form


def _weights(rng, n):
    """Return ``sample_weight``, mostly none."""
    kinds = [np.ones(n), rng.random(n), rng.integers(0, 3, n), rng.random(n) < 0.5] * 3
    kinds += [np.exp(rng.uniform(-700, 700, n)), np.zeros(n), -rng.random(n), np.ones(n + 1)]
    kinds += [np.full(n, np.nan), 3.0]
    return {"sample_weight": _pick(rng, kinds)} if rng.random() < 0.2 else {}


def _held_out(rng, X, y):
    """Return the first rows as cells to stop on, mostly none."""
    if rng.random() > 0.1 or y is None or np.ndim(X) != 2:
        return {}
    return {"X_val": X[:5], "y_val": y[:5]} if rng.random() < 0.9 else {"X_val": X[:5]}


def _spoilt(rng, X, y):
    """Put one wrong entry into X or y where these are arrays of numbers."""
    wrong = _pick(rng, [np.nan, np.inf, -1.0, -7, 0.5, 1e18, None, "text", 1e305])
    into_y = rng.random() < 0.5
    table = np.array(y if into_y else X, dtype=object)
    if table.size:
        table.flat[rng.integers(table.size)] = wrong
    fault = f"{wrong!r} in {'y' if into_y else 'X'}"
    return (X, table, fault) if into_y else (table, y, fault)
