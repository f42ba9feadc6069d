"""Nominal against observed coverage, drawn."""

import numpy as np
import pytest
from cases.plotting import Fitted
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binom, norm
from sklearn.linear_model import BayesianRidge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from sktf import CPCompletion, PosteriorCompletion
from sktf.datasets import make_low_rank, sample_entries
from sktf.plotting import CalibrationDisplay

plt = pytest.importorskip("matplotlib.pyplot")


pytestmark = pytest.mark.filterwarnings("error")

LEVELS = np.array([0.1, 0.5, 0.9])
N = 20000


class Normal(Fitted):
    """Tells a normal distribution of mean 0 and the deviation that it is given."""

    def predict(self, X, return_std=False):
        assert return_std is True
        return np.zeros(len(X)), np.full(len(X), self.std_)


class Uniform(Normal):
    """Tells the quantiles of numbers evenly between 0 and 1, and a deviation that is wrong."""

    def predict_quantiles(self, X, quantiles):
        return np.outer(quantiles, np.ones(len(X)))


@pytest.fixture
def cells():
    """Return cells of a matrix, and standard normal values of them."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 50, (N, 2)), rng.standard_normal(N)


@pytest.mark.parametrize("std", [1.0, 0.5, 2.0])
def test_coverage_is_that_of_the_normal_distribution(cells, std):
    """On the diagonal with the true deviation; else what the normal cdf says, to chance."""
    X, y = cells
    display = CalibrationDisplay.from_estimator(Normal().fit(std_=std), X, y)
    truth = 2 * norm.cdf(std * norm.ppf((1 + display.nominal) / 2)) - 1
    if std == 1:
        assert_allclose(truth, display.nominal, atol=1e-12)
    scatter = np.sqrt(truth * (1 - truth) / N)
    assert (np.abs(display.observed[0] - truth) < 4 * scatter).all()
    assert display.nominal[0] == 0.05 and display.nominal[-1] == 0.95
    assert_array_equal(display.n_cells, [N])


def test_quantiles_come_before_deviations():
    """Of an estimator that tells both; intervals are central, and hold their ends."""
    y = (np.arange(1000) + 0.5) / 1000
    model = Uniform().fit(std_=1e-9)
    display = CalibrationDisplay.from_estimator(model, np.zeros((1000, 1)), y, nominal=LEVELS)
    assert_allclose(display.observed, [LEVELS], atol=1e-12)
    ends = CalibrationDisplay.from_predictions(
        [1.0, 2.0], [[1.0, 1.0]], [[1.0, 2.0]], nominal=[0.5]
    )
    assert_array_equal(ends.observed, [[1.0]])


def test_levels_are_sorted_with_their_shares(cells):
    """In whatever order they are asked for."""
    X, y = cells
    displays = [
        CalibrationDisplay.from_estimator(Normal().fit(std_=1.0), X, y, nominal=levels)
        for levels in (LEVELS, LEVELS[[2, 0, 1]])
    ]
    assert_array_equal(displays[1].nominal, LEVELS)
    assert_array_equal(displays[0].observed, displays[1].observed)


def test_rarity_is_that_of_the_rarest_index():
    """Counted by hand, with labels as with numbers; small groups are left out, and named."""
    # Rows a, b, c, d have 0, 1, 4 and 11 training cells; column x has 3, y has 13.
    X_train = [["b", "x"], *2 * [["c", "x"]], *2 * [["c", "y"]], *11 * [["d", "y"]]]
    X = [*20 * [["a", "y"]], *25 * [["b", "y"]], *15 * [["d", "x"]], *19 * [["c", "y"]]]
    X += 30 * [["d", "y"]]
    y = np.repeat([0.0, 2.0, 0.0, 2.0, 0.0], [20, 25, 15, 19, 30])
    ends = -np.ones((1, len(y))), np.ones((1, len(y)))
    for code in (lambda rows: rows, lambda rows: [[ord(a), ord(b)] for a, b in rows]):
        options = {"nominal": [0.5], "X": code(X), "X_train": code(X_train)}
        display = CalibrationDisplay.from_predictions(y, *ends, **options)
        assert display.labels == ["all", "none", "1 to 3", "11 or more"]
        assert_array_equal(display.n_cells, [109, 20, 40, 30])
        assert_allclose(display.observed[:, 0], [65 / 109, 1, 15 / 40, 1])
        assert display.left_out == {"4 to 10": 19}
    legend = display.ax_.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [
        "all (n = 109)",
        "none (n = 20)",
        "1 to 3 (n = 40)",
        "11 or more (n = 30)",
        "4 to 10 (n = 19): too few",
    ]
    assert legend.get_title().get_text() == "Training cells of the rarest index"


def test_what_is_drawn(cells):
    """A line for each group, the diagonal, and the binomial band of all cells."""
    X, y = (part[:200] for part in cells)
    model = Normal().fit(std_=1.0)
    _, ax = plt.subplots()
    display = CalibrationDisplay.from_estimator(model, X, y, X_train=X, nominal=LEVELS, ax=ax)
    assert display.ax_ is ax and display.figure_ is ax.figure
    for line, shares in zip(display.lines_, display.observed, strict=True):
        assert_array_equal(line.get_xdata(), LEVELS)
        assert_array_equal(line.get_ydata(), shares)
    assert_array_equal(display.diagonal_.get_xydata(), [[0, 0], [1, 1]])
    corners = display.band_.get_paths()[0].vertices
    for level in LEVELS:
        edge = corners[np.isclose(corners[:, 0], level), 1]
        low, high = binom.ppf([0.025, 0.975], 200, level) / 200
        assert_allclose([edge.min(), edge.max()], [low, high])
    assert corners.min() == 0 and corners.max() == 1
    assert display.plot() is display and display.ax_ is not ax


def test_real_estimators_have_intervals():
    """A posterior by quantiles, a pipeline of scikit-learn's by deviations."""
    tensor, _ = make_low_rank((10, 10, 10), 2, random_state=0)
    X, y = sample_entries(tensor, 1.0, noise=0.3, random_state=0)
    model = PosteriorCompletion(CPCompletion(n_init=2), n_chains=2, random_state=0)
    display = CalibrationDisplay.from_estimator(model.fit(X[:500], y[:500]), X[500:], y[500:])
    assert np.abs(display.observed - display.nominal).max() < 0.1
    effects = make_pipeline(OneHotEncoder(sparse_output=False), BayesianRidge()).fit(X, y)
    assert CalibrationDisplay.from_estimator(effects, X, y).observed.shape == (1, 11)


