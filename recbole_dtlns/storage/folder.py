"""A folder that is there as a whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}")


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `path` when the block ends without an error.

    Readers see the old folder or the whole new one. What a killed writer left is removed by the next one.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    temporary.mkdir()
    with _locked(temporary):
        try:
            yield temporary
            for file in temporary.iterdir():
                _fsync(file)
            if path.is_dir():
                old = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
                path.rename(old)
                temporary.rename(path)
                shutil.rmtree(old)
            else:
                temporary.rename(path)
            _fsync(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Marks a folder as one of a living writer."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # where nothing can be locked, no leftover is removed either
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remove_leftovers(path: Path) -> None:
    if fcntl is None:
        return
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if not temporary.is_dir() or not _TEMPORARY.fullmatch(temporary.name.removeprefix(f".{path.name}")):
            continue
        with contextlib.suppress(OSError):  # a living writer's, or removed by another process
            handle = os.open(temporary, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(temporary)
            finally:
                os.close(handle)


def _fsync(path: Path) -> None:
    if path.is_dir() and fcntl is None:  # Windows opens no folder
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
