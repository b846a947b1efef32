"""What a run folder keeps of its data set, so that the model is of use where the data set is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from recbole.data.dataset import Dataset, KnowledgeBasedDataset, SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType

from recbole_dtlns.bridge.data.dataset import DTLNSDataset
from recbole_dtlns.bridge.data.pairs import ObservedRows, numbering, observed_pairs, observed_rows, target_pairs
from recbole_dtlns.bridge.serving.earlier_pairs import EarlierPairs, TokenPairs
from recbole_dtlns.bridge.serving.sequences import Sequences
from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.errors import ArtefactError, CheckpointError
from recbole_dtlns.serving.histories import Histories
from recbole_dtlns.storage.sealed_arrays import load_arrays, save_arrays
from recbole_dtlns.storage.typed_json import read_as
from recbole_dtlns.version import __version__

DATA = "data.safetensors"  # in a run folder
FORMAT = 1
TRAIN, HIDDEN, VALID, TEST = "train", "hidden", "valid", "test"
_EARLIER = ("learnt", "chosen")
_TABLES = ("inter", "user", "item", "kg")  # of RecBole's data sets: `inter_feat`, ...


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
        tables: columns of interactions, of users and items where these have some, and of facts.
        observed: the items of every user in each part of the data set: `train`, `hidden` (train pairs that
            `dtlns_hide_train` kept from the run), `valid` and `test`.
        earlier: what the models knew that this one began with.
        sequences: the latest of every user, for a sequential model; None for others.
        rows: of a sequential model, what was observed in train and validation, with times and labels, which `tables`
            have for targets alone; None of other models, and of runs before there were any.
    """

    model: str
    dataset: str
    numbering: str
    fields: list[Field]
    tokens: dict[str, np.ndarray]
    tables: dict[str, dict[str, torch.Tensor]]
    observed: dict[str, Histories]
    earlier: EarlierPairs
    sequences: Sequences | None = None
    rows: dict[str, ObservedRows] | None = None

    @classmethod
    def of(
        cls, model: str, model_dataset: Dataset, parts: list[Dataset], hidden: PairSet, earlier: EarlierPairs
    ) -> Self:
        """Of a run.

        Args:
            model: what finds the model's class.
            model_dataset: what its constructor is given.
            parts: train, validation and test part, observed pairs only.
            hidden: train pairs that were kept from the run.
            earlier: as for the class.
        """
        tables = {
            name: dict(feature.interaction)
            for name in _TABLES
            if (feature := getattr(model_dataset, f"{name}_feat", None)) is not None
        }
        ids = [model_dataset.uid_field, model_dataset.iid_field]
        if isinstance(model_dataset, KnowledgeBasedDataset):
            ids.append(model_dataset.entity_field)  # which is no column
        held = {*ids, *(column for table in tables.values() for column in table)}
        fields = [
            Field(
                column,
                model_dataset.field2type[column].value,
                model_dataset.field2source[column].value,
                int(model_dataset.field2seqlen[column]),
                model_dataset.field2bucketnum.get(column),
            )
            for column in model_dataset.field2type  # in its order, in which models embed them
            if column in held
        ]
        tokens = {
            field.name: model_dataset.field2id_token[field.name]
            for field in fields
            if field.name in model_dataset.field2id_token
        }
        pairs = {TRAIN: observed_pairs(parts[0]), HIDDEN: hidden}
        pairs |= {name: target_pairs(part) for name, part in zip((VALID, TEST), parts[1:], strict=True)}
        sequences, rows = None, None
        if isinstance(model_dataset, SequentialDataset):  # whose constructor reads no row's sequence: they are large
            lists = [column for column in tables["inter"] if column.endswith(model_dataset.config["LIST_SUFFIX"])]
            tables["inter"] = {name: values for name, values in tables["inter"].items() if name not in lists}
            sequences = Sequences.of(parts)
            rows = {name: observed_rows(part) for name, part in zip((TRAIN, VALID), parts, strict=False)}
        n_users = model_dataset.user_num
        observed = {name: Histories.of(found, n_users) for name, found in pairs.items()}
        facts = (model, model_dataset.dataset_name, numbering(parts[0]))
        return cls(*facts, fields, tokens, tables, observed, earlier, sequences, rows)

    def pairs(self, part: str) -> TokenPairs:
        """Those of one part of the data set, by token."""
        found = self.observed[part].pairs()
        users, items = (
            self.tokens[next(field.name for field in self.fields if field.source == source.value)]
            for source in (FeatureSource.USER_ID, FeatureSource.ITEM_ID)
        )
        return TokenPairs(users[found.users].astype(str), items[found.items].astype(str))

    def write(self, folder: Path) -> None:
        """Write it into a run folder, atomically.

        Raises:
            ArtefactError: the file cannot be written.
        """
        arrays: dict[str, np.ndarray] = {}
        for field, tokens in self.tokens.items():
            arrays |= _packed(f"tokens/{field}", tokens)
        for name, table in self.tables.items():
            arrays |= {f"{name}/{column}": _narrow(values.numpy()) for column, values in table.items()}
        for name, histories in self.observed.items():
            arrays |= {f"observed/{name}/items": histories.items, f"observed/{name}/ends": histories.ends}
        if self.sequences is not None:
            arrays |= {f"sequences/{name}": values for name, values in self.sequences.arrays().items()}
        for name, rows in (self.rows or {}).items():
            arrays |= {f"rows/{name}/{column}": _narrow(values) for column, values in rows.arrays().items()}
        for name in _EARLIER:
            pairs: TokenPairs = getattr(self.earlier, name)
            if len(pairs):
                arrays |= _packed(f"earlier/{name}/users", pairs.users) | _packed(f"earlier/{name}/items", pairs.items)
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
            tokens = {
                field.name: _unpacked(arrays, f"tokens/{field.name}")
                for field in known.fields
                if f"tokens/{field.name}/ends" in arrays
            }
            tables = {name: _columns(arrays, f"{name}/") for name in known.tables}
            observed = {name: _histories(arrays, name) for name in (TRAIN, HIDDEN, VALID, TEST)}
            earlier = EarlierPairs(*(_earlier(arrays, f"earlier/{name}") for name in _EARLIER))
            sequences = None
            if "sequences/items" in arrays:
                sequences = Sequences(arrays["sequences/items"], arrays["sequences/lengths"])
            rows = {
                name: ObservedRows(**{column: values.numpy() for column, values in table.items()})
                for name in (TRAIN, VALID)
                if (table := _columns(arrays, f"rows/{name}/"))
            }
        except ArtefactError as error:
            raise CheckpointError(f"{error}: take the run folder from a copy, or train again") from error
        said = (known.model, known.dataset, known.numbering, known.fields)
        return cls(*said, tokens, tables, observed, earlier, sequences, rows)


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


def _earlier(arrays: Mapping[str, np.ndarray], name: str) -> TokenPairs:
    if f"{name}/users/ends" not in arrays:
        return TokenPairs()
    return TokenPairs(_unpacked(arrays, f"{name}/users"), _unpacked(arrays, f"{name}/items"))


def _packed(name: str, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Texts as one array of bytes, and where each ends."""
    encoded = [str(token).encode() for token in tokens]
    return {
        f"{name}/text": np.frombuffer(b"".join(encoded), dtype=np.uint8),
        f"{name}/ends": np.cumsum([len(token) for token in encoded], dtype=np.int64),
    }


def _unpacked(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    text, ends = arrays[f"{name}/text"].tobytes(), arrays[f"{name}/ends"].tolist()
    return np.array([text[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)])