def test_errors_name_the_remedy(cells):
    """No intervals, levels that are none, shapes that do not fit, ends the wrong way round."""
    X, y = (part[:6] for part in cells)
    model = Normal().fit(std_=1.0)
    bare = CPCompletion(n_init=1, early_stopping=False, max_iter=5)
    draw, given = CalibrationDisplay.from_estimator, CalibrationDisplay.from_predictions
    with pytest.warns(UserWarning):
        bare.fit(X, y)
    with pytest.raises(ValueError, match="CPCompletion has no predict_quantiles.*Posterior"):
        draw(bare, X, y)
    for levels in ([], [0.0], [1.0], 0.5, [[0.5]]):
        with pytest.raises(ValueError, match="between 0 and 1"):
            draw(model, X, y, nominal=levels)
    with pytest.raises(ValueError, match="y has 1 NaN"):
        draw(model, X, np.where(np.arange(6) == 1, np.nan, y))
    with pytest.raises(ValueError, match="6 cells, and as many modes in both"):
        draw(model, X, y, X_train=X[:, :1])
    ends = np.zeros((1, 6)), np.ones((1, 6))
    with pytest.raises(ValueError, match="X has shape"):
        given(y, *ends, nominal=[0.5], X_train=X)
    with pytest.raises(ValueError, match="1 nominal coverages and 5 values"):
        given(y[:5], *ends, nominal=[0.5])
    with pytest.raises(ValueError, match="one cell or more"):
        given([], [[]], [[]], nominal=[0.5])
    with pytest.raises(ValueError, match="low exceeds high"):
        given(y, *ends[::-1], nominal=[0.5])
    with pytest.raises(ValueError, match="a row for each of 2 labels and 1 n_cells"):
        CalibrationDisplay(nominal=[0.5], observed=[[0.5]], labels=["a", "b"], n_cells=[9]).plot()


def test_a_type_error_of_the_data_stays_what_it_is(cells):
    """Only what names ``return_std`` means that there is none."""

    class Refusing(Fitted):
        def predict(self, X, return_std=False):
            raise TypeError("a column of X holds dates")

    with pytest.raises(TypeError, match="holds dates"):
        CalibrationDisplay.from_estimator(Refusing().fit(std_=1.0), *cells)
