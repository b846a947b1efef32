"""Asking a language model for texts: only what is not known yet, every reply kept before the next is taken."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from recbole_dtlns.errors import EngineError
from recbole_dtlns.llm.engine import Engine, RunningEngine
from recbole_dtlns.llm.kept_replies import KeptReplies
from recbole_dtlns.llm.one_model import OneModel
from recbole_dtlns.llm.reply import NoReply, Reply
from recbole_dtlns.llm.request import Request

logger = logging.getLogger("recbole_dtlns")

_AT_ONCE = 2048  # requests handed to an engine at once
_ENOUGH = 20  # requests, before the share of those without a reply means anything
_EXAMPLES = 3


@dataclass(frozen=True)
class TextRequests:
    """Requests for texts, made when they are needed: there may be one for every train pair.

    Attributes:
        ids: of all of them; equal ids are equal requests, and asked once.
        make: the request of a place.
    """

    ids: Sequence[str]
    make: Callable[[int], Request]

    def missing(self, known: Callable[[str], bool]) -> np.ndarray:
        """The first place of every id that is not known, int64 ascending."""
        first: dict[str, int] = {}
        for place, name in enumerate(self.ids):
            if not known(name):
                first.setdefault(name, place)
        return np.fromiter(first.values(), dtype=np.int64, count=len(first))


@dataclass
class AskedTexts:
    """What a round of asking brought.

    Attributes:
        texts: by request id, of this round and of those before.
        before: requests that were answered before, each id once.
        asked, tokens: requests made and tokens computed in this round.
        failed: requests of this round without a reply.
        examples: why, for messages.
    """

    texts: dict[str, str] = field(default_factory=dict)
    before: int = 0
    asked: int = 0
    tokens: int = 0
    failed: int = 0
    examples: list[str] = field(default_factory=list)


class TextAsker:
    """Asks one model, and keeps it loaded for several rounds; a context manager.

    Args:
        engine: where the model runs.
        most_failed: share of requests without a reply beyond which `ask` raises.
        keys: what the keys of its settings begin with, for messages.
    """

    def __init__(self, engine: Engine, most_failed: float, keys: str) -> None:
        self.engine, self._most_failed, self._keys = engine, most_failed, keys
        self._stack = ExitStack()
        self._running: RunningEngine | None = None

    def __enter__(self) -> TextAsker:
        return self

    def __exit__(self, *error: object) -> None:
        self._running = None
        self._stack.close()

    def ask(self, what: str, requests: TextRequests, kept: KeptReplies, most: int | None = None) -> AskedTexts:
        """The texts, of which those that were written before are not asked for again.

        Args:
            what: is asked for, for logs and bars ("profiles of users").
            requests: for them.
            kept: where replies are.
            most: ask only so many of those that are missing; None: all.

        Raises:
            EngineError: the model cannot be asked at all, or too many requests have no reply; replies are kept.
            ArtefactError: a reply cannot be written.
        """
        with kept.lock():
            ids = set(requests.ids)
            found = AskedTexts(kept.read(ids))
            found.before = len(found.texts)
            pending = requests.missing(found.texts.__contains__)[:most]
            if len(pending):
                logger.info(
                    "%s: %d of %d requests answered before; asking %s in %d",
                    *(what, found.before, len(ids), self.engine.model, len(pending)),
                )
                self._ask(what, requests, pending, kept, found)
            return found

    def _ask(
        self, what: str, requests: TextRequests, pending: np.ndarray, kept: KeptReplies, found: AskedTexts
    ) -> None:
        identity = kept.identity
        key = f"{self._keys}revision"
        model = OneModel(identity["model"], identity["revision"], kept.folder, "replies", key, kept.answered_by)
        step = max(_AT_ONCE, self.engine.least_slice)
        running = self._started()
        with (
            kept.writer() as file,
            tqdm(total=len(pending), desc=what, unit="request", disable=None, leave=False) as bar,
        ):
            for start in range(0, len(pending), step):
                asked = [requests.make(place) for place in pending[start : start + step].tolist()]
                for position, reply in replies(self.engine, running, asked):
                    taken = model.checked(reply, first=found.asked == 0)
                    found.asked += 1
                    found.tokens += taken.tokens
                    if taken.text is None:
                        self._count_failure(taken, len(pending), found)
                    else:
                        name = asked[position].id
                        file.append(name, taken.text, taken.tokens, model.answered_by)
                        found.texts[name] = taken.text
                    bar.update()

    def _count_failure(self, reply: Reply, total: int, found: AskedTexts) -> None:
        found.failed += 1
        if len(found.examples) < _EXAMPLES and reply.reason is not None:
            found.examples.append(f"{reply.reason.value}: {reply.detail[:200]}")
        if reply.reason is NoReply.NOT_RECORDED:
            advice = (
                "write the missing requests with recbole-dtlns export --of=generator, and run again with the replies"
            )
        else:
            advice = "mend what is wrong and run again, or raise the rate"
        if found.failed > self._most_failed * max(found.asked, min(total, _ENOUGH)):
            raise EngineError(
                f"{found.failed} of {found.asked} requests have no reply, more than {self._keys}max_failed "
                f"({self._most_failed:.0%}) allows. Examples: {'; '.join(found.examples)}. All replies are "
                f"kept: {advice}"
            )

    def _started(self) -> RunningEngine:
        if self._running is None:
            self._running = self._stack.enter_context(self.engine.start())
        return self._running


def replies(engine: Engine, running: RunningEngine, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
    """The replies as they come, each with the position of its request.

    Raises:
        EngineError: a request got none.
    """
    waiting = set(range(len(requests)))
    with closing(running.answer(requests)) as answers:
        for position, reply in answers:
            waiting.discard(position)
            yield position, reply
    if waiting:
        raise EngineError(f"the engine '{engine.name}' gave no reply to {len(waiting)} of its requests")
