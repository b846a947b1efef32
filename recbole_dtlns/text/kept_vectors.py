"""Vectors of texts that were made once: files that are added to and never changed, found again by encoder and text."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.numpy import load, save

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import ArtefactError, EngineError
from recbole_dtlns.storage.whole_files import write_file
from recbole_dtlns.text.contract import Encoder, TextwiseEncoder, distinct, gathered, spread

logger = logging.getLogger("recbole_dtlns")

FOLDER = "text-by-text"  # of what is kept between runs
_KEY_BYTES = 16
_TEXTS_A_SHARD = 1024
_MODEL = "answered_by"


def encoded(
    encoder: TextwiseEncoder,
    texts: Sequence[str],
    root: Path,
    refuse_damaged: bool = False,
    progress: Callable[[int], object] = lambda texts: None,
) -> np.ndarray:
    """A vector of every text, float32 [n, d], zeros for an empty one; only texts without a kept vector are encoded.

    What is done is on disk after every 1,024 texts, and when the encoder fails: another call goes on from there.

    Args:
        encoder: of every text for itself.
        texts: some may be equal, or empty.
        root: folder of kept vectors.
        refuse_damaged: raise on a damaged file instead of naming it and encoding its texts again.
        progress: called with the number of texts that have just got a vector, repeats not counted.

    Raises:
        EngineError: the encoder fails, or is another than the one that made the kept vectors.
        ArtefactError: a vector cannot be written, or (with `refuse_damaged`) a file is damaged.
    """
    asked = distinct(texts)
    keys = [_key(text) for text in asked]
    place = {key: number for number, key in enumerate(keys)}
    kept = KeptVectors(root, {"version": encoder.version, **encoder.inputs()}, refuse_damaged)
    with kept.lock():
        known = [(np.array([place[key] for key in found]), vectors) for found, vectors in kept.read(place)]
        missing = np.setdiff1d(np.arange(len(asked)), np.concatenate([np.array([], int), *(at for at, _ in known)]))
        progress(len(asked) - len(missing))
        if len(missing):
            have = len(asked) - len(missing)
            logger.info("%d of %d texts have a vector already; encoding %d", have, len(asked), len(missing))
            known += list(_made(encoder, kept, asked, keys, missing, progress))
    lengths = {vectors.shape[1] for _, vectors in known}
    if len(lengths) > 1:
        raise EngineError(
            f"{kept.folder} holds vectors of {' and '.join(map(str, sorted(lengths)))} numbers: the model changed "
            "under its name. Say which state of it is meant with dtlns_text_revision, which keeps them apart"
        )
    return spread(texts, asked, gathered(iter(known), len(asked)))


def encoded_others(
    encoder: Encoder, train: TrainInteractions, texts: Sequence[str], cache: Path, refuse_damaged: bool = False
) -> np.ndarray:
    """Vectors of other texts in the space of the items', float32 [n, d]; kept where the encoder takes text by text.

    Args:
        encoder: of the items.
        train: with `content`.
        texts: one line each.
        cache: folder of what is kept between runs.
        refuse_damaged: as for `encoded`.

    Raises:
        DTLNSError: as `encoded` and `Encoder.encode_others`.
    """
    if isinstance(encoder, TextwiseEncoder):
        return encoded(encoder, texts, cache / FOLDER, refuse_damaged)
    return encoder.encode_others(train, texts)


def kept_among(encoder: TextwiseEncoder, texts: Sequence[str], cache: Path) -> set[str]:
    """Those of some different texts that have a vector already; damaged files are not counted."""
    kept = KeptVectors(cache / FOLDER, {"version": encoder.version, **encoder.inputs()})
    text_of = {_key(text): text for text in texts}
    return {text_of[key] for keys, _ in kept.read(text_of) for key in keys}


def _made(
    encoder: TextwiseEncoder,
    kept: KeptVectors,
    asked: Sequence[str],
    keys: Sequence[bytes],
    missing: np.ndarray,
    progress: Callable[[int], object],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Encode the missing texts, and keep their vectors."""
    waiting: list[tuple[np.ndarray, np.ndarray]] = []
    with encoder.start() as running:
        try:
            for at, vectors in running.encode([asked[number] for number in missing]):
                kept.check_model(running.answered_by)
                waiting.append((missing[at], np.ascontiguousarray(vectors, dtype=np.float32)))
                yield waiting[-1]
                progress(len(at))
                if sum(len(part) for part, _ in waiting) >= _TEXTS_A_SHARD:
                    kept.add(waiting, keys)
                    waiting = []
        finally:
            if waiting:
                kept.add(waiting, keys)
        if running.truncated:
            logger.warning("%d texts were cut: they are longer than the model's context", running.truncated)
        if running.tokens:
            logger.info("%d tokens were encoded", running.tokens)


