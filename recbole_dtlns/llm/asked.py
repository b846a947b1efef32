"""What a round of asking did: counts for summaries and label cards, and when too many replies were unusable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recbole_dtlns.errors import JudgeError
from recbole_dtlns.judge.contract import Label
from recbole_dtlns.llm.reply import Answer
from recbole_dtlns.llm.requests import Request, RequestPlan
from recbole_dtlns.llm.verdict_store import StoredVerdicts, VerdictStore

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

    def count(self, request: Request, answers: list[Answer], said: str) -> None:
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

    def count_known(self, stored: StoredVerdicts, known: np.ndarray) -> None:
        """Account for the verdicts kept from before; stop when they are already too bad.

        Raises:
            JudgeError: the share of abstentions is beyond the limit.
        """
        labels = stored.rows["label"][stored.find(self.plan.keys)[known]]
        self.known = len(labels)
        self.abstentions = int((labels == Label.ABSTAIN).sum())
        self._check_abstentions()

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
            "mode": self.mode,
            "requests": self.requests,
            "asked": self.answered,
            "tokens": self.tokens,
            "truncated": self.truncated,
        }
