"""Named arrays into a safetensors file and back, straight from where they are: the library copies them either way."""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np

# By numpy's name; the library puts them into a file in the reverse of this order, so that each is aligned.
_TYPES = {
    "|b1": "BOOL",
    "|u1": "U8",
    "|i1": "I8",
    "<i2": "I16",
    "<u2": "U16",
    "<f2": "F16",
    "<i4": "I32",
    "<u4": "U32",
    "<f4": "F32",
    "<f8": "F64",
    "<i8": "I64",
    "<u8": "U64",
}
_PLACES = {name: place for place, name in enumerate(_TYPES)}
_KINDS = {name: np.dtype(kind) for kind, name in _TYPES.items()}


def write_arrays(file: IO[bytes], arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write what `safetensors.numpy.save` gives, byte for byte.

    Args:
        file: open for writing.
        arrays: by name, C-contiguous.
        metadata: texts by name.

    Raises:
        TypeError: the format has no such numbers.
    """
    for name, array in arrays.items():
        if array.dtype.str not in _TYPES:
            raise TypeError(f"safetensors has no type for the numbers of '{name}', {array.dtype}")
    order = sorted(arrays, key=lambda name: (-_PLACES[arrays[name].dtype.str], name))
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name in order:
        array = arrays[name]
        start, end = end, end + array.nbytes
        header[name] = {"dtype": _TYPES[array.dtype.str], "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in order:
        if arrays[name].size:
            file.write(arrays[name].data)


def mapped_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file that `write_arrays` wrote, by name, read as they are looked at.

    They take no memory that the system could not have back, and who writes to one changes its own copy. The file may
    be replaced or removed meanwhile, but not written to.

    Raises:
        KeyError, ValueError: it is no such file.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    first = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:first])
    return {
        name: np.ndarray(
            tuple(found["shape"]), _KINDS[found["dtype"]], buffer=content, offset=first + found["data_offsets"][0]
        )
        for name, found in sorted(header.items())
        if name != "__metadata__"
    }
