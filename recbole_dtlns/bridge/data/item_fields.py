"""What the .item file says of the train items."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from recbole.data.dataset import Dataset

from recbole_dtlns.bridge.data.pairs import canonical_train
from recbole_dtlns.data.atomic_file import read_columns, read_header
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_content import ItemFields
from recbole_dtlns.errors import DataError
from recbole_dtlns.registry import nearest

logger = logging.getLogger("recbole_dtlns")

_NAMED = 3


def check_item_fields(config: Any) -> None:
    """Refuse fields that the .item file does not have, before any work is done.

    Raises:
        DataError: the message names the fields that there are.
    """
    fields = ItemFields.from_flat(config.settings.flat)
    if not fields.columns:
        return
    file = Path(config["data_path"]) / f"{config['dataset']}.item"
    keys = "dtlns_text_fields" if fields.text_fields else "dtlns_code_field"
    if not file.is_file():
        raise DataError(f"{keys} names fields of an .item file, and {file} does not exist")
    header = read_header(file, config["field_separator"], config["encoding"])
    missing = [name for name in fields.columns if name not in header]
    if missing:
        others = [name for name in header if name != config["ITEM_ID_FIELD"]]
        raise DataError(
            f"{file} has no field {' or '.join(missing)}; it has {', '.join(others) or 'none'}: set {keys}."
            f"{nearest(missing[0], others)}"
        )


def described_train(part: Dataset, flat: Mapping[str, Any]) -> TrainInteractions:
    """The train split in canonical form, with what the settings read of the .item file.

    The file is read whether or not `load_col` names it, for no model needs it. Only rows of train items are looked at:
    which other items there are, a stage before training cannot know.

    Args:
        part: the train split.
        flat: values by flat key, without `dtlns_`.

    Raises:
        DataError: the file cannot be read, or says nothing of any train item.
    """
    train, fields = canonical_train(part), ItemFields.from_flat(flat)
    if not fields.columns:
        return train
    file, config = Path(part.dataset_path) / f"{part.dataset_name}.item", part.config
    rows = read_columns(file, part.iid_field, fields.columns, config["field_separator"], config["encoding"])
    content = fields.content(rows, train.item_tokens.tolist())
    silent = content.without_text
    if fields.text_fields and len(silent) == train.n_items:
        raise DataError(f"{file}: {', '.join(fields.text_fields)} hold no text for any of {train.n_items} train items")
    if fields.text_fields and len(silent):
        named = ", ".join(train.item_tokens[silent[:_NAMED]].tolist())
        logger.info("%d of %d train items have no text: %s ...", len(silent), train.n_items, named)
    if content.cut:
        logger.warning(
            "%d texts were cut after %d characters: raise dtlns_text_max_characters, if their ends matter",
            content.cut,
            fields.text_max_characters,
        )
    return replace(train, content=content)
