"""Checkpoints of tensors and plain data, which torch loads with `weights_only=True`."""

from __future__ import annotations

import io
import pickle
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from recbole_dtlns.artefact_store import write_atomically
from recbole_dtlns.errors import CheckpointError

FORMAT = 1
_ARRAY, _SPARSE = "__array__", "__sparse__"


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain data atomically.

    Raises:
        CheckpointError: the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **content}, buffer)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise CheckpointError(
            f"cannot write the checkpoint {path} ({error.strerror}): free space or permissions there, "
            "or set checkpoint_dir; checkpoints already written are kept"
        ) from error


def load_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint of this package; nothing in it is executed.

    Raises:
        CheckpointError: the file is missing, damaged, or one of RecBole's own pickles.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"checkpoint {path} does not exist (looked from {Path.cwd()})")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")  # foreign files: refused below
            content = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a checkpoint of recbole_dtlns: it holds pickled objects, as RecBole's own checkpoints do, "
            "and loading those runs whatever code is in them. Train the model again with recbole_dtlns"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged and cannot be read: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} was not written by this version of recbole_dtlns")
    return content


def random_state() -> dict[str, Any]:
    """State of the global generators of Python, NumPy and torch, as tensors and plain data."""
    numpy_state: Any = np.random.get_state(legacy=True)
    kind, keys, position, has_gauss, cached = numpy_state
    python_version, python_words, python_gauss = random.getstate()
    return {
        "python": [python_version, list(python_words), python_gauss],
        "numpy": [str(kind), torch.as_tensor(keys.astype(np.int64)), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Set the generators to a state taken by `random_state`."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([entry.cpu() for entry in state["cuda"]])


def to_plain(value: Any) -> Any:
    """Model, optimizer and result state as tensors and plain data; `from_plain` undoes it.

    Arrays and sparse matrices (closed-form models keep them as "other parameters") become marked dictionaries.
    """
    if sp.issparse(value):  # before dict, which a dok_matrix is too
        csr = value.tocsr()
        parts = [torch.as_tensor(part) for part in (csr.data, csr.indices, csr.indptr)]
        return {_SPARSE: parts, "shape": list(csr.shape), "format": value.format}
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
            return sp.csr_matrix((data, indices, indptr), shape=value["shape"]).asformat(value["format"])
        return {key: from_plain(entry) for key, entry in value.items()}
    return value
