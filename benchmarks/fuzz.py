"""Fits of all kinds of data and parameters: each ends well, or in an error that says what to do.

    python benchmarks/fuzz.py [--cases 10000] [--first 0] [--jobs 1] [--case NUMBER]

A case ends well where ``fit``, ``predict``, ``score``, ``extend``, ``summary``, ``to_dense``, a
pickle and a second fit of a copy do what their documentation says: finite predictions, at most 100
times as large as the largest value of y unless a warning tells of them or the fit has not
converged; the same bits again; documented warnings alone; the data and NumPy's global state as they
were; no more than 20 seconds of processor time. Else it raises a ValueError or TypeError that names
what is wrong and what to do, and leaves the estimator as it was. All else is a finding, and
``--case`` repeats it.
"""

import argparse
import copy
import pickle
import re
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from contextlib import contextmanager
from multiprocessing import get_context

import common  # noqa: F401
import numpy as np
import pandas as pd
from fuzz_cases import draw
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning

from sktf import (
    CompletionClassifier,
    CompletionEnsemble,
    CompletionImputer,
    CompletionWarning,
    PosteriorCompletion,
)

_SECONDS, _FAR, _LONGEST = 20, 100, 600
# Of scikit-learn, where X_val or a later X is a table and X was an array, or the reverse.
_NAMES_DIFFER = re.compile("X has feature names|X does not have valid feature names")
_WARNINGS = CompletionWarning, ConvergenceWarning, DataConversionWarning
# An error names what is wrong, and says what would be right.
_NAMES = r"\b[Xy]\b|[Xy]_val|sample.weight|array|column|mode|label|estimator|input|data"
_REMEDY = re.compile(
    "expected|must|give|set |leave|divide|encode|pass |instead|needs?|minimum|at least|learn|drop"
    "|reshape|require|should|keep|lower|raise|install|choose|use|remove|belong|goes|convert|cannot"
    "|to fill|where|observe|every|each|fit again|comes first|takes?|replace",
    re.IGNORECASE,
)


class OverTimeError(BaseException):
    """A case has taken too long."""


def main(cases, first, jobs):
    """Run the cases, print how they ended, and return how many findings there are."""
    began, ends, slowest, findings = time.perf_counter(), Counter(), (0.0, None), []
    with get_context("spawn").Pool(jobs) as pool:
        for number, end, seconds in pool.imap_unordered(run, range(first, first + cases), 8):
            slowest = max(slowest, (seconds, number))
            if end.startswith(("fit", "error")):
                ends[end] += 1
            else:
                findings.append(number)
                print(f"case {number}: {end}", flush=True)
    minutes = (time.perf_counter() - began) / 60
    print(f"\n{cases} cases from {first} on, {jobs} processes, {minutes:.0f} minutes")
    for end, count in ends.most_common():
        print(f"  {count:6d}  {end}")
    print(f"  {len(findings):6d}  findings")
    print(f"slowest: case {slowest[1]}, {slowest[0]:.1f} s of processor time")
    return len(findings)


def run(number):
    """Return the number of a case, how it ended, and its seconds."""
    case, begun = draw(number), time.process_time()
    with limited():
        try:
            end = judge(case)
        except OverTimeError:
            end = f"over {_SECONDS} s: {case.told}"
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)[-4:]
            where = " ".join(f"{'/'.join(f.filename.split('/')[-2:])}:{f.lineno}" for f in frames)
            end = f"{type(error).__name__}: {str(error)[:200]} ({where}) {case.told}"
    return number, " ".join(end.split())[:_LONGEST], time.process_time() - begun


@contextmanager
def limited():
    """Raise ``OverTimeError`` after too many seconds of processor time."""

    def stop(*_):
        raise OverTimeError

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def judge(case):
    """Return how a case ended, or raise what is a finding."""
    model, twin = case.estimator, clone(case.estimator)
    given = copy.deepcopy((case.X, case.y, case.options))
    before, world = {**vars(model)}, global_state()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        warnings.simplefilter("error", RuntimeWarning)
        error = caught(lambda: model.fit(case.X, case.y, **case.options))
    check_warnings(told)
    assert same((case.X, case.y, case.options), given), "data of the caller have changed"
    assert same(world, global_state()), "global state has changed"
    if error is not None:
        check_error(error, model)
        assert vars(model).keys() == before.keys(), "a failed fit has left attributes"
        return f"error, {type(error).__name__}"
    kinds = {warning.category for warning in told}
    with warnings.catch_warnings(record=True) as later:
        warnings.simplefilter("always")
        warnings.simplefilter("error", RuntimeWarning)
        checks = {CompletionImputer: check_imputer, CompletionClassifier: check_classifier}
        checks.get(type(model), check_model)(case, model, twin, kinds)
    check_warnings(later)
    return "fit" + "".join(sorted(f", {kind.__name__}" for kind in kinds))


def caught(call):
    """Return the error that a call raises, of the documented kinds, or None."""
    try:
        call()
    except (ValueError, TypeError) as error:
        return error
    return None


def global_state():
    """Return what no fit may touch."""
    drawn = np.random.get_state()[1:3]  # noqa: NPY002
    return drawn, np.geterr(), len(warnings.filters)


def same(one, other):
    """Whether two nests of arrays and tables are equal; NaN is NaN."""
    return pickle.dumps(one) == pickle.dumps(other) or repr(one) == repr(other)


def check_warnings(told):
    """Raise unless all warnings are of documented kinds."""
    for warning in told:
        if _NAMES_DIFFER.match(str(warning.message)):
            continue
        if not issubclass(warning.category, _WARNINGS):
            raise AssertionError(f"{warning.category.__name__}: {warning.message}")


