from .cp import (
    cp_gradients,
    cp_growth,
    cp_growth_bounds,
    cp_invariants,
    vector_part_growth,
)
from .integrate import gradient_flow
from .matrix import (
    balanced_layers,
    matrix_gradients,
    matrix_growth,
    matrix_invariants,
    singular_value_growth,
    unobserved_entry_bound,
)
from .nonnegative import nonnegative_growth, nonnegative_invariants
from .rates import Rates, unbalancedness
from .times import escape_time

__all__ = [
    "Rates",
    "balanced_layers",
    "cp_gradients",
    "cp_growth",
    "cp_growth_bounds",
    "cp_invariants",
    "escape_time",
    "gradient_flow",
    "matrix_gradients",
    "matrix_growth",
    "matrix_invariants",
    "nonnegative_growth",
    "nonnegative_invariants",
    "singular_value_growth",
    "unbalancedness",
    "unobserved_entry_bound",
    "vector_part_growth",
]
