"""What a language model wrote, kept so that no request is ever made again.

A set is a folder: `set.json` says which model and prompt it belongs to, and every process that adds replies appends
lines to a file of its own, `*.replies`. A line is the CRC-32 of what follows, eight hexadecimal digits, a blank, and
JSON: `key` (hash of the request), `text`, `tokens`, and `by`, the name under which a server answered.

A killed process leaves at most one torn line, at the end of its file; torn and damaged lines are left out and counted.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from recbole_dtlns.storage.appended_file import AppendedFile, cannot_keep, is_free, own_file
from recbole_dtlns.storage.whole_files import write_atomically

logger = logging.getLogger("recbole_dtlns")

_KEPT = "replies"
_CHECK = 9  # bytes of the checksum and the blank behind it


class KeptReplies:
    """The replies of one model to one prompt.

    Args:
        root: folder of all sets.
        identity: plain data that tells this set from others: model, revision, prompt.

    Attributes:
        identity: as given.
        folder: of this set.
        answered_by: the name under which a server gave the first of them, once they were read; else None.
    """

    def __init__(self, root: Path, identity: Mapping[str, Any]) -> None:
        self.identity = dict(identity)
        content = json.dumps(self.identity, sort_keys=True)
        name = "".join(c if c.isascii() and (c.isalnum() or c in "-._") else "_" for c in str(identity["model"]))
        self.folder = root / f"{name.strip('._')[-60:]}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
        self.answered_by: str | None = None

    def lock(self) -> FileLock:
        """Held while a process asks; a second one waits, and then finds the replies."""
        path = self.folder / "set.json"
        try:
            if not path.exists():
                write_atomically(path, json.dumps(self.identity, indent=2, sort_keys=True).encode())
        except OSError as error:
            raise cannot_keep(error, path, _KEPT) from error
        lock = FileLock(self.folder / "asking.lock")
        if not is_free(lock):
            logger.info("another process is asking the same model: waiting for it to finish (%s)", self.folder)
        return lock

    def read(self, wanted: Collection[str] | None = None) -> dict[str, str]:
        """The texts by request; of one that was answered twice, the first. Damaged lines are named in a warning.

        Args:
            wanted: requests to look for; None: all.
        """
        found: dict[str, str] = {}
        for path in sorted(self.folder.glob("*.replies")):
            for line in _lines(path):
                self.answered_by = self.answered_by or line["by"]
                if wanted is None or line["key"] in wanted:
                    found.setdefault(line["key"], line["text"])
        return found

    def writer(self) -> ReplyFile:
        """A new file for this process's replies."""
        return ReplyFile(own_file(self.folder, "replies"), _KEPT)


class ReplyFile(AppendedFile):
    """Replies of this process; a context manager."""

    def append(self, key: str, text: str, tokens: int, answered_by: str | None) -> None:
        """Add a reply; it survives the death of this process as soon as the call returns.

        Raises:
            ArtefactError: the disk is full or cannot be written; whole lines already written are kept.
        """
        line = json.dumps({"key": key, "text": text, "tokens": tokens, "by": answered_by}).encode()
        self.add(f"{zlib.crc32(line):08x} ".encode() + line + b"\n")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    damaged = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):  # torn: it was never written
                break
            content = line[_CHECK:-1]
            if line[:_CHECK] == f"{zlib.crc32(content):08x} ".encode():
                yield json.loads(content)
            else:
                damaged += 1
    if damaged:
        logger.warning("%s holds %d damaged replies; they are left out and will be asked again", path, damaged)
