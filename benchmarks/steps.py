"""Which scalar step needs fewest gradients without leaving the path of small steps.

    python benchmarks/steps.py [--quick]

Every candidate descends from the same start as GroupRMSprop at a tenth of its default rate, the
reference, to the same training loss. Printed per problem: gradients until then, as a multiple of
those of the present rule ("-": not reached within 20,000); marked ! where the candidate leapt, that
is, where its error on unseen cells exceeds 1.5 times that of the reference plus .02. At the end:
the geometric mean, the number of leaps, and how far paths are from the reference at equal
gradient-flow time (sum of step sizes): ``|theta(t) - theta_ref(t)| / |theta_ref(t)|``, the median
over the path, then over problems.
"""

import argparse
from dataclasses import dataclass
from functools import partial
from math import inf

import numpy as np
from common import print_row, print_title

from sktf._cells.validation import Observations
from sktf._descent.steps import Adaptive, GroupRMSprop
from sktf._models.cp import CPFactorization
from sktf._models.deep_cp import DeepCPFactorization
from sktf._models.deep_matrix import MatrixFactorization
from sktf._objective.cpu import FusedObjective
from sktf._objective.losses import ClippedSquare
from sktf.datasets import make_low_rank

_MOST = 20_000
_RECORDS = 200


@dataclass(frozen=True)
class BarzilaiBorwein(Adaptive):
    """``<s, s> / <s, y>`` (long) or ``<s, y> / <y, y>`` (short), of bounded growth.

    s and y are the last changes of theta and of the gradient; where ``<s, y> <= 0``, the step
    grows.
    """

    long: bool = True
    learning_rate: float = 1.0

    def update(self, gradient, state):
        eta = state.bound
        if state.gradient is not None:
            change, move = gradient - state.gradient, -state.eta * state.gradient
            across = float(change @ move)
            if across > 0:
                size = move @ move / across if self.long else across / (change @ change)
                eta = min(eta, self.learning_rate * float(size))
        return eta, state._replace(eta=eta, gradient=gradient, bound=self.growth * eta)


@dataclass(frozen=True)
class LongShort:
    """The silver schedule of multiples of the adaptive step: 1.41, 2, 1.41, 3.41, ...

    The multiples are ``1 + (1 + sqrt 2)^(v - 1)``, v the number of times 2 divides the number of
    the step (Altschuler and Parrilo, 2023), here at most 6.8.
    """

    base: Adaptive

    def init(self, theta, gradient):
        return 1, self.base.init(theta, gradient), 1.0

    def update(self, gradient, state):
        number, inner, multiple = state
        # The step that was taken is the multiple of the one that the rule remembers.
        taken = inner._replace(eta=multiple * inner.eta)
        eta, inner = self.base.update(gradient, taken)
        twos = (number & -number).bit_length() - 1
        multiple = 1 + (1 + 2**0.5) ** (min(twos, 3) - 1)
        return multiple * eta, (number + 1, inner, multiple)


CANDIDATES = {
    "adaptive .3": (Adaptive(), False),
    "adaptive .15": (Adaptive(0.15), False),
    "adaptive .5": (Adaptive(0.5), False),
    ".3 growth 2": (Adaptive(0.3, 2.0), False),
    ".3 monotone": (Adaptive(0.3), True),
    ".5 monotone": (Adaptive(0.5), True),
    "BB long": (BarzilaiBorwein(), False),
    "BB long mono": (BarzilaiBorwein(), True),
    "BB short": (BarzilaiBorwein(long=False), False),
    "BB short .5": (BarzilaiBorwein(long=False, learning_rate=0.5), False),
    "long-short": (LongShort(Adaptive(0.15)), False),
    "RMSprop .01": (GroupRMSprop(), False),
}
_PRESENT = "adaptive .3"


