"""What a run folder keeps of its data set, so that the model is of use where the data set is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType

from recbole_dtlns.bridge.data.dataset import DTLNSDataset, numbering, observed_pairs
from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.errors import ArtefactError, CheckpointError
from recbole_dtlns.serving.histories import Histories
from recbole_dtlns.storage.sealed_arrays import load_arrays, save_arrays
from recbole_dtlns.storage.typed_json import read_as
from recbole_dtlns.version import __version__

DATA = "data.safetensors"  # in a run folder
FORMAT = 1
TRAIN, HIDDEN, VALID, TEST = "train", "hidden", "valid", "test"
_BEFORE = "before"
_TABLES = ("inter", "user", "item")  # of RecBole's data sets: `inter_feat`, ...


@dataclass(frozen=True)
class Field:
    """A column of the data set.

    Attributes:
        name: its name.
        type, source: RecBole's words for what it holds, and for where it is from.
        length: of its sequences.
        buckets: of numbers that RecBole made discrete; None for others.
    """

    name: str
    type: str
    source: str
    length: int
    buckets: int | None = None


@dataclass(frozen=True)
class _Facts:
    """What the file says beside its arrays."""

    model: str
    dataset: str
    numbering: str
    fields: list[Field]
    tables: list[str]


@dataclass(frozen=True)
class KeptData:
    """Users, items, what they were observed with, and the data set as the model's constructor saw it.

    Attributes:
        model: what finds the model's class: its name, or `package.module:Class`.
        dataset: name of the data set.
        numbering: of users and items.
        fields: the columns.
        tokens: of every column of tokens, by id.
        tables: columns of interactions, and of users and items where these have some.
        observed: the items of every user in each part of the data set: `train`, `hidden` (train pairs that
            `dtlns_hide_train` kept from the run), `valid` and `test`.
        learnt_before: pairs that the model of `init_from` had learnt from, and that are not in train.
    """

    model: str
    dataset: str
    numbering: str
    fields: list[Field]
    tokens: dict[str, np.ndarray]
    tables: dict[str, dict[str, torch.Tensor]]
    observed: dict[str, Histories]
    learnt_before: Histories

    @classmethod
    def of(
        cls, model: str, model_dataset: Dataset, parts: list[Dataset], hidden: PairSet, learnt_before: PairSet
    ) -> Self:
        """Of a run.

        Args:
            model: what finds the model's class.
            model_dataset: what its constructor is given.
            parts: train, validation and test part, observed pairs only.
            hidden: train pairs that were kept from the run.
            learnt_before: as for the class.
        """
        tables = {
            name: dict(feature.interaction)
            for name in _TABLES
            if (feature := getattr(model_dataset, f"{name}_feat")) is not None
        }
        ids = (model_dataset.uid_field, model_dataset.iid_field)
        columns = sorted({*ids, *(column for table in tables.values() for column in table)})
        fields = [
            Field(
                column,
                model_dataset.field2type[column].value,
                model_dataset.field2source[column].value,
                int(model_dataset.field2seqlen[column]),
                model_dataset.field2bucketnum.get(column),
            )
            for column in columns
            if column in model_dataset.field2type
        ]
        tokens = {
            field.name: model_dataset.field2id_token[field.name]
            for field in fields
            if field.name in model_dataset.field2id_token
        }
        pairs = dict(zip((TRAIN, VALID, TEST), map(observed_pairs, parts), strict=True)) | {HIDDEN: hidden}
        n_users = model_dataset.user_num
        observed = {name: Histories.of(found, n_users) for name, found in pairs.items()}
        before = Histories.of(learnt_before, n_users)
        return cls(model, model_dataset.dataset_name, numbering(parts[0]), fields, tokens, tables, observed, before)

    def write(self, folder: Path) -> None:
        """Write it into a run folder, atomically.

        Raises:
            ArtefactError: the file cannot be written.
        """
        arrays: dict[str, np.ndarray] = {}
        for field, tokens in self.tokens.items():
            encoded = [str(token).encode() for token in tokens]
            arrays[f"tokens/{field}/text"] = np.frombuffer(b"".join(encoded), dtype=np.uint8)
            arrays[f"tokens/{field}/ends"] = np.cumsum([len(token) for token in encoded], dtype=np.int64)
        for name, table in self.tables.items():
            arrays |= {f"{name}/{column}": _narrow(values.numpy()) for column, values in table.items()}
        before = {_BEFORE: self.learnt_before} if len(self.learnt_before) else {}
        for name, histories in {**self.observed, **before}.items():
            arrays |= {f"observed/{name}/items": histories.items, f"observed/{name}/ends": histories.ends}
        facts = _Facts(self.model, self.dataset, self.numbering, self.fields, list(self.tables))
        try:
            save_arrays(folder / DATA, arrays, {"format": FORMAT, "version": __version__, **asdict(facts)})
        except OSError as error:
            raise ArtefactError(
                f"cannot write {folder / DATA} ({error.strerror}): free space or permissions there, or set "
                "checkpoint_dir"
            ) from error

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read what a run kept.

        Raises:
            CheckpointError: the file is missing, damaged, or of another version.
        """
        path = folder / DATA
        if not path.exists():
            raise CheckpointError(
                f"{folder} holds no {DATA}, which names the model's users and items: the run was made by a version "
                "of recbole_dtlns that kept none. Train again, for example with recbole-dtlns train "
                f"--config_files={folder / 'config.yaml'}"
            )
        try:
            arrays, facts = load_arrays(path)
            if facts.get("format") != FORMAT:
                raise CheckpointError(
                    f"{path} was written by version {facts.get('version')} of recbole_dtlns, in a form that version "
                    f"{__version__} does not read: load it with that version, or train again"
                )
            known = read_as(_Facts, facts, path)
            tokens = {field.name: _tokens(arrays, field.name) for field in known.fields if _has_tokens(arrays, field)}
            tables = {name: _columns(arrays, f"{name}/") for name in known.tables}
            observed = {name: _histories(arrays, name) for name in (TRAIN, HIDDEN, VALID, TEST)}
            before = _histories(arrays, _BEFORE) if f"observed/{_BEFORE}/ends" in arrays else Histories.none()
        except ArtefactError as error:
            raise CheckpointError(f"{error}: take the run folder from a copy, or train again") from error
        return cls(known.model, known.dataset, known.numbering, known.fields, tokens, tables, observed, before)


