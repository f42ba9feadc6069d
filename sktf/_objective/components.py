"""Counting components and singular values: norms, merging parallel ones, entropy."""

from functools import cache, reduce
from itertools import zip_longest
from math import prod

import numpy as np

# Numbers of a factor held at once while products of rows are formed: 128 KiB, for the cache.
_CHUNK = 2**14
# Cells, drawn at random, at which entries are looked at.
_N_CELLS = 4096
# Two components whose unit tensors have a larger |inner product| are one component.
PARALLEL = 0.95


def component_norms(factors):
    """Norm of each component, the product over modes of its column norms; it may be infinite."""
    with np.errstate(over="ignore"):
        return reduce(np.multiply, map(_column_norms, factors))


def _column_norms(factor):
    """Norms of the columns, whatever the units: no square over- or underflows."""
    squares = np.einsum("ir,ir->r", factor, factor)
    if squares.size and squares.min() > 1e-30 and squares.max() < 1e30:
        return np.sqrt(squares)
    peak = np.abs(factor).max(initial=0.0) or 1.0
    return peak * np.linalg.norm(factor / peak, axis=0)


def unit_columns(factor):
    """Return the columns divided by their norms; columns of zeros stay."""
    norms = _column_norms(factor)
    return factor / np.where(norms > 0, norms, 1.0)


def far_entry(factors, limit):
    """Return the rows of an entry beyond ``limit`` in absolute value, and the entry; or None.

    Looks at the peak of each component and at cells drawn at random, unless already the sum of
    the peaks shows that no entry can be so large.
    """
    peaks = np.prod([np.abs(factor).max(axis=0, initial=0.0) for factor in factors], axis=0)
    if peaks.sum() <= limit:
        return None
    rng = np.random.RandomState(0)
    cells = [np.r_[np.abs(f).argmax(axis=0), rng.randint(len(f), size=_N_CELLS)] for f in factors]
    values = sum_of_products(factors, np.column_stack(cells))
    worst = int(np.abs(values).argmax())
    if not np.abs(values[worst]) > limit:
        return None
    return tuple(int(cell[worst]) for cell in cells), float(values[worst])


def sum_of_products(factors, cells):
    """Return ``sum_r prod_n factors[n][cells[:, n], r]``, a chunk of cells at a time."""
    total = np.empty(len(cells))
    n_rows = max(1, _CHUNK // max(1, factors[0].shape[1]))
    for start in range(0, len(cells), n_rows):
        part = cells[start : start + n_rows]
        product, *others = (f.take(part[:, n], axis=0) for n, f in enumerate(factors))
        last = others.pop() if others else np.ones_like(product)
        for other in others:
            product *= other
        np.einsum("er,er->e", product, last, out=total[start : start + n_rows])
    return total


def descending(factors):
    """Order of the components by norm, largest first."""
    return np.argsort(-component_norms(factors), kind="stable")


def merged_norms(factors):
    """Norms of the components, descending, after parallel ones were added up."""
    return merged_groups(factors)[1]


def merged_groups(factors):
    """Columns of each component after merging, and their norms, the largest first.

    Columns are visited from the largest down; each joins the first leader it is parallel to, or
    leads a group of its own. A group's norm is that of the sum of its components, so that a pair
    that cancels counts for what is left of it. What is below a millionth of the largest is dust.
    """
    norms = component_norms(factors)
    alive, largest = descending(factors), norms.max(initial=0.0)
    alive = alive[norms[alive] > 1e-6 * largest]
    units = [factor[:, alive] / _column_norms(factor[:, alive]) for factor in factors]
    cosine = np.prod([unit.T @ unit for unit in units], axis=0)
    parallel, groups = np.abs(cosine) > PARALLEL, []
    for r in range(len(alive)):
        home = next((group for group in groups if parallel[group[0], r]), None)
        if home is None:
            groups.append([r])
        else:
            home.append(r)
    gram = cosine * np.outer(norms[alive] / largest, norms[alive] / largest)
    squares = np.array([gram[np.ix_(group, group)].sum() for group in groups])
    order = np.argsort(-squares, kind="stable")
    return [alive[groups[g]] for g in order], largest * np.sqrt(np.maximum(squares[order], 0.0))


def count_above(norms, rank_tol):
    """Number of entries of ``norms`` above ``rank_tol`` times the largest."""
    largest = norms.max(initial=0.0)
    return int((norms > rank_tol * largest).sum()) if largest > 0 else 0


def entropy_rank(values):
    """Exponential of the entropy of non-negative values normalized to sum 1; 0 if all are 0."""
    values = values[values > 0]
    if values.size == 0:
        return 0.0
    p = values / values.sum()
    return float(np.exp(-(p @ np.log(p))))


def product_singular_values(left, right):
    """Singular values of ``left @ right.T`` without forming it."""
    return np.linalg.svd(_core(left) @ _core(right).T, compute_uv=False)


def _core(side):
    """A matrix with the Gram matrix of ``side`` and no more rows than columns."""
    return np.linalg.qr(side, mode="r") if side.shape[0] > side.shape[1] else side


def svd_factors(left, right):
    """Return factors of ``left @ right.T`` whose components are its singular triplets.

    Each factor carries the square root of the singular value.
    """
    q_left, r_left = np.linalg.qr(left)
    q_right, r_right = np.linalg.qr(right)
    u, values, vt = np.linalg.svd(r_left @ r_right.T, full_matrices=False)
    root = np.sqrt(values)
    return [q_left @ (u * root), q_right @ (vt.T * root)]


def matricization_values(factors, rows):
    """Singular values, descending, of the tensor unfolded by each tuple of modes of ``rows``."""
    exponents = [int(np.frexp(np.abs(factor).max(initial=0.0))[1]) for factor in factors]
    units = [np.ldexp(factor, -e) for factor, e in zip(factors, exponents, strict=True)]
    gram = cache(lambda mode: units[mode].T @ units[mode])
    with np.errstate(over="ignore"):  # a tensor too large for numbers has infinite values
        return [np.ldexp(_values(units, gram, modes), sum(exponents)) for modes in rows]


def _values(factors, gram, modes):
    others = [n for n in range(len(factors)) if n not in modes]
    few, many = sorted((modes, others), key=lambda side: prod(len(factors[n]) for n in side))
    few = _side(factors, gram, few)
    if prod(len(factors[n]) for n in many) <= few.shape[1]:
        return np.linalg.svd(few @ _side(factors, gram, many).T, compute_uv=False)
    # From Gram matrices: those below about 1e-8 of the largest are rounding.
    squares = np.linalg.eigvalsh(few @ prod(map(gram, many)) @ few.T)[::-1]
    return np.sqrt(np.maximum(squares, 0.0))


def _side(factors, gram, modes):
    """A matrix with the Gram matrix of the products over ``modes``, no more rows than columns."""
    n_components = factors[0].shape[1]
    if not modes or prod(len(factors[n]) for n in modes) <= n_components:
        return _row_products([factors[n] for n in modes], n_components)
    if len(modes) == 1:
        return _core(factors[modes[0]])
    values, vectors = np.linalg.eigh(prod(map(gram, modes)))
    return np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T


def _row_products(factors, n_components):
    """Products of the columns: a row for each combination of rows of the factors."""
    made = np.ones((1, n_components))
    for factor in factors:
        made = (made[:, None] * factor).reshape(-1, n_components)
    return made


def stack_padded(rows):
    """Stack vectors of different lengths as rows, padded with zeros."""
    return np.transpose([*zip_longest(*rows, fillvalue=0.0)])
