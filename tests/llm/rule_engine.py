"""An engine without a model: it answers by the prefix rule, at once, and remembers what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager

from recbole_dtlns.judges.language_model.prompt import Code, Prompt
from recbole_dtlns.judges.language_model.requests import Request
from recbole_dtlns.llm.reply import Reason, Reply


def shared_prefix(first: str, second: str) -> int:
    return next(
        (place for place, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(map(len, (first, second))),
    )


def overlap(history: Sequence[Code], candidate: Code) -> int:
    """Longest prefix that the candidate shares with a history item, in either tree."""
    return max((shared_prefix(item[tree], candidate[tree]) for item in history for tree in (0, 1)), default=0)


class RuleEngine:
    """Probability .9 from a shared prefix of `least` digits on, else .1; if told, an unusable reply every so often."""

    name = "rule"

    def __init__(self, least: int = 2, abstain_every: int = 0, tokens: int = 10, model: str = "rule") -> None:
        self.model = model
        self.least = least
        self.abstain_every = abstain_every
        self.tokens = tokens
        self.asked: list[str] = []
        self.starts = 0

    def revision(self) -> str | None:
        return None

    def encoder(self) -> Callable[[Request], list[int]] | None:
        return lambda request: list(" ".join(message["content"] for message in request.messages()).encode())

    @contextmanager
    def start(self, prompt: Prompt) -> Iterator[RuleEngine]:
        self.starts += 1
        yield self

    mode = "log-probabilities"
    truncated = 0

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        for position, request in enumerate(requests):
            self.asked.append(request.id)
            if self.abstain_every and len(self.asked) % self.abstain_every == 0:
                yield position, Reply(text="I would rather not say", tokens=self.tokens)
            elif request.prompt.shape == "user":
                positive = [
                    number
                    for number, candidate in enumerate(request.candidates, start=1)
                    if overlap(request.history, candidate) >= self.least
                ]
                yield position, Reply(text=str(positive), tokens=self.tokens)
            else:
                near = overlap(request.history, request.candidates[0]) >= self.least
                yield position, Reply(probability=0.9 if near else 0.1, reason=Reason.NONE, tokens=self.tokens)
