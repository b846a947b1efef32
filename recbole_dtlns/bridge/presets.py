"""The values of a preset for a model, which may depend on what the model can be taught."""

from __future__ import annotations

from typing import Any

from recbole_dtlns.bridge.models.capabilities import capability
from recbole_dtlns.settings.presets import LISTS, ROWS, Preset, preset_file


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
    found = Preset.read(preset_file(preset))
    takes_lists = model_class is not None and capability(model_class).takes_lists
    return {**found.for_all, **found.for_some[LISTS if takes_lists else ROWS]}
