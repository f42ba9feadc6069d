from .entries import Entries, dense_from_entries, entries_from_dense
from .files import open_entries
from .low_rank import dense_from_factors, make_low_rank
from .ratings import make_ratings
from .real import (
    load_covid19_serology,
    load_digits_tensor,
    load_il2,
    load_indian_pines,
    load_kinetic,
)
from .sampling import entry_groups, sample_entries, split_entries

__all__ = [
    "Entries",
    "dense_from_entries",
    "dense_from_factors",
    "entries_from_dense",
    "entry_groups",
    "load_covid19_serology",
    "load_digits_tensor",
    "load_il2",
    "load_indian_pines",
    "load_kinetic",
    "make_low_rank",
    "make_ratings",
    "open_entries",
    "sample_entries",
    "split_entries",
]
