"""HNLMRec: hard negatives that are generated before training from what users have and items say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from recbole_dtlns.methods.contract import Task
from recbole_dtlns.methods.dtlns import DTLNS
from recbole_dtlns.preparation import Preparation, prepare_on, workbench
from recbole_dtlns.preparation.generating import Generating
from recbole_dtlns.teachers.contract import Teacher


class HNLMRec(DTLNS):
    """`hnlmrec`: generative semantic negative sampling (HNLMRec, arXiv 2504.05050), on the stages of `dtlns`.

    The judge's false negatives are never generated, which the paper leaves open. What it calls positives may be added
    as rows too, as in `dtlns`. Every step of the paper can be exchanged: profiles and generator (`GENERATORS`), the
    encoder of texts, the judge; in training the negatives are mixed into whatever `dtlns_sampler` chooses.
    """

    version = 1
    on_demand = False
    generates = True

    def guide(self, task: Task) -> Preparation:
        """Run the stages of `dtlns`, and generate.

        Raises:
            DTLNSError: input that a stage cannot use, or a store that cannot be written.
        """
        generating = Generating.from_flat(task.flat)
        with workbench(task.flat, task.train, task.shows_progress) as bench:
            done = self.weighed(prepare_on(bench, task.flat, task.train, task.teacher))
        vectors = generating.vectors(bench, done)
        generated = generating.run(bench, done, vectors)
        return replace(done, vectors=vectors, generated=generated, done=tuple(bench.done.values()))

    def keys_read(self, flat: Mapping[str, Any], teacher: Teacher) -> frozenset[str]:
        return super().keys_read(flat, teacher) | Generating.from_flat(flat).reads

    def versions(self, flat: Mapping[str, Any], teacher_recipe: tuple[int, dict[str, Any]]) -> dict[str, Any]:
        generating = Generating.from_flat(flat)
        generator = generating.generator
        generated = [self.version, generating.version, generator.version, *generator.prompts]
        return {**super().versions(flat, teacher_recipe), "generated": generated}
