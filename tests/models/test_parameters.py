"""Parameters and held-out cells: what is refused, by name."""

import numpy as np
import pytest
from cases.validation import with_index
from sklearn.base import clone

from sktf import CPCompletion, DeepMatrixCompletion

# Short runs are the point here; test_sklearn.py holds the one warning to its word.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# Parameters ----------------------------------------------------------------------------------


def test_estimators_are_told_apart_by_identity(estimator):
    """As all of scikit-learn's, which keeps them in dicts: two of equal parameters are two."""
    other = clone(estimator)
    assert estimator != other and len({estimator: 1, other: 2}) == 2


BAD_PARAMETERS = [
    ("init", "bad"),
    ("loss", "bad"),
    ("step", "bad"),
    ("offset", "bad"),
    ("handle_unknown", "bad"),
    ("dtype", "bad"),
    ("early_stopping", "bad"),
    ("n_init", "bad"),
    ("n_components", 0),
    ("n_components", 2.5),
    ("n_components", -1),
    ("max_iter", 0),
    ("tol", -1e-3),
    ("rank_tol", 1.5),
    ("learning_rate", 0.0),
    ("huber_delta", 0.0),
    ("init_scale", 0.0),
    ("init_mean", np.nan),
    ("validation_fraction", 1.0),
    ("n_iter_no_change", 0),
    ("record_every", 0),
    ("device", None),
]


@pytest.mark.parametrize("name, value", BAD_PARAMETERS)
def test_bad_parameter(small_tensor, name, value):
    """The message names the parameter, what it may be and what it was."""
    message = rf"The '{name}' parameter of CPCompletion must be .* Got {value!r} instead"
    with pytest.raises(ValueError, match=message):
        CPCompletion(**{name: value}).fit(*small_tensor)


BAD_MATRIX_PARAMETERS = [
    ({"depth": 0}, r"'depth' parameter .* Got 0"),
    ({"hidden": 0}, r"'hidden' parameter .* Got 0"),
    ({"hidden": 2.5}, r"'hidden' parameter .* Got 2.5"),
    ({"hidden": "ab"}, r"'hidden' parameter .* Got 'ab'"),
    ({"hidden": (3,)}, r"hidden=\(3,\): expected 2 positive widths for depth=3, or one int"),
    ({"hidden": (3, 0)}, r"hidden=\(3, 0\): expected 2 positive widths"),
    ({"hidden": {"first": 3, "last": 3}}, r"hidden={.*}: expected 2 positive widths"),
    ({"hidden": (3.5, 2)}, r"hidden=\(3.5, 2\): expected 2 positive widths"),
    ({"row_modes": ()}, r"row_modes=\(\): expected one or more distinct modes from 0 to 2"),
    ({"row_modes": (3,)}, r"row_modes=\(3,\): expected .* modes from 0 to 2"),
    ({"row_modes": (-1,)}, r"row_modes=\(-1,\): expected .* modes from 0 to 2"),
    ({"row_modes": (0, 0)}, r"row_modes=\(0, 0\): expected one or more distinct"),
    ({"row_modes": (0.0,)}, r"row_modes=\(0.0,\): expected"),
    ({"row_modes": (True,)}, r"row_modes=\(True,\): expected"),
    ({"row_modes": 0}, r"'row_modes' parameter .* Got 0"),
]


@pytest.mark.parametrize("params, message", BAD_MATRIX_PARAMETERS, ids=str)
def test_bad_matrix_parameter(small_tensor, params, message):
    """Depth, widths and modes of a matrix model are checked against each other and the data."""
    with pytest.raises(ValueError, match=message):
        DeepMatrixCompletion(max_iter=3, **params).fit(*small_tensor)


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "", "CPU", "meta"])
def test_absent_device(gradient_estimator, small_tensor, device):
    """A device that is absent, misspelt or holds no numbers is a ValueError that names it."""
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match=rf"device='{device}' cannot .*device='cpu' always can"):
        gradient_estimator.set_params(device=device).fit(*small_tensor)


def test_constant_step_too_large(gradient_estimator, small_tensor):
    """Divergence is a ValueError with the iteration, the setting and two cures."""
    gradient_estimator.set_params(step="constant", learning_rate=1e3)
    message = (
        r"diverged at iteration [1-9]\d* with step='constant', learning_rate=1000.0; "
        r"lower learning_rate or use step='adaptive'"
    )
    with pytest.raises(ValueError, match=message):
        gradient_estimator.fit(*small_tensor)


# Held-out cells ------------------------------------------------------------------------------

BAD_HELD_OUT = {
    "no values": (lambda X, y: (X, None), r"X_val and y_val belong together"),
    "no cells": (lambda X, y: (None, y), r"X_val and y_val belong together"),
    "outside": (lambda X, y: (X + 10, y), r"Row 0 of X_val has index 10 in mode 0.*shape"),
    "negative": (lambda X, y: (X - 10, y), r"Negative values in data .*\(input X_val\)"),
    "fraction": (lambda X, y: (with_index(X, 0.5), y), r"indices in X_val; row 3 has 0.5 in mode"),
    "columns": (lambda X, y: (X[:, :2], y), r"X has 2 features, but"),
    "lengths": (lambda X, y: (X, y[1:]), r"inconsistent numbers of samples"),
    "empty": (lambda X, y: (X[:0], y[:0]), r"0 sample\(s\)"),
    "NaN": (lambda X, y: (X, y * np.nan), r"Input y_val contains NaN: row 0 has no value"),
    "dates": (lambda X, y: (X.astype("datetime64[s]"), y), r"Mode 0 of X_val holds no whole-num"),
    "masked": (lambda X, y: (X, np.ma.masked_greater(y, 1)), r"y_val has masked entries"),
}


@pytest.mark.parametrize("case", BAD_HELD_OUT)
def test_bad_held_out_cells(estimator, small_tensor, case):
    """X_val and y_val are checked as X and y are, against the shape of the training cells."""
    X, y = small_tensor
    make, message = BAD_HELD_OUT[case]
    X_val, y_val = make(X, y)
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, y, X_val=X_val, y_val=y_val)


def test_held_out_cells_and_no_early_stopping(gradient_estimator, small_tensor):
    """Held-out cells that nothing stops on are a mistake, and the message says so."""
    X, y = small_tensor
    with pytest.raises(ValueError, match="set early_stopping=True"):
        gradient_estimator.set_params(early_stopping=False).fit(X, y, X_val=X, y_val=y)


def test_early_stopping_needs_two_cells(gradient_estimator):
    """One cell cannot be held out and trained on; how often it is observed does not count."""
    model = gradient_estimator.set_params(early_stopping=True)
    message = "validation_fraction=0.1 leaves no cell to train on, of 1 observed; set early_stop"
    with pytest.raises(ValueError, match=message):
        model.fit([[0, 0]], [1.0])
    with pytest.raises(ValueError, match=message):
        model.fit([[0, 0], [0, 0]], [1.0, 2.0])
