"""What of an artefact is done while it is not yet whole: shards in a folder beside it, each under a checksum."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from itertools import count
from pathlib import Path
from typing import IO

import numpy as np

from recbole_dtlns.errors import ArtefactError
from recbole_dtlns.storage.sealed_arrays import Arrays, canonical_json, load_arrays, save_arrays
from recbole_dtlns.version import __version__

logger = logging.getLogger("recbole_dtlns")

_PARTS: ContextVar[Parts | None] = ContextVar("parts of the artefact that is being made", default=None)


class Parts:
    """The shards of one artefact; nothing is made before the first shard is kept.

    Args:
        folder: where they lie, named by the artefact: by all that went into it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._number = count()

    def of(self, work: str, blocks: Sequence[slice]) -> Shards:
        """The shards of the next work on this artefact; the order of works is the artefact's, too.

        Args:
            work: its name.
            blocks: what it consists of.
        """
        return Shards(self.folder, f"{next(self._number):03d}-{work}", blocks)


class Shards:
    """What is done of a work that falls into blocks; a shard holds the results of some blocks in a row.

    Damaged shards are removed, and those that say that they hold something else: other blocks, blocks of another work
    or artefact, of a work that was cut otherwise, or results of another version of the package.

    Args:
        folder: where they lie.
        work: the first part of their names.
        blocks: of the work.
    """

    def __init__(self, folder: Path, work: str, blocks: Sequence[slice]) -> None:
        self._folder, self._work = folder, work
        self._n_blocks = len(blocks)
        cut = hashlib.sha256(canonical_json([[block.start, block.stop] for block in blocks])).hexdigest()
        self._stated = {"artefact": folder.name, "work": work, "cut": cut, "version": __version__}
        self._rows: dict[range, dict[str, int]] = {}
        for path in sorted(folder.glob(f"{work}.*.safetensors")):
            self._meet(path)

    @property
    def done(self) -> tuple[range, ...]:
        """The blocks that there are results of, in order."""
        return tuple(sorted(self._rows, key=lambda part: part.start))

    def missing(self) -> list[range]:
        """The blocks between these."""
        ends = [0, *(bound for part in self.done for bound in (part.start, part.stop)), self._n_blocks]
        return [range(first, end) for first, end in zip(ends[::2], ends[1::2], strict=True) if first < end]

    def keep(self, part: range, arrays: Arrays) -> None:
        """Keep the results of some blocks.

        Raises:
            ArtefactError: they cannot be written.
        """
        try:
            save_arrays(self._path(part), arrays, self._stated_of(part))
        except OSError as error:
            raise self._unwritten(self._path(part), error) from error
        self._rows[part] = {name: len(array) for name, array in arrays.items()}

    def joined(self) -> dict[str, np.ndarray]:
        """The results of all blocks by name, one after the other, mapped from files in the folder.

        Raises:
            ArtefactError: a shard was damaged since it was written, or there is no room for all of them.
        """
        kinds: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
        try:
            with ExitStack() as files:
                whole: dict[str, IO[bytes]] = {}
                for part in self.done:
                    arrays, _ = load_arrays(self._path(part))
                    for name, array in arrays.items():
                        if name not in whole:
                            whole[name] = files.enter_context(self._whole(name).open("wb"))
                            kinds[name] = array.dtype, array.shape[1:]
                        whole[name].write(array.data if array.size else b"")
        except OSError as error:
            raise self._unwritten(self._folder, error) from error
        return {name: self._mapped(name, *kind) for name, kind in kinds.items()}

    def _mapped(self, name: str, kind: np.dtype, row: tuple[int, ...]) -> np.ndarray:
        shape = (sum(rows[name] for rows in self._rows.values()), *row)
        if 0 in shape:
            return np.empty(shape, kind)
        return np.asarray(np.memmap(self._whole(name), kind, "c", shape=shape))

    def _meet(self, path: Path) -> None:
        try:
            arrays, stated = load_arrays(path)
            first, end = (int(bound) for bound in path.name.split(".")[1].split("-"))
        except (ArtefactError, ValueError) as error:
            logger.warning("%s: its blocks are worked on again", error)
            _remove(path)
            return
        part = range(first, end)
        overlaps = any(part.start < other.stop and other.start < part.stop for other in self._rows)
        if stated != self._stated_of(part) or overlaps:
            _remove(path)
            return
        self._rows[part] = {name: len(array) for name, array in arrays.items()}

    def _stated_of(self, part: range) -> dict[str, object]:
        return {**self._stated, "part": [part.start, part.stop]}

    @staticmethod
    def _unwritten(path: Path, error: OSError) -> ArtefactError:
        return ArtefactError(
            f"cannot write {path} ({error.strerror}): free space there or set dtlns_cache_dir to another disk; parts "
            "already written are kept"
        )

    def _whole(self, name: str) -> Path:
        return self._folder / f"{self._work}.{name}.whole"

    def _path(self, part: range) -> Path:
        return self._folder / f"{self._work}.{part.start:08d}-{part.stop:08d}.safetensors"


def _remove(shard: Path) -> None:
    with suppress(OSError):  # where it cannot be removed, it is not used either
        shard.unlink()


@contextmanager
def parts_beside(artefact: Path) -> Iterator[None]:
    """While an artefact is made, what is done of it is kept beside it; when it is whole, that is removed."""
    folder = folder_of_parts(artefact)
    token = _PARTS.set(Parts(folder))
    try:
        yield
    finally:
        _PARTS.reset(token)
    remove_parts(artefact)


def parts_at_hand() -> Parts | None:
    """Where what is done of the artefact that is being made is kept; None where none is."""
    return _PARTS.get()


def folder_of_parts(artefact: Path) -> Path:
    """The folder of an artefact's shards."""
    return artefact.with_suffix(".parts")


def remove_parts(artefact: Path) -> None:
    """Remove what an artefact that is whole needs no more; where that may not be written, it stays."""
    folder = folder_of_parts(artefact)
    if folder.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
