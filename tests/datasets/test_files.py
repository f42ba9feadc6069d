"""Cells in files come back as they were written, and what cannot be read is named."""

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sktf._cells import stored
from sktf.datasets import open_entries

KINDS = ["npy", "parquet", "arrow"]
every_kind = pytest.mark.parametrize("kind", KINDS)
N = 500


def draw(n=N, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, [7, 5, 6], (n, 3)).astype(np.int32), rng.standard_normal(n)


def write(folder, kind, X, y, name="cells", row_group_size=130):
    """Write cells and return what open_entries takes of them."""
    if kind == "npy":
        paths = folder / f"X_{name}.npy", folder / f"y_{name}.npy"
        np.save(paths[0], X)
        np.save(paths[1], y)
        return paths
    pa, path = pytest.importorskip("pyarrow"), folder / f"{name}.{kind}"
    columns = {f"mode{n}": pa.array(column.copy()) for n, column in enumerate(np.transpose(X))}
    table = pa.table({**columns, "value": pa.array(y)})
    if kind == "parquet":
        import pyarrow.parquet as pq

        pq.write_table(table, path, row_group_size=row_group_size)
    else:
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table, max_chunksize=row_group_size)
    return path


@every_kind
@pytest.mark.parametrize("n_files", [1, 3])
@pytest.mark.parametrize("block", [64, 100, 500, 1000])
def test_rows_come_back_in_order(tmp_path, monkeypatch, kind, n_files, block):
    """In blocks of the same length, but for the last, whatever files and row groups are."""
    monkeypatch.setattr(stored, "BLOCK", block)
    X, y = draw()
    cuts = np.array_split(np.arange(N), n_files)
    paths = [write(tmp_path, kind, X[at], y[at], str(n)) for n, at in enumerate(cuts)]
    entries = open_entries(paths if n_files > 1 else paths[0])
    assert_array_equal(np.asarray(entries.X), X)
    assert_array_equal(np.asarray(entries.y), y)
    assert entries.shape == (7, 5, 6)
    assert (len(entries.X), entries.X.shape, entries.X.ndim) == (N, (N, 3), 2)
    assert (entries.y.shape, entries.y.dtype, entries.X.dtype) == ((N,), float, np.int32)
    lengths = [len(chunk) for chunk in entries.X.chunks()]
    assert lengths == [block] * (N // block) + [N % block] * (N % block > 0)


@every_kind
@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "uint64", "float32", "float64"])
def test_numbers_of_every_kind_are_read(tmp_path, kind, dtype):
    """Whole numbers in any type; values of single precision become double."""
    X, y = draw()
    y = y.astype(np.float32)
    entries = open_entries(write(tmp_path, kind, X.astype(dtype), y))
    assert_array_equal(np.asarray(entries.X), X)
    assert_array_equal(np.asarray(entries.y), y.astype(float))


@every_kind
@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ((421, 1), -1, r"row 421 has -1(\.0)? in .*mode 1.*go from 0"),
        ((421, 1), 0.5, "row 421 has 0.5 in .*mode 1.*whole number"),
        ((421, 2), np.nan, "row 421 has nan in .*mode 2.*whole number"),
        ((421, 2), np.inf, "row 421 has inf in .*mode 2.*go from 0"),
        ((421, 0), 2**27, "row 421 has 134217728.* in .*mode 0.*gaps"),
        ((421,), np.nan, "row 421 has nan in .*without a value"),
        ((421,), -np.inf, "row 421 has -inf in"),
        ((421,), 1e304, "values as large as 1e.304"),
    ],
)
def test_bad_rows_are_named(tmp_path, monkeypatch, kind, place, value, says):
    """With the file, of several the right one; row 421 lies in a later block, and row group."""
    monkeypatch.setattr(stored, "BLOCK", 100)
    X, y = draw()
    good = write(tmp_path, kind, X, y, "good")
    if len(place) == 2 and isinstance(value, float):
        X = X.astype(float)
    (X if len(place) == 2 else y)[place] = value
    bad = write(tmp_path, kind, X, y, "bad")
    with pytest.raises(ValueError, match=rf"bad\.\w+:? .*{says}"):
        open_entries([good, bad])


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_blanks_of_tables_are_named(tmp_path, kind):
    """They are NaN among numbers."""
    pa = pytest.importorskip("pyarrow")
    X, y = draw(10)
    column = pa.array([None if n == 7 else n for n in range(10)])
    path = write(tmp_path, kind, np.column_stack([X, X[:, 0]]), y)
    with pa.ipc.open_file(path) if kind == "arrow" else _parquet(path) as file:
        table = file.read_all() if kind == "arrow" else file.read()
    table = table.set_column(1, "mode1", column)
    _rewrite(table, path, kind)
    with pytest.raises(ValueError, match=r"row 7 has nan in column 'mode1' \(mode 1\)"):
        open_entries(path)


def _parquet(path):
    import pyarrow.parquet as pq

    return pq.ParquetFile(path)


def _rewrite(table, path, kind):
    import pyarrow as pa
    import pyarrow.parquet as pq

    if kind == "parquet":
        return pq.write_table(table, path)
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)


