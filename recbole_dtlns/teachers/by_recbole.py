"""Settings of RecBole's models as teachers; whoever imports RecBole makes the teachers themselves."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from recbole_dtlns.components import ComponentConfig, Seed, SharedKey
from recbole_dtlns.teachers.closed_form import Dimension


class TrainedConfig(ComponentConfig):
    """Settings of a teacher that RecBole trains."""

    prefix = "teacher_"

    model: Annotated[str, SharedKey("teacher")]
    """NeighbourRidge, EASE, EDLAE, ItemKNN, CoOccurrence, GFCF, ContentKNN (by dtlns_text_fields), TransitionRidge,
    MarkovChain (both by the order of time), checkpoint, or the name of any RecBole general recommender, such as
    BPR."""
    epochs: int = Field(50, ge=1)
    """Epochs of a trained RecBole teacher; fixed, because validation pairs may not choose them."""
    config_files: list[str] = Field(default_factory=list)
    """RecBole config files for a trained teacher."""
    dim: Dimension = 64
    seed: Seed = 42


class SavedConfig(ComponentConfig):
    """Settings of a saved teacher."""

    prefix = "teacher_"

    checkpoint: str | None = None
    """best.pth or last.pth of a run on the same train split, for dtlns_teacher: checkpoint."""
