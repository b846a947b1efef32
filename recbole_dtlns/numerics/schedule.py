"""Values that change with the epoch: curricula."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """A value per epoch: linear between the given points, constant before the first and after the last.

    Attributes:
        points: (epoch, value), by ascending epoch; one point is a constant.
    """

    points: tuple[tuple[int, float], ...]

    @classmethod
    def constant(cls, value: float) -> Schedule:
        return cls(((0, float(value)),))

    @classmethod
    def read(cls, value: object) -> Schedule:
        """From a number, or from a mapping of epochs to numbers such as {0: 1, 20: 10}.

        Raises:
            ValueError: it is neither.
        """
        if isinstance(value, Schedule):
            return value
        if _is_number(value):
            return cls.constant(value)  # type: ignore[arg-type]
        if isinstance(value, dict) and value:
            # As text, as version 0.1 and JSON write the keys of a mapping.
            epochs = [int(epoch) if isinstance(epoch, str) and epoch.isdecimal() else epoch for epoch in value]
            values = list(value.values())
            known = all(type(epoch) is int and epoch >= 0 for epoch in epochs) and len(set(epochs)) == len(epochs)
            if known and all(map(_is_number, values)):
                return cls(tuple(sorted(zip(epochs, map(float, values), strict=True))))
        raise ValueError("write a number, or a number per epoch such as {0: 1, 20: 10}")

    def at(self, epoch: int) -> float:
        """The value in an epoch (from 0)."""
        before = [point for point in self.points if point[0] <= epoch]
        after = [point for point in self.points if point[0] > epoch]
        if not before:
            return after[0][1]
        if not after:
            return before[-1][1]
        (low, start), (high, end) = before[-1], after[0]
        return start + (end - start) * (epoch - low) / (high - low)

    def count_at(self, epoch: int) -> int:
        """The value in an epoch as a number of things, rounded, at least 1."""
        return max(1, round(self.at(epoch)))

    def at_most(self, most: float) -> Schedule:
        """The same points, none of them above `most`; between them it stays linear."""
        return Schedule(tuple((epoch, min(value, most)) for epoch, value in self.points))

    @property
    def values(self) -> list[float]:
        return [value for _, value in self.points]

    def plain(self) -> float | dict[int, float]:
        """As it is written in a config file."""
        return self.points[0][1] if len(self.points) == 1 else dict(self.points)


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False
