"""Checkpoints as files: what is written is read, and nothing but what was written whole."""

import errno
import os
from hashlib import blake2b
from io import BytesIO

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from sktf._descent.checkpoint_file import read_checkpoint, write_checkpoint

CONTENT = {"fit": {"tol": "1e-06"}, "pages": [{"done": [(np.arange(3.0), None)], "walk": None}]}


@pytest.fixture
def path(tmp_path):
    """Return the path of a file that is not there yet."""
    return str(tmp_path / "fit.ckpt")


@pytest.fixture
def whole(path):
    """Return the bytes of a checkpoint."""
    write_checkpoint(path, CONTENT)
    return read(path)


def read(path):
    """Return the bytes of a file."""
    with open(path, "rb") as file:
        return file.read()


def put(path, data):
    """Make a file of bytes."""
    with open(path, "wb") as file:
        file.write(data)


ITEMS = {
    "numbers": [1, 2**70, -0.0, 1 / 3, 5e-324, True, None, "text"],
    "inside one another": {"a": [(1, [2, (3.0,)]), {}], "b": ((), [])},
    "records": [{"n": 1, "loss": 0.1}, {"n": 2, "loss": 1e300}, {"n": 3}],
    "records of others": [{"n": 1, "loss": None}, {"n": 2, "loss": 1.0}],
}


@pytest.mark.parametrize("item", ITEMS.values(), ids=ITEMS)
def test_plain_items_come_back(path, item):
    """Equal, and of the same types: the texts that Python has for them are the same."""
    write_checkpoint(path, {"item": item})
    assert repr(read_checkpoint(path)["item"]) == repr(item)


ARRAYS = [
    np.array([np.nan, np.inf, -0.0, 5e-324]),
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.zeros((0, 3), np.int32),
    np.array(2.5),
    np.float32(0.1),
    np.arange(12.0).reshape(3, 4)[:, :2],
]


@pytest.mark.parametrize("inside", [lambda a: a, lambda a: [{"m": a}, {"m": a}]], ids=["", "table"])
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype} {array.shape}")
def test_arrays_come_back(path, array, inside):
    """With their type, bits and the order in which they lie in memory; so do NumPy's numbers."""
    write_checkpoint(path, {"item": inside(array)})
    found = read_checkpoint(path)["item"]
    found = found if inside(0) == 0 else found[1]["m"]
    assert type(found) is type(array) and found.dtype == array.dtype
    assert found.shape == array.shape and found.tobytes() == array.tobytes()
    if inside(0) == 0:
        assert np.isfortran(found) == np.isfortran(array)


def test_an_array_in_two_places_is_written_once(path):
    """The state of a run often has what the one before had."""
    array = np.zeros(10_000)
    write_checkpoint(path, {"one": array, "two": [array]})
    assert len(read(path)) < 1.1 * array.nbytes
    assert_array_equal(read_checkpoint(path)["two"][0], array)


def test_no_file_is_none(path):
    """Which is how a fit begins."""
    assert read_checkpoint(path) is None


@pytest.mark.parametrize("change", [lambda byte: byte ^ 0xFF, lambda byte: byte ^ 1])
def test_a_file_with_one_other_byte_is_refused(path, whole, change):
    """Wherever it is."""
    for place, byte in enumerate(whole):
        put(path, whole[:place] + bytes([change(byte)]) + whole[place + 1 :])
        with pytest.raises(ValueError, match="the file is"):
            read_checkpoint(path)


def test_a_part_of_a_file_is_refused(path, whole):
    """However much of it is there; so is more than a file."""
    for data in [*(whole[:size] for size in range(len(whole))), whole + b"\0", whole[1:]]:
        put(path, data)
        with pytest.raises(ValueError, match="the file is"):
            read_checkpoint(path)


def test_others_files_are_refused_by_name(path, whole):
    """Empty, of something else, or of a version to come."""
    array = BytesIO()
    np.save(array, np.arange(3))
    newer = b"sktf checkpoint 2" + whole[len(b"sktf checkpoint 1") :]
    for data, told in [
        (b"", "empty"),
        (array.getvalue(), "no checkpoint of sktf"),
        (b"sktf checkpoint", "no checkpoint of sktf"),
        (newer, "in format 2 and this version of sktf reads 1"),
    ]:
        put(path, data)
        with pytest.raises(ValueError, match=told):
            read_checkpoint(path)


def test_no_code_is_written_or_read(path, whole):
    """An array of objects is a pickle, which NumPy is told to refuse both ways."""
    with pytest.raises(ValueError, match="allow_pickle"):
        write_checkpoint(path, {"item": np.array([print], object)})
    assert read(path) == whole
    pickled = BytesIO()
    np.save(pickled, np.array([print], object))
    text = b'{"array": 0}'
    data = b"sktf checkpoint 1\n" + len(text).to_bytes(8, "little") + text + pickled.getvalue()
    put(path, data + blake2b(data, digest_size=32).digest())
    with pytest.raises(ValueError, match="allow_pickle"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_file_before(path, whole, monkeypatch, name, error):
    """And nothing beside it; on a full disk as on Ctrl-C."""

    def fail(*args):
        raise error

    monkeypatch.setattr(os, name, fail)
    with pytest.raises(type(error)):
        write_checkpoint(path, {"another": np.zeros(100)})
    assert read(path) == whole and os.listdir(os.path.dirname(path)) == ["fit.ckpt"]


def test_the_file_is_whole_before_it_takes_the_name(path, monkeypatch):
    """So that a loss of power does no harm: it is on the disk, renamed, and then the folder is."""
    calls, names = [], {}

    def called(name, original):
        def call(*args):
            calls.append(name)
            names[len(calls)] = sorted(os.listdir(os.path.dirname(path)))
            return original(*args)

        return call

    for name in "fsync", "replace":
        monkeypatch.setattr(os, name, called(name, getattr(os, name)))
    write_checkpoint(path, CONTENT)
    assert calls == ["fsync", "replace", "fsync"]
    assert names == {1: ["fit.ckpt.part"], 2: ["fit.ckpt.part"], 3: ["fit.ckpt"]}
