"""Many components written as few: the mean of several fits with 1, 2, ... components."""

from functools import reduce
from itertools import islice

import numpy as np

from sktf._objective.components import component_norms, far_entry, svd_factors
from sktf._objective.nonnegative_rows import descend_rows

# Sweeps of alternating least squares that fit each number of components.
_SWEEPS = 40
# Passes over the columns of a factor without signs, each time that it is solved for.
_PASSES = 5
# A sweep that explains no more than this share of what is left is the last one.
_STALLED = 3e-3
# How many times the median distance between models one may be away to be averaged with them.
_FAR = 2
# An entry this many times larger than any value seen speaks against a model.
_TOO_LARGE = 2.5
# The largest such ratio that counts; its square is still a number.
_MOST = 1e50
# A compression is exact when it leaves this share of the squared norm.
_EXACT = 1e-12


class Pruning:
    """From the thetas of several runs to one theta with few components.

    Parameters
    ----------
    factorization : Factorization
        What the thetas are of; it can ``embed`` factors.
    objective : FusedObjective or TorchObjective
        Moves thetas from and to its device.
    largest : float
        The largest absolute value that is trained on.
    """

    def __init__(self, factorization, objective, largest):
        self._factorization, self._objective = factorization, objective
        self._limit = _TOO_LARGE * largest

    def factors(self, theta):
        """Return the factors of theta (NumPy, float64: a mean has parallel components)."""
        factors, _ = self._factorization.forward(self._objective.to_numpy(theta))
        return [factor.astype(np.float64) for factor in factors]

    def candidates(self, thetas):
        """Yield factors of 1, 2, ... components that approach the mean of the models."""
        mean = mean_factors(agreeing([self.factors(theta) for theta in thetas]))
        few = compressions(mean, nonnegative=self._factorization.nonnegative)
        return islice(few, self._factorization.most_components)

    def distrust(self, factors):
        """Return a factor on held-out errors, above 1 for entries far too large.

        Such entries lie where nothing is seen, held-out cells included.
        """
        far = far_entry(factors, self._limit) if self._limit else None
        return 1.0 if far is None else min(abs(far[1]) / self._limit, _MOST) ** 2

    def theta(self, factors):
        """Return the theta of given factors."""
        return self._objective.from_numpy(self._factorization.embed(factors))


