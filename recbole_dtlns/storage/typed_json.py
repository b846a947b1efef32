"""Plain data read as the dataclass that wrote it, and checked on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from recbole_dtlns.errors import ArtefactError

T = TypeVar("T")


def read_as(kind: type[T], content: Any, file: Path) -> T:
    """The content of a file as a dataclass.

    Args:
        kind: the dataclass; its annotations say what is expected, down to dataclasses in it.
        content: plain data; keys that it does not have are ignored.
        file: named in the error.

    Raises:
        ArtefactError: a field is missing or of another type; the message names it.
    """
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ArtefactError(
            f"{file} was not written by this version of recbole_dtlns ({place}: {first['msg']})"
        ) from error
