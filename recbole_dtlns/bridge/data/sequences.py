"""RecBole's data sets of sequences under pandas 3, and what files must hold for them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from recbole.data.dataset import SequentialDataset
from recbole.utils import FeatureSource, FeatureType

from recbole_dtlns.bridge.data.dataset import DTLNSDataset
from recbole_dtlns.bridge.data.file_columns import FileColumns
from recbole_dtlns.bridge.repairs.features import OWN_TIME
from recbole_dtlns.errors import DataError

logger = logging.getLogger("recbole_dtlns")

_OF_ITEMS = ("selected_features", "item_attribute")  # keys of models that read features of items


class DTLNSSequentialDataset(DTLNSDataset, SequentialDataset):
    """RecBole's data set of sequences: rows, order, augmentation and cut are RecBole's own."""

    def _fill_nan(self) -> None:
        times = self.inter_feat.get(self.time_field)
        if times is not None and (missing := int(times.isna().sum())):
            raise DataError(
                f"{missing} rows of '{self.config['dataset']}' have no {self.time_field}, by which sequences are "
                "ordered: leave them out, or use a general recommender"
            )
        super()._fill_nan()

    def _aug_presets(self) -> None:
        if OWN_TIME in self.inter_feat:
            self.set_field_property(OWN_TIME, FeatureType.FLOAT, FeatureSource.INTERACTION, 1)
        super()._aug_presets()

    def _benchmark_presets(self) -> None:
        super()._benchmark_presets()
        # RecBole's `agg(len)` is the length of the whole column under pandas 3.
        lengths = self.inter_feat[self.item_id_list_field].map(len)
        longest = self.max_item_list_len
        if longer := int((lengths > longest).sum()):
            logger.info(
                "%d of %d sequences are longer than MAX_ITEM_LIST_LENGTH: the latest %d items of each are read",
                *(longer, len(lengths), longest),
            )
            suffix = self.config["LIST_SUFFIX"]
            for field in self.inter_feat:
                if str(field).endswith(suffix):
                    self.inter_feat[field] = [values[-longest:] for values in self.inter_feat[field]]
                    self.field2seqlen[field] = longest
        self.inter_feat[self.item_list_length_field] = lengths.clip(upper=longest)


def check_sequence_fields(config: Any) -> None:
    """Refuse files by which nothing can be ordered, or that lack what a model reads of items, before any work.

    A data set that RecBole would download passes.

    Raises:
        DataError: the message names the fields that there are.
    """
    if config.kind.ordered:
        _check_order(config)
        _check_item_features(config)


def _check_order(config: Any) -> None:
    time, parts, model = config["TIME_FIELD"], config["benchmark_filename"], config["model"]
    found = FileColumns.of(config, "inter")
    if found is None:
        return
    file, header = found.file, found.header
    if parts:
        wanted = config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"]
        if wanted not in header:
            raise DataError(
                f"{file} has no column {wanted}:token_seq, the items before that of the row, which {model} needs where "
                f"the data are split in advance; it has {found}. Add it, or leave benchmark_filename out"
            )
    elif header.get(time) != "float":
        wrong = f"{time} is of the type {header[time]}" if time in header else f"has no field {time}"
        raise DataError(
            f"{model} learns sequences, ordered by {time}:float, and {file}: {wrong}; it has {found}. Set TIME_FIELD "
            "to the field that says when, or use a general recommender"
        )
    elif time not in found.loaded:
        loaded = [config["USER_ID_FIELD"], config["ITEM_ID_FIELD"], time]
        raise DataError(
            f"{model} learns sequences, ordered by {time}, which {file} has and load_col, unload_col or unused_col "
            f"leaves out: set load_col to {{inter: [{', '.join(loaded)}]}}"
        )


def _check_item_features(config: Any) -> None:
    key = next((key for key in _OF_ITEMS if config[key]), None)
    folder = Path(config["data_path"])
    if key is None or not folder.is_dir():
        return
    wanted = config[key] if isinstance(config[key], list) else [config[key]]
    model, found = config["model"], FileColumns.of(config, "item")
    if found is None:
        file = folder / f"{config['dataset']}.item"
        raise DataError(f"{model} reads {', '.join(wanted)} of items ({key}), and {file} does not exist")
    for field in wanted:
        if field not in found.header:
            raise DataError(f"{found.file} has no field {field}, which {model} reads; it has {found}: set {key}")
        if field not in found.loaded:
            raise DataError(
                f"{model} reads {field} of items, which {found.file} has and load_col leaves out: let load_col hold "
                f"item: [{config['ITEM_ID_FIELD']}, {', '.join(wanted)}]"
            )
