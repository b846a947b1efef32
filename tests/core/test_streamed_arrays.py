"""Arrays that are written as they lie make the file that the library of the format makes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from recbole_dtlns.errors import ArtefactError
from recbole_dtlns.storage.sealed_arrays import load_arrays, save_arrays
from recbole_dtlns.storage.streamed_arrays import mapped_arrays, write_arrays

KINDS = ("bool", "u1", "i1", "i2", "u2", "f2", "i4", "u4", "f4", "f8", "i8", "u8")
ARRAYS = {
    **{f"of {kind}": (np.arange(6) % 2).astype(kind).reshape(2, 3) for kind in KINDS},
    "ä": np.arange(3),
    "a": np.arange(5),
    "empty": np.empty((0, 4), np.float32),
    "one": np.array(2.5),
}
METADATA = {"said": '{"of": "ü", "n": 1}'}


def written(arrays: dict[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    write_arrays(file, arrays, METADATA)
    return file.getvalue()


@pytest.mark.parametrize("names", [list(ARRAYS), ["one"], ["empty"], ["of bool", "a"], []])
def test_the_bytes_are_those_of_the_library(names: list[str]) -> None:
    arrays = {name: ARRAYS[name] for name in names}
    found = written(arrays)
    assert found == save(arrays, metadata=METADATA)
    assert all(np.array_equal(array, arrays[name]) for name, array in load(found).items())


def test_what_is_mapped_is_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(written(ARRAYS))
    found = mapped_arrays(tmp_path / "kept")
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert np.array_equal(found[name], array) and found[name].flags.writeable


def test_what_the_format_cannot_hold_is_named() -> None:
    with pytest.raises(TypeError, match="'tokens'"):
        written({"tokens": np.array(["a"])})


def test_columns_of_a_matrix_are_kept_in_order(tmp_path: Path) -> None:
    matrix = np.arange(12.0).reshape(3, 4)
    save_arrays(tmp_path / "kept", {"columns": matrix[:, ::2]}, {"n": 3})
    found, facts = load_arrays(tmp_path / "kept")
    assert np.array_equal(found["columns"], matrix[:, ::2])
    assert facts == {"n": 3}
    (tmp_path / "kept").write_bytes((tmp_path / "kept").read_bytes()[:-1])
    with pytest.raises(ArtefactError, match="damaged"):
        load_arrays(tmp_path / "kept")
