"""Star ratings as people give them."""

import numpy as np
from sklearn.utils import check_random_state

from sktf.datasets.entries import Entries


def make_ratings(n_users=300, n_items=200, n_ratings=6000, *, rank=3, noise=0.5, random_state=None):
    r"""Make star ratings from 1 to 5 with active users and popular items.

    Parameters
    ----------
    n_users, n_items, n_ratings : int, default=300, 200 and 6000
        Sizes of the modes, and the number of distinct rated cells, at most a quarter of all.
    rank : int, default=3
        Number of latent tastes.
    noise : float, default=0.5
        Standard deviation of a rating about its expectation, in stars, before rounding.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    Entries
        ``X, y, shape``, in random order.

    Notes
    -----
    .. math:: y_{ui} = \operatorname{round}\bigl(3.5 + b_u + c_i + 0.6\, p_u^\top q_i / \sqrt{R}
        + \text{noise} \cdot \varepsilon_{ui}\bigr) \text{, clipped to } 1 \dots 5,

    with normal biases of standard deviation 0.4 (users) and 0.5 (items) and standard normal tastes.
    The k-th most active user, and likewise the k-th most popular item, is drawn with probability
    proportional to :math:`(k + 10)^{-0.8}`; a cell is rated once.

    Examples
    --------
    >>> from sktf.datasets import make_ratings
    >>> X, y, shape = make_ratings(100, 80, 1500, random_state=0)
    >>> X.shape, shape, sorted(set(y.tolist()))
    ((1500, 2), (100, 80), [1.0, 2.0, 3.0, 4.0, 5.0])
    """
    if not 0 < n_ratings <= n_users * n_items / 4:
        raise ValueError(
            f"n_ratings is {n_ratings}; pass at least 1 and at most a quarter of the "
            f"{n_users} x {n_items} cells: {n_users * n_items // 4}."
        )
    rng = check_random_state(random_state)
    X = _draw_rated_cells(n_users, n_items, n_ratings, rng)
    users, items = X.T
    stars = 3.5 + 0.4 * rng.standard_normal(n_users)[users]
    stars += 0.5 * rng.standard_normal(n_items)[items]
    tastes, traits = (rng.standard_normal((n, rank)) for n in (n_users, n_items))
    stars += 0.6 * np.sum(tastes[users] * traits[items], axis=1) / np.sqrt(rank)
    stars += noise * rng.standard_normal(n_ratings)
    return Entries(X, np.clip(np.rint(stars), 1, 5), (n_users, n_items))


def _draw_rated_cells(n_users, n_items, n_ratings, rng):
    """Return distinct cells, drawn one after the other with unequal probabilities."""
    user_shares, item_shares = _power_law(n_users, rng), _power_law(n_items, rng)
    codes = np.empty(0, dtype=np.int64)
    while codes.size < n_ratings:
        users = rng.choice(n_users, n_ratings, p=user_shares)
        items = rng.choice(n_items, n_ratings, p=item_shares)
        codes = np.concatenate([codes, users * n_items + items])
        # Repeats are ignored: the first time a cell turned up is what counts.
        codes = codes[np.sort(np.unique(codes, return_index=True)[1])]
    return np.column_stack(np.divmod(codes[:n_ratings], n_items))


def _power_law(n, rng):
    """Return unequal probabilities in random order."""
    shares = (np.arange(1, n + 1) + 10.0) ** -0.8
    return rng.permutation(shares / shares.sum())
