"""The columns of a data set's files, before any of them is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from recbole_dtlns.data.atomic_file import read_header
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.registry import nearest

_SUFFIXES = ("inter", "user", "item", "kg", "link", "net")
_BY_SUFFIX = ("load_col", "unload_col", "unused_col")  # keys that name columns by file


@dataclass(frozen=True)
class FileColumns:
    """What one file of a data set has, and what of it RecBole gives to the model.

    Attributes:
        file: its path.
        header: the type of every column.
        loaded: the same, of those that the model is given.
    """

    file: Path
    header: dict[str, str]
    loaded: dict[str, str]

    @classmethod
    def of(cls, config: Any, suffix: str) -> Self | None:
        """Of the file with a suffix, such as `item`; None where it does not exist, as before a download.

        Of interactions that are split in advance, it is the train part.

        Raises:
            DataError: its first line is none of an atomic file.
        """
        name, parts = config["dataset"], config["benchmark_filename"]
        middle = f".{parts[0]}" if parts and suffix == "inter" else ""
        file = Path(config["data_path"]) / f"{name}{middle}.{suffix}"
        if not file.is_file():
            return None
        header = read_header(file, config["field_separator"], config["encoding"])
        loaded = {field: kind for field, kind in header.items() if _is_loaded(config, suffix, field)}
        return cls(file, header, loaded)

    def __str__(self) -> str:
        return ", ".join(f"{field}:{kind}" for field, kind in self.header.items())


def check_suffixes(config: Any) -> None:
    """Refuse columns of files that RecBole does not have: it would leave them out in silence.

    Raises:
        ConfigError: the message names the suffix that is most like it.
    """
    known = [*_SUFFIXES, *(config["additional_feat_suffix"] or ())]
    for key in _BY_SUFFIX:
        for suffix in config[key] or ():
            if suffix not in known:
                raise ConfigError(
                    f"{key} names columns of a file .{suffix}, and RecBole reads {', '.join(known)} (others by "
                    f"additional_feat_suffix).{nearest(suffix, known)}"
                )


def _is_loaded(config: Any, suffix: str, field: str) -> bool:
    wanted = config["load_col"]
    if wanted and wanted.get(suffix) != "*" and field not in (wanted.get(suffix) or ()):
        return False
    return not any(config[key] and field in (config[key].get(suffix) or ()) for key in _BY_SUFFIX[1:])
