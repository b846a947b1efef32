"""The stage that asks the judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Self

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.judges.contract import Judge, Question, Rehearsal, Verdicts, check_verdicts
from recbole_dtlns.judges.table import JUDGES
from recbole_dtlns.preparation.asking import Asking
from recbole_dtlns.preparation.rehearsing import Rehearsing
from recbole_dtlns.preparation.stage import Stage, StoreConfig, Workbench, digest_of, order_inputs, text_inputs
from recbole_dtlns.storage.artefact_store import Arrays, Facts


class Judging(Stage):
    """Asks the judge about every candidate.

    A judge that keeps its own verdicts is asked each time, and its answers make the artefact's key; what others say is
    known by all that they look at. A rehearsal is made for a judge that learns from one, and only when it is asked.

    Args:
        judge: whom to ask.
        rehearsing: makes its rehearsal.
        config: as for any component.
    """

    class Config(ComponentConfig):
        """Settings of the stage."""

        prefix = ""

        judge: str = "structural"
        """structural, calibrated (learns from hidden train positives), recorded (labels from a file), llm (asks a
        language model), distilled (learns from some of an LLM's answers), or a control (always, never, random, rank,
        shuffled)."""

    config: Config
    name = "verdicts"
    version = 1

    def __init__(self, judge: Judge, rehearsing: Rehearsing, config: Config | None = None, /, **fields: Any) -> None:
        super().__init__(config, **fields)
        self.judge, self.rehearsing = judge, rehearsing
        self._keys_of_judge: frozenset[str] = frozenset()

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any], name: str = "") -> Self:
        config, noted = cls.Config.from_flat(flat), _NotedKeys(flat)
        stage = cls(JUDGES.make(config.judge, noted), Rehearsing.from_flat(flat), config)
        stage._keys_of_judge = frozenset(noted.read & flat.keys())
        return stage

    @property
    def reads(self) -> frozenset[str]:
        rehearsed = self.rehearsing.reads if self.judge.rehearses else frozenset()
        return (super().reads | self._keys_of_judge | rehearsed) - set(StoreConfig.keys())

    def recipe(self) -> dict[str, Any]:
        """What determines the verdicts beside the question."""
        return {**self.judge.inputs(), **(self.rehearsing.recipe() if self.judge.rehearses else {})}

    def ask(self, question: Question, rehearse: Callable[[], Rehearsal | None]) -> Verdicts:
        """The judge's answers, which are not kept here.

        Args:
            question: without a rehearsal.
            rehearse: makes it, for a judge that learns from one.

        Raises:
            ContractError: the judge gave no answer, or none that there is.
        """
        asked = replace(question, rehearsal=rehearse()) if self.judge.rehearses else question
        return check_verdicts(self.judge.judge(asked), len(question.candidates), self.config.judge)

    def run(self, bench: Workbench, asking: Asking, question: Question, known: Verdicts | None = None) -> Verdicts:
        """Verdicts for all candidates.

        Args:
            bench: the workbench.
            asking: the stages that put the question.
            question: as they put it.
            known: what a judge that keeps its verdicts has of them, where it is not to be asked.
        """
        candidates = question.candidates

        def ask() -> Verdicts:
            return self.ask(question, lambda: self.rehearsing.run(bench, asking, question))

        kept = known or (ask() if self.judge.keeps_verdicts else None)

        def compute() -> tuple[Arrays, Facts]:
            found = kept or ask()
            facts = {
                "judge": self.judge.called or self.config.judge,
                **found.counts(),
                "abstained_because": found.abstained,
                **found.facts,
            }
            return {"probability": found.probability, "label": found.label}, facts

        opinions = question.opinions
        inputs = {
            **self.recipe(),
            "judge_version": self.judge.version,
            "train": bench.train.fingerprint,
            "candidates": digest_of(candidates.users, candidates.items, candidates.ranks, candidates.scores),
            "trees": digest_of(*(tree.digits for tree in question.views.values())),
            "answers": digest_of(kept.probability, kept.label) if kept else None,
            "anew": asking.recipe() if asking.can_be_put_anew else None,
            **({} if opinions is None else {"opinions": digest_of(opinions.ranks, opinions.strengths)}),
            **text_inputs(bench.train, asking.reads_text or (self.judge.reads_text and kept is None)),
            **order_inputs(bench.train, self._sees_order(asking, kept)),
        }
        stored = self.kept(bench, inputs, compute)
        return Verdicts(stored.arrays["probability"], stored.arrays["label"], dict(stored.facts["abstained_because"]))

    def _what_was_hidden(self) -> str:
        if not self.judge.rehearses:
            return ""
        hidden = "each user's last pairs by time" if self.rehearsing.hides_last else "any pairs of each user"
        return f"hidden to learn from: {hidden}"

    def _sees_order(self, asking: Asking, kept: Verdicts | None) -> bool:
        """Whether the verdicts depend on the order of histories: by a teacher, what is hidden, or the judge itself."""
        by_rehearsal = self.judge.rehearses and self.rehearsing.hides_last
        return asking.reads_order or by_rehearsal or (self.judge.reads_order and kept is None)

    def sentence(self, facts: Mapping[str, Any]) -> str:
        reasons = "".join(f" ({count}: {reason})" for reason, count in facts["abstained_because"].items())
        total = max(facts["positive"] + facts["negative"] + facts["abstain"], 1)
        remark = "; ".join(filter(None, [self.judge.remark(facts), self._what_was_hidden()]))
        return (
            f"{facts['judge']}: {facts['positive']} positive ({facts['positive'] / total:.1%}), "
            f"{facts['negative']} negative, {facts['abstain']} abstained{reasons}{'; ' if remark else ''}{remark}"
        )


class _NotedKeys(Mapping[str, Any]):
    """Flat keys that note which of them were looked at: a judge may be made of others, with keys of their own."""

    def __init__(self, flat: Mapping[str, Any]) -> None:
        self._flat = flat
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return self._flat[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._flat)

    def __len__(self) -> int:
        return len(self._flat)
