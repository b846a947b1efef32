"""The stage that turns verdicts into pseudo-positives and forbidden pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.data.item_sets import Forbidden, PseudoPositives
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
            arrays = {
                "positive_users": found.positives.users,
                "positive_items": found.positives.items,
                "positive_places": found.positives.place,
                "forbidden_users": found.forbidden.users,
                "forbidden_items": found.forbidden.items,
            }
            return arrays, found.facts()

        inputs = {
            "verdicts": bench.done["verdicts"].artefact.digest,
            "top": self.config.top,
            "order": self.config.order,
        }
        arrays = self.kept(bench, inputs, compute).arrays
        users, items, place = (arrays[f"positive_{name}"] for name in ("users", "items", "places"))
        return Relabelling(
            PseudoPositives(users, items, place, np.ones(len(users))),
            Forbidden(arrays["forbidden_users"], arrays["forbidden_items"]),
        )

    def sentence(self, facts: Mapping[str, Any]) -> str:
        return (
            f"{facts['forbidden']} pairs were called false negatives; {facts['positives']} of them, "
            f"for {facts['users_with_positives']} users, can be added as positives"
        )
