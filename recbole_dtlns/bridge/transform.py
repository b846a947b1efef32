"""The stages before training as a transform of data sets, for programs that use RecBole without our runner."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType

from recbole_dtlns.bridge.data.ids import to_recbole_ids
from recbole_dtlns.bridge.data.item_fields import described_train
from recbole_dtlns.bridge.data.pairs import canonical_train, with_extra_rows
from recbole_dtlns.bridge.data.run_data import leave_one_item
from recbole_dtlns.bridge.data.sampler import DTLNSSampler
from recbole_dtlns.bridge.presets import preset_values
from recbole_dtlns.bridge.recbole_values import cut_by_time
from recbole_dtlns.bridge.teacher import make_teacher
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.data.atomic_file import OBSERVED, ORIGIN, RELABELLED, WEIGHT
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_sets import Forbidden, PseudoPositives
from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.guidance.contract import Guidance
from recbole_dtlns.methods import Task
from recbole_dtlns.methods.table import guide
from recbole_dtlns.settings.renamed import under_new_names
from recbole_dtlns.settings.settings import PREFIX, DTLNSSettings
from recbole_dtlns.trees.codes import TreeCodes

ORIGINS = ("[PAD]", OBSERVED, RELABELLED)  # what the numbers in the column `dtlns_origin` of a batch stand for


class DTLNSTransform:
    """Tree codes as item features, and pseudo-positives as train rows, between RecBole's `build()` and its loaders.

    It learns from the train part alone:

        train, valid, test = built = dataset.build()
        transform = DTLNSTransform(relabel_top=3).fit(train)
        parts = [transform.transform(part) for part in built]
        _, valid_sampler, test_sampler = create_samplers(config, dataset, built)   # of `built`, never of `parts`
        train_data = get_dataloader(config, "train")(config, parts[0], transform.sampler(), shuffle=True)
        valid_data = get_dataloader(config, "valid")(config, parts[1], valid_sampler, shuffle=False)

    Samplers of evaluation are made of the parts before the transform: RecBole masks what they hold, and a mask that
    holds pseudo-positives lifts every metric.

    Args:
        settings: `dtlns_*` keys of the stages before training, with or without the prefix. What they say of samplers,
            pools and losses, and `relabel_graph`, has no effect here.

    Raises:
        ConfigError: a key is unknown (the nearest one is named), a value is wrong, or there is nothing to do.
    """

    def __init__(self, **settings: Any) -> None:
        given: dict[str, Any] = {}
        for key, value in settings.items():
            name = PREFIX + key.removeprefix(PREFIX)
            if name in given:
                raise ConfigError(f"{key} is given twice, with the prefix {PREFIX} and without it: leave one out")
            given[name] = value
        given = under_new_names(given, "DTLNSTransform")
        preset = given.setdefault(f"{PREFIX}preset", "clean")
        if preset is False:  # as YAML reads a bare off
            preset = given[f"{PREFIX}preset"] = "off"
        if not isinstance(preset, str):
            raise ConfigError(f"{PREFIX}preset: must be the name of a preset, not {preset!r}")
        of_preset = preset_values(preset)
        self._take(DTLNSSettings.from_config({**of_preset, **given}))

    @classmethod
    def of(cls, settings: DTLNSSettings) -> Self:
        """A transform with the settings of a configuration that was read and checked."""
        made = cls.__new__(cls)
        made._take(settings)
        return made

    def _take(self, settings: DTLNSSettings) -> None:
        if settings.leaking:
            raise ConfigError(
                "dtlns_protocol: authors chooses pseudo-positives by validation and test pairs, which a transform "
                "never sees: use dtlns_preset: clean or best"
            )
        if settings.hide_train:
            raise ConfigError("dtlns_hide_train is an experiment of runs, not of a transform: leave it out")
        if settings.takes_lists:
            raise ConfigError(
                f"dtlns_loss: {settings.loss} learns from lists, and a transform adds rows: leave out dtlns_loss"
            )
        if settings.method_class.generates:
            raise ConfigError(
                f"dtlns_method: {settings.method} generates vectors, which a transform has no column for: set "
                "dtlns_method to dtlns"
            )
        wanted = settings.relabel_add or settings.relabel_exclude or settings.reads_trees
        if not (settings.method_class.guides and wanted):
            raise ConfigError(
                f"these settings (dtlns_preset: {settings.preset}) ask for no preparation, so there is "
                "nothing to transform"
            )
        self.settings = settings
        self._fitted: tuple[Dataset, Guidance] | None = None
        self._codes: dict[str, TreeCodes] = {}

    @quiet_recbole()
    def fit(self, train: Dataset) -> Self:
        """Run the stages, or read them from the cache where the same was done before.

        The generators of random numbers are left as they were, so what follows draws the same either way.

        Args:
            train: the train part, as `dataset.build()` made it. Every pair in it counts as observed, whatever its
                label or rating is.

        Raises:
            DTLNSError: data that a stage cannot use, a cache that cannot be written, or a method that finds nothing.
        """
        _check_built(train)
        with _generators_kept():
            flat = self.settings.flat
            if flat["judge_hide_last"] == "auto":
                flat["judge_hide_last"] = cut_by_time(train.config)
            preparation = guide(Task(described_train(train, flat), flat, make_teacher(flat, train)))
        if not (preparation.views or len(preparation.positives) or len(preparation.forbidden)):
            raise ConfigError(f"dtlns_method: {self.settings.method} found nothing, so there is nothing to transform")
        self._fitted = train, preparation
        self._codes = {f"{PREFIX}{name}": TreeCodes.of(tree) for name, tree in preparation.views.items()}
        return self

    @property
    def preparation(self) -> Guidance:
        """What the method found, in canonical ids; `preparation.summary()` says it in sentences.

        That of `dtlns` is a `Preparation`, with all that the stages made on the way.
        """
        return self._after_fit()[1]

    @property
    def positives(self) -> PseudoPositives:
        """Pairs that are added to train, with their weights, in canonical ids; none where `relabel_add` is off."""
        found = self.preparation.positives
        return found if self.settings.relabel_add else found.where(np.zeros(len(found), dtype=bool))

    @property
    def forbidden(self) -> Forbidden:
        """Pairs never to be drawn as negatives, in canonical ids; none where `relabel_exclude` is off."""
        found = self.preparation.forbidden
        return found if self.settings.relabel_exclude else found.where(np.zeros(len(found), dtype=bool))

    @property
    def codes(self) -> Mapping[str, TreeCodes]:
        """The codes of every canonical item, by the field that they are written to."""
        self._after_fit()
        return self._codes

    @quiet_recbole()
    def transform(self, dataset: Dataset) -> Dataset:
        """A data set with tree codes as item features; the train part gets its pseudo-positives as well.

        For each tree there are a `token_seq` field of the nodes on an item's path and one `token` field per level:
        `dtlns_structure`, `dtlns_structure_1`, ... Items that are not in train have none (padding).

        The data set that `fit` saw, known by its pairs, gets one row per pseudo-positive at its end: label 1, the time
        of the user's last row, the mean of the split for other numbers, padding for tokens. Two more columns say of
        every row what it is worth (`dtlns_weight`) and whether it was observed (`dtlns_origin`, a number in `ORIGINS`).
        They are in the batches and no fields of the data set, so that no model takes them for features.

        Rows of any other data set are as they were. The given data set is not changed.

        Args:
            dataset: a part as `dataset.build()` made it.

        Raises:
            DataError: `fit` was not called, or the data set was transformed before.
        """
        train = self.preparation.train
        _check_built(dataset)
        found = _with_codes(dataset, train, self.codes)
        if len(dataset) and canonical_train(dataset).fingerprint == train.fingerprint:
            found.inter_feat = self._rows_with_positives(dataset, train)
        return found

    def sampler(self) -> DTLNSSampler:
        """A sampler for RecBole's train loader that draws uniformly, and neither observed nor forbidden pairs."""
        part, preparation = self._after_fit()
        forbidden = leave_one_item(to_recbole_ids(self.forbidden, preparation.train, part), part)
        return DTLNSSampler(part, forbidden, self.settings.seed)

    def _rows_with_positives(self, dataset: Dataset, train: TrainInteractions) -> Interaction:
        positives = to_recbole_ids(self.positives, train, dataset)
        rows = with_extra_rows(dataset, positives)
        observed = len(dataset)
        weight, origin = torch.ones(len(rows)), torch.full((len(rows),), ORIGINS.index(OBSERVED))
        weight[observed:] = torch.as_tensor(positives.weight, dtype=torch.float32)
        origin[observed:] = ORIGINS.index(RELABELLED)
        return Interaction({**rows.interaction, WEIGHT: weight, ORIGIN: origin})

    def _after_fit(self) -> tuple[Dataset, Guidance]:
        if self._fitted is None:
            raise DataError("the transform has learnt nothing yet: call fit(train) first")
        return self._fitted


