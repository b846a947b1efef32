"""Groups of users and items with bounds that are given, so that they are the same in every comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Bounds:
    """A group by a count.

    Attributes:
        least: of the counts in it.
        most: of them; None where there is no bound.
    """

    least: int
    most: int | None

    @property
    def text(self) -> str:
        """In words."""
        if self.most is None:
            return "all" if self.least == 0 else f"{self.least} or more"
        return f"at most {self.most}" if self.least == 0 else f"{self.least} to {self.most}"

    def holds(self, counts: np.ndarray) -> np.ndarray:
        """Which counts are in it, bool like `counts`."""
        found: np.ndarray = counts >= self.least
        return found if self.most is None else found & (counts <= self.most)


def parted(bounds: Sequence[int]) -> list[Bounds]:
    """Groups that part all counts: up to the first bound, from there to the next, and above the last."""
    starts = [0, *(bound + 1 for bound in bounds)]
    return [Bounds(least, most) for least, most in zip(starts, [*bounds, None], strict=True)]


def up_to(bounds: Sequence[int]) -> list[Bounds]:
    """Groups from 0 up to each bound but the first, which `parted` has."""
    return [Bounds(0, bound) for bound in bounds[1:]]
