"""Chains on their way: where each begins, and the draws it keeps."""

from typing import Any, NamedTuple

import numpy as np

from sktf._averages.draws import Draw
from sktf._averages.gibbs import State
from sktf._averages.posterior_choice import Choice
from sktf._averages.posterior_space import Space

# Sweeps from one draw that is kept to the next.
APART = 4


class Chain(NamedTuple):
    """A chain on its way: the draws it keeps, and where it is, None before its first sweep."""

    seed: int
    kept: tuple = ()
    state: State | None = None


class Begun(NamedTuple):
    """Where chains begin, what held-out cells have chosen, and the chains."""

    space: Space
    model: Any
    choice: Choice
    chains: list


def run_chain(begun, sampler, n_warmup, n_samples, number, chain):
    """Return a chain with so many draws, or those before Ctrl-C, and whether it has them all."""
    kept, state = list(chain.kept), chain.state and chain.state.copy()
    reached = chain
    try:
        if state is None:
            begins, rng = begun.choice.begins, np.random.RandomState(chain.seed)
            kind, n_components = begins[number % len(begins)], begun.choice.n_components
            state = sampler.begin(*begun.space.begin(kind, begun.model, n_components, rng), rng)
            for _ in range(n_warmup):
                state = sampler.sweep(state)
        while len(kept) < n_samples:
            for _ in range(APART):
                state = sampler.sweep(state)
            kept.append(Draw.of(state))
            reached = chain._replace(state=state.copy(), kept=tuple(kept))
    except KeyboardInterrupt:
        return reached, False
    return reached, True