@dataclass(frozen=True)
class Problem:
    """A tensor of known rank, its seen cells, a factorization and a scale of the start."""

    shape: tuple
    rank: int
    seen: float
    noise: float
    factorization: object
    scale: float

    def cells(self, seed):
        """Return seen cells and the truth at the others."""
        truth = make_low_rank(self.shape, self.rank, random_state=seed)[0]
        rng = np.random.default_rng(seed)
        linear = rng.permutation(truth.size)
        n_seen = round(self.seen * truth.size)
        coords = np.stack(np.unravel_index(linear, self.shape), axis=1)
        values = truth.ravel()[linear[:n_seen]] + self.noise * rng.standard_normal(n_seen)
        seen = Observations(coords[:n_seen], values, np.ones(n_seen), self.shape)
        # Where all cells are seen, the error is that on all of them.
        rest = slice(n_seen if n_seen < truth.size else 0, None)
        return seen, (coords[rest], truth.ravel()[linear[rest]])

    def error(self, theta, unseen):
        """Error on unseen cells relative to their size."""
        factors, (coords, truth) = self.factorization.forward(theta)[0], unseen
        predicted = np.prod(
            [f[column] for f, column in zip(factors, coords.T, strict=True)], axis=0
        ).sum(axis=1)
        return float(np.linalg.norm(predicted - truth) / np.linalg.norm(truth))


def _cp(shape, n_components, rank, seen, noise, scale):
    return Problem(shape, rank, seen, noise, CPFactorization(shape, n_components), scale)


def _deep_cp(shape, n_components, depth, rank, seen, scale):
    model = DeepCPFactorization(shape, n_components, depth)
    return Problem(shape, rank, seen, 0.0, model, scale)


def _matrix(shape, depth, rank, seen, noise=0.0, scale=1e-3):
    model = MatrixFactorization(shape, [min(shape)] * (depth - 1))
    return Problem(shape, rank, seen, noise, model, scale)


PROBLEMS = {
    "matrix 60^2, depth 2": _matrix((60, 60), 2, 3, 0.4),
    "matrix 60^2, depth 3": _matrix((60, 60), 3, 3, 0.4),
    "matrix 60^2, depth 4": _matrix((60, 60), 4, 3, 0.4),
    "matrix 60^2, 3, noise .1": _matrix((60, 60), 3, 3, 0.4, 0.1),
    "CP 15^3, all seen": _cp((15,) * 3, 20, 3, 1.0, 0.0, 0.02),
    "CP 20^3, 30 %": _cp((20,) * 3, 20, 3, 0.3, 0.0, 0.02),
    "CP 20^3, 30 %, noise .1": _cp((20,) * 3, 20, 3, 0.3, 0.1, 0.02),
    "CP 20^3, 15 %, std .01": _cp((20,) * 3, 20, 3, 0.15, 0.0, 0.01),
    "CP 30^3, rank 5, 15 %": _cp((30,) * 3, 20, 5, 0.15, 0.0, 0.02),
    "CP 60^3, 1 %": _cp((60,) * 3, 10, 1, 0.01, 0.0, 0.02),
    "CP 8^4, 30 %": _cp((8,) * 4, 30, 3, 0.3, 0.0, 0.05),
    "CP 5^5, 40 %": _cp((5,) * 5, 20, 2, 0.4, 0.0, 0.1),
    "deep CP 10^3, 1, 30 %": _deep_cp((10,) * 3, 10, 1, 2, 0.3, 0.2),
    "deep CP 8^3, 2, 40 %": _deep_cp((8,) * 3, 10, 2, 1, 0.4, 0.35),
}


def descend(objective, theta, step, tol, most, monotone=False):
    """Return theta, gradients used, whether tol was reached, and the path (times, thetas)."""
    state, before, time, path, every = None, None, 0.0, [], 1
    for n in range(1, most + 1):
        loss, gradient = objective(theta)
        if monotone and before is not None and loss > before[0]:
            # Go back and take half the step: theta, gradient, time and step all as they were.
            eta = state.eta / 2
            state = state._replace(eta=eta, bound=step.growth * eta)
            time, theta = before[2] + eta, before[1] - eta * state.gradient
            continue
        if not (n - 1) % every:
            path.append((time, theta))
        if len(path) > 2 * _RECORDS:
            path, every = path[::2], 2 * every
        if not loss < inf or loss < tol:
            break
        before = loss, theta, time
        state = step.init(theta, gradient) if state is None else state
        eta, state = step.update(gradient, state)
        time, theta = time + eta, theta - eta * gradient
    return theta, n, loss < tol, path


