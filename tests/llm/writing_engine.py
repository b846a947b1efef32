"""An engine that writes what a test says, and notes what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager

from recbole_dtlns.llm.reply import NoReply, Reply
from recbole_dtlns.llm.request import FreeText, Request


class Stopped(Exception):
    """The process died, as far as the engine is concerned."""


class WritingEngine:
    """Writes `write(user message)`; None is a request that failed.

    Args:
        write: what is written.
        stop_after: replies after which it dies.
        named: the name under which it answers, as servers do.
    """

    name = "writing"
    least_slice = 1
    local = False
    mode = "text"
    truncated = 0

    def __init__(
        self,
        write: Callable[[str], str | None],
        stop_after: int | None = None,
        named: str | None = None,
        model: str = "writer",
    ) -> None:
        self.model, self.write, self.stop_after, self.named = model, write, stop_after, named
        self.asked: list[str] = []

    def revision(self) -> str | None:
        return None

    def encoder(self) -> Callable[[Request], list[int]] | None:
        return lambda request: list(request.messages[-1]["content"].encode())

    @contextmanager
    def start(self) -> Iterator[WritingEngine]:
        yield self

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        for position, request in enumerate(requests):
            assert isinstance(request.wanted, FreeText)
            if self.stop_after is not None and len(self.asked) >= self.stop_after:
                raise Stopped
            message = request.messages[-1]["content"]
            self.asked.append(message)
            text = self.write(message)
            if text is None:
                yield position, Reply(reason=NoReply.FAILED, detail="HTTP 500", lasting=False)
            else:
                yield position, Reply(text=text, tokens=7, model=self.named)