def agreeing(models):
    """Return the models that lie near most others, measured over the whole tensor.

    Held-out cells tell nothing of fibers and blocks without any cell, where a model may be far
    off. Kept are those within ``_FAR`` times the (upper) median distance from the model that has
    the least: ``|S - T|^2 = <S, S> - 2 <S, T> + <T, T>``.
    """
    if len(models) < 4:  # of three, two that agree are no majority
        return models
    with np.errstate(over="ignore", invalid="ignore"):
        gram = np.array([[_inner(left, right) for right in models] for left in models])
        squares = (np.diag(gram)[:, None] + np.diag(gram) - 2 * gram).clip(0)
    if not np.isfinite(squares).all():
        return models
    # Of each row the first is 0, the distance from itself.
    medians = np.sort(squares, axis=1)[:, (len(models) + 1) // 2]
    near = squares[np.argmin(medians)] <= _FAR**2 * medians.min()
    return [model for model, is_near in zip(models, near, strict=True) if is_near]


def mean_factors(models):
    """Return factors whose tensor is the mean of the tensors of several models."""
    share = len(models) ** (-1 / len(models[0]))
    return [share * np.concatenate(modes, axis=1) for modes in zip(*models, strict=True)]


def compressions(factors, nonnegative=False):
    """Yield factors of 1, 2, ... components whose tensors approach that of ``factors``.

    The work is done between orthonormal bases of the modes, on arrays as large as the number
    of components: exact truncation of singular values for two factors, alternating least
    squares with one more component at a time for more. Ends where nothing is left to fit. Factors
    that are ``nonnegative`` stay so: bases and singular vectors have signs, so that here the least
    squares are those of whole rows.
    """
    if len(factors) == 1:
        yield [factors[0].sum(axis=1, keepdims=True)]
        return
    if nonnegative:
        yield from _grow(factors, _missing_component, _nonnegative_columns)
        return
    if len(factors) == 2:
        yield from _truncations(svd_factors(*factors))
        return
    bases, cores = zip(*map(np.linalg.qr, factors), strict=True)
    for few in _grow(list(cores), _leading_component, _ridge):
        yield [basis @ core for basis, core in zip(bases, few, strict=True)]


def _truncations(triplets):
    norms = component_norms(triplets)
    for k in range(1, 1 + int((norms**2 > _EXACT * (norms**2).sum()).sum())):
        yield [factor[:, :k] for factor in triplets]


def _grow(target, add, solve):
    """Yield factors fitted to the target, one component more each time.

    ``add`` finds the next one in what is left, ``solve`` a factor with the others fixed.
    """
    size = _inner(target, target)
    fitted, residual = None, target
    for _ in range(target[0].shape[1]):
        if not _inner(residual, residual) > _EXACT * size > 0:
            return
        new = add(residual)
        fitted = new if fitted is None else _beside(fitted, new)
        fitted = _least_squares(target, fitted, _SWEEPS, solve)
        yield fitted
        residual = _beside(target, [-fitted[0], *fitted[1:]])


def _beside(first, second):
    return [np.concatenate(pair, axis=1) for pair in zip(first, second, strict=True)]


def _products(left, right, skip=None):
    """Inner products of the components of two models, but for mode ``skip``."""
    pairs = [a.T @ b for n, (a, b) in enumerate(zip(left, right, strict=True)) if n != skip]
    with np.errstate(over="ignore", invalid="ignore"):  # nothing comes near what is not finite
        return np.prod(pairs, axis=0)


def _inner(left, right):
    with np.errstate(over="ignore", invalid="ignore"):
        return float(_products(left, right).sum())


def _leading_component(model):
    """Fit one component, from the largest there is and from the leading vector of each mode."""
    largest = int(np.argmax(component_norms(model)))
    spectral = [
        _leading_vector(factor, _products(model, model, n)) for n, factor in enumerate(model)
    ]
    starts = [[factor[:, [largest]] for factor in model], spectral]
    fits = [_least_squares(model, start, _SWEEPS // 2, _ridge) for start in starts]
    return max(fits, key=component_norms)


def _leading_vector(factor, products):
    """Leading left singular vector of the unfolding ``factor @ (...)^T``."""
    return np.linalg.eigh(factor @ products @ factor.T)[1][:, -1:]


def _missing_component(residual):
    """Return the positive component that by itself explains most of a residual.

    Components of the residual that are negative in the first mode have been fitted.
    """
    norms = component_norms(residual)
    # Of zeros, which a fit without signs may have, there is nothing to gain.
    gains = _products(residual, residual).sum(axis=0) / np.where(norms > 0, norms, np.inf)
    most = int(np.argmax(np.where(residual[0].max(axis=0) > 0, gains, -np.inf)))
    return [factor[:, [most]] for factor in residual]


def _least_squares(target, factors, n_sweeps, solve):
    """Sweep over the modes, solving for each factor with the others fixed.

    Ends early where a sweep hardly explains more of the target: squared norms, of which the
    fitted part is the inner product of the last factor and what it was solved from.
    """
    factors, explained, size = list(factors), 0.0, _inner(target, target)
    grams = [factor.T @ factor for factor in factors]
    crosses = [wanted.T @ factor for wanted, factor in zip(target, factors, strict=True)]
    for _ in range(n_sweeps):
        for n, factor in enumerate(target):
            gram, wanted = _product(grams, n), factor @ _product(crosses, n)
            factors[n] = solve(gram, wanted, factors[n])
            grams[n], crosses[n] = factors[n].T @ factors[n], factor.T @ factors[n]
        before, explained = explained, float((wanted * factors[-1]).sum())
        if explained - before <= _STALLED * (size - explained):
            break
    return _even_out(factors)


def _ridge(gram, wanted, factor):
    return np.linalg.solve(_regular(gram), wanted.T).T


def _regular(gram):
    # The ridge keeps parallel components from growing against each other, zeros at zero.
    return gram + (1e-9 * np.trace(gram) + np.finfo(float).tiny) * np.eye(len(gram))


def _nonnegative_columns(gram, wanted, factor):
    """The least squares without negative entries, approached row by row.

    Several passes over the entries cost less than what they start from (N. Gillis and F. Glineur,
    "Accelerated multiplicative updates and hierarchical ALS algorithms for nonnegative matrix
    factorization", Neural Computation 24, 2012).
    """
    factor = factor.copy()
    descend_rows(_regular(gram)[None], wanted, len(gram), _PASSES, factor)
    return factor


def _product(matrices, skip):
    return reduce(np.multiply, (m for n, m in enumerate(matrices) if n != skip))


def _even_out(factors):
    """Give all columns of a component the same norm, keeping their product."""
    norms = np.array([np.linalg.norm(factor, axis=0) for factor in factors])
    norms[:, (norms == 0).any(axis=0)] = 1.0
    target = np.exp(np.log(norms).mean(axis=0))
    return [factor * (target / norm) for factor, norm in zip(factors, norms, strict=True)]
