"""JSON files that hold a checksum of their content, so that a damaged or edited one is noticed when it is read."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_dtlns.errors import ArtefactError

logger = logging.getLogger("recbole_dtlns")

_CHECKSUM = "checksum"


def sealed(content: Mapping[str, Any]) -> str:
    """The text of a JSON file: the content, and last its checksum.

    Args:
        content: plain data by name; numbers of other libraries become floats.
    """
    plain = json.loads(json.dumps(dict(content), default=float))
    return json.dumps({**plain, _CHECKSUM: _checksum(plain)}, indent=1)


def read_sealed(path: Path, old: bool = False) -> dict[str, Any]:
    """Read what `sealed` wrote.

    Args:
        path: the file.
        old: whether a file without a checksum, as version 0.1 wrote it, is read too, with a warning.

    Raises:
        ArtefactError: the file cannot be read, or is not as it was written.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtefactError(f"cannot read {path} ({error.strerror})") from error
    except (ValueError, RecursionError) as error:  # a ValueError, too, where the bytes are no text
        raise ArtefactError(f"{path} is damaged (no JSON: {error})") from error
    if not isinstance(content, dict):
        raise ArtefactError(f"{path} is damaged (a JSON object is expected)")
    stated = content.pop(_CHECKSUM, None)
    if stated is None and old:
        logger.warning("%s holds no checksum, as version 0.1 wrote it: damage to it would go unnoticed", path)
    elif stated != _checksum(content):
        raise ArtefactError(f"{path} is damaged or was edited (its content does not match its checksum)")
    return content


def _checksum(plain: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
