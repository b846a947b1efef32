"""What a finished cell wrote. result.json comes last and holds a checksum of itself and of the files read with it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from recbole_dtlns.bridge.runner import write_file
from recbole_dtlns.errors import ArtefactError
from recbole_dtlns.storage.sealed_json import read_sealed, sealed

RESULT, PER_USER, EXPLANATION = "result.json", "per_user.parquet", "explanation.json"
_FILES = "files"


def write_result(folder: Path, content: dict[str, Any]) -> None:
    """Write result.json for a cell whose other files are written: with it the cell is finished."""
    digests = {name: _digest(folder / name) for name in (PER_USER, EXPLANATION) if (folder / name).exists()}
    write_file(folder / RESULT, sealed({**content, _FILES: digests}))


def read_result(folder: Path, digest: str | None = None) -> dict[str, Any]:
    """The content of a finished cell's result.json.

    Args:
        folder: of the cell.
        digest: of the cell whose result it should be; None for whichever it is.

    Raises:
        ArtefactError: it is missing or damaged, a file that it names is, or they are of another cell; the message says
            which.
    """
    content = read_sealed(folder / RESULT)
    if digest is not None and content.get("digest") != digest:
        raise ArtefactError(f"{folder / RESULT} is the result of another run, copied here")
    for name, written in content.pop(_FILES).items():
        try:
            found = _digest(folder / name)
        except OSError as error:
            raise ArtefactError(f"cannot read {folder / name} ({error.strerror})") from error
        if found != written:
            raise ArtefactError(f"{folder / name} is damaged or was edited (it does not match its checksum)")
    return content


def is_finished(folder: Path, digest: str | None = None) -> bool:
    """Whether a cell (that of the digest, if one is given) wrote its result here, and it is undamaged."""
    try:
        read_result(folder, digest)
    except ArtefactError:
        return False
    return True


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
