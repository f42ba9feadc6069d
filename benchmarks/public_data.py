"""Public data that the repository does not hold, read from one folder.

The folder holds, under these names, whichever of the files there are:

    douban.mat, flixster.mat, yahoo_music.mat
        github.com/riannevdberg/gc-mc, gcmc/data/<name>/training_test_dataset.mat (needs h5py)
    frappe.csv
        Frappe of github.com/irecsys/CARSKit
    depaul_movie.txt
        ratings.txt of DePaulMovie of github.com/irecsys/CARSKit
"""

import csv
from functools import cache
from pathlib import Path

import numpy as np

FILES = {
    "Douban": "douban.mat",
    "Flixster": "flixster.mat",
    "YahooMusic": "yahoo_music.mat",
    "frappe": "frappe.csv",
    "DePaulMovie": "depaul_movie.txt",
}
#: Modes, values and the sign between columns.
_TABLES = {
    "frappe": (("user", "item", "daytime", "weekday", "weather"), "cnt", "\t"),
    "DePaulMovie": (("userid", "itemid", "Time", "Location", "Companion"), "rating", ","),
}


@cache
def load(name, folder):
    """Return X, y and the shape."""
    path = Path(folder) / FILES[name]
    return _table(path, *_TABLES[name]) if name in _TABLES else _matrix(path)


def _matrix(path):
    """Return all rated cells of a matrix, training and test in one."""
    import h5py

    with h5py.File(path) as file:
        values = np.array(file["M"], float)
        X = np.argwhere((np.array(file["Otraining"]) > 0) | (np.array(file["Otest"]) > 0))
    return X, values[tuple(X.T)], values.shape


def _table(path, modes, value, sign):
    """Return the rows of a table; what is not available is a category, counts are logarithms."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=sign))
    codes = [np.unique([row[mode] for row in rows], return_inverse=True) for mode in modes]
    y = np.array([float(row[value]) for row in rows])
    X = np.column_stack([code for _, code in codes])
    return X, np.log10(y) if value == "cnt" else y, tuple(len(names) for names, _ in codes)