class KeptVectors:
    """The vectors that one encoder made.

    A file is named by the hash of its content, so a damaged one is noticed.

    Args:
        root: folder of all encoders.
        identity: what determines the vector of a text.
        refuse_damaged: raise on a damaged file.

    Attributes:
        folder: of this encoder.
    """

    def __init__(self, root: Path, identity: Mapping[str, Any], refuse_damaged: bool = False) -> None:
        content = json.dumps(identity, sort_keys=True)
        self.folder = root / hashlib.sha256(content.encode()).hexdigest()[:32]
        self._identity = json.dumps(identity, sort_keys=True, indent=1)
        self._refuse_damaged = refuse_damaged
        self._model: str | None = None

    def lock(self) -> FileLock:
        """Held while texts are encoded, so that no two processes ask for the same."""
        write_file(self.folder / "encoder.json", self._identity, "dtlns_cache_dir")
        return FileLock(self.folder / ".lock")

    def read(self, wanted: Mapping[bytes, Any]) -> Iterator[tuple[list[bytes], np.ndarray]]:
        """The wanted texts that have a vector: their keys, each once, and the vectors, float32 [n, d].

        Raises:
            ArtefactError: a file cannot be read, or is damaged and damage is refused.
        """
        found: set[bytes] = set()
        for path in sorted(self.folder.glob("*.safetensors")):
            tensors = self._shard(path)
            if tensors is None:
                continue
            keys = [row.tobytes() for row in tensors["keys"]]
            rows = [row for row, key in enumerate(keys) if key in wanted and key not in found]
            found.update(keys[row] for row in rows)
            self._model = self._model or tensors[_MODEL].tobytes().decode() or None
            if rows:
                yield [keys[row] for row in rows], tensors["vectors"][rows]

    def check_model(self, name: str | None) -> None:
        """Refuse vectors of another model than those that are kept.

        Raises:
            EngineError: the server answers as another than before.
        """
        self._model = self._model or name
        if name != self._model and name is not None:
            raise EngineError(
                f"the server answered as '{name}', and as '{self._model}' before, so {self.folder} would hold vectors "
                "of two models: ask for the earlier one, or set dtlns_text_revision, which keeps them apart"
            )

    def add(self, parts: Sequence[tuple[np.ndarray, np.ndarray]], keys: Sequence[bytes]) -> None:
        """Keep the vectors of some texts.

        Args:
            parts: numbers of texts, and their vectors.
            keys: of all texts.

        Raises:
            ArtefactError: they cannot be written.
        """
        numbers = np.concatenate([at for at, _ in parts])
        tensors = {
            "keys": np.frombuffer(b"".join(keys[number] for number in numbers), np.uint8).reshape(-1, _KEY_BYTES),
            "vectors": np.concatenate([vectors for _, vectors in parts]),
            _MODEL: np.frombuffer((self._model or "").encode(), np.uint8),
        }
        payload = save(tensors)
        write_file(self.folder / f"{_name(payload)}.safetensors", payload, "dtlns_cache_dir")

    def _shard(self, path: Path) -> dict[str, np.ndarray] | None:
        try:
            payload = path.read_bytes()
            if _name(payload) != path.stem:
                raise ValueError("its content does not match its name")
            return load(payload)
        except (SafetensorError, ValueError) as error:
            if self._refuse_damaged:
                raise ArtefactError(
                    f"{path} is damaged ({error}): delete it to have its texts encoded again"
                ) from error
            logger.warning("%s is damaged (%s): its texts are encoded again", path, error)
            return None
        except OSError as error:
            raise ArtefactError(f"cannot read {path} ({error.strerror}): check dtlns_cache_dir") from error


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=_KEY_BYTES).digest()


def _name(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()[:32]
