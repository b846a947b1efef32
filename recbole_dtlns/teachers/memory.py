"""What a teacher needs at once, against what is free."""

from __future__ import annotations

import psutil

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import ConfigError


def refuse_beyond_memory(teacher: str, train: TrainInteractions, needed: int) -> None:
    """Refuse what could not be finished, before any work is done: a killed process would say nothing.

    Args:
        teacher: its name.
        train: what it is to be fitted on.
        needed: bytes, at their peak.

    Raises:
        ConfigError: more than is free; the message names the teacher that does with less.
    """
    free = psutil.virtual_memory().available
    if needed > free:
        raise ConfigError(
            f"{teacher} needs about {needed / 2**30:.2g} GiB for {train.n_items} items, more than the "
            f"{free / 2**30:.2g} GiB that are free; set dtlns_teacher: NeighbourRidge, which holds some weights per "
            "item only and ranks about as well"
        )
