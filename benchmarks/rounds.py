"""Wide models: descent in rounds through which slow components sleep, against all steps of all.

    python benchmarks/rounds.py [--quick]

Both descend from the same start to a loss of 1e-4. Printed: seconds of both, their ratio, steps,
and how far the flow times (sums of step sizes) differ at which the loss falls below .9, .7, .5, .3,
.1, .03 and .01 of the first: for rounds, and for plain steps of a sixth of the learning rate,
which is what the step rule itself does to these times. Medians over three starts.
"""

import argparse
import time
from math import inf

import common
import numpy as np
from common import print_row, print_title

from sktf._cells.validation import Observations
from sktf._descent.loop import gradient_descent
from sktf._descent.steps import Adaptive
from sktf._models.deep_cp import DeepCPFactorization
from sktf._objective.cpu import FusedObjective
from sktf._objective.losses import ClippedSquare
from sktf.datasets import make_low_rank, sample_entries

_LEVELS = 0.9, 0.7, 0.5, 0.3, 0.1, 0.03, 0.01
# Shape, rank, cells seen, components, matrices before a vector, scale of the start.
PROBLEMS = {
    "20^3, R = 300": ((20,) * 3, 5, 1600, 300, 0, 0.01),
    "10^4, R = 1000": ((10,) * 4, 5, 2000, 1000, 0, 0.0158),
    "6^5, R = 300": ((6,) * 5, 5, 2000, 300, 0, 0.15),
    "12^3, R = 200, deep CP": ((12,) * 3, 3, 800, 200, 1, 0.1),
}


def _descend(objective, walk, theta, learning_rate):
    """Return seconds, steps, and the times at which the loss falls below each level."""
    path = []
    start = time.perf_counter()
    end = gradient_descent(
        walk(objective), theta, Adaptive(learning_rate), max_iter=100_000, tol=1e-4,
        observe=lambda _, at, loss, __: path.append((at, loss)), due=lambda n: n + 5,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    times, losses = np.array(path).T
    after = [int(np.argmax(losses < level * losses[0])) for level in _LEVELS]
    at = [np.interp(-level * losses[0], -losses[[n - 1, n]], times[[n - 1, n]])
          for level, n in zip(_LEVELS, after, strict=True)]  # fmt: skip
    return seconds, end.n_iter, np.array(at)


class _Plain:
    """An objective whose descents move every component at every step."""

    def __init__(self, objective):
        self.walk = objective.steps


def _compare(problem, seed):
    shape, rank, n_seen, n_components, depth, scale = problem
    X, y = sample_entries(
        make_low_rank(shape, rank, random_state=seed)[0], n_seen, random_state=seed
    )
    cells = Observations(X, y / np.sqrt(np.mean(y**2)), np.ones(n_seen), shape)
    model = DeepCPFactorization(shape, n_components, depth)
    objective = FusedObjective(model, cells, ClippedSquare(inf))
    theta = model.start(np.random.default_rng(seed), "gaussian", scale, 0.0)
    plain = _descend(objective, _Plain, theta, 0.3)
    rounds = _descend(objective, lambda o: o, theta, 0.3)
    small = _descend(objective, _Plain, theta, 0.05)
    apart = [np.abs(at / plain[2] - 1).max() for at in (rounds[2], small[2])]
    return [plain[0], rounds[0], plain[0] / rounds[0], plain[1], rounds[1], *apart]


def main(quick=False):
    """Print the table."""
    seeds = range(1 if quick else 3)
    print_title(f"Descent in rounds, {common.THREADS} threads, {len(seeds)} starts")
    print_row("", "plain, s", "rounds, s", "ratio", "steps", "in rounds", "apart", "lr .05 apart")
    for problem in list(PROBLEMS.values())[:2]:
        _compare(problem, 0)  # compiles
    for name, problem in PROBLEMS.items():
        print_row(name, *np.median([_compare(problem, seed) for seed in seeds], axis=0))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    main(parser.parse_args().quick)
