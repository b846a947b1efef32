"""Keys that have new names: the old ones work, and say so."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TypeVar

from recbole_dtlns.components import PREFIX
from recbole_dtlns.errors import ConfigError

logger = logging.getLogger("recbole_dtlns")

RENAMED = {
    f"{PREFIX}alpha_co": f"{PREFIX}alpha_structure",
    f"{PREFIX}alpha_se": f"{PREFIX}alpha_semantic",
    f"{PREFIX}judge_timeout": f"{PREFIX}judge_timeout_seconds",
}
OLD_NAMES = {new: old for old, new in RENAMED.items()}
Value = TypeVar("Value")


def under_new_names(given: Mapping[str, Value], where: str) -> dict[str, Value]:
    """The same keys, in the same order, old names replaced by new ones with a warning.

    Args:
        given: keys of one source, such as a file.
        where: the source, for messages.

    Raises:
        ConfigError: a key is given under both names.
    """
    found: dict[str, Value] = {}
    for key, value in given.items():
        new = RENAMED.get(key, key)
        if new != key:
            if new in given:
                raise ConfigError(f"{where}: {key} is the old name of {new}: give one of them, not both")
            logger.warning("%s: %s is now called %s; the old name still works", where, key, new)
        found[new] = value
    return found
