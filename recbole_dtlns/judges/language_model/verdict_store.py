"""A language model's verdicts, kept so that no answered pair is ever asked again.

A verdict set is a folder: `set.json` says which model and prompt it belongs to, `LABELS.md` is its label card, and
every process that adds verdicts appends to a shard of its own, `*.verdicts`. A shard is a header of 1024 bytes (JSON:
engine, mode, model, revision, prompt, and the name under which a server answered) and rows of 32 bytes, each with a
checksum:

=======  =========================================================
bytes    content (little endian)
=======  =========================================================
16       key: hash of model, prompt, history and candidate codes
4        probability that the answer is positive, float32; NaN: abstained
1        label (`recbole_dtlns.judges.contract.Label`)
1        reason for abstaining (`Reason`)
2        unused
4        tokens computed for this verdict
4        CRC-32 of the 28 bytes before
=======  =========================================================

A killed process leaves at most one torn row, at the end of its shard; torn and damaged rows are left out and counted.
"""

from __future__ import annotations

import hashlib
import json
import logging
import struct
import zlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from recbole_dtlns.judges.contract import Label
from recbole_dtlns.judges.language_model.answers import Answer
from recbole_dtlns.storage.appended_file import AppendedFile, cannot_keep, is_free, own_file
from recbole_dtlns.storage.whole_files import write_atomically

logger = logging.getLogger("recbole_dtlns")

ROW = np.dtype(
    [
        ("key", "<u8", 2),
        ("probability", "<f4"),
        ("label", "u1"),
        ("reason", "u1"),
        ("unused", "<u2"),
        ("tokens", "<u4"),
        ("check", "<u4"),
    ]
)
HEADER_BYTES = 1024
_FORMAT = 1
_CHECKED_BYTES = ROW.itemsize - 4
_CHUNK_ROWS = 1 << 16
_KEPT = "verdicts"


@dataclass(frozen=True)
class StoredVerdicts:
    """The verdicts of a set, each key once (its first answer), ordered by key.

    Attributes:
        rows: dtype `ROW` [n].
        damaged: rows left out because their checksum is wrong.
    """

    rows: np.ndarray
    damaged: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Position in `rows` of every key, uint64 [n, 2] -> int64 [n]; -1 where there is no verdict."""
        if len(self.rows) == 0:
            return np.full(len(keys), -1, dtype=np.int64)
        first = self._first
        place = np.minimum(np.searchsorted(first, keys[:, 0]), len(first) - 1)
        found = (self.rows["key"][place] == keys).all(axis=1)
        return np.where(found, place, -1)

    @property
    def _first(self) -> np.ndarray:
        return self.rows["key"][:, 0]


class VerdictStore:
    """The verdict set of one model and prompt.

    Args:
        root: folder of all verdict sets.
        identity: plain data that tells this set from others: model, revision, prompt.
    """

    def __init__(self, root: str | Path, identity: Mapping[str, Any]) -> None:
        self.identity = dict(identity)
        self.id = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()
        name = "".join(c if c.isascii() and (c.isalnum() or c in "-._") else "_" for c in str(identity["model"]))
        self.folder = Path(root).expanduser() / f"{name.strip('._')[-60:]}-{self.id[:12]}"

    def lock(self) -> AbstractContextManager[Any]:
        """Held while a process asks; a second one waits, and then finds the verdicts."""
        self._make_folder()
        lock = FileLock(self.folder / "asking.lock")
        if lock.is_locked or not is_free(lock):
            logger.info("another process is asking the same model: waiting for it to finish (%s)", self.folder)
        return lock

    def read(self) -> StoredVerdicts:
        """All whole verdicts; damaged rows are counted, and named in a warning."""
        parts, damaged = [], 0
        for shard in sorted(self.folder.glob("*.verdicts")):
            rows, bad = _read_shard(shard)
            if bad:
                logger.warning("%s holds %d damaged verdicts; they are left out and will be asked again", shard, bad)
            parts.append(rows)
            damaged += bad
        rows = np.concatenate(parts) if parts else np.empty(0, dtype=ROW)
        del parts
        abstained = rows["label"] == Label.ABSTAIN
        if abstained.any():  # a pair asked again after an abstention: the answer counts
            rows = np.concatenate([rows[~abstained], rows[abstained]])
        rows = rows[np.argsort(rows["key"][:, 0], kind="stable")]
        first = rows["key"][:, 0]
        kept = np.ones(len(rows), dtype=bool)
        kept[1:] = first[1:] != first[:-1]
        return StoredVerdicts(rows if kept.all() else rows[kept], damaged)

    def answered_by(self) -> str | None:
        """The name under which a server gave the first verdicts; None where there are none, or it gave no name."""
        named = (_read_header(shard).get("answered_by") for shard in sorted(self.folder.glob("*.verdicts")))
        return next((name for name in named if name), None)

    def writer(self, engine: str, mode: str) -> ShardWriter:
        """A new shard for this process's verdicts."""
        self._make_folder()
        header = {"format": _FORMAT, "engine": engine, "mode": mode, **self.identity}
        return ShardWriter(self.folder, header)

    def write_text(self, name: str, text: str) -> Path:
        """Write a file beside the shards, such as the label card."""
        path = self.folder / name
        try:
            write_atomically(path, text.encode())
        except OSError as error:
            raise cannot_keep(error, path, _KEPT) from error
        return path

    def _make_folder(self) -> None:
        if (self.folder / "set.json").exists():
            return
        self.write_text("set.json", json.dumps(self.identity, indent=2, sort_keys=True))


