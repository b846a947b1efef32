"""Presets: starting values by name, which may depend on what a model can be taught."""

from __future__ import annotations

import importlib.resources
from importlib.resources.abc import Traversable
from typing import Any

from recbole_dtlns.bridge.models.capabilities import capability
from recbole_dtlns.errors import UnknownNameError
from recbole_dtlns.registry import nearest
from recbole_dtlns.storage.yaml_file import read_yaml

_LISTS, _ROWS = "lists", "rows"  # sections of a preset


def preset_file(preset: str) -> Traversable:
    """The YAML file of a preset.

    Raises:
        UnknownNameError: there is none of this name.
    """
    folder = importlib.resources.files("recbole_dtlns.properties") / "presets"
    file = folder / f"{preset}.yaml"
    if not file.is_file():
        presets = sorted(file.name.removesuffix(".yaml") for file in folder.iterdir())
        raise UnknownNameError(
            f"unknown preset '{preset}'. Choices: {', '.join(presets)}.{nearest(str(preset), presets)}"
        )
    return file


def preset_values(preset: str, model_class: type | None = None) -> dict[str, Any]:
    """The values of a preset for a model.

    Its section `lists` is for models that a loss over whole lists can be given to, `rows` for all others; the rest is
    for both.

    Args:
        preset: its name.
        model_class: the model; None where only rows can reach it.

    Raises:
        UnknownNameError: there is no such preset.
    """
    file = preset_file(preset)
    values = read_yaml(file.read_text(encoding="utf-8"), file.name, "key: value", words_are_booleans=True)
    sections = {name: values.pop(name, {}) for name in (_LISTS, _ROWS)}
    takes_lists = model_class is not None and capability(model_class).takes_lists
    return {**values, **sections[_LISTS if takes_lists else _ROWS]}
