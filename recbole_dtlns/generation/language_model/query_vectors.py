"""Vectors of queries, one for every pair: written to disk in parts, never in memory whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock

from recbole_dtlns.errors import ArtefactError, EngineError
from recbole_dtlns.numerics.factors import unit_rows
from recbole_dtlns.storage.whole_files import replacing, write_file
from recbole_dtlns.text.contract import RunningEncoder, TextwiseEncoder, gathered

VECTORS = "vectors.npy"
_AT_ONCE = 2048  # pairs in a part: what a killed run loses
_KIND = "<f2"


class QueryVectors:
    """A folder with the vectors of some queries, found again by encoder and texts.

    Args:
        root: folder of all such folders.
        encoder: of every text for itself.
        text: gives the query of a pair.
        count: of pairs.

    Attributes:
        name: of the folder, a hash of encoder and queries.
    """

    def __init__(self, root: Path, encoder: TextwiseEncoder, text: Callable[[int], str], count: int) -> None:
        self._encoder, self._text, self._count = encoder, text, count
        about = {"version": encoder.version, **encoder.inputs()}
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        for place in range(count):
            content = text(place).encode()
            digest.update(len(content).to_bytes(8, "little") + content)
        self.name = digest.hexdigest()[:32]
        self._folder = root / self.name

    def make(self, progress: Callable[[int], object]) -> int:
        """Encode what is not there yet; returns how many texts were cut.

        Every 2,048 vectors are on disk when they are made: another call goes on from there.

        Raises:
            EngineError: the encoder fails, or answers with what is no vector, or as another model than before.
            ArtefactError: a vector cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / ".lock"):
            if (self._folder / VECTORS).exists():
                progress(self._count)
                return 0
            starts = range(0, self._count, _AT_ONCE)
            missing = [start for start in starts if not self._part(start).exists()]
            progress(self._count - sum(min(_AT_ONCE, self._count - start) for start in missing))
            cut = 0
            if missing:
                with self._encoder.start() as running:
                    for start in missing:
                        progress(self._encode(running, start))
                    cut = running.truncated
            self._join([self._part(start) for start in starts])
            return cut

    def _encode(self, running: RunningEncoder, start: int) -> int:
        texts = [self._text(place) for place in range(start, min(start + _AT_ONCE, self._count))]
        found = gathered(running.encode(texts), len(texts))
        if not np.isfinite(found).all():
            raise EngineError("the encoder gave NaN or infinity for a query")
        self._check_model(running.answered_by)
        with replacing(self._part(start)) as file:
            np.lib.format.write_array(file, unit_rows(found).astype(_KIND), allow_pickle=False)
        return len(texts)

    def _check_model(self, name: str | None) -> None:
        path = self._folder / "answered_by"
        if name is None:
            return
        if not path.exists():
            write_file(path, name, "dtlns_cache_dir")
        elif (before := path.read_text(encoding="utf-8")) != name:
            raise EngineError(
                f"the server answered as '{name}', and as '{before}' before, so {self._folder} would hold vectors of "
                "two models: ask for the earlier one, or set dtlns_text_revision, which keeps them apart"
            )

    def _join(self, parts: list[Path]) -> None:
        tables = [np.load(part, mmap_mode="r", allow_pickle=False) for part in parts]
        lengths = sorted({table.shape[1] for table in tables})
        if len(lengths) > 1:
            raise EngineError(
                f"{self._folder} holds vectors of {' and '.join(map(str, lengths))} numbers: the model changed under "
                "its name. Say which state of it is meant with dtlns_text_revision, which keeps them apart"
            )
        with replacing(self._folder / VECTORS) as file:
            header = {"shape": (self._count, lengths[0]), "fortran_order": False, "descr": _KIND}
            np.lib.format.write_array_header_2_0(file, header)
            for table in tables:
                file.write(table.tobytes())
        del tables
        for part in parts:
            part.unlink()

    def _part(self, start: int) -> Path:
        return self._folder / f"part-{start:012d}.npy"


def mapped(root: Path, name: str) -> np.ndarray:
    """The vectors in a folder of this name, float16 [n, d], mapped.

    Raises:
        ArtefactError: they are not there any more, or damaged.
    """
    path = root / name / VECTORS
    try:
        table: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise ArtefactError(
            f"cannot read the generated vectors in {path} ({error}): delete the folder generated beside "
            f"{root} to have them made again, of replies that are kept"
        ) from error
    return table
