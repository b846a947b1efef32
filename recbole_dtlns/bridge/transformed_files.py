"""A transformed data set as files: what `recbole-dtlns transform` writes, and plain RecBole reads."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from recbole.data.dataset import Dataset
from recbole.utils import init_seed

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.data.dataset import read_rows
from recbole_dtlns.bridge.data.file_rows import DatasetOfRows
from recbole_dtlns.bridge.data.splits import load_splits
from recbole_dtlns.bridge.run_log import open_log
from recbole_dtlns.bridge.runner import warn_of_keys
from recbole_dtlns.bridge.transform import DTLNSTransform
from recbole_dtlns.bridge.transformed_notes import readme, settings_file
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.data.atomic_file import OBSERVED, ORIGIN, RELABELLED, WEIGHT, column_name
from recbole_dtlns.errors import ArtefactError, ConfigError, DataError, UnsupportedModelError
from recbole_dtlns.settings.settings import PREFIX
from recbole_dtlns.storage.folder import replacing_folder

PARTS = ("train", "valid", "test")
_ANY_MODEL = "BPR"  # RecBole's configuration needs one; what is written does not depend on it
_COPIED = ("user", "kg", "link", "net")
_NUMBER = "{:.10g}"


@dataclass(frozen=True)
class TransformedFiles:
    """A data set that was written.

    Attributes:
        folder: where it is.
        text: what it holds, in lines, and the next commands.
    """

    folder: Path
    text: str


@quiet_recbole()
def transform_files(
    output: str | Path,
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: dict[str, Any] | None = None,
    overwrite: bool = False,
    *,
    arguments: Sequence[str] = (),
) -> TransformedFiles:
    """Write a data set with tree codes as item features, and its train part with pseudo-positives, for any RecBole.

    It is filtered and split as a run with the same settings would, and learnt from is the train part alone. The
    folder appears as a whole, or not at all.

    Args:
        output: folder of the new data set, whose last part is its name.
        model: any general recommender; needed only where a config file is for it.
        dataset, config_file_list, config_dict, arguments: as for `run_recbole_dtlns`.
        overwrite: whether a folder that an earlier call wrote is replaced.

    Raises:
        ConfigError: wrong settings, or an output that cannot be taken.
        UnsupportedModelError: the model is no general one.
        DataError: data that cannot be used, or that was transformed before.
        ArtefactError: the folder cannot be written.
    """
    config = _Config(model, dataset, config_file_list, config_dict, arguments)
    if config.kind.ordered:
        raise UnsupportedModelError(
            f"what is written are pairs, and RecBole cuts them otherwise for {config['model']}, a sequential model: "
            "name a general one, such as BPR"
        )
    if config.kind.reads_facts:
        raise UnsupportedModelError(
            f"what is written are interactions, and {config['model']} needs facts about items beside them: name a "
            "general model, such as BPR"
        )
    transform = DTLNSTransform.of(config.settings)
    folder, source = Path(output), Path(config["data_path"])
    _check_output(folder, source, overwrite)
    init_seed(config["seed"], config["reproducibility"])
    open_log(config)
    whole, parts = load_splits(config, DatasetOfRows)
    if empty := [name for name, part in zip(PARTS, parts, strict=True) if len(part) == 0]:
        raise DataError(
            f"there are no {empty[0]} rows, and a file without rows is not read again: check eval_args and the filters"
        )
    warn_of_keys(config)
    transform.fit(parts[0])
    files = _Files(config, whole, parts, transform, source / config["dataset"], folder)
    try:
        with replacing_folder(folder) as new:
            files.write(new)
    except OSError as error:
        raise ArtefactError(
            f"cannot write {folder} ({error.strerror}): free space or permissions there, or give another --output"
        ) from error
    return TransformedFiles(folder, files.summary())


class _Config(DTLNSConfig):
    def _get_model_and_dataset(self, model: str | type | None, dataset: str | None) -> tuple[str, type, str]:
        named = model if model is not None else self.external_config_dict.get("model", _ANY_MODEL)
        return super()._get_model_and_dataset(named, dataset)


@dataclass(frozen=True)
class _Files:
    """The files of one data set."""

    config: DTLNSConfig
    whole: DatasetOfRows
    parts: list[Dataset]
    transform: DTLNSTransform
    source: Path  # folder and name of the files of the original, without their endings
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    def write(self, folder: Path) -> None:
        for part, frame in zip(PARTS, (self.train, *map(self.whole.rows_of, self.parts[1:])), strict=True):
            self._write(folder / f"{self.name}.{part}.inter", frame)
        self._write(folder / f"{self.name}.item", self.items)
        self._write(folder / f"{self.name}.forbidden", self.forbidden)
        copied = [ending for ending in _COPIED if self._original(ending).is_file()]
        for ending in copied:
            shutil.copyfile(self._original(ending), folder / f"{self.name}.{ending}")
        columns = [column_name(column) for column in self.whole.rows_of(self.parts[0])]
        settings = settings_file(self.config, self.folder, PARTS, columns)
        (folder / f"{self.name}.yaml").write_text(settings, encoding="utf-8")
        notes = readme(self.config, self.folder, self.transform, self.code_fields, copied)
        (folder / "README.md").write_text(notes, encoding="utf-8")

    def _original(self, ending: str) -> Path:
        return self.source.with_name(f"{self.source.name}.{ending}")

    def _write(self, path: Path, frame: pd.DataFrame) -> None:
        frame.to_csv(
            path, sep=self.config["field_separator"], index=False, lineterminator="\n", encoding=self._encoding
        )

    @property
    def _encoding(self) -> str:
        return self.config["encoding"] or "utf-8"

    @cached_property
    def train(self) -> pd.DataFrame:
        """The observed rows, and after them the pseudo-positives."""
        observed = self.whole.rows_of(self.parts[0])
        positives = self.transform.positives
        tokens = self.transform.preparation.train
        added = self._filled(observed, tokens.user_tokens[positives.users], tokens.item_tokens[positives.items])
        weights = [_NUMBER.format(weight) for weight in self.transform.positives.weight]
        frame = pd.concat([observed, added], ignore_index=True)
        frame[f"{WEIGHT}:float"] = ["1"] * len(observed) + weights
        frame[f"{ORIGIN}:token"] = [OBSERVED] * len(observed) + [RELABELLED] * len(added)
        return frame

    def _filled(self, observed: pd.DataFrame, users: np.ndarray, items: np.ndarray) -> pd.DataFrame:
        """Rows for these pairs, with something in every column that the observed rows have."""
        whole = self.whole
        columns = {column_name(column): column for column in map(str, observed)}
        threshold = self.config["threshold"] or {}
        found: dict[str, Any] = {}
        for field, column in columns.items():
            numeric = column.endswith(":float")
            if field == whole.uid_field:
                found[column] = users
            elif field == whole.iid_field:
                found[column] = items
            elif field == whole.label_field:
                found[column] = ["1"] * len(users)
            elif numeric and field == whole.time_field:
                found[column] = _last_of_each(observed[columns[whole.uid_field]], observed[column], users)
            elif numeric:
                numbers = pd.to_numeric(observed[column], errors="coerce")
                if field in threshold:
                    numbers = numbers[numbers >= threshold[field]]
                found[column] = ["" if numbers.isna().all() else _NUMBER.format(numbers.mean())] * len(users)
            else:
                found[column] = [""] * len(users)
        return pd.DataFrame(found, columns=observed.columns, dtype=str)

    @cached_property
    def items(self) -> pd.DataFrame:
        """The items of the original file as they are, those of train that it lacks, and the codes of both."""
        train = self.transform.preparation.train
        tokens = train.item_tokens.tolist()
        file = self._original("item")
        key = f"{self.whole.iid_field}:token"
        known = read_rows(file, self.config) if file.is_file() else pd.DataFrame({key: []}, dtype=str)
        key = next((str(column) for column in known if column_name(column) == self.whole.iid_field), key)
        if key not in known:
            raise DataError(f"{file} has no column {self.whole.iid_field}")
        listed = set(known[key])
        missing = pd.DataFrame({key: [token for token in tokens if token not in listed]}, dtype=str)
        frame = pd.concat([known, missing], ignore_index=True).fillna("")
        place = pd.Index(tokens).get_indexer(pd.Index(frame[key]))
        separator = self.config["seq_separator"]
        codes: dict[str, list[str]] = {}
        for field, tree in self.transform.codes.items():
            sequences = [separator.join(nodes) for nodes in tree.nodes]
            codes[f"{field}:token_seq"] = _placed(sequences, place)
            for level in range(1, tree.depth + 1):
                codes[f"{field}_{level}:token"] = _placed(tree.level(level), place)
        if taken := {column_name(column) for column in frame} & {column_name(column) for column in codes}:
            raise DataError(f"{file} holds tree codes already ({', '.join(sorted(taken))}): transform the original")
        return pd.concat([frame, pd.DataFrame(codes, dtype=str)], axis=1)

    @property
    def forbidden(self) -> pd.DataFrame:
        pairs, train = self.transform.forbidden, self.transform.preparation.train
        columns = {
            f"{self.whole.uid_field}:token": train.user_tokens[pairs.users],
            f"{self.whole.iid_field}:token": train.item_tokens[pairs.items],
        }
        return pd.DataFrame(columns, dtype=str)

    @property
    def code_fields(self) -> list[str]:
        """The item fields that hold tree codes."""
        return [name for name in map(column_name, self.items) if name.startswith(PREFIX)]

    def summary(self) -> str:
        """What was written, in lines."""
        lines = [
            self.transform.preparation.summary(),
            f"{self.folder}: {len(self.parts[0])} observed train rows and {len(self.transform.positives)} "
            f"pseudo-positives, {len(self.parts[1])} validation and {len(self.parts[2])} test rows as they were",
            f"  {self.name}.item: {', '.join(self.code_fields)}",
            f"  {self.name}.forbidden: {len(self.transform.forbidden)} pairs not to be drawn as negatives",
            "  README.md: how to load it, and why RecBole's own metrics on it are inflated",
        ]
        return "\n".join(lines)


def _last_of_each(of: pd.Series, times: pd.Series, users: np.ndarray) -> np.ndarray:
    """The latest time of every user, as it is written; empty for a user without any."""
    numbers = pd.to_numeric(times, errors="coerce")
    last = numbers.dropna().groupby(of).idxmax()
    written = pd.Series(times.loc[last].to_numpy(), index=last.index)
    return written.reindex(users).fillna("").to_numpy()


def _placed(values: list[str], place: np.ndarray) -> list[str]:
    return [values[index] if index >= 0 else "" for index in place.tolist()]


def _check_output(folder: Path, source: Path, overwrite: bool) -> None:
    if not folder.name:
        raise ConfigError(f"--output={folder}: name a folder for the data set, such as dataset/shop-dtlns")
    if re.search(r"\s", str(folder)):
        raise ConfigError(f"--output={folder}: a path with spaces could not be named in --config_files; give another")
    if folder.name == "ml-100k":
        raise ConfigError("RecBole reads its own data whenever the data set is called ml-100k: give another --output")
    if folder.resolve() == source.resolve():
        raise ConfigError(f"--output={folder} is the folder of the original data: give another")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ConfigError(f"--output={folder} is a file: give another")
    present = sorted(file.name for file in folder.iterdir())
    if not present:
        return
    if not overwrite:
        raise ConfigError(f"--output={folder} exists and is not empty: give another, or add --overwrite")
    endings = (*(f"{part}.inter" for part in PARTS), "item", "forbidden", "yaml", *_COPIED)
    own = {"README.md", *(f"{folder.name}.{ending}" for ending in endings)}
    if foreign := [name for name in present if name not in own]:
        raise ConfigError(
            f"--output={folder} holds {foreign[0]}, which this command did not write: it is not overwritten; give "
            "another, or move that away"
        )
