"""The presets as they are written: starting values by name, some of them for one kind of models alone."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import Any

from recbole_dtlns.errors import UnknownNameError
from recbole_dtlns.registry import nearest
from recbole_dtlns.storage.yaml_file import read_yaml

LISTS, ROWS, SOFTMAX = "lists", "rows", "softmax"  # sections of a preset
_OF_SECTION = {
    LISTS: " for models that take whole lists",
    ROWS: " for other models",
    SOFTMAX: " for sequential models with loss_type: CE",
}


@dataclass(frozen=True)
class Preset:
    """A preset.

    Attributes:
        for_all: its values by key, `dtlns_` ones and RecBole's.
        for_some: further ones, for models that a loss over whole lists can be given to (`lists`), for sequential ones
            that are trained by a softmax over all items (`softmax`), and for all others (`rows`).
    """

    for_all: Mapping[str, Any]
    for_some: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, file: Traversable) -> Preset:
        """What a preset's YAML file holds."""
        values = read_yaml(file.read_text(encoding="utf-8"), file.name, "key: value", words_are_booleans=True)
        return cls(values, {name: values.pop(name, {}) for name in _OF_SECTION})


def preset_names() -> list[str]:
    """The names of all presets."""
    return sorted(file.name.removesuffix(".yaml") for file in _folder().iterdir())


def preset_file(preset: str) -> Traversable:
    """The YAML file of a preset.

    Raises:
        UnknownNameError: there is none of this name.
    """
    file = _folder() / f"{preset}.yaml"
    if not file.is_file():
        presets = preset_names()
        raise UnknownNameError(
            f"unknown preset '{preset}'. Choices: {', '.join(presets)}.{nearest(str(preset), presets)}"
        )
    return file


def changed_by_presets(default_of: Mapping[str, Any]) -> dict[str, list[str]]:
    """For every key that presets change: which does, and to what, such as `best 50`.

    Args:
        default_of: the default of every key, as a configuration file holds it.
    """
    found: dict[str, list[str]] = {}
    for name in preset_names():
        preset = Preset.read(preset_file(name))
        for kind, values in {"": preset.for_all, **preset.for_some}.items():
            for key, value in values.items():
                if key in default_of and value != default_of[key]:
                    found.setdefault(key, []).append(f"{name} {value}{_OF_SECTION.get(kind, '')}")
    return found


def _folder() -> Traversable:
    return importlib.resources.files("recbole_dtlns.properties") / "presets"
