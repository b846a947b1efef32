"""Arrays, and what is made of them, as plain data that can be compared: is this still what it was?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp


def plain_copy(value: Any) -> Any:
    """A copy that equals another one if and only if the values are the same, to the last bit.

    Args:
        value: arrays, sparse arrays, and dataclasses, mappings and lists of such.
    """
    if isinstance(value, np.ndarray):
        content = value.tolist() if value.dtype == object else np.ascontiguousarray(value).tobytes()
        return str(value.dtype), value.shape, content
    if isinstance(value, sp.csr_array):
        return "csr", value.shape, *map(plain_copy, (value.data, value.indices, value.indptr))
    if is_dataclass(value):
        return type(value).__name__, {field.name: plain_copy(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain_copy(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain_copy(inner) for inner in value]
    return value
