"""A file that one process adds to: what was added survives the process, and nothing is ever torn in the middle."""

from __future__ import annotations

import errno
import os
import secrets
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock

from recbole_dtlns.errors import ArtefactError

_SECONDS_BETWEEN_SYNCS = 5.0


class AppendedFile:
    """A new file, made with the first thing that is added; a context manager.

    Args:
        path: of the file.
        kept: what it holds, for the advice of an error ("verdicts").

    Attributes:
        path: as given.
    """

    def __init__(self, path: Path, kept: str) -> None:
        self.path = path
        self._kept = kept
        self._file = -1
        self._size = 0
        self._synced = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file >= 0:
            try:
                os.fsync(self._file)
            finally:
                os.close(self._file)
                self._file = -1

    def head(self) -> bytes:
        """What the file begins with."""
        return b""

    def add(self, data: bytes) -> None:
        """Add to the end; it survives the death of this process as soon as the call returns.

        Raises:
            ArtefactError: the disk is full or cannot be written; what was added before is kept, and nothing of `data`.
        """
        try:
            if self._file < 0:
                self._open()
            written = os.write(self._file, data)
            if written < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._size += written
            if time.monotonic() - self._synced > _SECONDS_BETWEEN_SYNCS:
                os.fsync(self._file)
                self._synced = time.monotonic()
        except OSError as error:
            if self._file >= 0:
                os.ftruncate(self._file, self._size)
            raise cannot_keep(error, self.path, self._kept) from error

    def _open(self) -> None:
        head = self.head()
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        self._size = os.write(self._file, head)
        if self._size < len(head):  # the next attempt begins anew
            os.close(self._file)
            self._file = -1
            self.path.unlink()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def own_file(folder: Path, kind: str) -> Path:
    """A name in a folder that no other process has, and later ones sort behind."""
    return folder / f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}-{secrets.token_hex(3)}.{kind}"


def is_free(lock: FileLock) -> bool:
    """Whether nobody else holds a lock."""
    try:
        with lock.acquire(timeout=0):
            return True
    except TimeoutError:
        return False


def cannot_keep(error: OSError, path: Path, kept: str) -> ArtefactError:
    """What to say of a file of such content that cannot be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    advice = "free space there" if full else "check its permissions"
    return ArtefactError(
        f"cannot write {path} ({error.strerror}): {advice}, or set dtlns_cache_dir to another disk, and run again. "
        f"{kept.capitalize()} already written are kept and will not be asked for again."
    )
