"""RecBole's data set under pandas 3, its splits, and their canonical form."""

from __future__ import annotations

import hashlib
import logging
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import recbole
import torch
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction, cat_interactions
from recbole.utils import FeatureSource

from recbole_dtlns.bridge.repairs.features import OWN_TIME, fill_missing, own_tensors, sequences_of_pandas_2, times_of
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.data.atomic_file import OBSERVED, ORIGIN, RELABELLED, WEIGHT, read_header, tolerant
from recbole_dtlns.data.hiding import hide_positives
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_sets import Observed, PairSet
from recbole_dtlns.errors import DataError
from recbole_dtlns.registry import nearest
from recbole_dtlns.storage.yaml_file import read_yaml_file

logger = logging.getLogger("recbole_dtlns")


class DTLNSDataset(Dataset):
    """`recbole.data.dataset.Dataset` with its features mended for pandas 3.

    It holds observed pairs only: rows that `recbole-dtlns transform` added as pseudo-positives say so in their column
    `dtlns_origin`, whether that is loaded or not, and are left out. The stages before training make them again.
    """

    def _from_scratch(self) -> None:
        with sequences_of_pandas_2():
            super()._from_scratch()

    def _load_feat(self, filepath: str, source: Any) -> pd.DataFrame | None:
        """As RecBole does, but the first line is checked before, and a byte-order mark is no part of it."""
        wanted, unwanted = self._get_load_and_unload_col(source)
        if wanted == set():
            return super()._load_feat(filepath, source)
        encoding = self.config["encoding"]
        header = read_header(filepath, self.config["field_separator"], encoding)
        if source == FeatureSource.INTERACTION:
            for key, field in (("USER_ID_FIELD", self.uid_field), ("ITEM_ID_FIELD", self.iid_field)):
                if field not in header:
                    raise DataError(
                        f"{filepath} has no column {field}; it has {', '.join(header)}. Rename one, or set {key}"
                    )
                if (wanted and field not in wanted) or (unwanted and field in unwanted):
                    raise DataError(f"load_col or unload_col leaves out {field}, which every model needs")
            if WEIGHT in header and ORIGIN not in header:
                raise DataError(
                    f"{filepath} has the column {WEIGHT} and lacks {ORIGIN}, which says what rows are pseudo-"
                    "positives: they would count as observed. Write it anew with recbole-dtlns transform"
                )
        self.config["encoding"] = tolerant(encoding)
        try:
            rows = super()._load_feat(filepath, source)
            if source == FeatureSource.INTERACTION and ORIGIN in header:
                rows = self._observed(rows, filepath, f"{ORIGIN}:{header[ORIGIN]}")
            return rows
        finally:
            self.config["encoding"] = encoding

    def _observed(self, rows: pd.DataFrame, filepath: str, column: str) -> pd.DataFrame:
        """The rows of a file that are not pseudo-positives.

        Raises:
            DataError: it does not say of every row which it is; a pseudo-positive taken for observed would mask
                evaluation.
        """
        origin = read_rows(filepath, self.config, usecols=[column])[column].fillna("").to_numpy()
        wrong = np.flatnonzero((origin != OBSERVED) & (origin != RELABELLED))
        if len(wrong):
            raise DataError(
                f"{filepath}: {len(wrong)} rows are neither {OBSERVED} nor {RELABELLED} by their column {ORIGIN} (row "
                f"{wrong[0] + 1}: {origin[wrong[0]]!r:.60}): the file is damaged or was edited. Write it anew with "
                "recbole-dtlns transform"
            )
        relabelled = int((origin == RELABELLED).sum())
        if relabelled:
            logger.info(
                "%s: %d rows are pseudo-positives by their column %s, and not observed: they are left out",
                filepath,
                relabelled,
                ORIGIN,
            )
        return rows[origin != RELABELLED].reset_index(drop=True)

    def _fill_nan(self) -> None:
        fill_missing(self)

    def _dataframe_to_interaction(self, data: pd.DataFrame) -> Interaction:
        with quiet_recbole():
            return own_tensors(super()._dataframe_to_interaction(data), times_of(self, data))


def check_data_set(config: Any) -> None:
    """Refuse a data set that is not there, before anything is written.

    One that RecBole knows by name, and would download, passes.

    Raises:
        DataError: the message says where it was looked for, and names the data set there that is most like it.
    """
    name, folder = config["dataset"], Path(config["data_path"])
    if not folder.exists():
        if name in _downloadable():
            return
        others = [path.name for path in folder.parent.glob("*/") if path.is_dir()]
        raise DataError(
            f"there is no data set '{name}': the folder {folder} does not exist, and it is not a known dataset name. "
            f"Check data_path and dataset.{nearest(name, [*others, *_downloadable(), 'ml-100k'])}"
        )
    parts = config["benchmark_filename"] or ()
    files = [folder / f"{name}.{part}.inter" for part in parts] or [folder / f"{name}.inter"]
    for file in files:
        if not file.is_file():
            raise DataError(
                f"the data set '{name}' has no file {file}: name it so, or check dataset, data_path and "
                "benchmark_filename"
            )


@cache
def _downloadable() -> frozenset[str]:
    file = Path(recbole.__file__).parent / "properties" / "dataset" / "url.yaml"
    return frozenset(read_yaml_file(file, file.name, "name: address"))


def read_rows(filepath: str | Path, config: Any, usecols: list[str] | None = None) -> pd.DataFrame:
    """The rows of an atomic file as text, one for each that RecBole reads of it, in its order."""
    return pd.read_csv(
        filepath,
        delimiter=config["field_separator"],
        usecols=usecols,
        dtype=str,
        keep_default_na=False,
        encoding=tolerant(config["encoding"]),
        engine="python",  # RecBole's choice: it decides what a row is where quotation marks are
    )


