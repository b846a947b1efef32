"""What asking would cost, before anything is asked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recbole_dtlns.judges.contract import Question
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.judges.language_model.requests import RequestPlan
from recbole_dtlns.llm.request import Message

_EXAMPLES = 3
_MEASURED = 2000  # requests whose tokens are counted; where there are more, these stand for all
_RUN = 40
_PROBED = 64


@dataclass(frozen=True)
class Estimate:
    """The cost of answering a question with an LLM judge.

    Attributes:
        pairs: candidates.
        answered: of them, how many have a verdict already.
        unanswerable: candidates without a code, or of users without one.
        requests: needed for the others.
        tokens: of all prompts, each counted whole; None without a tokenizer.
        new_tokens: of all prompts, where what a request shares with the one before it is computed once (a perfect
            prefix cache); None without a tokenizer.
        sampled: requests whose tokens were counted.
        probed: requests asked to measure the speed; their answers are kept.
        seconds: for the remaining requests, at the probe's speed; None without a probe.
        examples: three prompts.
    """

    pairs: int
    answered: int
    unanswerable: int
    requests: int
    tokens: int | None
    new_tokens: int | None
    sampled: int
    probed: int
    seconds: float | None
    examples: list[list[Message]]

    def text(self) -> str:
        """For the terminal."""
        lines = [
            f"{self.pairs} pairs: {self.answered} answered before, {self.unanswerable} without codes, "
            f"{self.requests} requests to make (equal prompts are asked once)"
        ]
        if self.tokens is None or self.new_tokens is None:
            lines.append("tokens: unknown; name the model's tokenizer in dtlns_judge_tokenizer")
        else:
            counted = "" if self.sampled == self.requests else f" (from {self.sampled} requests spread over all)"
            lines.append(
                f"prompt tokens: {self.tokens}{counted}; {self.new_tokens} where shared beginnings are computed once"
            )
        if self.seconds is None:
            lines.append("time: unknown; --probe=N asks N requests for real, keeps their answers, and measures")
        else:
            lines.append(
                f"time: about {_duration(self.seconds)}, at the speed of {self.probed} requests asked just now"
            )
        for number, messages in enumerate(self.examples, start=1):
            lines.append(f"\nexample {number}:")
            lines += [f"[{message['role']}] {message['content']}" for message in messages]
        return "\n".join(lines)


def estimate(judge: LLMJudge, question: Question, probe: int | None = None) -> Estimate:
    """Count requests and tokens, and measure the speed where that is wanted.

    Args:
        judge: whose engine, prompt and verdict set are meant.
        question: what is to be judged.
        probe: requests to ask for real, whose answers are kept; 0 for none; None for some where the model runs on this
            machine, and none where requests would leave it.
    """
    plan = judge.plan(question)
    known = judge.store().read().find(plan.keys) >= 0
    pending = plan.missing(known)
    examples = [inquiry.messages() for inquiry in plan.inquiries(pending[:: max(1, len(pending) // _EXAMPLES)])]
    sampled, tokens, new_tokens = _count_tokens(judge, plan, pending)
    count = plan.count(pending)
    wanted = min((_PROBED if judge.engine.local else 0) if probe is None else probe, max(count - 1, 0))
    seconds = _probe(judge, question, pending, wanted) if wanted else None
    return Estimate(
        pairs=len(known),
        answered=int((known & plan.askable).sum()),
        unanswerable=int((~plan.askable).sum()),
        requests=count,
        tokens=tokens,
        new_tokens=new_tokens,
        sampled=sampled,
        probed=wanted,
        seconds=None if seconds is None else seconds / wanted * (count - wanted),
        examples=examples[:_EXAMPLES],
    )


def shared_beginning(first: Sequence[int], second: Sequence[int]) -> int:
    """How many token ids two prompts begin with in common."""
    shorter = min(len(first), len(second))
    differ = np.flatnonzero(np.asarray(first[:shorter]) != np.asarray(second[:shorter]))
    return int(differ[0]) if len(differ) else shorter


def _count_tokens(judge: LLMJudge, plan: RequestPlan, pending: np.ndarray) -> tuple[int, int | None, int | None]:
    """Requests looked at, and the tokens of all: whole, and without what each shares with the one before it."""
    encode = judge.engine.encoder()
    if encode is None or len(pending) == 0:
        return 0, None, None
    looked = whole = new = 0
    before: list[int] = []
    # Runs of neighbours, because neighbours share their beginnings.
    for start in range(0, len(pending), max(_RUN, len(pending) * _RUN // _MEASURED)):
        run = list(plan.inquiries(pending[max(0, start - 1) : start + _RUN]))
        for place, inquiry in enumerate(run):
            ids = encode(inquiry.request())
            if place or start == 0:
                looked += 1
                whole += len(ids)
                new += len(ids) - shared_beginning(before, ids)
            before = ids
    scale = plan.count(pending) / looked
    return looked, round(whole * scale), round(new * scale)


def _probe(judge: LLMJudge, question: Question, pending: np.ndarray, count: int) -> float:
    """Seconds that `count` requests take once the engine has started, which a first one sees to."""
    plan = judge.plan(question)
    with judge.session():
        judge.ask(question.about(plan.pairs_of(pending, 0, 1)))
        start = time.perf_counter()
        judge.ask(question.about(plan.pairs_of(pending, 1, count + 1)))
        return time.perf_counter() - start


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