class KeptDataset(DTLNSDataset):
    """The data set that a model's constructor reads, as it was when the model was trained; no file is read.

    Args:
        config: the run's configuration.
        kept: of its run folder.
    """

    def __init__(self, config: Any, kept: KeptData) -> None:
        self._kept = kept
        super().__init__(config)

    def _from_scratch(self) -> None:
        self._get_preset()
        self._get_field_from_config()
        for field in self._kept.fields:
            self.field2type[field.name] = FeatureType(field.type)
            self.field2source[field.name] = FeatureSource(field.source)
            self.field2seqlen[field.name] = field.length
            if field.buckets is not None:
                self.field2bucketnum[field.name] = field.buckets
        for field_name, tokens in self._kept.tokens.items():
            self.field2id_token[field_name] = tokens
            self.field2token_id[field_name] = {token: place for place, token in enumerate(tokens)}
        for name in _TABLES:
            table = self._kept.tables.get(name)
            setattr(self, f"{name}_feat", None if table is None else Interaction(table))
        self.feat_name_list = self._build_feat_name_list()


def _histories(arrays: Mapping[str, np.ndarray], name: str) -> Histories:
    return Histories(arrays[f"observed/{name}/items"], arrays[f"observed/{name}/ends"])


def _narrow(values: np.ndarray) -> np.ndarray:
    """Whole numbers in four bytes where they fit."""
    limits = np.iinfo(np.int32)
    fits = values.dtype == np.int64 and (
        values.size == 0 or (values.min() >= limits.min and values.max() <= limits.max)
    )
    return values.astype(np.int32) if fits else values


def _columns(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, torch.Tensor]:
    """The columns of one table, whole numbers in eight bytes again, as RecBole has them."""
    return {
        name.removeprefix(prefix): torch.as_tensor(values.astype(np.int64) if values.dtype == np.int32 else values)
        for name, values in arrays.items()
        if name.startswith(prefix)
    }


def _has_tokens(arrays: Mapping[str, np.ndarray], field: Field) -> bool:
    return f"tokens/{field.name}/ends" in arrays


def _tokens(arrays: Mapping[str, np.ndarray], field: str) -> np.ndarray:
    text, ends = arrays[f"tokens/{field}/text"].tobytes(), arrays[f"tokens/{field}/ends"].tolist()
    return np.array([text[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)])
