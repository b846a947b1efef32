"""A warm start: training begins with what an earlier run learnt, on data that have grown since."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch
from recbole.data.dataset import Dataset, KnowledgeBasedDataset
from recbole.model.abstract_recommender import AbstractRecommender, AutoEncoderMixin
from torch import nn

from recbole_dtlns.bridge.data.pairs import observed_pairs, target_pairs
from recbole_dtlns.bridge.models.capabilities import is_closed_form
from recbole_dtlns.bridge.models.feature_tables import feature_tables
from recbole_dtlns.bridge.models.making import make_model
from recbole_dtlns.bridge.serving.earlier_pairs import EarlierPairs, TokenPairs
from recbole_dtlns.bridge.serving.kept_data import TRAIN, VALID, KeptData
from recbole_dtlns.bridge.vocabulary import Rows, Vocabulary
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.errors import CheckpointError, ConfigError, UnsupportedModelError
from recbole_dtlns.training.checkpoint import BEST, Checkpoint

logger = logging.getLogger("recbole_dtlns")

NEIGHBOURS, RANDOM = "neighbours", "random"
_NORMALISED = (nn.BatchNorm1d, nn.BatchNorm2d)
_HOLD_TOKENS = (nn.Embedding, nn.ParameterList, nn.ParameterDict)


@dataclass(frozen=True)
class WarmStart:
    """The model of an earlier run, to begin with.

    Attributes:
        folder: of that run.
        saved: its best model.
        kept: its users, items and pairs.
        how: what rows begin with that are new: the mean of their neighbours, or what the model draws.
    """

    folder: Path
    saved: Checkpoint
    kept: KeptData
    how: str

    @classmethod
    def of(cls, config: Any) -> Self | None:
        """What `init_from` names, checked as far as it can be before data are loaded; None where it names nothing.

        Raises:
            CheckpointError: there is no such run, it is damaged, of another version, or of a leaking protocol.
            ConfigError: it is of another model or size, or an experiment asks for what it may know.
            UnsupportedModelError: the model has nothing that training begins with.
        """
        if not config["init_from"]:
            return None
        folder = Path(config["init_from"])
        if folder.is_file() and (folder.parent / BEST).is_file():
            raise CheckpointError(
                f"init_from: {folder} is a file of a run: its parent, {folder.parent}, is the run folder"
            )
        if not (folder / BEST).is_file():
            raise CheckpointError(
                f"init_from: {folder} holds no {BEST}: give the run folder of a finished run (looked from {Path.cwd()})"
            )
        if is_closed_form(config):
            raise UnsupportedModelError(
                f"init_from: {config['model']} is computed in one pass and begins with nothing: leave init_from out"
            )
        if config.settings.hide_train:
            raise ConfigError(
                "dtlns_hide_train keeps pairs from this run that the one in init_from may have learnt: leave one of "
                "the two out"
            )
        saved, kept = Checkpoint.read(folder / BEST), KeptData.read(folder)
        if saved.provenance.leaking:
            raise CheckpointError(
                f"init_from: {folder} is a run of the leaking protocol 'authors': what it learnt was purged by pairs "
                "of validation and test. Train it with dtlns_protocol: clean"
            )
        if saved.provenance.numbering != kept.numbering:
            raise CheckpointError(f"init_from: {folder} holds files of two runs: take them from one run")
        if kept.model != config.model_name:
            raise ConfigError(
                f"init_from: {folder} holds a {saved.model}, and this run trains {config['model']}: set model to "
                f"{kept.model}, or leave init_from out"
            )
        before, now = saved.config.get("embedding_size"), config["embedding_size"]
        if before != now:
            raise ConfigError(
                f"init_from: {folder} has embedding_size: {before}, and this run {now}: set it to {before}, or leave "
                "init_from out"
            )
        return cls(folder, saved, kept, config["init_new"])

    def check(self, config: Any, parts: list[Dataset]) -> None:
        """Refuse a start that fits no parameter of the model, or knows what this run is measured by; before any work.

        Args:
            config: of this run.
            parts: its train, validation and test part.

        Raises:
            ConfigError: a parameter has another shape.
            CheckpointError: pairs of validation or test were learnt, or chose the epoch.
        """
        for name, part in zip(("validation", "test"), parts[1:], strict=True):
            self._refuse(self.learnt(), part, name, "learnt from")
        self._refuse(self.chosen(), parts[2], "test", "had its epoch chosen by")
        relations = getattr(parts[0], "relation_field", None)
        if relations is not None and self._vocabularies(parts[0])[relations].renumbered:
            raise ConfigError(
                f"init_from: the facts of {self.folder} have other relations, or have them in another order: append "
                "new facts to the file, and leave init_from out where they bring new relations"
            )
        with quiet_recbole():
            self._places(make_model(config, parts[0]), parts[0])

    def _refuse(self, pairs: TokenPairs, part: Dataset, name: str, how: str) -> None:
        common = pairs.where(pairs.among(target_pairs(part), part))
        if len(common):
            raise CheckpointError(
                f"init_from: {self.folder} {how} {len(common)} pairs that are this run's {name} pairs (user "
                f"'{common.users[0]}', item '{common.items[0]}'): what is measured on them would be inflated. Split "
                "the data so that they stay in train, as a split by time or files that are split in advance do, or "
                "leave init_from out"
            )

    def learnt(self) -> TokenPairs:
        """The pairs that it learnt from, and those before it that it began with."""
        own = self.kept.pairs(TRAIN)
        if self.saved.provenance.refit:
            own = own.union(self.kept.pairs(VALID))
        return own.union(self.kept.earlier.learnt)

    def chosen(self) -> TokenPairs:
        """The pairs that chose its epoch, and the epochs of those before it that it began with."""
        own = self.kept.pairs(VALID) if self.saved.provenance.chosen_on_validation else TokenPairs()
        return own.union(self.kept.earlier.chosen)

    def earlier(self, train: Dataset) -> EarlierPairs:
        """What a run that begins with it must remember, beside its train part."""
        learnt = self.learnt()
        return EarlierPairs(learnt.where(~learnt.among(observed_pairs(train), train)), self.chosen())

    @property
    def digest(self) -> str:
        """Of its model, by which a run that goes on is known to have begun with it."""
        return hashlib.sha256((self.folder / BEST).read_bytes()).hexdigest()

    def give(self, network: AbstractRecommender, train: Dataset) -> None:
        """Copy what the earlier model learnt into a new one.

        Tables of users and items are found by their sizes, then and now, and matched by token; those that columns of
        features share are matched column by column. Every other parameter must have the shape that it had.

        Args:
            network: as its constructor made it.
            train: this run's train part.
        """
        places, vocabularies = self._places(network, train), self._vocabularies(train)
        of_neighbours: dict[str, int] = {}
        state = self.saved.state_dict
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                before = state[name].to(parameter.device, parameter.dtype)
                axes = places[name]
                index = [torch.arange(size, device=parameter.device) for size in parameter.shape]
                for axis, rows in enumerate(axes):
                    if rows is not None:
                        then, now = (torch.as_tensor(ids, device=before.device) for ids in rows.matched(vocabularies))
                        before, index[axis] = before.index_select(axis, then), now
                if not any(axes):
                    parameter.copy_(before)
                elif axes[0] is not None and not any(axes[1:]):
                    parameter[index[0]] = before
                else:
                    parameter[tuple(torch.meshgrid(*index, indexing="ij"))] = before
                if self.how != NEIGHBOURS or not axes or axes[0] is None or any(axes[1:]):
                    continue
                for field, part in axes[0].parts(vocabularies).items():
                    if field in _with_neighbours(train):
                        told = _means_of_neighbours(parameter[part], vocabularies[field], field, train)
                        of_neighbours[field] = told
            for name, module in network.named_modules():
                if isinstance(module, _NORMALISED):  # by means that it has seen, which are no parameters
                    for own, seen in module.named_buffers(prefix=name, recurse=False):
                        seen.copy_(state[own])
        fields = {field for axes in places.values() for rows in axes if rows is not None for field in rows.fields}
        said = [
            vocabulary.sentence(field, of_neighbours.get(field, 0))
            for field, vocabulary in vocabularies.items()
            if field in fields
        ]
        logger.info("init_from %s: %d parameters. %s", self.folder, len(places), ". ".join(said))
        users_and_items = [vocabularies[field] for field in (train.uid_field, train.iid_field) if field in vocabularies]
        if all(len(vocabulary.now) < 2 for vocabulary in users_and_items):  # the padding is always matched
            logger.warning(
                "init_from %s has no user and no item of this run, so none of their vectors begins with it: are the "
                "tokens written as they were?",
                self.folder,
            )

    def _vocabularies(self, train: Dataset) -> dict[str, Vocabulary]:
        """Users and items first, then other fields of tokens that both data sets have."""
        fields = dict.fromkeys([train.uid_field, train.iid_field, *self.kept.tokens])
        if isinstance(train, KnowledgeBasedDataset):  # both columns of facts are of entities
            fields = {name: None for name in fields if name not in (train.head_entity_field, train.tail_entity_field)}
        return {
            field: Vocabulary.of(self.kept.tokens[field].astype(object), train.field2token_id[field])
            for field in fields
            if field in self.kept.tokens and field in train.field2token_id
        }

    def _places(self, network: AbstractRecommender, train: Dataset) -> dict[str, list[Rows | None]]:
        """By parameter: for every axis the tokens that it is about, or None.

        Raises:
            ConfigError: a parameter is missing, or has another shape; or the model has read other features.
        """
        tables = {f"{name}.weight" for name, module in network.named_modules() if isinstance(module, nn.Embedding)}
        vocabularies = self._vocabularies(train)
        of_features, of_settings = feature_tables(network), _of_settings(network)
        found: dict[str, list[Rows | None]] = {}
        for name, parameter in network.named_parameters():
            before = self.saved.state_dict.get(name)
            shapes = tuple(parameter.shape), None if before is None else tuple(before.shape)
            problem = ConfigError(
                f"init_from: the parameter {name} has the shape {shapes[0]} in this run and {shapes[1] or 'is missing'}"
                f" in {self.folder}, which no growth of the data explains: give the model the settings that are in "
                f"{self.folder / 'config.yaml'}, or leave init_from out"
            )
            if shapes[1] is None or len(shapes[0]) != len(shapes[1]):
                raise problem
            if name in of_features:
                rows = of_features[name]
                self._refuse_other_features(rows, train)
                sizes = rows.sizes(vocabularies) if rows.fields else (shapes[0][0], shapes[0][0])
                if (*sizes, *shapes[0][1:]) != (shapes[1][0], *shapes[0][:1], *shapes[1][1:]):
                    raise problem
                found[name] = [rows if rows.fields else None, *(None for _ in shapes[0][1:])]
                continue
            found[name] = []
            for axis, (now, then) in enumerate(zip(shapes[0], shapes[1], strict=True)):
                by_token = (axis == 0 or name not in tables) and (now != then or name not in of_settings)
                meant = _by_size(name, axis, (then, now), train, vocabularies) if by_token else None
                if meant is None and now != then:
                    raise problem
                found[name].append(meant)
        lost = sorted(self.saved.state_dict.keys() - network.state_dict().keys())
        if lost:
            raise ConfigError(
                f"init_from: the parameter {lost[0]} of {self.folder} is none of this run's: give the model the "
                f"settings and columns that are in {self.folder / 'config.yaml'}, or leave init_from out"
            )
        if not found:
            raise UnsupportedModelError(f"init_from: {type(network).__name__} has no parameters: leave init_from out")
        return found

    def _refuse_other_features(self, rows: Rows, train: Dataset) -> None:
        """Layers after a table read its columns by their place, so that these are the same, in the same order."""
        numbers = self.saved.config.get("numerical_features") or ()  # the model reads no others
        then = [
            field.name
            for field in self.kept.fields
            if field.name in rows.order and (field.name in self.kept.tokens or field.name in numbers)
        ]
        now = [field for field in train.field2type if field in rows.order]
        if then != now:
            raise ConfigError(
                f"init_from: the model of {self.folder} has read the columns {', '.join(then) or 'none'}, and this "
                f"run's reads {', '.join(now)}: give load_col, numerical_features and the files the same columns in "
                "the same order, or leave init_from out"
            )


def _of_settings(network: AbstractRecommender) -> set[str]:
    """Parameters that have as many rows as there are tokens by chance alone: positions, and layers of a width.

    Layers of auto-encoders read all items, and those of other models that do are named after them.
    """
    if isinstance(network, AutoEncoderMixin):
        return set()
    found: set[str] = set()
    for name, module in network.named_modules():
        layer = type(module).__module__.startswith("torch.nn.") and not isinstance(module, _HOLD_TOKENS)
        if "position" in name.lower() or (layer and not any(word in name.lower() for word in ("user", "item"))):
            found |= {f"{name}.{own}" for own, _ in module.named_parameters(recurse=False)}
    return found


def _by_size(
    name: str, axis: int, sizes: tuple[int, int], train: Dataset, vocabularies: Mapping[str, Vocabulary]
) -> Rows | None:
    """The tokens that an axis of a parameter is about, by how many rows it had and has; None where it is about none."""
    fields = [
        field
        for field, one in vocabularies.items()
        if (one.n_before, one.n_now) == sizes and (one.renumbered or axis == 0)
    ]
    if fields:
        return Rows((_meant(name, fields, train, vocabularies),))
    users, items = train.uid_field, train.iid_field
    joined = [Rows((items,), more=1)] if "item" in name.lower() else []  # the last one masks, as in BERT4Rec
    joined.append(Rows((users, items)))  # as in GCMC
    known = [rows for rows in joined if vocabularies.keys() >= set(rows.fields)]
    return next((rows for rows in known if rows.sizes(vocabularies) == sizes), None)


def _meant(name: str, fields: list[str], train: Dataset, vocabularies: Mapping[str, Vocabulary]) -> str:
    """Which of the fields that have the size of a table it is about, by its name."""
    if len(fields) == 1:
        return fields[0]
    words = [("user", train.uid_field), ("item", train.iid_field)]
    if isinstance(train, KnowledgeBasedDataset):
        words.append(("entity", train.entity_field))
    for word, field in words:
        if word in name.lower() and field in fields:
            return field
    by_name = [field for field in fields if field.lower() in name.lower()]
    if by_name:
        return by_name[0]
    if any(vocabularies[field].renumbered for field in fields):
        raise ConfigError(
            f"init_from: whether the parameter {name} is about {' or '.join(fields)} cannot be told: there are as many "
            "of each. Leave init_from out"
        )
    return fields[0]


def _with_neighbours(train: Dataset) -> tuple[str, ...]:
    """The fields of what train pairs join: users, and items, which are entities too where there are such."""
    own = (train.uid_field, train.iid_field)
    return (*own, train.entity_field) if isinstance(train, KnowledgeBasedDataset) else own


def _means_of_neighbours(table: torch.Tensor, vocabulary: Vocabulary, field: str, train: Dataset) -> int:
    """Let new rows of a table begin as the mean of known ones that they share train pairs with, two steps away.

    A new item's: the mean over its users of the mean over the known items of each; a new user's, so with users and
    items exchanged. Rows without such neighbours stay as they are.

    Args:
        table: float [n, ...] of users or items; it is written into.
        vocabulary: of these.
        field: their name.
        train: this run's train part.

    Returns:
        how many rows were set.
    """
    pairs = observed_pairs(train)
    rows, others = (pairs.users, pairs.items) if field == train.uid_field else (pairs.items, pairs.users)
    width = train.item_num if field == train.uid_field else train.user_num
    graph = sp.csr_array((np.ones(len(rows), dtype=np.float32), (rows, others)), shape=(len(table), width))
    flat = table.detach().reshape(len(table), -1)
    known = vocabulary.now[vocabulary.now > 0]
    values = flat[torch.as_tensor(known, device=flat.device)].cpu().numpy()
    counts = np.asarray(graph[known].sum(axis=0)).ravel()
    between = graph[known].T @ values / np.maximum(counts, 1)[:, None]
    new = vocabulary.new[vocabulary.new > 0]
    edges = graph[new] @ sp.diags_array((counts > 0).astype(np.float32))
    degrees = np.asarray(edges.sum(axis=1)).ravel()
    means = edges @ between / np.maximum(degrees, 1)[:, None]
    told = degrees > 0
    flat[torch.as_tensor(new[told], device=flat.device)] = torch.as_tensor(
        means[told], dtype=flat.dtype, device=flat.device
    )
    return int(told.sum())
