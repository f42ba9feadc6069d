"""The problems of ``posterior.py``: where cells come from, and which of them are hidden."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import public_data
from practice import Split

from sktf import datasets

_FIRST_SEED = 4000


class Problem(NamedTuple):
    """Where cells come from, which are hidden, and what is asked of `PosteriorCompletion`.

    Seen cells have ``noise``, hidden ones have not.
    """

    kind: str
    load: callable
    hidden: float
    mode: int | None = None
    n_splits: int = 10
    most: float = np.inf
    seconds: float = np.inf
    noise: float = 0.0
    ensemble: bool = True

    @property
    def scaled(self):
        """Whether errors are in standard deviations of the hidden values."""
        return self.kind in ("assay", "fibers")

    @property
    def pattern(self):
        """Return what is hidden as a whole."""
        return {} if self.mode is None else {"pattern": "fibers", "mode": self.mode}

    def split(self, number):
        """Return the split of this number."""
        seed = _FIRST_SEED + number
        X, y, shape = self.load(seed)
        X, X_hidden, y, y_hidden = datasets.split_entries(
            X, y, self.hidden, random_state=seed, **self.pattern
        )
        y = y + self.noise * np.random.default_rng(seed).standard_normal(len(y))
        return Split(X, y, X_hidden, y_hidden, shape, seed)


def _sensors(seed):
    """Return readings of 20 sensors, 40 days and 24 hours that share three daily patterns."""
    rng = np.random.default_rng(seed)
    days, hours = np.arange(40), np.arange(24)
    weather = np.convolve(rng.standard_normal(46), np.ones(7) / np.sqrt(7), "valid")
    rush = np.exp(-((hours - 8) ** 2) / 4) + np.exp(-((hours - 17) ** 2) / 6)
    by_day = np.column_stack([np.ones(40), np.where(days % 7 < 5, 1.0, 0.2), weather])
    by_hour = np.column_stack([1.5 - np.cos(2 * np.pi * hours / 24), 2 * rush, np.ones(24)])
    by_sensor = rng.uniform(0.2, 1.5, (20, 3))
    readings = np.einsum("sr,dr,hr->sdh", by_sensor, by_day, by_hour)
    return *datasets.entries_from_dense(readings), readings.shape


def _fixed(load):
    return lambda seed: load()


_IL2, _COVID = _fixed(datasets.load_il2), _fixed(datasets.load_covid19_serology)
_KINETIC = _fixed(datasets.load_kinetic)
LARGE = "ratings 2000 x 1500"
PROBLEMS = {
    "IL-2, 10 % seen": Problem("assay", _IL2, 0.9, most=0.4, seconds=10),
    "IL-2, 50 % seen": Problem("assay", _IL2, 0.5, most=0.172, seconds=10),
    "COVID-19, 10 % seen": Problem("assay", _COVID, 0.9, most=0.605, seconds=10),
    "COVID-19, 50 % seen": Problem("assay", _COVID, 0.5, most=0.42, seconds=10),
    "Kinetic, 1 % seen": Problem("assay", _KINETIC, 0.99, most=0.0505, seconds=30),
    "ratings 300 x 200": Problem(
        "ratings", lambda seed: datasets.make_ratings(random_state=seed), 0.2
    ),
    LARGE: Problem(
        "ratings",
        lambda seed: datasets.make_ratings(2000, 1500, 110_000, random_state=seed),
        10_000,
    ),
    "fibers: IL-2, half of the dose curves seen": Problem("fibers", _IL2, 0.5, 2, 3),
    "fibers: COVID-19, half of the receptor fibers seen": Problem("fibers", _COVID, 0.5, 2, 3),
    "fibers: Kinetic, a tenth of the time courses seen": Problem("fibers", _KINETIC, 0.9, 3, 3),
    "fibers: sensors, 70 % of the days seen": Problem("fibers", _sensors, 0.3, 2, 3, noise=0.3),
}


def problems(folder):
    """Return {name: Problem}, public data among them as far as the folder holds them."""
    found = dict(PROBLEMS)
    for name, file in public_data.FILES.items():
        if folder is None or not (Path(folder) / file).exists():
            print(f"{name} is left out: pass --data FOLDER with {file} in it")
            continue
        matrix = file.endswith(".mat")
        load = partial(_public, name, folder)
        found[name] = Problem(
            "ratings" if matrix else "context",
            load,
            0.1 if matrix else 0.2,
            n_splits={"frappe": 2, "Douban": 3}.get(name, 10),
            ensemble=name != "frappe",
        )
    return found


def _public(name, folder, seed):
    return public_data.load(name, folder)
