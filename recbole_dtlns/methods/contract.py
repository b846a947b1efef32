"""What a method is: it turns train data into guidance, and may say how negatives are chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from recbole_dtlns.components import Component
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.guidance.contract import Guidance
from recbole_dtlns.teachers.contract import Teacher


@dataclass(frozen=True)
class Task:
    """What a method is given.

    Attributes:
        train: the clean train split in canonical form; a method looks at nothing else of the data.
        flat: the run's settings by flat key, without `dtlns_`: for components that the method is made of.
        teacher: that the settings name; it is not fitted.
        shows_progress: whether to show progress bars (only in a terminal).
    """

    train: TrainInteractions
    flat: Mapping[str, Any]
    teacher: Teacher
    shows_progress: bool = False


class Method(Component):
    """Turns train data into guidance. Subclass it, write `guide`, and name the class in an entry point.

    Attributes:
        version: of its code; raised when the same settings and data give other guidance.
        guides: whether it has anything to tell; without, `guide` is not called and no pair is relabelled.
        on_demand: whether it is left out where nothing takes its guidance: no relabelling, no sampler or pool that
            reads trees, no loss that reads verdicts.
        generates: whether its guidance holds generated negatives, which are mixed into the chosen ones as vectors.
        own_sampler: name of the sampler that it chooses negatives with, whatever `dtlns_sampler` says; `recbole` for
            RecBole's own, None for the one that the settings name.
    """

    version: int
    guides: ClassVar[bool] = True
    on_demand: ClassVar[bool] = False
    generates: ClassVar[bool] = False
    own_sampler: ClassVar[str | None] = None

    def guide(self, task: Task) -> Guidance:
        """What training is told.

        Raises:
            DTLNSError: something that it cannot use.
        """
        raise NotImplementedError

    def keys_read(self, flat: Mapping[str, Any], teacher: Teacher) -> frozenset[str]:
        """The flat keys, without `dtlns_`, that what it prepares may depend on: a search prepares once for each.

        Args:
            flat: the run's settings by flat key.
            teacher: that they name; it is not fitted.
        """
        return frozenset(type(self).Config.keys(flat["method"]))

    def versions(self, flat: Mapping[str, Any], teacher_recipe: tuple[int, dict[str, Any]]) -> dict[str, Any]:
        """What determines its guidance beside settings and files, for telling runs apart.

        Args:
            flat: the run's settings by flat key.
            teacher_recipe: version and inputs of the teacher that they name.
        """
        return {"method": self.version, "teacher": list(teacher_recipe)}