def _distance(path, reference):
    """Median over a path of its relative distance from the reference at the same time."""
    times = np.array([t for t, _ in reference])
    apart = []
    for time, theta in path:
        after = int(np.searchsorted(times, time))
        if 0 < after < len(times):
            share = (time - times[after - 1]) / (times[after] - times[after - 1])
            at = (1 - share) * reference[after - 1][1] + share * reference[after][1]
            apart.append(np.linalg.norm(theta - at) / np.linalg.norm(at))
    return float(np.median(apart)) if apart else np.nan


def study(problem, seed):
    """Return {candidate: (gradients or nan, leapt, distance)} and the reference's gradients."""
    cells, unseen = problem.cells(seed)
    objective = FusedObjective(problem.factorization, cells, ClippedSquare(inf))
    theta = problem.factorization.start(np.random.default_rng(seed), "gaussian", problem.scale, 0.0)
    tol = max(1e-5, problem.noise**2)
    run = partial(descend, objective, theta, tol=tol)
    best, n_reference, reached, reference = run(GroupRMSprop(1e-3), most=5 * _MOST)
    limit = 1.5 * problem.error(best, unseen) + 0.02
    outcome = {}
    with np.errstate(over="ignore", invalid="ignore"):
        for name, (step, monotone) in CANDIDATES.items():
            theta_end, n, ended, path = run(step, most=_MOST, monotone=monotone)
            leapt = not problem.error(theta_end, unseen) < limit
            outcome[name] = n if ended else np.nan, leapt, _distance(path, reference)
    return outcome, n_reference if reached else np.nan


def main(quick=False):
    """Print the table."""
    seeds = range(1 if quick else 3)
    problems = list(PROBLEMS)[:: 3 if quick else 1]
    print_title(f"Gradients to the loss of the reference, over {len(seeds)} starts")
    print_row("", "reference", "present", *list(CANDIDATES)[1:], widths=(24, 10, 8))
    relative = {name: [] for name in CANDIDATES}
    leaps, apart = dict.fromkeys(CANDIDATES, 0), {name: [] for name in CANDIDATES}
    for label in problems:
        runs = [study(PROBLEMS[label], seed) for seed in seeds]
        base = np.array([outcome[_PRESENT][0] for outcome, _ in runs])
        cells = [f"{np.nanmedian([n for _, n in runs]):.0f}", f"{np.nanmedian(base):.0f}"]
        for name in CANDIDATES:
            taken, leapt, distance = map(np.array, zip(*(o[name] for o, _ in runs), strict=True))
            multiples = taken / base
            relative[name].extend(multiples[np.isfinite(multiples)])
            leaps[name] += int(leapt.sum())
            apart[name].extend(distance[np.isfinite(distance)])
            missing = "-" * int(np.isnan(taken).sum())
            finite = multiples[np.isfinite(multiples)]
            shown = f"{np.median(finite):.2f}" if finite.size else ""
            cells.append(shown + missing + "!" * int(leapt.sum()))
        del cells[2]
        print_row(label, *cells, widths=(24, 10, 8))
    mean = [f"{np.exp(np.mean(np.log(relative[name]))):.2f}" for name in CANDIDATES]
    print_row("geometric mean", "", "1", *mean[1:], widths=(24, 10, 8))
    print_row("leaps", "", *[str(n) for n in leaps.values()], widths=(24, 10, 8))
    far = [f"{np.median(apart[name]):.3f}" for name in CANDIDATES]
    print_row("distance of paths", "", *far, widths=(24, 10, 8))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    main(parser.parse_args().quick)
