"""The values of a preset for a model, which may depend on what the model can be taught."""

from __future__ import annotations

from typing import Any

from recbole_dtlns.bridge.models.kinds import capability
from recbole_dtlns.settings.presets import LISTS, ROWS, SOFTMAX, Preset, preset_file


def preset_values(preset: str, model_class: type | None = None, by_softmax: bool = False) -> dict[str, Any]:
    """The values of a preset for a model.

    Its section `lists` is for models that a loss over whole lists can be given to, `softmax` for sequential ones that
    are trained by a softmax over all items, `rows` for all others; the rest is for all.

    Args:
        preset: its name.
        model_class: the model; None where only rows can reach it.
        by_softmax: whether it is trained by such a softmax.

    Raises:
        UnknownNameError: there is no such preset.
    """
    found = Preset.read(preset_file(preset))
    takes_lists = model_class is not None and capability(model_class).takes_lists
    return {**found.for_all, **found.for_some[SOFTMAX if by_softmax else LISTS if takes_lists else ROWS]}
