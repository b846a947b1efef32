"""Results of the preparation stages, kept by what went into them.

An artefact is one file, `<root>/<stage>/<key>.safetensors`: named arrays, and a header with the inputs, facts
about the result and a checksum over all of it. The key is a hash of the inputs, so a run with other
settings never meets it and a run with the same settings, in any process, reuses it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError, safe_open

from recbole_dtlns.errors import ArtefactError
from recbole_dtlns.storage.parts import parts_beside, remove_parts
from recbole_dtlns.storage.sealed_arrays import Arrays, canonical_json, checksum
from recbole_dtlns.storage.streamed_arrays import mapped_arrays, write_arrays
from recbole_dtlns.storage.whole_files import replacing

logger = logging.getLogger("recbole_dtlns")

Facts = Mapping[str, Any]

_FORMAT = 1  # raise when the file layout itself changes: old files then miss instead of being misread
_HEADER = "artefact"


def cache_folder(chosen: str | None) -> Path:
    """Where results are kept between runs: the one chosen, else $RECBOLE_DTLNS_CACHE, else ~/.cache/recbole_dtlns."""
    return Path(chosen or os.environ.get("RECBOLE_DTLNS_CACHE") or "~/.cache/recbole_dtlns").expanduser()


@dataclass(frozen=True)
class Artefact:
    """A stored result.

    Attributes:
        arrays: the result's arrays by name, mapped from the file.
        facts: plain data about the result, for summaries.
        digest: checksum of arrays and facts; downstream stages use it as their input.
        path: the file.
        reused: False when this call computed it.
    """

    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]
    digest: str
    path: Path
    reused: bool = field(compare=False, default=True)


class ArtefactStore:
    """Get-or-build access to artefacts under one folder, safe for concurrent processes.

    Args:
        root: folder of the store; made when the first artefact is written.
        refuse_damaged: raise on a damaged file instead of naming it in a warning and rebuilding it.
    """

    def __init__(self, root: str | Path, refuse_damaged: bool = False) -> None:
        self.root = Path(root).expanduser()
        self.refuse_damaged = refuse_damaged

    def get_or_build(
        self, stage: str, version: int, inputs: Mapping[str, Any], build: Callable[[], tuple[Arrays, Facts]]
    ) -> Artefact:
        """Return the artefact of `stage` for `inputs`, computing it at most once across processes.

        Args:
            stage: name of the stage, and of its folder.
            version: of the stage's code; raise it when the same inputs give another result.
            inputs: plain data (JSON) that determines the result.
            build: computes the arrays and the facts; what it does by blocks elsewhere is kept on the way (`parts`).

        Raises:
            ArtefactError: the folder cannot be written, the disk is full, or (with `refuse_damaged`)
                the stored file does not match its checksum.
        """
        key_inputs, path = self._place(stage, version, inputs)
        found = self._load(path, key_inputs)
        if found is not None:
            remove_parts(path)  # of whoever was killed after it had written the whole
            return found
        with self._locked(path):
            found = self._load(path, key_inputs)  # another process may have built it while we waited
            if found is not None:
                return found
            with parts_beside(path):
                arrays, facts = build()
                return self._write(path, key_inputs, arrays, facts)

    def _place(self, stage: str, version: int, inputs: Mapping[str, Any]) -> tuple[dict[str, Any], Path]:
        key_inputs = {"format": _FORMAT, "stage": stage, "version": version, "inputs": dict(inputs)}
        key = hashlib.sha256(canonical_json(key_inputs)).hexdigest()[:32]
        return key_inputs, self.root / stage / f"{key}.safetensors"

    def _load(self, path: Path, key_inputs: dict[str, Any]) -> Artefact | None:
        try:
            if not path.exists():
                return None
            path.open("rb").close()  # fails here with the system's reason, which safe_open leaves out
            with safe_open(path, framework="numpy") as file:
                header = json.loads((file.metadata() or {})[_HEADER])
            arrays = mapped_arrays(path)
            stated = {name: value for name, value in header.items() if name not in ("facts", "checksum")}
            if canonical_json(stated) != canonical_json(key_inputs):
                raise ValueError("its header states other inputs than its name stands for")
            digest = _checksum(key_inputs, arrays, header["facts"])
            if digest != header["checksum"]:
                raise ValueError("its content does not match its checksum")
        except (SafetensorError, AttributeError, KeyError, TypeError, ValueError) as error:
            self._meet_damage(f"artefact {path} is damaged or was edited ({error})", error)
            return None
        except OSError as error:
            raise ArtefactError(_reason(error, path, "read")) from error
        return Artefact(arrays, header["facts"], digest, path)

    def _meet_damage(self, message: str, error: Exception) -> None:
        if self.refuse_damaged:
            raise ArtefactError(f"{message}: delete the file to have it rebuilt") from error
        logger.warning("%s: it is not used and will be rebuilt", message)

    def _write(self, path: Path, key_inputs: dict[str, Any], arrays: Arrays, facts: Facts) -> Artefact:
        contiguous = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
        plain_facts = json.loads(json.dumps(dict(facts), allow_nan=False))
        digest = _checksum(key_inputs, contiguous, plain_facts)
        header = {**key_inputs, "facts": plain_facts, "checksum": digest}
        try:
            with replacing(path) as file:
                write_arrays(file, contiguous, {_HEADER: json.dumps(header)})
            written = mapped_arrays(path)  # what was computed need not stay in memory
        except OSError as error:
            raise ArtefactError(_reason(error, path, "write")) from error
        return Artefact(written, plain_facts, digest, path, reused=False)

    def _locked(self, path: Path) -> FileLock:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.with_suffix(".lock").open("a"):
                pass  # fails here, with the system's reason, where a lock could not be taken
        except OSError as error:
            raise ArtefactError(_reason(error, path.parent, "write")) from error
        return FileLock(path.with_suffix(".lock"))


class KeptArtefacts(ArtefactStore):
    """A store that only gives what is there: for whoever looks at results, and must not compute them."""

    def get_or_build(
        self, stage: str, version: int, inputs: Mapping[str, Any], build: Callable[[], tuple[Arrays, Facts]]
    ) -> Artefact:
        """The artefact of `stage` for `inputs`.

        Raises:
            ArtefactError: it is not there, or damaged.
        """
        key_inputs, path = self._place(stage, version, inputs)
        found = self._load(path, key_inputs)
        if found is None:
            raise ArtefactError(f"{self.root} holds no {stage} of these pairs and settings")
        return found

    def _meet_damage(self, message: str, error: Exception) -> None:
        raise ArtefactError(message) from error


def _checksum(key_inputs: dict[str, Any], arrays: Arrays, facts: Facts) -> str:
    return checksum({"key": key_inputs, "facts": facts}, {name: arrays[name] for name in sorted(arrays)})


def _reason(error: OSError, path: Path, verb: str) -> str:
    if error.errno == errno.ENOSPC:
        advice = "the disk is full: free space there or set dtlns_cache_dir to another disk"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        advice = "no permission: set dtlns_cache_dir to a folder you can write to"
    else:
        advice = "check dtlns_cache_dir"
    return f"cannot {verb} {path} ({error.strerror}); {advice}. Artefacts already stored are kept."
