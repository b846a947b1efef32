"""A rule of a contract, and what is raised where it is broken."""

from __future__ import annotations

import json
from typing import Any


class ConformanceError(AssertionError):
    """A component breaks its contract; the message says which rule."""


def require(condition: bool, otherwise: str) -> None:
    """Raise unless the condition holds.

    Raises:
        ConformanceError: with the text `otherwise`.
    """
    if not condition:
        raise ConformanceError(otherwise)


def require_plain(value: Any, what: str) -> None:
    """Raise unless a value is the same after a way through JSON.

    Raises:
        ConformanceError: the value is not plain data, and would not be found again where it is written down.
    """
    try:
        same = json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError):
        same = False
    require(same, f"{what} are not plain data that JSON gives back as they were: {value!r}")
