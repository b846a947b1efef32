"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from recbole_dtlns.errors import ArtefactError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}")


def write_file(path: Path, content: str | bytes, named_by: str) -> None:
    """Write a result.

    Args:
        path: the file; folders above it are made.
        content: text is written in UTF-8.
        named_by: the setting or option that says where such files go, for the error's advice.

    Raises:
        ArtefactError: it cannot be written.
    """
    if not path.name:
        raise ArtefactError(f"cannot write {path}: it is a folder; name a file in it with {named_by}")
    try:
        write_atomically(path, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise ArtefactError(
            f"cannot write {path} ({error.strerror}): free space or permissions there, or name another place with "
            f"{named_by}"
        ) from error


def write_atomically(path: Path, payload: bytes) -> None:
    """Write `payload` so that readers see the old file or the whole new one, even after a crash."""
    with replacing(path) as file:
        file.write(payload)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes the place of `path` when the block ends without an error.

    Readers see the old file or the whole new one, even after a crash.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    temporary, file = _new_temporary(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()  # Windows renames no open file
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(path: Path) -> None:
    """Delete the temporary files that killed writers of `path` left; those of living writers are locked and stay."""
    if fcntl is None:
        return
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if _TEMPORARY.fullmatch(temporary.name.removeprefix(f".{path.name}")):
            # OSError: a living writer's, removed by another process, or in a folder that may only be read
            with contextlib.suppress(OSError), temporary.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                temporary.unlink()


def _new_temporary(path: Path) -> tuple[Path, IO[bytes]]:
    """A new file beside `path`, locked as long as it is open."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        file = temporary.open("xb")  # not mkstemp: a store may be shared, so the umask decides who can read
        if fcntl is not None:
            with contextlib.suppress(OSError):  # where nothing can be locked, no leftover is removed either
                fcntl.flock(file, fcntl.LOCK_EX)
        if temporary.exists():
            return temporary, file
        file.close()  # it was taken for a leftover before it was locked
