"""What asking would cost, before anything is asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recbole_dtlns.judges.contract import Question
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.llm.cost import PROBED, count_tokens, time_in_words, tokens_in_words
from recbole_dtlns.llm.request import Message, Request

_EXAMPLES = 3


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
        lines.append(
            tokens_in_words(self.sampled, self.requests, self.tokens, self.new_tokens, "dtlns_judge_tokenizer")
        )
        lines.append(time_in_words(self.seconds, self.probed))
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
    count = plan.count(pending)

    def requests(start: int, stop: int) -> Iterator[Request]:
        return (inquiry.request() for inquiry in plan.inquiries(plan.pairs_of(pending, start, stop)))

    sampled, tokens, new_tokens = count_tokens(judge.engine.encoder(), requests, count)
    wanted = min((PROBED if judge.engine.local else 0) if probe is None else probe, max(count - 1, 0))
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


def _probe(judge: LLMJudge, question: Question, pending: np.ndarray, count: int) -> float:
    """Seconds that `count` requests take once the engine has started, which a first one sees to."""
    plan = judge.plan(question)
    with judge.session():
        judge.ask(question.about(plan.pairs_of(pending, 0, 1)))
        start = time.perf_counter()
        judge.ask(question.about(plan.pairs_of(pending, 1, count + 1)))
        return time.perf_counter() - start
