"""The stage that asks several teachers: each names its candidates, and a council joins them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from recbole_dtlns.components import ComponentConfig, Names, SharedKey
from recbole_dtlns.preparation.stage import Stage, Workbench, order_inputs, text_inputs
from recbole_dtlns.preparation.teaching import Teaching
from recbole_dtlns.storage.artefact_store import Arrays, Facts
from recbole_dtlns.teachers.contract import Candidates
from recbole_dtlns.teachers.council import Council, Opinions, joined

logger = logging.getLogger("recbole_dtlns")


class Convening(Stage):
    """Lets every member name its best, and joins what they name.

    Each member's list is an artefact of its own: another member costs its own fitting and nothing else.

    Args:
        council: the teachers.
        config: as for any component.
    """

    class Config(ComponentConfig):
        """Settings of a council of teachers."""

        prefix = ""

        teachers: Names = Field(default_factory=list)
        """Several teachers in place of dtlns_teacher: the candidates are the best dtlns_candidates of each, and learnt
        judges see what each thinks of every pair. The semantic tree is made of the first one's item vectors."""
        depth: Annotated[int, SharedKey("council_depth")] = Field(200, ge=1, le=32_767)
        """Items of each teacher's lists in which a pair is looked up."""
        candidates: int = Field(20, ge=1)
        """Unobserved items per user put to the judge, the teacher's best first."""

    config: Config
    name = "council"
    version = 1

    def __init__(self, council: Council, config: Config | None = None, /, **fields: Any) -> None:
        super().__init__(config, **fields)
        self.teacher = council
        self.depth = max(self.config.depth, self.config.candidates)

    @property
    def reads(self) -> frozenset[str]:
        return super().reads.union(*(stage.reads for stage in self._members())) - {"teacher"}

    def recipe(self) -> dict[str, Any]:
        """What determines the result beside the train pairs."""
        return {
            "members": {stage.config.teacher: [stage.version, stage.recipe()] for stage in self._members()},
            "k": self.config.candidates,
            "depth": self.depth,
        }

    def run(self, bench: Workbench) -> tuple[Candidates, np.ndarray, Opinions]:
        """Candidates, item vectors float32 [n_items, d], and the members' opinions."""
        train = bench.train
        lists: dict[str, Candidates] = {}
        vectors: list[np.ndarray] = []
        for stage in self._members():
            lists[stage.config.teacher], item_vectors = stage.run(bench)
            vectors.append(item_vectors)
        silent = [name for name, found in lists.items() if len(found) == 0]
        if silent:
            logger.warning("left out of the council, as they found no candidate: %s", ", ".join(silent))

        def compute() -> tuple[Arrays, Facts]:
            with bench.bar("council", train.n_users, "user") as advance:
                found, opinions = joined(lists, train, self.config.candidates, self.depth, advance)
            facts = {"members": list(opinions.names), "left_out": silent, "candidates": len(found)}
            return {**vars(found), "opinion_ranks": opinions.ranks, "opinion_strengths": opinions.strengths}, facts

        seen = text_inputs(train, self.teacher.reads_text) | order_inputs(train, self.teacher.reads_order)
        kept = self.kept(bench, {"train": train.fingerprint, **self.recipe(), **seen}, compute)
        candidates = Candidates(*(kept.arrays[column] for column in ("users", "items", "ranks", "scores")))
        names = tuple(kept.facts["members"])
        of_text, of_order = (
            tuple(name for name in names if getattr(self.teacher.members[name], reads))
            for reads in ("reads_text", "reads_order")
        )
        opinions = Opinions(names, kept.arrays["opinion_ranks"], kept.arrays["opinion_strengths"], of_text, of_order)
        return candidates, vectors[0], opinions

    def sentence(self, facts: Mapping[str, Any]) -> str:
        without = f"; without {', '.join(facts['left_out'])}, which found nothing" if facts["left_out"] else ""
        return f"{facts['candidates']} candidates of {', '.join(facts['members'])}{without}"

    def _members(self) -> Iterator[Teaching]:
        for name, teacher in self.teacher.members.items():
            stage = Teaching(teacher, teacher=name, candidates=self.depth)
            stage.name = f"teacher {name}"
            yield stage