def _check_built(part: Dataset) -> None:
    if not isinstance(part.inter_feat, Interaction):
        raise DataError("a data set is transformed after it was split: give the parts that dataset.build() returns")
    if ORIGIN in part.inter_feat or any(field.startswith(PREFIX) for field in part.field2type):
        raise DataError(
            "this data set holds tree codes or pseudo-positives already: transform the one that it was made from"
        )


def _with_codes(dataset: Dataset, train: TrainInteractions, codes: Mapping[str, TreeCodes]) -> Dataset:
    """A copy with more item features; what it shares with the original stays as it was."""
    found = dataset.copy(dataset.inter_feat)
    properties = ("field2type", "field2source", "field2seqlen", "field2id_token", "field2token_id")
    for name in properties:
        setattr(found, name, getattr(dataset, name).copy())
    items = dataset.field2token_id[dataset.iid_field]
    columns = dict(dataset.get_item_feature().interaction)
    # An item of train that this data set does not know has its row dropped at the end.
    rows = np.array([items.get(token, dataset.item_num) for token in train.item_tokens.tolist()], dtype=np.int64)

    def add(field: str, kind: FeatureType, tokens: list[str], ids: np.ndarray) -> None:
        values = np.zeros((dataset.item_num + 1, *ids.shape[1:]), dtype=np.int64)
        values[rows] = ids
        columns[field] = torch.as_tensor(values[:-1])
        found.field2type[field], found.field2source[field] = kind, FeatureSource.ITEM
        found.field2seqlen[field] = ids.shape[1] if ids.ndim > 1 else 1
        found.field2id_token[field] = np.array(["[PAD]", *tokens])
        found.field2token_id[field] = {token: number for number, token in enumerate(found.field2id_token[field])}

    for field, tree in codes.items():
        tokens = sorted({node for nodes in tree.nodes for node in nodes})
        number = {token: place for place, token in enumerate(tokens, start=1)}
        sequences = np.zeros((len(rows), tree.depth), dtype=np.int64)
        for row, nodes in enumerate(tree.nodes):
            sequences[row, : len(nodes)] = [number[node] for node in nodes]
        add(field, FeatureType.TOKEN_SEQ, tokens, sequences)
        for level in range(1, tree.depth + 1):
            at_level = tree.level(level)
            tokens = sorted({token for token in at_level if token})
            number = {token: place for place, token in enumerate(tokens, start=1)}
            add(f"{field}_{level}", FeatureType.TOKEN, tokens, np.array([number.get(token, 0) for token in at_level]))
    found.item_feat = Interaction(columns)
    if "item_feat" not in found.feat_name_list:
        found.feat_name_list = [*found.feat_name_list, "item_feat"]
    return found


@contextmanager
def _generators_kept() -> Iterator[None]:
    """Leave the generators of random numbers as they were: a teacher that is trained seeds and uses them."""
    plain, array = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(array)
