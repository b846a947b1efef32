"""What a teacher needs at once, against what is free."""

from __future__ import annotations

import logging
from weakref import WeakSet

import psutil

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.teachers.contract import Teacher

logger = logging.getLogger("recbole_dtlns")

_SAID: WeakSet[Teacher] = WeakSet()


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


def say_once(teacher: Teacher, what: str, train: TrainInteractions, needed: int) -> None:
    """Log what a teacher is about to do and the memory it takes, the first time: rehearsals fit it again on less.

    Args:
        teacher: which.
        what: its name and size.
        train: what it is fitted on.
        needed: bytes, at their peak.
    """
    if teacher not in _SAID:
        _SAID.add(teacher)
        logger.info("fitting %s on %d items, about %.1f GiB", what, train.n_items, needed / 2**30)