@quiet_recbole()
def load_splits(config: Any, kind: type[DTLNSDataset] = DTLNSDataset) -> tuple[Any, list[Dataset]]:
    """Load, filter and split the data as RecBole does.

    Args:
        config: the configuration.
        kind: class of the data set.

    Returns:
        the whole data set, and its train, validation and test parts (clean: observed pairs only).

    Raises:
        DataError: nothing is left to train on, the pre-split files are not three, or rows of theirs have no user or
            item.
    """
    for key in ("save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path"):
        if config[key]:
            logger.warning("%s is ignored: RecBole would pickle stale loaders; artefacts are cached instead", key)
    try:
        dataset = kind(config)
        parts = dataset.build()
    except (ValueError, KeyError, OSError) as error:  # KeyError: a field that the files do not have
        raise DataError(
            f"RecBole cannot load the data set '{config['dataset']}' from {config['data_path']}: "
            f"{str(error).rstrip('.')}. Check data_path, dataset, load_col and the filters; the set may be empty after "
            "filtering"
        ) from error
    if len(parts) != 3:
        raise DataError(
            f"the data has {len(parts)} parts, and train, valid and test are needed: check benchmark_filename "
            "and the split in eval_args"
        )
    if len(parts[0]) == 0:
        raise DataError(
            "the train split is empty: check the filters (user_inter_num_interval, val_interval) and eval_args"
        )
    for part in parts:
        for field in (part.uid_field, part.iid_field):
            # 0 is the padding's, which rows of files that are split in advance get
            if nameless := int((part.inter_feat[field] == 0).sum()):
                raise DataError(
                    f"{nameless} rows of one part of '{config['dataset']}' have no {field}, or one that is read as "
                    "missing (NA, nan, null ...): leave them out, or write another name"
                )
    return dataset, parts


def observed_pairs(part: Dataset) -> Observed:
    """The pairs of one split in RecBole's ids."""
    feature = part.inter_feat
    return Observed.of(feature[part.uid_field].numpy(), feature[part.iid_field].numpy())


def canonical_train(part: Dataset) -> TrainInteractions:
    """The train split in canonical ids; it depends on its token pairs alone, and their times as the file has them."""
    feature = part.inter_feat
    users = part.field2id_token[part.uid_field][feature[part.uid_field].numpy()]
    items = part.field2id_token[part.iid_field][feature[part.iid_field].numpy()]
    time = OWN_TIME if OWN_TIME in feature.columns else part.time_field
    times = feature[time].numpy() if time in feature.columns else None
    return TrainInteractions.from_tokens(users, items, times)


def hide_train_pairs(part: Dataset, share: float, seed: int) -> tuple[Dataset, Observed]:
    """The train split without a share of every user's pairs, for experiments with known false negatives.

    Args:
        part: the train split.
        share: of every user's pairs, in [0, 1); every user keeps at least one.
        seed: of the choice.

    Returns:
        the reduced split, and the hidden pairs in RecBole's ids.
    """
    if share == 0:
        nothing = np.array([], dtype=np.int64)
        return part, Observed.of(nothing, nothing)
    train = canonical_train(part)
    keys = hide_positives(train, share, seed)[1]
    users, items = keys // train.n_items, keys % train.n_items
    hidden = Observed.of(
        part.token2id(part.uid_field, train.user_tokens[users]), part.token2id(part.iid_field, train.item_tokens[items])
    )
    width = part.item_num
    rows = part.inter_feat[part.uid_field].numpy() * width + part.inter_feat[part.iid_field].numpy()
    kept = torch.from_numpy(~np.isin(rows, hidden.users * width + hidden.items))
    return part.copy(part.inter_feat[kept]), hidden


def numbering(part: Dataset) -> str:
    """SHA-256 over the tokens in the order of RecBole's ids: equal where every id means the same user or item.

    RecBole numbers tokens as they appear, so the same pairs in another order of rows get other ids.
    """
    digest = hashlib.sha256()
    for field in (part.uid_field, part.iid_field):
        for token in part.field2id_token[field]:
            encoded = str(token).encode()
            digest.update(len(encoded).to_bytes(4, "little") + encoded)
        digest.update(b"|")
    return digest.hexdigest()


def with_extra_rows(part: Dataset, pairs: PairSet) -> Interaction:
    """The rows of a split followed by one row per pair.

    The added rows carry every loaded column: label 1, the time of the user's last row, the mean of the split for other
    numbers, padding for tokens and sequences. General recommenders read only the user and item of a row.
    """
    extra: dict[str, torch.Tensor] = {}
    for field, values in part.inter_feat.interaction.items():
        filled = torch.zeros((len(pairs), *values.shape[1:]), dtype=values.dtype)
        if field == part.uid_field:
            filled = torch.as_tensor(pairs.users)
        elif field == part.iid_field:
            filled = torch.as_tensor(pairs.items)
        elif field == part.label_field:
            filled[:] = 1
        elif field == part.time_field:
            last = torch.full((part.user_num,), -torch.inf, dtype=values.dtype)
            last.scatter_reduce_(0, part.inter_feat[part.uid_field], values, "amax")
            filled = last[torch.as_tensor(pairs.users)]
        elif values.dtype.is_floating_point and values.ndim == 1:
            filled[:] = values.mean()
        extra[field] = filled
    return cat_interactions([part.inter_feat, Interaction(extra)])
