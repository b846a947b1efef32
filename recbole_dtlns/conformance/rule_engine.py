"""An engine without a model, for tests of judges: answers by the prefix rule, at once, and keeps what it was asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager

from recbole_dtlns.judges.language_model.prompt import Code
from recbole_dtlns.llm.reply import Reply
from recbole_dtlns.llm.request import OneOf, Request


def shared_prefix(first: str, second: str) -> int:
    """How many digits two codes begin with in common."""
    return next(
        (place for place, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(map(len, (first, second))),
    )


def overlap(history: Sequence[Code], candidate: Code) -> int:
    """Longest prefix that the candidate shares with a history item, in either tree."""
    return max((shared_prefix(item[tree], candidate[tree]) for item in history for tree in (0, 1)), default=0)


def shown(request: Request) -> tuple[list[list[str]], list[Code]]:
    """What a request with a built-in prompt shows: the history's codes in each tree, and the candidates' codes."""
    text = request.messages[-1]["content"]
    first, second, asked = re.fullmatch(r"A: (.*)\nB: (.*)\n(Candidate.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    return [first.split(" "), second.split(" ")], re.findall(r"A (\S+) B (\S+)", asked)


class RuleEngine:
    """Probability .9 from a shared prefix of `least` digits on, else .1; if told, an unusable reply every so often."""

    name = "rule"
    least_slice = 1
    local = False
    loads_model = False

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
        return lambda request: list(" ".join(message["content"] for message in request.messages).encode())

    @contextmanager
    def start(self) -> Iterator[RuleEngine]:
        self.starts += 1
        yield self

    mode = "log-probabilities"
    truncated = 0

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        for position, request in enumerate(requests):
            self.asked.append(request.id)
            history, candidates = shown(request)
            near = [self._is_near(history, candidate) for candidate in candidates]
            if self.abstain_every and len(self.asked) % self.abstain_every == 0:
                yield position, Reply(text="I would rather not say", tokens=self.tokens)
            elif isinstance(request.wanted, OneOf):
                yield position, Reply(probabilities=(0.9, 0.1) if near[0] else (0.1, 0.9), tokens=self.tokens)
            else:
                positive = [number for number, flag in enumerate(near, start=1) if flag]
                yield position, Reply(text=str(positive), tokens=self.tokens)

    def _is_near(self, history: list[list[str]], candidate: Code) -> bool:
        shared = (shared_prefix(item, candidate[tree]) for tree in (0, 1) for item in history[tree])
        return max(shared) >= self.least
