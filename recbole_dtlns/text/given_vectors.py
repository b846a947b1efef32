"""Vectors that somebody already has, from a file."""

from __future__ import annotations

import hashlib
import logging
import tokenize
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load_file

from recbole_dtlns.components import ComponentConfig, InputFile
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import ConfigError, DataError, InstallationError
from recbole_dtlns.text.contract import Encoder

logger = logging.getLogger("recbole_dtlns")

_ID, _VECTOR = "item_id", "vector"
_READ_AT_ONCE = 1 << 20
_UNREADABLE = (
    *(OSError, ValueError, SafetensorError),  # ValueError: damaged, or bytes that are no text
    *(OverflowError, SyntaxError, tokenize.TokenError),  # of NumPy, where the head of a file is damaged
    *(TypeError, AttributeError),  # of safetensors: numbers that NumPy does not have, such as bfloat16
)


class GivenVectors(Encoder):
    """Looks the vectors of items up in a file, by item id. Items that it does not name have none.

    Three kinds of file: `.npy` [n, d] with the ids of its rows in `dtlns_text_ids`; `.safetensors` with the tensor
    `vectors` [n, d], ids as for .npy; `.parquet` with the columns `item_id` and `vector` (a list of d numbers).
    """

    reads_texts = False

    class Config(ComponentConfig):
        """Settings of given vectors."""

        prefix = "text_"

        file: Annotated[str | None, InputFile("text vectors")] = None
        """file: the vectors: .npy or .safetensors (tensor `vectors`), with dtlns_text_ids, or .parquet (item_id,
        vector)."""
        ids: Annotated[str | None, InputFile("ids of the text vectors")] = None
        """file: a text file with an item id a line, for the rows of an .npy or .safetensors file."""

    config: Config
    version = 1

    def __init__(self, config: ComponentConfig | None = None, /, **fields: Any) -> None:
        super().__init__(config, **fields)
        if self.config.file is None:
            raise ConfigError("dtlns_text_encoder: file needs dtlns_text_file, a file of vectors by item")
        self.path = Path(self.config.file)
        if self.path.suffix not in (".npy", ".parquet", ".safetensors"):
            raise ConfigError(f"dtlns_text_file: {self.path} is no .npy, .safetensors or .parquet file")
        if self.path.suffix != ".parquet" and self.config.ids is None:
            raise ConfigError(f"dtlns_text_file: {self.path} needs dtlns_text_ids, a file with an item id a line")

    def inputs(self) -> dict[str, Any]:
        files = [file for file in (self.config.file, self.config.ids) if file is not None]
        return {"encoder": "file", "sha256": [_file_digest(file) for file in files]}

    def encode(self, train: TrainInteractions) -> np.ndarray:
        """Vectors, float32 [n_items, d].

        Raises:
            DataError: the file cannot be read, ids and vectors do not match, it names none of the items, or all its
                vectors are zeros. Some that are so are counted in a warning.
        """
        rows, vectors = self._checked()
        place = np.array([rows.get(token, -1) for token in train.item_tokens.tolist()])
        known = place >= 0
        if not known.any():
            raise DataError(
                f"{self.path} has a vector of none of the {train.n_items} train items; are its ids those of the data "
                "set, not internal numbers?"
            )
        found = np.zeros((train.n_items, vectors.shape[1]), dtype=np.float32)
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused by name
            found[known] = vectors[place[known]]
        if empty := int((~found[known].any(axis=1)).sum()):
            logger.warning(
                "%s: the vectors of %d of %d items are all zeros: they count as items that have none",
                *(self.path, empty, int(known.sum())),
            )
        return found

    def check_files(self) -> None:
        super().check_files()
        self._checked()

    def _checked(self) -> tuple[dict[str, int], np.ndarray]:
        """The row of every id, and the vectors [n, d]."""
        ids, vectors = self._read()
        if len(ids) != len(vectors):
            raise DataError(f"{self.path} has {len(vectors)} vectors, and there are {len(ids)} ids of them")
        rows = {token: row for row, token in enumerate(ids)}
        if len(rows) < len(ids):
            raise DataError(f"{self.path} has several vectors of one item")
        if not vectors.any():
            raise DataError(f"{self.path} holds nothing but zeros: is it the file that the encoder wrote?")
        return rows, vectors

    def _read(self) -> tuple[Sequence[str], np.ndarray]:
        try:
            if self.path.suffix == ".parquet":
                return self._columns()
            if self.path.suffix == ".npy":
                vectors: np.ndarray = np.lib.format.open_memmap(self.path, mode="r")  # no archive, and nothing pickled
            else:
                tensors = load_file(self.path)
                if "vectors" not in tensors:
                    raise DataError(f"{self.path} has no tensor `vectors`; it has {', '.join(tensors)}")
                vectors = tensors["vectors"]
            text = Path(self.config.ids or "").read_text(encoding="utf-8-sig")
        except _UNREADABLE as error:
            raise DataError(f"cannot read the text vectors in {self.path}: {error}") from error
        if vectors.ndim != 2 or vectors.shape[1] == 0 or vectors.dtype.kind != "f":
            raise DataError(f"{self.path} holds {vectors.dtype} {vectors.shape}, and floats [n, d] are due")
        return text.removesuffix("\n").split("\n"), vectors

    def _columns(self) -> tuple[Sequence[str], np.ndarray]:
        try:
            frame = pd.read_parquet(self.path)
        except ImportError as error:
            raise InstallationError(
                f"reading {self.path} needs pyarrow; install it with: pip install pyarrow"
            ) from error
        if missing := [column for column in (_ID, _VECTOR) if column not in frame]:
            raise DataError(
                f"{self.path} lacks the column {' and '.join(missing)}; it has {', '.join(map(str, frame.columns))}"
            )
        broken = np.flatnonzero([not isinstance(vector, np.ndarray) for vector in frame[_VECTOR]])
        if len(broken):
            raise DataError(f"{self.path}, row {broken[0] + 1}: its {_VECTOR} is no list of numbers")
        lengths = {len(vector) for vector in frame[_VECTOR]}
        if len(lengths) != 1 or lengths == {0}:
            raise DataError(f"{self.path} holds vectors of the lengths {sorted(lengths)}: one length is due")
        return frame[_ID].astype(str).tolist(), np.stack(frame[_VECTOR].tolist()).astype(np.float32)


def _file_digest(file: str) -> str:
    digest = hashlib.sha256()
    try:
        with Path(file).open("rb") as stream:
            while part := stream.read(_READ_AT_ONCE):
                digest.update(part)
    except OSError as error:
        raise DataError(f"cannot read the text vectors in {file}: {error.strerror}") from error
    return digest.hexdigest()
