"""The stage that turns verdicts into pseudo-positives and forbidden pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.guidance import relabelling
from recbole_dtlns.guidance.relabelling import Relabelling, relabel
from recbole_dtlns.judges.contract import Verdicts
from recbole_dtlns.preparation.stage import Stage, Workbench
from recbole_dtlns.storage.artefact_store import Arrays, Facts
from recbole_dtlns.teachers.contract import Candidates


class Relabelled(Stage):
    """Makes item sets of verdicts."""

    class Config(ComponentConfig):
        """Settings of which positive verdicts become pseudo-positives."""

        prefix = "relabel_"

        top: int = Field(5, ge=0)
        """Pseudo-positives per user at most, the best first; 0 means all."""
        order: Literal["rank", "probability"] = "rank"
        """Which of a user's false negatives count as the best: by the teacher's rank, or the judge's probability."""

    config: Config
    name = "relabelling"
    version = relabelling.VERSION

    def run(self, bench: Workbench, candidates: Candidates, verdicts: Verdicts) -> Relabelling:
        """The item sets; the verdicts are those that the stage before has just left on the bench."""

        def compute() -> tuple[Arrays, Facts]:
            found = relabel(candidates, verdicts, self.config.top, self.config.order)
            return found.arrays(), found.facts()

        inputs = {
            "verdicts": bench.done["verdicts"].artefact.digest,
            "top": self.config.top,
            "order": self.config.order,
        }
        return Relabelling.of(self.kept(bench, inputs, compute).arrays)

    def sentence(self, facts: Mapping[str, Any]) -> str:
        return (
            f"{facts['forbidden']} pairs were called false negatives; {facts['positives']} of them, "
            f"for {facts['users_with_positives']} users, can be added as positives"
        )
