"""Files of named arrays with plain data beside them, under a checksum over all of it (safetensors)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from recbole_dtlns.errors import ArtefactError
from recbole_dtlns.storage.streamed_arrays import write_arrays
from recbole_dtlns.storage.whole_files import replacing

Arrays = Mapping[str, np.ndarray]

_HEADER = "recbole_dtlns"


def save_arrays(path: Path, arrays: Arrays, facts: Mapping[str, Any]) -> None:
    """Write arrays and plain data atomically, with a checksum over both.

    Args:
        path: the file.
        arrays: by name.
        facts: plain data (JSON) about them.

    Raises:
        OSError: the file cannot be written.
    """
    contiguous = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    plain = json.loads(json.dumps(dict(facts), allow_nan=False))
    header = {"facts": plain, "checksum": checksum(plain, contiguous)}
    with replacing(path) as file:
        write_arrays(file, contiguous, {_HEADER: json.dumps(header)})


def load_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and the plain data that `save_arrays` wrote.

    Raises:
        ArtefactError: the file cannot be read, or is not as it was written.
    """
    try:
        path.open("rb").close()  # fails here with the system's reason, which safe_open leaves out
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
        if header["checksum"] != checksum(header["facts"], arrays):
            raise ValueError("its content does not match its checksum")
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{path} is damaged or was edited ({error})") from error
    except OSError as error:
        raise ArtefactError(f"cannot read {path} ({error.strerror})") from error
    return arrays, header["facts"]


def checksum(facts: Any, arrays: Arrays) -> str:
    """SHA-256 over plain data and arrays; the order of the arrays counts."""
    digest = hashlib.sha256(canonical_json(facts))
    for name in arrays:
        array = arrays[name]
        digest.update(canonical_json([name, array.dtype.str, list(array.shape)]))
        digest.update(array.data if array.flags.c_contiguous else array.tobytes())
    return digest.hexdigest()


def canonical_json(value: Any) -> bytes:
    """One text for equal plain data."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
