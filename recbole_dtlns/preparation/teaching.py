"""The stages that name candidates: a teacher does, or a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from recbole_dtlns.components import ComponentConfig, InputFile, SharedKey
from recbole_dtlns.errors import ContractError
from recbole_dtlns.preparation.stage import Stage, Workbench, file_digest, order_inputs, text_inputs
from recbole_dtlns.storage.artefact_store import Arrays, Facts
from recbole_dtlns.teachers.candidate_file import read_candidates
from recbole_dtlns.teachers.contract import Candidates, FittedTeacher, Teacher, top_candidates


class Teaching(Stage):
    """Fits the teacher and reads candidates and item vectors off it.

    Args:
        teacher: to be fitted on the train pairs.
        config: as for any component.
    """

    class Config(ComponentConfig):
        """Settings of what is asked of the teacher."""

        prefix = ""

        teacher: str = "NeighbourRidge"
        """NeighbourRidge, EASE, EDLAE, ItemKNN, CoOccurrence, GFCF, ContentKNN (by dtlns_text_fields), TransitionRidge,
        MarkovChain (both by the order of time), checkpoint, or the name of any RecBole general recommender, such as
        BPR."""
        candidates: int = Field(20, ge=1)
        """Unobserved items per user put to the judge, the teacher's best first."""

    config: Config
    name = "teacher"
    version = 2

    def __init__(self, teacher: Teacher, config: Config | None = None, /, **fields: Any) -> None:
        super().__init__(config, **fields)
        self.teacher = teacher

    @property
    def reads(self) -> frozenset[str]:
        return super().reads | set(type(self.teacher).Config.keys(self.config.teacher))

    def recipe(self) -> dict[str, Any]:
        """What determines the result beside the train pairs."""
        return {**self.teacher.inputs(), "teacher_version": self.teacher.version, "k": self.config.candidates}

    def run(self, bench: Workbench) -> tuple[Candidates, np.ndarray]:
        """Candidates, and item vectors float32 [n_items, d]."""
        train, wanted = bench.train, self.config.candidates

        def compute() -> tuple[Arrays, Facts]:
            fitted = self._fitted(bench)
            shape: tuple[int, ...] = getattr(getattr(fitted, "item_vectors", None), "shape", ())
            if len(shape) != 2 or shape[0] != train.n_items:
                raise ContractError(
                    f"the teacher '{self.config.teacher}' gave item vectors of the shape {shape or None}, and a row of "
                    f"numbers for each of {train.n_items} items is due"
                )
            with bench.bar("candidates", train.n_users, "user") as advance:
                found = top_candidates(fitted, train, wanted, advance)
            counts = np.diff(np.searchsorted(found.users, np.arange(train.n_users + 1, dtype=np.int32)))
            facts = {
                "teacher": self.config.teacher,
                "candidates": len(found),
                "wanted": wanted,
                "users_with_fewer": int((counts < wanted).sum()),
                **({"note": note} if (note := getattr(fitted, "note", "")) else {}),
            }
            return {**vars(found), "item_vectors": fitted.item_vectors}, facts

        seen = text_inputs(train, self.teacher.reads_text) | order_inputs(train, self.teacher.reads_order)
        arrays = self.kept(bench, {"train": train.fingerprint, **self.recipe(), **seen}, compute).arrays
        candidates = Candidates(*(arrays[column] for column in ("users", "items", "ranks", "scores")))
        return candidates, arrays["item_vectors"]

    def _fitted(self, bench: Workbench) -> FittedTeacher:
        if not self.teacher.tells_progress:
            return self.teacher.fit(bench.train)
        fit: Any = self.teacher.fit
        with bench.bar("teacher", bench.train.n_items, "item") as advance:
            fitted: FittedTeacher = fit(bench.train, progress=advance)
        return fitted

    def sentence(self, facts: Mapping[str, Any]) -> str:
        note = f" ({facts['note']})" if "note" in facts else ""
        return (
            f"{facts['teacher']}{note}: {facts['candidates']} candidates; "
            f"{facts['users_with_fewer']} users have fewer than {facts['wanted']}"
        )


class GivenCandidates(Stage):
    """Reads the candidates from a file, where one is named."""

    class Config(ComponentConfig):
        """Settings of given candidates."""

        file: Annotated[str | None, SharedKey("candidates_file"), InputFile("candidates")] = None
        """Read the candidates from a file (user_id, item_id, optionally rank, score; .tsv or .parquet) instead."""

    config: Config
    name = "candidates"
    version = 1

    def run(self, bench: Workbench, named: Candidates) -> Candidates:
        """The candidates of the file, or those that the teacher named."""
        file = self.config.file
        if not file:
            return named

        def compute() -> tuple[Arrays, Facts]:
            found, facts = read_candidates(file, bench.train)
            return vars(found), {"candidates": len(found), **facts}

        inputs = {"file": file_digest(file, "candidates"), "train": bench.train.fingerprint}
        return Candidates(**self.kept(bench, inputs, compute).arrays)

    def sentence(self, facts: Mapping[str, Any]) -> str:
        return (
            f"{facts['candidates']} from the file; left out: {facts['rows_of_unknown']} of unknown tokens, "
            f"{facts['rows_observed_in_train']} observed in train, {facts['rows_repeated']} repeated"
        )
