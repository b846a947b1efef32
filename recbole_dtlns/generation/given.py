"""Vectors of pairs that somebody made before, on whatever machine: a folder that is mapped, never read whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.data.pair_table import PairTable
from recbole_dtlns.errors import ArtefactError, ConfigError, DataError
from recbole_dtlns.generation.contract import GenerationTask, Generator
from recbole_dtlns.guidance.generated import GeneratedNegatives, VectorsByPair
from recbole_dtlns.storage.sealed_arrays import Arrays
from recbole_dtlns.storage.whole_files import replacing, write_file

VECTORS, PAIRS, ABOUT = "vectors.npy", "pairs.tsv", "about.json"
_ROWS_AT_ONCE = 65_536


class Given(Generator):
    """`file`: a vector for some or all train pairs from a folder, in which `write_pair_vectors` wrote them.

    vectors.npy holds floats [n, d], such as float16 [171621, 4096]; line k + 2 of pairs.tsv (user_id, item_id) says
    whose row k is; about.json says what made them. The vectors stay on disk. Pairs that are not in train are left out
    and counted, and a train pair without a vector keeps the negative that the sampler chose. Whether a vector stands
    for a false negative cannot be judged.
    """

    class Config(ComponentConfig):
        """Where they are."""

        prefix = "hnlmrec_"

        file: str | None = None
        """file: folder of vectors.npy, pairs.tsv and about.json."""

    config: Config
    version = 1

    def __init__(self, config: Config | None = None, /, **fields: Any) -> None:
        super().__init__(config, **fields)
        if self.config.file is None:
            raise ConfigError("dtlns_hnlmrec_generator: file needs dtlns_hnlmrec_file, the folder of the vectors")
        self.folder = Path(self.config.file)

    def inputs(self) -> dict[str, Any]:
        return {"generator": "file", "sha256": [_digest(self.folder / name) for name in (VECTORS, PAIRS)]}

    def generate(self, task: GenerationTask) -> tuple[Arrays, dict[str, Any]]:
        """The row of every train pair, int64 [n_pairs].

        Raises:
            DataError: the folder cannot be read, holds NaN, or names no train pair.
        """
        table, train = self._table(), task.train
        pairs = PairTable.read(self.folder / PAIRS, train)
        if len(pairs) + pairs.unknown != len(table):
            raise DataError(
                f"{self.folder / PAIRS} names {len(pairs) + pairs.unknown} pairs, and {VECTORS} has {len(table)} rows"
            )
        for start in range(0, len(table), _ROWS_AT_ONCE):
            broken = ~np.isfinite(table[start : start + _ROWS_AT_ONCE]).all(axis=1)
            if broken.any():
                raise DataError(f"{self.folder / VECTORS}, row {start + int(broken.argmax())}: NaN or infinity")
        place = train.places(pairs.users, pairs.items)
        rows = np.full(train.matrix.nnz, -1, dtype=np.int64)
        rows[place[place >= 0]] = pairs.lines[place >= 0] - 2
        task.progress(len(rows))
        if (rows < 0).all():
            raise DataError(f"{self.folder / PAIRS} names none of the {len(rows)} train pairs")
        return {"rows": rows}, {"made_by": self._about(), "of_no_train_pair": int((place < 0).sum()) + pairs.unknown}

    def restored(self, arrays: Arrays, task: GenerationTask) -> GeneratedNegatives:
        return VectorsByPair(task.train, self._table(), arrays["rows"])

    def _table(self) -> np.ndarray:
        path = self.folder / VECTORS
        try:
            table: np.ndarray = np.lib.format.open_memmap(path, mode="r")  # no archive, and nothing pickled
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read the vectors of pairs in {path}: {error}") from error
        if table.ndim != 2 or table.shape[1] == 0 or table.dtype.kind != "f":
            raise DataError(f"{path} holds {table.dtype} {table.shape}, and floats [n, d] are due")
        return table

    def _about(self) -> Any:
        try:
            return json.loads((self.folder / ABOUT).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read what made the vectors in {self.folder / ABOUT}: {error}") from error


def write_pair_vectors(folder: str | Path, generated: GeneratedNegatives, about: Mapping[str, Any]) -> int:
    """Write generated negatives as a folder that `file` reads on another machine; returns how many pairs have one.

    Args:
        folder: is made.
        generated: of the train pairs.
        about: plain data on what made them, such as model, revision and the hash of the prompt.

    Raises:
        ArtefactError: it cannot be written.
    """
    path, train = Path(folder), generated.train
    users, items = train.histories()
    chunks = [slice(at, at + _ROWS_AT_ONCE) for at in range(0, len(users), _ROWS_AT_ONCE)]
    known = np.concatenate([_of(generated, users[chunk], items[chunk])[1] for chunk in chunks])
    shape = (int(known.sum()), generated.dimension)
    try:
        with replacing(path / VECTORS) as file:
            header = {"shape": shape, "fortran_order": False, "descr": "<f2"}
            np.lib.format.write_array_header_2_0(file, header)
            for chunk in chunks:
                vectors, has = _of(generated, users[chunk], items[chunk])
                file.write(vectors[has].astype("<f2").tobytes())
    except OSError as error:
        raise ArtefactError(
            f"cannot write {path / VECTORS} ({error.strerror}): free space or permissions there, or name another place "
            "with --output"
        ) from error
    lines = zip(train.user_tokens[users[known]].tolist(), train.item_tokens[items[known]].tolist(), strict=True)
    write_file(path / PAIRS, "user_id\titem_id\n" + "".join(f"{user}\t{item}\n" for user, item in lines), "--output")
    stated = {**about, "shape": list(shape), "dtype": "float16", "train": train.fingerprint}
    write_file(path / ABOUT, json.dumps(stated, indent=2, sort_keys=True), "--output")
    return int(known.sum())


def _of(generated: GeneratedNegatives, users: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return generated.of(users, items, np.zeros(len(users)))


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while part := file.read(1 << 24):
                digest.update(part)
    except OSError as error:
        raise DataError(f"cannot read the vectors of pairs in {path}: {error.strerror}") from error
    return digest.hexdigest()