def test_columns_are_chosen_by_name(tmp_path):
    """In the order that is asked for; what is not asked for may hold anything."""
    pa = pytest.importorskip("pyarrow")
    X, y = draw()
    path = tmp_path / "cells.parquet"
    table = pa.table(
        {"stars": y, "film": X[:, 1], "note": ["text"] * N, "user": X[:, 0], "day": X[:, 2]}
    )
    _rewrite(table, path, "parquet")
    entries = open_entries(path, columns=["user", "film"], y="stars")
    assert_array_equal(np.asarray(entries.X), X[:, :2])
    assert_array_equal(np.asarray(entries.y), y)
    with pytest.raises(TypeError, match=r"column 'note' \(mode 1\) holds object; expected numbers"):
        open_entries(path, y="stars")
    with pytest.raises(ValueError, match=r"no column 'rating', but \['stars', 'film'"):
        open_entries(path, columns=["user", "film"], y="rating")
    for columns in (["user", "user"], ["user", "stars"], []):
        with pytest.raises(ValueError, match="one for each mode"):
            open_entries(path, columns=columns, y="stars")


@pytest.mark.parametrize("bad", ["strings", "dates", "complex"])
def test_what_holds_no_numbers_is_refused(tmp_path, bad):
    """With the remedy."""
    X, y = draw(4)
    X = {
        "strings": X.astype(str),
        "dates": X.astype("datetime64[D]"),
        "complex": X + 1j,
    }[bad]
    with pytest.raises(TypeError, match=r"X_cells.npy: mode 0 holds .*OrdinalEncoder"):
        open_entries(write(tmp_path, "npy", X, y))


def test_files_that_are_not_there_or_of_another_kind(tmp_path):
    """Each is named before anything is read."""
    X, y = draw()
    pair = write(tmp_path, "npy", X, y)
    text = tmp_path / "cells.csv"
    text.write_text("1,2,3")
    table = [
        ([], ValueError, "paths is empty"),
        (tmp_path / "no.parquet", FileNotFoundError, "no file .*no.parquet"),
        ((pair[0], tmp_path / "no.npy"), FileNotFoundError, "no file .*no.npy"),
        (text, ValueError, r"cells.csv.*\.parquet"),
        (pair[0], ValueError, "a pair"),
        ([(*pair, pair[0])], ValueError, "a pair of X.npy and y.npy"),
        ((pair[1], pair[0]), ValueError, r"y_cells.npy has shape \(500,\)"),
        ([pair, write(tmp_path, "npy", X[:, :2], y, "two")], ValueError, "as many modes"),
        (write(tmp_path, "npy", X, y[:-1], "short"), ValueError, r"\(500, 3\) and .*\(499,\)"),
        (write(tmp_path, "npy", X[:0], y[:0], "empty"), ValueError, r"\(0, 3\)"),
    ]
    for paths, error, says in table:
        with pytest.raises(error, match=says):
            open_entries(paths)
    with pytest.raises(ValueError, match="name columns of tables"):
        open_entries(pair, y="value")


def test_empty_tables_are_refused(tmp_path):
    """Among others they may stand."""
    X, y = draw()
    empty = write(tmp_path, "parquet", X[:0], y[:0], "empty")
    with pytest.raises(ValueError, match="There are no rows to read"):
        open_entries(empty)
    assert len(open_entries([empty, write(tmp_path, "parquet", X, y)]).X) == N


def test_without_pyarrow_the_remedy_is_told(tmp_path, monkeypatch):
    """Arrays of NumPy do without."""
    path = tmp_path / "cells.parquet"
    path.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.ipc", None)
    with pytest.raises(ImportError, match=r"sktf\[parquet\]"):
        open_entries(path)
    assert len(open_entries(write(tmp_path, "npy", *draw())).X) == N


def test_a_file_is_closed_though_its_reader_lives(tmp_path, monkeypatch):
    """Threads of pyarrow may keep it a while."""
    pyarrow = pytest.importorskip("pyarrow")
    if not Path("/proc/self/fd").exists():
        pytest.skip("the system does not list open files")
    path = write(tmp_path, "arrow", *draw())
    readers, open_file = [], pyarrow.ipc.open_file
    monkeypatch.setattr(
        pyarrow.ipc, "open_file", lambda file: readers.append(open_file(file)) or readers[-1]
    )
    assert len(np.asarray(open_entries(path).X)) == N
    assert readers
    links = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    assert os.path.realpath(path) not in {os.path.realpath(link) for link in links}


@every_kind
def test_files_are_closed_and_as_they_were(tmp_path, monkeypatch, kind):
    """Also where reading ends before the last row, or in an error of whoever reads."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("the system does not list open files")
    monkeypatch.setattr(stored, "BLOCK", 100)
    paths = write(tmp_path, kind, *draw())
    files = [paths] if kind != "npy" else list(paths)
    before = [file.read_bytes() for file in files]
    entries = open_entries(paths)
    chunks = entries.X.chunks()
    next(chunks)
    chunks.close()
    links = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    opened = {os.path.realpath(link) for link in links}
    assert not opened & {os.path.realpath(file) for file in files}
    mapped = Path("/proc/self/maps").read_text()
    assert not [file for file in files if str(file) in mapped]
    assert [file.read_bytes() for file in files] == before


def test_a_pickle_reads_the_same_files(tmp_path):
    """As processes of joblib get it."""
    X, y = draw()
    entries = pickle.loads(pickle.dumps(open_entries(write(tmp_path, "npy", X, y))))
    assert_array_equal(np.asarray(entries.X), X)
    assert repr(entries.y) == "<y in files, shape (500,), float64>"
    with pytest.raises(ValueError, match="to copy it"):
        np.asarray(entries.X, copy=False)