class ShardWriter(AppendedFile):
    """Appends verdicts to a file that no other process writes; a context manager.

    Args:
        folder: of the verdict set.
        header: plain data, written at the start of the shard with the first row; it may be completed until then.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any]) -> None:
        super().__init__(own_file(folder, "verdicts"), _KEPT)
        self.header = dict(header)

    def head(self) -> bytes:
        text = json.dumps(self.header).encode()
        if len(text) >= HEADER_BYTES:  # the long names are in set.json
            names = {name: str(self.header[name])[-30:] for name in ("model", "revision")}
            text = json.dumps({**self.header, **names}).encode()
        return text.ljust(HEADER_BYTES - 1) + b"\n"

    def append(self, keys: list[bytes], answers: list[Answer]) -> None:
        """Add verdicts; they survive the death of this process as soon as the call returns.

        Args:
            keys: 16 bytes each.
            answers: one per key.

        Raises:
            ArtefactError: the disk is full or cannot be written; whole rows already written are kept.
        """
        self.add(b"".join(map(_pack, keys, answers)))


def _pack(key: bytes, answer: Answer) -> bytes:
    row = key + struct.pack(
        "<fBBHI", answer.probability, answer.label, answer.reason, 0, min(answer.tokens, 0xFFFFFFFF)
    )
    return row + zlib.crc32(row).to_bytes(4, "little")


def _read_header(path: Path) -> dict[str, Any]:
    """The header of a shard; empty where it is damaged, which costs no verdict."""
    with path.open("rb") as file:
        try:
            header = json.loads(file.read(HEADER_BYTES))
        except ValueError:
            header = {}
    return header if isinstance(header, dict) else {}


def _read_shard(path: Path) -> tuple[np.ndarray, int]:
    """The whole rows of a shard, and how many are damaged; a torn row at the end was never written."""
    rows = np.fromfile(path, dtype=ROW, offset=HEADER_BYTES, count=max(0, path.stat().st_size - HEADER_BYTES) // 32)
    whole = np.empty(len(rows), dtype=bool)
    for start in range(0, len(rows), _CHUNK_ROWS):
        chunk = rows[start : start + _CHUNK_ROWS]
        whole[start : start + _CHUNK_ROWS] = _crc32(chunk) == chunk["check"]
    damaged = int((~whole).sum())
    return (rows[whole] if damaged else rows), damaged


def _crc32(rows: np.ndarray) -> np.ndarray:
    """CRC-32 of the checked bytes of every row, uint32 [n]; as `zlib.crc32`, for all rows at once."""
    octets = rows.view(np.uint8).reshape(len(rows), ROW.itemsize)
    state = np.full(len(rows), 0xFFFFFFFF, dtype=np.uint32)
    for column in range(_CHECKED_BYTES):
        state = _CRC_TABLE[(state ^ octets[:, column]) & 0xFF] ^ (state >> np.uint32(8))
    return ~state


def _crc_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0xEDB88320), table >> 1).astype(np.uint32)
    return table


_CRC_TABLE = _crc_table()
