"""Complete two real tensors and print who did how well: the program behind ``make demo``.

Of the observed cells a share is shown, the others are hidden; the table gives the error on the
hidden ones (RMSE over their standard deviation), the rank that was found, and the seconds.
"""

import time
import warnings

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from sklearn.exceptions import ConvergenceWarning

from sktf import CPALSCompletion, CPCompletion, DeepCPCompletion
from sktf.datasets import load_il2, load_kinetic, make_low_rank, sample_entries, split_entries
from sktf.metrics import normalized_rmse
from sktf.plotting import TrajectoryDisplay

PICTURE = "demo.png"


def compare(name, entries, seen):
    """Print one row per estimator for one tensor."""
    X, X_hidden, y, y_hidden = split_entries(
        entries.X, entries.y, test_size=1 - seen, random_state=0
    )
    sizes = " x ".join(map(str, entries.shape))
    print(f"\n{name}: {sizes}, {len(y)} cells shown ({seen:.0%}), {len(y_hidden)} hidden")
    print(f"  {'':38}{'hidden-cell NRMSE':>18}{'rank':>6}{'seconds':>9}")
    shape = {"shape": entries.shape, "random_state": 0}
    for label, estimator in {
        "CPCompletion(), defaults": CPCompletion(**shape),
        "DeepCPCompletion(depth=1)": DeepCPCompletion(n_init=3, max_iter=1000, **shape),
        "CP-ALS of tensorly, rank search": CPALSCompletion(solver="tensorly", n_init=2, **shape),
        "CP-ALS on seen cells, rank search": CPALSCompletion(solver="sparse", n_init=3, **shape),
    }.items():
        start = time.perf_counter()
        estimator.fit(X, y)
        seconds = time.perf_counter() - start
        error = normalized_rmse(y_hidden, estimator.predict(X_hidden))
        print(f"  {label:38}{error:18.4f}{estimator.rank_:6d}{seconds:9.1f}")


def draw():
    """Draw the components of a rank-3 tensor growing one after another out of 30."""
    tensor, _ = make_low_rank(
        (20, 20, 20),
        3,
        component_weights=[1.0, 0.7, 0.45],
        distribution="orthonormal",
        random_state=0,
    )
    X, y = sample_entries(tensor, 0.15, random_state=0)
    model = CPCompletion(
        n_components=30,
        init="gaussian",
        init_scale=1e-3,
        loss="squared",
        record_every=5,
        random_state=0,
    ).fit(X, y)
    TrajectoryDisplay.from_estimator(model)
    plt.gcf().savefig(PICTURE, dpi=150, bbox_inches="tight")
    print(f"\n30 components, {model.rank_} grow, one after another: see {PICTURE}")


if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)
    compare("IL-2 response assay", load_il2(), seen=0.5)
    compare("Fluorescence kinetics", load_kinetic(), seen=0.05)
    draw()
