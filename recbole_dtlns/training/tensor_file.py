"""Files of tensors and plain data, sealed by a checksum, which torch loads with `weights_only=True`."""

from __future__ import annotations

import hashlib
import io
import logging
import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from recbole_dtlns.errors import CheckpointError
from recbole_dtlns.storage.whole_files import write_atomically

logger = logging.getLogger("recbole_dtlns")

FORMAT = 2
_UNSEALED_FORMAT = 1  # of version 0.1: without a checksum
_NO_COMMENT = b"\0\0"  # a zip file's last bytes: the length of its comment
_SEAL = b"recbole_dtlns sha256:"
_ARRAY, _SPARSE = "__array__", "__sparse__"


def save_tensors(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain data atomically, with a checksum over every byte.

    Raises:
        CheckpointError: the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save({**content, "format": FORMAT}, buffer)
    try:
        write_atomically(path, _sealed(buffer.getvalue()))
    except OSError as error:
        raise CheckpointError(
            f"cannot write the checkpoint {path} ({error.strerror}): free space or permissions there, "
            "or set checkpoint_dir; checkpoints already written are kept"
        ) from error


def load_tensors(path: str | Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `save_tensors` wrote; nothing in it is executed.

    Raises:
        CheckpointError: the file is missing, damaged, or one of RecBole's own pickles.
    """
    path = Path(path)
    advice = "delete it, and resume from another checkpoint or train again"
    try:
        payload, is_sealed = _unsealed(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(f"checkpoint {path} does not exist (looked from {Path.cwd()})") from error
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path} ({error.strerror})") from error
    except _Damaged as error:
        raise CheckpointError(f"checkpoint {path} is damaged ({error}): {advice}") from error
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")  # foreign files: refused below
            content = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a checkpoint of recbole_dtlns: it holds pickled objects, as RecBole's own checkpoints do, "
            "and loading those runs whatever code is in them. Train the model again with recbole_dtlns"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        # torch's own text would advise to load without its safeguards
        raise CheckpointError(f"checkpoint {path} is damaged and cannot be read: {advice}") from error
    if not isinstance(content, dict) or content.get("format") not in (_UNSEALED_FORMAT, FORMAT):
        raise CheckpointError(f"{path} was not written by this version of recbole_dtlns")
    if not is_sealed:
        if content["format"] == FORMAT:
            raise CheckpointError(f"checkpoint {path} is damaged or was edited (its checksum is missing): {advice}")
        logger.warning("%s holds no checksum, as version 0.1 wrote it: damage to it would go unnoticed", path)
    return content


class _Damaged(Exception):
    """A file that is not as it was written."""


def _sealed(payload: bytes) -> bytes:
    """torch's zip file with its SHA-256 as the comment in which zip files may end."""
    comment = _SEAL + hashlib.sha256(payload).hexdigest().encode()
    return payload[: -len(_NO_COMMENT)] + struct.pack("<H", len(comment)) + comment


def _unsealed(content: bytes) -> tuple[bytes, bool]:
    """A file's zip part and whether it had a checksum, which is compared; without one, at least the zip file's own."""
    end = content.rfind(_SEAL)
    if end >= 0:
        whole = memoryview(content)  # slices of it copy nothing: a checkpoint may take a good part of the memory
        payload = b"".join([whole[: max(0, end - len(_NO_COMMENT))], _NO_COMMENT])
        if hashlib.sha256(payload).hexdigest().encode() != whole[end + len(_SEAL) :]:
            raise _Damaged("its content does not match its checksum")
        return payload, True
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as parts:
            broken = parts.testzip()
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError, struct.error) as error:
        raise _Damaged(f"no checkpoint, or only a part of one: {error}") from error
    if broken is not None:
        raise _Damaged(f"{broken} in it does not match its checksum")
    return content, False


def to_plain(value: Any) -> Any:
    """Model, optimizer and result state as tensors and plain data; `from_plain` undoes it.

    Arrays and sparse matrices (closed-form models keep them as "other parameters") become marked dictionaries.
    """
    if sp.issparse(value):  # before dict, which a dok_matrix is too
        csr = value.tocsr()
        parts = [torch.as_tensor(part) for part in (csr.data, csr.indices, csr.indptr)]
        return {_SPARSE: parts, "shape": list(csr.shape), "format": _read_as(value.format)}
    if isinstance(value, dict):
        return {key: to_plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(entry) for entry in value]
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return {_ARRAY: torch.as_tensor(np.asarray(value))}
    return value


def from_plain(value: Any) -> Any:
    """Undo `to_plain`."""
    if isinstance(value, dict):
        if _ARRAY in value:
            return value[_ARRAY].cpu().numpy()
        if _SPARSE in value:
            data, indices, indptr = (part.cpu().numpy() for part in value[_SPARSE])
            csr = sp.csr_matrix((data, indices, indptr), shape=value["shape"])
            return csr.asformat(_read_as(value["format"]))
        return {key: from_plain(entry) for key, entry in value.items()}
    return value


def _read_as(form: str) -> str:
    """Models take rows of them; as lists of Python numbers, which RecBole's ItemKNN makes, they take gigabytes."""
    return "csr" if form == "lil" else form
