"""What the .item and .user files say of the train items and users."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from recbole.data.dataset import Dataset

from recbole_dtlns.bridge.data.pairs import canonical_train
from recbole_dtlns.data.atomic_file import read_columns, read_header
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_content import ItemFields
from recbole_dtlns.data.user_texts import UserFields
from recbole_dtlns.errors import DataError
from recbole_dtlns.registry import nearest

logger = logging.getLogger("recbole_dtlns")

_NAMED = 3


def check_item_fields(config: Any) -> None:
    """Refuse fields that the .item or the .user file does not have, before any work is done.

    Raises:
        DataError: the message names the fields that there are.
    """
    fields, users = ItemFields.from_flat(config.settings.flat), UserFields.from_flat(config.settings.flat)
    keys = "dtlns_text_fields" if fields.text_fields else "dtlns_code_field"
    _check_columns(config, ("item", "ITEM_ID_FIELD"), keys, fields.columns)
    _check_columns(config, ("user", "USER_ID_FIELD"), "dtlns_user_text_fields", users.user_text_fields)


def _check_columns(config: Any, kind: tuple[str, str], keys: str, columns: Sequence[str]) -> None:
    if not columns:
        return
    suffix, id_field = kind
    file = Path(config["data_path"]) / f"{config['dataset']}.{suffix}"
    if not file.is_file():
        raise DataError(f"{keys} names fields of an .{suffix} file, and {file} does not exist")
    header = read_header(file, config["field_separator"], config["encoding"])
    missing = [name for name in columns if name not in header]
    if missing:
        others = [name for name in header if name != config[id_field]]
        raise DataError(
            f"{file} has no field {' or '.join(missing)}; it has {', '.join(others) or 'none'}: set {keys}."
            f"{nearest(missing[0], others)}"
        )


def described_train(part: Dataset, flat: Mapping[str, Any]) -> TrainInteractions:
    """The train split in canonical form, with what the settings read of the .item and the .user file.

    A file is read whether or not `load_col` names it, for no model needs it. Only rows of train items and users are
    looked at: which others there are, a stage before training cannot know.

    Args:
        part: the train split.
        flat: values by flat key, without `dtlns_`.

    Raises:
        DataError: a file cannot be read, or the one of items says nothing of any train item.
    """
    train, fields = _with_users(canonical_train(part), part, flat), ItemFields.from_flat(flat)
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


def _with_users(train: TrainInteractions, part: Dataset, flat: Mapping[str, Any]) -> TrainInteractions:
    fields, config = UserFields.from_flat(flat), part.config
    if not fields.user_text_fields:
        return train
    file = Path(part.dataset_path) / f"{part.dataset_name}.user"
    rows = read_columns(file, part.uid_field, fields.user_text_fields, config["field_separator"], config["encoding"])
    texts = fields.texts(rows, train.user_tokens.tolist())
    if silent := sum(not text for text in texts):
        logger.info("%d of %d train users have nothing in %s", silent, len(texts), ", ".join(fields.user_text_fields))
    return replace(train, user_texts=texts)