def check_error(error, model):
    """Raise unless an error says what is wrong and what to do."""
    names = "|".join([_NAMES, *(name.split("__")[-1] for name in model.get_params())])
    if not (re.search(names, str(error), re.IGNORECASE) and _REMEDY.search(str(error))):
        raise error


def check_model(case, model, twin, kinds):
    """Check what a fitted estimator of cells says of itself and of other cells."""
    cells = cells_inside(model)
    X = cells if "sample_weight" in case.options else case.X  # rows of no weight may lie outside
    predicted = model.predict(X)
    elsewhere = model.predict(cells)
    assert np.isfinite(predicted).all() and np.isfinite(elsewhere).all(), "not finite"
    # Chains that see nothing but zeros have noise of the unit 1.
    largest = np.abs(np.asarray(case.y, float)).max() or 1.0
    far = max(np.abs(predicted).max(), np.abs(elsewhere).max())
    if not kinds & {CompletionWarning, ConvergenceWarning}:
        assert far <= _FAR * largest, f"predicts {far:.3g}, y is up to {largest:.3g}"
    if len(predicted) > 1:
        score = model.score(X, case.y if X is case.X else predicted)
        assert isinstance(score, float) and not np.isnan(score), f"score is {score}"
    assert str(model.summary()) and model.summary()._repr_html_()
    if np.prod(np.array(model.shape_, float)) < 10_000:
        assert np.isfinite(model.to_dense()).all(), "the dense tensor is not finite"
    if isinstance(model, (CompletionEnsemble, PosteriorCompletion)):
        deviations = model.predict(cells, return_std=True)[1]
        assert np.isfinite(deviations).all() and (deviations >= 0).all(), "deviations"
    check_copies(case, model, twin, model.predict, X)
    check_outside(model, cells)
    check_extension(model, cells)


def check_classifier(case, model, twin, kinds):
    """Labels are two of those given, and chances lie between 0 and 1."""
    X = cells_inside(model.estimator_) if "sample_weight" in case.options else case.X
    chances = model.predict_proba(X)
    assert np.isfinite(chances).all() and (chances >= 0).all() and np.allclose(chances.sum(1), 1)
    assert np.isin(model.predict(X), model.classes_).all(), "a label that is new"
    check_copies(case, model, twin, model.predict_proba, X)


def check_copies(case, model, twin, answer, X):
    """A pickle, and a fit of a copy, answer with the same bits."""
    back = pickle.loads(pickle.dumps(model)) if picklable(model) else copy.deepcopy(model)
    method, expected = answer.__name__, answer(X)
    assert same(getattr(back, method)(X), expected), "a pickle answers otherwise"
    if case.number % 2:
        twin.fit(case.X, case.y, **case.options)
        assert same(getattr(twin, method)(X), expected), "a second fit differs"


def picklable(model):
    """Whether no parameter is a function without a name, which Python does not pickle."""
    return not any(isinstance(value, dict) and value for value in model.get_params().values())


def check_imputer(case, model, twin, kinds):
    """Nothing stays blank, and what was known stays what it was."""
    filled = model.transform(case.X)
    values = np.asarray(case.X)[:, ~np.isnan(model.mean_) | model.keep_empty_features]
    blank = np.isnan(values)
    filled_in = np.asarray(filled)[:, : values.shape[1]]
    assert np.isfinite(filled_in).all(), "a gap is left"
    assert np.array_equal(filled_in[~blank], values[~blank]), "a known value has changed"
    check_copies(case, model, twin, model.transform, case.X)


def cells_inside(model):
    """Return 200 cells of the tensor, named as in fit and by label where these are known."""
    rng, shape = np.random.default_rng(0), model.shape_
    cells = np.column_stack([rng.integers(size, size=200) for size in shape])
    if hasattr(model, "categories_"):
        known = zip(model.categories_, cells.T, strict=True)
        columns = [pd.Series(np.asarray(labels)[numbers]) for labels, numbers in known]
        cells = pd.concat(columns, axis=1)
    return named(model, cells)


def named(model, cells):
    """Return cells as a table where the model knows names of columns, else as an array."""
    if hasattr(model, "feature_names_in_"):
        return pd.DataFrame(np.asarray(cells, object), columns=model.feature_names_in_)
    return np.asarray(cells)


def check_outside(model, cells):
    """An index outside, or a label that is new, has an answer or an error that says what to do."""
    outside = np.array(cells, object)
    outside[0, 0] = model.shape_[0] + 3
    answers = []
    error = caught(lambda: answers.append(model.predict(named(model, outside))))
    if error is not None:
        check_error(error, model)
    assert error is not None or np.isfinite(answers[0]).all(), "not finite outside"


def check_extension(model, cells):
    """A new index gets a row, or an error says why not."""
    if not hasattr(model, "extend") or hasattr(model, "categories_"):
        return
    new = np.array(cells)[:3]
    new[:, 0], values = model.shape_[0], model.predict(cells[:3])
    error = caught(lambda: model.extend(named(model, new), values, mode=0))
    if error is not None:
        return check_error(error, model)
    assert np.isfinite(model.predict(named(model, new))).all(), "not finite after extend"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--case", type=int, help="repeat this case alone, with its traceback")
    options = parser.parse_args()
    if options.case is None:
        sys.exit(main(options.cases, options.first, options.jobs) > 0)
    else:
        print(draw(options.case))
        with limited():
            print(judge(draw(options.case)))
