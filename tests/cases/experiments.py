"""What the tests of the papers share: problems, the settings of the papers, descent watched.

The laws are stated for half the sum of squares; its gradient is ``m / 2`` times that of our
mean of squares over m cells, and so are learning rates converted.
"""

from math import inf

import numpy as np

from sktf._cells.validation import Observations
from sktf._descent.loop import gradient_descent
from sktf._descent.steps import Constant
from sktf._objective.cpu import FusedObjective
from sktf._objective.losses import ClippedSquare
from sktf.datasets import dense_from_factors

# The descent of the papers: one Gaussian start, the squared loss of all cells as they are.
PAPERS = {
    "init": "gaussian",
    "init_mean": 0.0,
    "loss": "squared",
    "step": "grouprmsprop",
    "scale": False,
    "early_stopping": False,
}


def low_rank(shape, rank, seed, norm=None):
    """A tensor of Gaussian factors, of a given Frobenius norm if wanted."""
    rng = np.random.default_rng(seed)
    letters = "ijkl"[: len(shape)]
    factors = [rng.standard_normal((size, rank)) for size in shape]
    tensor = np.einsum(",".join(n + "r" for n in letters) + "->" + letters, *factors)
    return tensor if norm is None else norm / np.linalg.norm(tensor) * tensor


def sample(tensor, n_observed, seed):
    """Uniform cells without replacement: X, y, and the linear indices of the others."""
    order = np.random.default_rng(1000 + seed).permutation(tensor.size)
    chosen = order[:n_observed]
    X = np.column_stack(np.unravel_index(chosen, tensor.shape))
    return X, tensor.ravel()[chosen], order[n_observed:]


def sample_mask(tensor, n_observed, seed):
    """The same cells as a mask."""
    mask = np.zeros(tensor.shape, bool)
    mask[tuple(sample(tensor, n_observed, seed)[0].T)] = True
    return mask


def relative_error(estimate, tensor):
    """Over all cells, observed ones included."""
    return np.linalg.norm(estimate - tensor) / np.linalg.norm(tensor)


def effective_rank(matrix):
    p = np.linalg.svd(matrix, compute_uv=False)
    p = p[p > 1e-12 * p[0]] / p.sum()
    return np.exp(-p @ np.log(p))


def blocks_of_norm(alpha, blocks, rng):
    """Gaussian vectors (d, R) and matrices (k, R, d, d), each of this Frobenius norm."""
    drawn = [rng.standard_normal(block) for block in blocks]
    axes = [0 if block.ndim == 2 else (2, 3) for block in drawn]
    return [
        alpha * b / np.linalg.norm(b, axis=axis, keepdims=True)
        for b, axis in zip(drawn, axes, strict=True)
    ]


class Experiment:
    """Half the sum of squares over some cells, by the objective of the package."""

    def __init__(self, factorization, target, mask):
        coords = np.argwhere(mask)
        observations = Observations(coords, target[mask], np.ones(len(coords)), target.shape)
        self.objective = FusedObjective(factorization, observations, ClippedSquare(inf))
        self.half = len(coords) / 2
        self.unpack = factorization.unpack
        self.factors = lambda theta: factorization.forward(theta)[0]
        self.target, self.mask = target, mask

    def dense(self, theta):
        return dense_from_factors(self.factors(theta))

    def gradient(self, theta):
        """Of half the sum of squares, at the dense tensor."""
        return np.where(self.mask, self.dense(theta) - self.target, 0)

    def descend(self, theta, step, n_iter, observe=None, until=-1.0):
        """Descend; ``until`` is half a sum of squares."""
        return gradient_descent(
            self.objective,
            theta,
            step,
            max_iter=n_iter,
            tol=until / self.half,
            observe=observe or (lambda iteration, time, loss, theta: None),
        )

    def steps(self, learning_rate):
        """Constant steps whose learning rate is meant for half the sum of squares."""
        return Constant(learning_rate * self.half)

    def drift(self, theta, rate, time, invariants):
        """Change of ``invariants(blocks)`` over this time."""
        end = self.descend(theta, self.steps(rate), round(time / rate)).theta
        pairs = zip(invariants(self.unpack(end)), invariants(self.unpack(theta)), strict=True)
        return [after - before for after, before in pairs]

    def law_errors(self, theta, rate, time, n_probes, growth):
        """Errors of a law at times along the path: quantities moved by one step, over its size.

        ``growth(blocks, gradient)`` returns ``Rates``; an error is the largest one, relative to
        the largest rate. Both ends of the step are measured, so no gradient enters but the law's.
        """
        every, errors, previous = round(time / rate / n_probes), [], None

        def observe(iteration, time, loss, theta):
            nonlocal previous
            if iteration % every == 0 and iteration > 0:
                before = growth(self.unpack(previous), self.gradient(previous))
                after = growth(self.unpack(theta), self.gradient(theta))
                law = before.predicted
                away = (after.value - before.value) / rate - law
                errors.append(np.abs(away).max() / np.abs(law).max())
            previous = theta

        self.descend(theta, self.steps(rate), every * n_probes, observe)
        assert len(errors) == n_probes
        return np.array(errors)


def adam(experiment, theta, rate, n_iter, until=-1.0):
    """Adam as published, a step of its own for every parameter, on half the sum of squares."""
    m = v = np.zeros_like(theta)
    for t in range(1, n_iter + 1):
        loss, gradient = experiment.objective(theta)
        if loss * experiment.half < until:
            break
        gradient = experiment.half * gradient
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        theta = theta - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return theta
