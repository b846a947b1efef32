"""The names of RecBole's keys: documented, or read without being documented; and which of them a typing error meant."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import recbole
from recbole.utils import argument_list

from recbole_dtlns.storage.yaml_file import read_yaml_file

RECBOLE_MODEL_YAMLS = Path(recbole.__file__).parent / "properties" / "model"
# RecBole's code reads these and no yaml of it names them.
READ_UNDOCUMENTED = frozenset(
    {
        "config_files",
        "contrast",
        "dataset",
        "encoding",
        "eta",
        "ft_ratio",
        "full",
        "group_offset",
        "has_residual",
        "ip",
        "model",
        "neg_sampling",
        "norm",
        "nproc",
        "offset",
        "port",
        "sim",
        "tail_ratio",
        "token_num_threshold",
        "training_neg_sample_num",
        "use_filter",
        "verbose",
        "world_size",
        "xgb_early_stopping_rounds",
    }
)
# Written where `config_files` is meant. RecBole's code has these as names of arguments; no run reads them.
MEANT_AS_CONFIG_FILES = ("config", "configs", "config_file", "config_file_list")


@cache
def keys_of_all_models() -> frozenset[str]:
    """The keys that RecBole documents for any of its models: settings of several may share a config file."""
    files = sorted(RECBOLE_MODEL_YAMLS.glob("*.yaml"))
    contents = [read_yaml_file(file, file.name, "key: value") for file in files if _has_keys(file)]
    return frozenset(key for content in contents for key in content)


@cache
def keys_of_recbole() -> frozenset[str]:
    """Every key that RecBole reads, whatever the model."""
    general = (
        argument_list.general_arguments,
        argument_list.training_arguments,
        argument_list.evaluation_arguments,
        argument_list.dataset_arguments,
    )
    return keys_of_all_models() | READ_UNDOCUMENTED | {key for group in general for key in group}


def _has_keys(file: Path) -> bool:
    return any(line.strip() and not line.startswith("#") for line in file.read_text(encoding="utf-8").splitlines())


def meant(key: str, known: Iterable[str]) -> str | None:
    """The known key that differs from this one by at most two typing errors, if there is one.

    A short key must agree in more than half of its letters, or every one would be taken for another.
    """
    most = min(2, (len(key) - 1) // 2)
    found = min(((typing_errors(key, one), one) for one in known if abs(len(one) - len(key)) <= most), default=None)
    return found[1] if found is not None and found[0] <= most else None


def typing_errors(written: str, known: str) -> int:
    """Letters left out, put in or replaced, and neighbours exchanged, between two keys; case is no difference.

    The restricted Damerau-Levenshtein distance (optimal string alignment).
    """
    first, second = written.lower(), known.lower()
    before: list[int] = []
    row = list(range(len(second) + 1))
    for i, letter in enumerate(first, start=1):
        before, last, row = row, before, [i]
        for j, other in enumerate(second, start=1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other)))
            if i > 1 and j > 1 and letter == second[j - 2] and first[i - 2] == other:
                row[j] = min(row[j], last[j - 2] + 1)
    return row[-1]
