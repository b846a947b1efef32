"""What a generator is: it makes hard negatives of the train pairs, before training, and looks at nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from recbole_dtlns.components import Component
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.item_sets import PairSet
from recbole_dtlns.guidance.generated import GeneratedNegatives
from recbole_dtlns.storage.sealed_arrays import Arrays
from recbole_dtlns.text.contract import Encoder


@dataclass(frozen=True)
class GenerationTask:
    """What a generator is given; all of it comes from the train pairs and from what the data say of train items.

    Attributes:
        train: the train pairs, with `content` where items say something.
        vectors: of the items in the space that negatives are made in, of length 1, float32 [n_items, d]; zeros for an
            item of which nothing is known there.
        item_vectors: of the items as the teacher sees them, float32 [n_items, c].
        false_negatives: pairs that the judge called false negatives: none of them may be generated.
        hard: pairs that the teacher ranks high and the judge calls negatives, by user, the teacher's best first: users
            and items, int64 [n].
        encoder: that made `vectors` of what items say; None where they are the teacher's.
        progress: called with the number of train pairs just done.
    """

    train: TrainInteractions
    vectors: np.ndarray
    item_vectors: np.ndarray
    false_negatives: PairSet
    hard: tuple[np.ndarray, np.ndarray]
    encoder: Encoder | None = None
    progress: Callable[[int], object] = lambda pairs: None


class Generator(Component):
    """Makes hard negatives. Subclass it, write `generate` and `restored`, and name the class in an entry point.

    Attributes:
        version: of its code; raised when the same inputs give another result.
        learns: whether `item_vectors` and `hard` have a part in the result.
        encodes: whether `encoder` and the texts of items and users have.
    """

    version: int
    learns: ClassVar[bool] = False
    encodes: ClassVar[bool] = False

    @property
    def prompts(self) -> tuple[str, ...]:
        """Hashes of the prompts that it shows, for telling runs apart; none where it shows none."""
        return ()

    @classmethod
    def keys_read(cls, flat: Mapping[str, Any], name: str) -> frozenset[str]:
        """The flat keys, without `dtlns_`, that what it makes may depend on, where the keys have these values.

        Args:
            flat: values by flat key.
            name: that it is registered under.
        """
        return frozenset(cls.Config.keys(name))

    def inputs(self) -> dict[str, Any]:
        """Plain data that, with the task, determines the result."""
        raise NotImplementedError

    def generate(self, task: GenerationTask) -> tuple[Arrays, dict[str, Any]]:
        """Arrays that are kept, and plain data about them for the summary.

        Raises:
            DTLNSError: nothing can be made of the task.
        """
        raise NotImplementedError

    def restored(self, arrays: Arrays, task: GenerationTask) -> GeneratedNegatives:
        """The negatives from the arrays that are kept."""
        raise NotImplementedError
