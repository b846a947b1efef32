"""Train, validation and test, cut as RecBole cuts them."""

from __future__ import annotations

import logging
from typing import Any

from recbole.data.dataset import Dataset

from recbole_dtlns.bridge.data.dataset import DTLNSDataset
from recbole_dtlns.bridge.data.dataset_classes import dataset_class
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.errors import DataError

logger = logging.getLogger("recbole_dtlns")


@quiet_recbole()
def load_splits(config: Any, kind: type[DTLNSDataset] = DTLNSDataset) -> tuple[Any, list[Dataset]]:
    """Load, filter and split the data as RecBole does.

    Args:
        config: the configuration.
        kind: class of the data set; what the model needs of its own comes behind it.

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
        dataset = dataset_class(config, kind)(config)
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
