"""What files must hold for models that read the features of users, items and rows."""

from __future__ import annotations

import logging
from typing import Any

from recbole_dtlns.bridge.data.file_columns import FileColumns
from recbole_dtlns.errors import DataError

logger = logging.getLogger("recbole_dtlns")

_FULL = "full"  # of RecBole's `eval_args.mode`


def check_features(config: Any) -> None:
    """Refuse features of rows where whole lists are ranked, for items that nobody has met have no row.

    Raises:
        DataError: the message names the features, and the settings that do with or without them.
    """
    of_rows = list(_read(config, "inter")) if config.kind.featured else []
    if of_rows and _FULL in config["eval_args"]["mode"].values():
        raise DataError(
            f"{config['model']} reads {', '.join(of_rows)} of its rows, and eval_args.mode: {_FULL} ranks items that "
            "have no row: leave these columns out of load_col, or set mode to labeled, or to uni100 or the like"
        )


def tell_of_missing_features(config: Any) -> None:
    """Warn where a model that is there for features is given none, and name those that the files have."""
    if not config.kind.featured or any(_read(config, suffix) for suffix in ("inter", "user", "item")):
        return
    files = [found for suffix in ("user", "item") if (found := FileColumns.of(config, suffix)) is not None]
    there = "; ".join(f"{found.file} has {found}" for found in files) or "there is no .user and no .item file"
    logger.warning(
        "%s reads features, and none is loaded: it sees the ids of users and items alone. %s%s",
        config["model"],
        there,
        f". Let load_col hold item: [{config['ITEM_ID_FIELD']}, ...], and numerical_features the floats among them"
        if files
        else "",
    )


def _read(config: Any, suffix: str) -> dict[str, str]:
    """The columns of a file, beside ids, that a context-aware model of RecBole's reads."""
    found = FileColumns.of(config, suffix)
    if found is None or (suffix == "inter" and config["double_tower"]):
        return {}
    ids = (config["USER_ID_FIELD"], config["ITEM_ID_FIELD"], config["LABEL_FIELD"], *(config["threshold"] or ()))
    numbers = config["numerical_features"] or ()
    return {
        field: kind
        for field, kind in found.loaded.items()
        if field not in ids and (kind.startswith("token") or field in numbers)
    }
