"""DTL-NS: a judge says which candidates are false negatives; hard negatives lie close in two item trees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from recbole_dtlns.guidance.relabelling import RowWeights, row_weights
from recbole_dtlns.methods.contract import Method, Task
from recbole_dtlns.preparation import Preparation, keys_read, prepare, stage_versions
from recbole_dtlns.teachers.contract import Teacher


class DTLNS(Method):
    """`dtlns`: dual-tree, LLM-enhanced negative sampling (arXiv 2602.18249), by the stages of the preparation."""

    Config = RowWeights
    config: RowWeights
    version = 1
    on_demand = True

    def guide(self, task: Task) -> Preparation:
        """Run the stages, and weigh the pseudo-positives by their places.

        Raises:
            DTLNSError: input that a stage cannot use, or a store that cannot be written.
        """
        return self.weighed(prepare(task.flat, task.train, task.teacher, task.shows_progress))

    def weighed(self, done: Preparation) -> Preparation:
        """The same, with what each pseudo-positive is worth as a row."""
        weight = row_weights(done.positives.place, self.config.relabel_weight, self.config.relabel_decay)
        return replace(done, positives=replace(done.positives, weight=weight))

    def keys_read(self, flat: Mapping[str, Any], teacher: Teacher) -> frozenset[str]:
        """Those of the stages; the weights are worked out anew each time."""
        return keys_read(flat, teacher)

    def versions(self, flat: Mapping[str, Any], teacher_recipe: tuple[int, dict[str, Any]]) -> dict[str, Any]:
        return stage_versions(flat, teacher_recipe)
