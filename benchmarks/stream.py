"""More cells than memory: cells in files of Parquet, fitted block by block and in memory.

    python benchmarks/stream.py [--cells 1e7 1e8] [--folder FOLDER] [--quick]

Tensors of order 3 and rank 5 are products of normal factors with noise of 0.1, as those of
``large.py``; float32 values and int32 indices are written in parts, 1.1 GB for 10^8 cells. Each fit
is one fresh process: its largest resident set in all, wall and processor seconds of reading and
fitting, the rank, and the NRMSE to the truth at 50,000 hidden cells. The fit in memory reads the
same file first.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import common
import numpy as np
from common import print_goal, print_row, print_title

_RANK, _NOISE, _SEED = 5, 0.1, 4000
_SIZES = {10**7: 1000, 10**8: 2000}
_PART, _N_HIDDEN = 2**20, 50_000

_FIT = """
import json, resource, sys, time, warnings
import numpy as np
from sktf import CPCompletion
from sktf.datasets import open_entries
path, hidden, out, streamed = sys.argv[1:]
X_hidden, truth = (np.load(hidden)[name] for name in ("X", "y"))
start, spent = time.perf_counter(), time.process_time()
X, y, shape = open_entries(path)
if streamed == "no":
    X, y = np.asarray(X), np.asarray(y)
with warnings.catch_warnings(action="ignore"):
    model = CPCompletion(shape=shape, dtype="float32", random_state=0).fit(X, y)
seconds, spent = time.perf_counter() - start, time.process_time() - spent
predicted = model.predict(X_hidden)
np.save(out, predicted)
error = float(np.sqrt(np.mean((predicted - truth) ** 2)) / truth.std())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
print(json.dumps([peak, seconds, spent, model.rank_, error]))
"""


def part(factors, n_cells, number):
    """Return indices and values without noise of a part of the cells, and the generator."""
    rng = np.random.default_rng((_SEED, number))
    X = np.column_stack([rng.integers(0, len(f), n_cells, dtype=np.int32) for f in factors])
    rows = [factor[column] for factor, column in zip(factors, X.T, strict=True)]
    y = np.prod(rows, axis=0).sum(axis=1) / np.sqrt(_RANK)
    return X, y.astype(np.float32), rng


def make(folder, n_cells):
    """Write cells, and hidden ones, unless they are there; return the paths."""
    path, hidden = folder / f"cells_{n_cells:.0e}.parquet", folder / f"hidden_{n_cells:.0e}.npz"
    if path.exists() and hidden.exists():
        return path, hidden
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, size = np.random.default_rng(_SEED), _SIZES.get(n_cells, 300)
    factors = rng.standard_normal((3, size, _RANK)).astype(np.float32)
    fields = [*((name, pa.int32()) for name in "ijk"), ("value", pa.float32())]
    with pq.ParquetWriter(path, pa.schema(fields)) as writer:
        for start in range(0, n_cells, _PART):
            X, y, rng = part(factors, min(_PART, n_cells - start), 1 + start)
            y += np.float32(_NOISE) * rng.standard_normal(len(y), dtype=np.float32)
            columns = [pa.array(np.ascontiguousarray(column)) for column in X.T]
            writer.write_table(pa.table([*columns, pa.array(y)], schema=pa.schema(fields)))
    X, y, _ = part(factors, _N_HIDDEN, 0)
    np.savez(hidden, X=X, y=y)
    return path, hidden


def fit(path, hidden, out, streamed):
    """Return peak GB, seconds, processor seconds, rank and error of a fit in a fresh process."""
    command = [sys.executable, "-c", _FIT, path, hidden, out, "yes" if streamed else "no"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(folder, n_cells):
    """Print both fits of so many cells, and the goals."""
    path, hidden = make(folder, n_cells)
    rows, outs = {}, {}
    for name, streamed in (("from the file", True), ("in memory", False)):
        outs[name] = folder / f"{name.replace(' ', '_')}.npy"
        rows[name] = fit(path, hidden, outs[name], streamed)
        print_row(f"{n_cells:.0e} cells, {name}", *rows[name])
    (peak, seconds, spent, rank, _), (_, its_seconds, its_spent, *_) = rows.values()
    first, second = (np.load(out) for out in outs.values())
    difference = np.abs(first - second).max() / second.std()
    told = f"{seconds / its_seconds:.2f} x, of processor time {spent / its_spent:.2f} x"
    print_goal(f"{n_cells:.0e}: at most 3 x the time in memory", told, seconds <= 3 * its_seconds)
    print_goal(f"{n_cells:.0e}: under 2 GB resident", f"{peak:.2f} GB", peak < 2)
    print_goal(f"{n_cells:.0e}: rank {_RANK}", f"{rank}", rank == _RANK)
    print_goal(f"{n_cells:.0e}: the same to 1e-9", f"{difference:.1e}", difference <= 1e-9)


def main(cells, folder=None, quick=False):
    """Make and compare all numbers of cells, in a folder that is kept if it is given."""
    print_title("Cells in Parquet: GB resident, seconds, processor seconds, rank, NRMSE")
    with tempfile.TemporaryDirectory() as scratch:
        for n_cells in (2 * 10**6,) if quick else cells:
            compare(Path(folder or scratch), int(n_cells))
    common.print_goals()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=float, nargs="+", default=[1e7, 1e8])
    parser.add_argument("--folder", type=Path, help="where files are kept")
    parser.add_argument("--quick", action="store_true", help="2e6 cells alone")
    options = parser.parse_args()
    main(options.cells, options.folder, options.quick)
