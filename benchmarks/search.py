"""A whole search: GridSearchCV over depth and init_scale on a 30^3 tensor.

python benchmarks/search.py [--quick]
"""

import argparse
import time
import warnings

import common
from common import print_goal, print_title
from joblib import parallel_config
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, KFold

from sktf import DeepCPCompletion
from sktf.datasets import make_low_rank, sample_entries


def main(quick=False):
    """Print the time of the search; ``quick`` takes three folds in place of five."""
    tensor, _ = make_low_rank((30, 30, 30), 3, random_state=0)
    X, y = sample_entries(tensor, 0.1, random_state=0)
    model = DeepCPCompletion(5, shape=tensor.shape, n_init=1, max_iter=300, random_state=0)
    n_folds = 3 if quick else 5
    grid = {"depth": [0, 1, 2], "init_scale": [0.03, 0.1, 0.3]}
    folds = KFold(n_folds, shuffle=True, random_state=0)
    search = GridSearchCV(model, grid, cv=folds, n_jobs=common.THREADS)
    print_title(f"GridSearchCV, 3 depths x 3 init_scales x {n_folds} folds, 30^3, 10 % seen")
    with warnings.catch_warnings(), parallel_config("threading"):
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
        start = time.perf_counter()
        search.fit(X, y)
    seconds = time.perf_counter() - start
    print(f"  best: {search.best_params_}, R^2 {search.best_score_:.3f}")
    print_goal(f"3 x 3 x {n_folds} folds < 30 s", f"{seconds:.1f} s", seconds < 30)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    main(parser.parse_args().quick)
