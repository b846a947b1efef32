"""Settings that may change with the epoch: a number, or points such as {0: 1, 20: 10}, linear in between."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from recbole_dtlns.numerics.schedule import Schedule


@dataclass(frozen=True)
class PerEpoch:
    """Says what number there is for every epoch: `int` or `float`."""

    number: str


def _at_least(least: float, schedule: Schedule) -> Schedule:
    if min(schedule.values) < least:
        raise ValueError(f"must be at least {least:g} in every epoch")
    return schedule


def _at_most_one(schedule: Schedule) -> Schedule:
    if max(schedule.values) > 1:
        raise ValueError("must be at most 1 in every epoch")
    return schedule


_READ, _WRITE = BeforeValidator(Schedule.read), PlainSerializer(Schedule.plain)
CountPerEpoch = Annotated[Schedule, PerEpoch("int"), _READ, AfterValidator(partial(_at_least, 1)), _WRITE]
WeightPerEpoch = Annotated[Schedule, PerEpoch("float"), _READ, AfterValidator(partial(_at_least, 0)), _WRITE]
SharePerEpoch = Annotated[
    Schedule, PerEpoch("float"), _READ, AfterValidator(partial(_at_least, 0)), AfterValidator(_at_most_one), _WRITE
]
