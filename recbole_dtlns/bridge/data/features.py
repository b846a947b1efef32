"""What files must hold for models that read the features of users, items and rows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from recbole_dtlns.bridge.data.file_columns import FileColumns
from recbole_dtlns.errors import DataError
from recbole_dtlns.registry import nearest

logger = logging.getLogger("recbole_dtlns")

_FILES = ("inter", "user", "item")
_NUMBER = "float"  # and float_seq
_FULL = "full"  # of RecBole's `eval_args.mode`


def check_features(config: Any) -> None:
    """Refuse features that a model would stop at later, before any work.

    Those of rows have no value where whole lists are ranked, for items that nobody has met. A model of two towers
    counts numbers among its inputs that it then does not read. And RecBole leaves out in silence what `load_col` names
    and a file does not have.

    Raises:
        DataError: the message names the features, and the settings that do with or without them.
    """
    numbers = config["numerical_features"] or ()
    files = [found for suffix in _FILES if numbers and (found := FileColumns.of(config, suffix)) is not None]
    for found in files:
        if words := [field for field in numbers if not _is_number(found.loaded.get(field, _NUMBER))]:
            raise DataError(
                f"numerical_features: {', '.join(words)} cannot be read as numbers; {found.file} has {found}: name "
                "columns of float, or leave them out"
            )
    _check_numbers_are_loaded(config, numbers, files)
    if not config.kind.featured:
        return
    for suffix in _FILES:
        _check_named(config, suffix)
    for suffix in ("user", "item") if config["double_tower"] else ():
        found = FileColumns.of(config, suffix)
        unread = (
            [field for field, kind in found.loaded.items() if _is_number(kind) and field not in numbers]
            if found
            else []
        )
        if unread:
            raise DataError(
                f"{config['model']} reads the numbers that numerical_features names, and stops at others: add "
                f"{', '.join(unread)}, or leave them out of load_col.{suffix}"
            )
    of_rows = list(_read(config, "inter"))
    if of_rows and _FULL in config["eval_args"]["mode"].values():
        raise DataError(
            f"{config['model']} reads {', '.join(of_rows)} of its rows, and eval_args.mode: {_FULL} ranks items that "
            "have no row: leave these columns out of load_col, or set mode to labeled, or to uni100 or the like"
        )


def tell_of_missing_features(config: Any) -> None:
    """Warn where a model that is there for features is given none, and name those that the files have."""
    if not config.kind.featured or any(_read(config, suffix) for suffix in _FILES):
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


def _check_numbers_are_loaded(config: Any, numbers: Iterable[str], files: Sequence[FileColumns]) -> None:
    """Refuse numbers that no file gives, where all files are those that are known here."""
    if not files or config["additional_feat_suffix"]:
        return
    loaded = {field for found in files for field in found.loaded}
    if missing := [field for field in numbers if field not in loaded]:
        there = {field for found in files for field, kind in found.header.items() if _is_number(kind)}
        raise DataError(
            f"numerical_features names {', '.join(missing)}, which is not loaded; the files have the numbers "
            f"{', '.join(sorted(there)) or 'none'}: name these, and let load_col hold them."
            f"{nearest(missing[0], there)}"
        )


def _check_named(config: Any, suffix: str) -> None:
    """Refuse columns of a file that `load_col` names and that it does not have; without the file, nothing is known."""
    found = FileColumns.of(config, suffix)
    names = (config["load_col"] or {}).get(suffix) or ()
    if found is None or names == "*":
        return
    if missing := [name for name in names if name not in found.header]:
        raise DataError(
            f"load_col.{suffix} names {', '.join(missing)}, which {found.file} does not have; it has {found}."
            f"{nearest(missing[0], found.header)}"
        )


def _is_number(kind: str) -> bool:
    """Whether a column's type is one of numbers: models read such by name alone."""
    return kind.startswith(_NUMBER)


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
        if field not in ids and (not _is_number(kind) or field in numbers)
    }
