"""Named arrays into a safetensors file, straight from where they are: the library's own writer copies them twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
