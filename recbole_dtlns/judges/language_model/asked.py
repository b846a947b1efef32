"""What a round of asking did: counts for summaries and label cards, and when too many replies were unusable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recbole_dtlns.errors import JudgeError
from recbole_dtlns.judges.contract import Label
from recbole_dtlns.judges.language_model.answers import Answer
from recbole_dtlns.judges.language_model.requests import RequestPlan
from recbole_dtlns.judges.language_model.verdict_store import StoredVerdicts, VerdictStore
from recbole_dtlns.llm.one_model import OneModel
from recbole_dtlns.llm.reply import Reply

_ENOUGH_VERDICTS = 20  # before the share of abstentions means anything
_EXAMPLES = 3


@dataclass
class Asked:
    """What one round of asking did.

    Attributes:
        plan: the requests of the question.
        store: where the answers are.
        abstain_limit: share of abstentions beyond which `count` raises.
        token_limit: computed tokens after which nothing more is asked; None for no limit.
        mode: how the engine got its answers; empty when nothing was asked.
        requests, answered, tokens: of this round.
        truncated: prompts that lost their oldest items.
        known: pairs answered before this round.
        abstentions: of those and of this round.
        stored: the verdict set, as read last.
        place: where in it the verdict of every pair is, int64 [n_pairs]; -1 where there is none.
    """

    plan: RequestPlan
    store: VerdictStore
    abstain_limit: float
    token_limit: int | None = None
    mode: str = ""
    requests: int = 0
    answered: int = 0
    tokens: int = 0
    truncated: int = 0
    known: int = 0
    abstentions: int = 0
    examples: list[str] = field(default_factory=list)
    _model: OneModel = field(init=False)
    stored: StoredVerdicts = field(init=False)
    place: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        model, revision = self.store.identity["model"], self.store.identity["revision"]
        earlier = self.store.answered_by()
        key = "dtlns_judge_revision"
        self._model = OneModel(model, revision, self.store.folder, "verdicts", key, earlier)
        self._read()

    def read_again(self) -> None:
        """See what this round added."""
        if self.answered:
            self._read()

    def _read(self) -> None:
        self.stored = self.store.read()
        self.place = self.stored.find(self.plan.keys)

    def of_one_model(self, reply: Reply) -> Reply:
        """The reply, where the model that gave the others gave it too; else the reason why it is not kept.

        Raises:
            EngineError: the first reply of this round is of another model than the verdicts that the set holds.
        """
        return self._model.checked(reply, first=self.requests == 0)

    @property
    def answered_by(self) -> str | None:
        """The name under which the server answered, now or when the first verdicts were got; None without one."""
        return self._model.answered_by

    def count(self, answers: list[Answer], said: str) -> None:
        """Account for a reply; stop when too many are unusable.

        Raises:
            JudgeError: the share of abstentions is beyond the limit.
        """
        self.requests += 1
        self.answered += len(answers)
        self.tokens += sum(answer.tokens for answer in answers)
        unusable = [answer.reason for answer in answers if answer.label == Label.ABSTAIN]
        self.abstentions += len(unusable)
        if unusable and len(self.examples) < _EXAMPLES:
            self.examples.append(f"{unusable[0].sentence}: {said[:200]!r}")
        self._check_abstentions()

    def count_known(self, reask_abstained: bool) -> np.ndarray:
        """Account for the verdicts kept from before; stop when they are already too bad.

        Args:
            reask_abstained: whether abstentions count as unknown.

        Returns:
            whether a pair's verdict is known, bool [n_pairs].

        Raises:
            JudgeError: the share of abstentions is beyond the limit.
        """
        known = self.place >= 0
        labels = self.stored.rows["label"][self.place[known]]
        if reask_abstained:
            known[known] = labels != Label.ABSTAIN
            labels = labels[labels != Label.ABSTAIN]
        self.known = len(labels)
        self.abstentions = int((labels == Label.ABSTAIN).sum())
        self._check_abstentions()
        return known

    def _check_abstentions(self) -> None:
        total = self.known + self.answered
        if total < _ENOUGH_VERDICTS or self.abstentions <= self.abstain_limit * total:
            return
        examples = f" Examples: {'; '.join(self.examples)}." if self.examples else ""
        raise JudgeError(
            f"{self.abstentions} of {total} verdicts are abstentions, more than dtlns_judge_max_abstain_rate "
            f"({self.abstain_limit:.0%}) allows.{examples} Change the prompt or the model, raise the rate, or ask "
            f"again with dtlns_judge_reask_abstained: True; all answers are kept in {self.store.folder}"
        )

    def facts(self) -> dict[str, Any]:
        """Plain data for summaries and label cards."""
        return {
            "verdict_set": str(self.store.folder),
            "model": self.store.identity["model"],
            "answered_by": self.answered_by or "not stated",
            "mode": self.mode,
            "requests": self.requests,
            "asked": self.answered,
            "tokens": self.tokens,
            "truncated": self.truncated,
        }
