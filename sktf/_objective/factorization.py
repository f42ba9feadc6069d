"""What a model is to the rest of the package: one flat vector theta, read as CP factors.

Every model here ends in components: an entry is ``sum_r prod_n F_n[i_n, r]``. A model says how
theta becomes the factors ``F_n`` and how a gradient at the factors is pulled back to theta.
"""

from abc import ABC, abstractmethod
from math import prod

import numpy as np


class Factorization(ABC):
    """A map from theta to the factors of its components, with its transposed derivative.

    Parameters
    ----------
    shape : tuple of int
        Mode sizes of the tensor that the factors describe.
    n_components : int
        Number R of columns of every factor.
    blocks : list of tuple of int
        Shapes of the arrays that theta is cut into, in order.
    """

    # Whether theta is the factors themselves, one after another.
    theta_is_factors = False
    # Whether the factors are the squares of the entries of theta, one after another.
    theta_is_roots = False
    # Whether components share no parameters: axis 1 of every block of theta is the component.
    separable = False
    # Whether no entry of a factor is negative, and those that ``embed`` takes may not be either.
    nonnegative = False

    def __init__(self, shape, n_components, blocks):
        self.shape = tuple(shape)
        self.n_components = n_components
        self.blocks = blocks
        self.n_parameters = sum(prod(block) for block in blocks)

    def unpack(self, theta):
        """Views of theta, one per block; numpy and torch alike."""
        views, start = [], 0
        for block in self.blocks:
            stop = start + prod(block)
            views.append(theta[start:stop].reshape(block))
            start = stop
        return views

    def given(self, blocks):
        """Return theta made of ``blocks``, arrays of a user."""
        arrays = given_blocks(blocks)
        shapes = [array.shape for array in arrays]
        if shapes != list(self.blocks):
            raise ValueError(
                f"init has blocks of shapes {shapes}, but this model of mode sizes {self.shape} "
                f"takes {list(self.blocks)}; set shape, n_components, depth or hidden to match."
            )
        theta = pack(arrays)
        if not np.isfinite(theta).all():
            raise ValueError("init holds NaN or infinity; a start is made of finite numbers.")
        return theta

    @abstractmethod
    def forward(self, theta):
        """Return the factors, arrays (shape[n], R), and what ``pullback`` wants to remember.

        Works on NumPy and torch vectors alike.
        """

    @abstractmethod
    def pullback(self, theta, memory, gradients):
        """Return the gradient at theta from those at the factors (NumPy)."""

    @abstractmethod
    def start(self, rng, init, scale, mean):
        """Draw an initial theta (float64)."""

    @property
    def width(self):
        """What ``narrowed`` makes this model again from: numbers alone."""
        return self.n_components

    def narrowed(self, n_components):
        """Return the same model with another number of components, where there is one."""
        raise NotImplementedError

    def grown_within(self, bases, n_components, rng, start):
        """Return a model of components to grow, as narrow as it may be, and a small theta of it.

        The columns of its factors lie in the spans of ``bases``, orthonormal, one per mode;
        ``start`` is a ``Start`` for data of RMS 1.
        """
        raise NotImplementedError

    def columns(self, theta, components):
        """Return theta of some of the components of a ``separable`` model."""
        return pack([block[:, components] for block in self.unpack(theta)])

    @property
    def most_components(self):
        """How many columns ``embed`` takes; 0 where a model has no theta for given factors."""
        return 0

    def embed(self, factors):
        """Return a theta with these factors."""
        raise NotImplementedError

    def settled(self, factors):
        """Return what a fit keeps of factors that have grown: a theta, or a list to embed."""
        return self.embed(factors)

    def near(self, factors):
        """Return a theta whose tensor is near that of any number of components."""
        raise NotImplementedError


def padded(factor, n_columns):
    """Return the factor with columns of zeros added."""
    return np.pad(factor, ((0, 0), (0, n_columns - factor.shape[1])))


def pack(arrays):
    """Flatten and concatenate arrays into one vector theta."""
    return np.concatenate([np.ravel(array) for array in arrays])


def given_blocks(init):
    """Return the float64 arrays that a user gives as ``init``."""
    try:
        # Of the same kind: neither complex numbers nor strings nor objects.
        return [np.asarray(block).astype(np.float64, casting="same_kind") for block in init]
    except (TypeError, ValueError) as error:
        raise ValueError("init: expected a name or a list of arrays of real numbers.") from error


def choose_components(n_components, init, sizes, n_cells):
    """Return the R asked for, else that of the first array given as init, else the default."""
    if n_components is not None:
        return int(n_components)  # of any kind, with which products may overflow
    if isinstance(init, str):
        return default_components(sizes, n_cells)
    return max([1, *(n for block in given_blocks(init)[:1] for n in block.shape[-1:])])


def default_components(sizes, n_cells):
    """As many components as ``n_cells`` cells can tell apart, bounded; see ``CPCompletion``."""
    enough = min(max(n_cells // sum(sizes), 10), 30)
    return min(enough, prod(sizes) // max(sizes))


def like(theta, array):
    """Return a NumPy array as an array of the kind of theta."""
    convert = getattr(theta, "new_tensor", None)
    return array.astype(theta.dtype, copy=False) if convert is None else convert(array)
