"""What a teacher needs at once, against what is free."""

from __future__ import annotations

import logging
from weakref import WeakSet

import psutil

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.transitions import step_entries
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.teachers.contract import Teacher

logger = logging.getLogger("recbole_dtlns")

_SAID: WeakSet[Teacher] = WeakSet()


_LIGHTEST = "dtlns_teacher: NeighbourRidge, which holds some weights per item only and ranks about as well"


def refuse_beyond_memory(teacher: str, train: TrainInteractions, needed: int, instead: str = _LIGHTEST) -> None:
    """Refuse what could not be finished, before any work is done: a killed process would say nothing.

    Args:
        teacher: its name.
        train: what it is to be fitted on.
        needed: bytes, at their peak.
        instead: what to set, as a key and a value.

    Raises:
        ConfigError: more than is free; the message says what does with less.
    """
    free = psutil.virtual_memory().available
    if needed > free:
        raise ConfigError(
            f"{teacher} needs about {needed / 2**30:.2g} GiB for {train.n_items} items, more than the "
            f"{free / 2**30:.2g} GiB that are free; set {instead}"
        )


def bytes_of_transitions(train: TrainInteractions, most: int, k: int) -> int:
    """What a teacher holds at its peak that is fitted on the steps of all users, in bytes.

    Args:
        train: what it is fitted on.
        most: items before a step that count.
        k: weights kept per item.
    """
    entries = step_entries(train, most)
    return 64 * entries + 24 * min(train.n_items * k, entries)  # matrices, what they are made from, transposes; weights


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
