"""The stages that put a question: teacher, candidates and item trees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recbole_dtlns.judges.contract import Question
from recbole_dtlns.preparation.convening import Convening
from recbole_dtlns.preparation.growing import (
    CodeTree,
    SemanticTree,
    StructureTree,
    StructureVectors,
    TextTree,
    TreeControl,
)
from recbole_dtlns.preparation.stage import Stage, Workbench
from recbole_dtlns.preparation.teaching import GivenCandidates, Teaching
from recbole_dtlns.teachers.contract import Teacher
from recbole_dtlns.teachers.council import Council
from recbole_dtlns.trees import build


@dataclass(frozen=True)
class Asking:
    """All that is done before a judge is asked.

    Attributes:
        teaching: asks the teacher, or a council of several.
        given_candidates, vectors, structure, semantic, text, codes, control: the stages.
    """

    teaching: Teaching | Convening
    given_candidates: GivenCandidates
    vectors: StructureVectors
    structure: StructureTree
    semantic: SemanticTree
    text: TextTree
    codes: CodeTree
    control: TreeControl

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any], teacher: Teacher) -> Asking:
        """The stages that flat keys describe, with this teacher."""
        teaching: Teaching | Convening
        if isinstance(teacher, Council):
            teaching = Convening(teacher, Convening.Config.from_flat(flat))
        else:
            teaching = Teaching(teacher, Teaching.Config.from_flat(flat))
        return cls(
            teaching,
            GivenCandidates.from_flat(flat),
            StructureVectors.from_flat(flat),
            StructureTree.from_flat(flat),
            SemanticTree.from_flat(flat),
            TextTree.from_flat(flat),
            CodeTree.from_flat(flat),
            TreeControl.from_flat(flat),
        )

    def stages(self) -> Iterator[Stage]:
        """In the order in which they run."""
        yield from (self.teaching, self.vectors, self.structure, self.semantic, self.text, self.codes)
        yield from (self.given_candidates, self.control)

    def run(self, bench: Workbench) -> Question:
        """The question about the train pairs on the bench; without a rehearsal."""
        return self.put(bench)[0]

    def put(self, bench: Workbench) -> tuple[Question, np.ndarray]:
        """The question, and the teacher's item vectors, float32 [n_items, d]."""
        named, item_vectors, *opinions = self.teaching.run(bench)
        views = {
            self.structure.view: self.structure.run(bench, lambda: self.vectors.run(bench)),
            self.semantic.view: self.semantic.run(bench, lambda: item_vectors),
            **self.text.run(bench),
            **self.codes.run(bench),
        }
        candidates = self.given_candidates.run(bench, named)
        question = Question(
            bench.train, candidates, views, opinions=opinions[0] if opinions and candidates is named else None
        )
        return self.control.run(question), item_vectors

    @property
    def can_be_put_anew(self) -> bool:
        """Whether the same can be asked of other train pairs: not of a saved teacher or candidates from a file."""
        return not (self.teaching.teacher.saved or self.given_candidates.config.file)

    @property
    def reads_text(self) -> bool:
        """Whether the question depends on what items say."""
        return self.teaching.teacher.reads_text or self.text.config.wanted

    @property
    def reads_order(self) -> bool:
        """Whether the question depends on the order of histories."""
        return self.teaching.teacher.reads_order or self.vectors.reads_order

    @property
    def trees_that_know_train(self) -> tuple[str, ...]:
        """Names of the trees that are given and may know every train pair."""
        return tuple(tree.view for tree in (self.structure, self.semantic, self.codes) if tree.knows_train)

    def anew(self) -> Asking:
        """The stages as they are where train pairs are hidden: trees that may know these are grown, or left out."""
        return replace(self, structure=self.structure.anew(), semantic=self.semantic.anew(), codes=self.codes.anew())

    def recipe(self) -> dict[str, Any]:
        """What determines a question that is put anew, beside its train pairs and the trees that stay as they are.

        Two runs whose questions are the same may put others where pairs are hidden, and a judge may learn from those.
        """
        return {
            "teacher": {"version": self.teaching.version, **self.teaching.recipe()},
            "given": self.trees_that_know_train,
            "structure": {"version": self.vectors.version, **self.vectors.recipe()},
            "tree": {"version": build.VERSION, "control": self.control.config.control, **self.structure.shape()},
        }
