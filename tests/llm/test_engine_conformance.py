"""Built-in engines pass the checks that are given to authors of others, and each check finds what breaks it."""

from __future__ import annotations

import json
import os
import socket
import threading
import urllib.request
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_model import save_random_llama

from recbole_dtlns.conformance import (
    ENGINE_CHECKS,
    SERVER_ENGINE_CHECKS,
    Address,
    ConformanceError,
    FaultyServer,
    engines,
)
from recbole_dtlns.conformance.faulty_server import PATIENCE, truth
from recbole_dtlns.errors import EngineError
from recbole_dtlns.llm.batch_files import RecordedReplies
from recbole_dtlns.llm.engine import Engine, EngineConfig
from recbole_dtlns.llm.openai_engine import OpenAIEngine, best_mode, request_body
from recbole_dtlns.llm.reply import NoReply, Reply
from recbole_dtlns.llm.request import OneOf, Request
from recbole_dtlns.llm.transformers_engine import TransformersEngine


def asking(engine: type[OpenAIEngine], address: Address) -> OpenAIEngine:
    """The engine that asks the server of a check."""
    reach = {"concurrency": address.concurrency, "timeout_seconds": address.timeout_seconds, "retries": address.retries}
    return engine(model="a-model", base_url=address.url, api_key_env=address.api_key_env, **reach)


# ---------------------------------------------------------------- engines of this package


@pytest.mark.parametrize("takes", [{}, {"logprobs": False}, {"logprobs": "ignored", "schema": False}], ids=str)
@pytest.mark.parametrize("check", ENGINE_CHECKS, ids=lambda check: check.__name__)
def test_the_openai_engine_conforms(check: Callable[..., None], takes: dict[str, Any]) -> None:
    with FaultyServer(**takes) as server:
        check(lambda: asking(OpenAIEngine, Address(server.url)))


@pytest.mark.parametrize("check", SERVER_ENGINE_CHECKS, ids=lambda check: check.__name__)
def test_the_openai_engine_conforms_whatever_the_server_does(check: Callable[..., None]) -> None:
    check(lambda address: asking(OpenAIEngine, address))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_random_llama(tmp_path_factory.mktemp("llama")))


@pytest.mark.parametrize("check", ENGINE_CHECKS, ids=lambda check: check.__name__)
def test_the_transformers_engine_conforms(check: Callable[..., None], llama: str) -> None:
    check(lambda: TransformersEngine(model=llama, batch_size=4))


@pytest.mark.parametrize("check", ENGINE_CHECKS, ids=lambda check: check.__name__)
def test_recorded_replies_conform(check: Callable[..., None]) -> None:
    """From a file in which two requests have no reply."""
    server = FaultyServer()
    lines = []
    for request in engines._mixed()[:-2]:
        asked = request_body("a-model", request, best_mode(request.wanted), {})
        body = server.completion(asked, request.messages[-1]["content"])
        lines.append(json.dumps({"custom_id": request.id, "response": {"status_code": 200, "body": body}}))
    Path("replies.jsonl").write_text("\n".join(lines))
    check(lambda: RecordedReplies(labels="replies.jsonl", model="a-model"))


# ---------------------------------------------------------------- engines that answer by themselves


class Echo(Engine):
    """An engine of somebody else's, whole: it answers by the words of the prompt."""

    class Config(EngineConfig):
        """Its settings."""

        model: str | None = "echo-1"
        """Which of them."""
        longest: int = 10_000
        """Characters of a prompt."""

    config: Config
    name = "echo"
    local = True

    @contextmanager
    def start(self) -> Iterator[Echo]:
        self.mode, self.truncated = "", 0
        yield self

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        self.mode = "text"
        for position, request in enumerate(requests):
            yield position, self.reply(request)

    def reply(self, request: Request) -> Reply:
        fitting = [
            form for form in (*request.shorter, request.messages) if len(form[-1]["content"]) <= self.config.longest
        ]
        if not fitting:
            return Reply(reason=NoReply.TOO_LONG)
        self.truncated += fitting[-1] is not request.messages
        said = fitting[-1][-1]["content"]
        if isinstance(request.wanted, OneOf):
            return Reply(probabilities=(truth(said), 1 - truth(said)), tokens=len(said))
        return Reply(text=str(len(said)), tokens=len(said))


@pytest.mark.parametrize("check", ENGINE_CHECKS, ids=lambda check: check.__name__)
def test_an_engine_of_few_lines_conforms(check: Callable[..., None]) -> None:
    check(Echo)


class NoSlice(Echo):
    least_slice = 0


class NewEveryTime(Echo):
    def revision(self) -> str | None:
        return os.urandom(4).hex()


class SkipsOne(Echo):
    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        yield from list(super().answer(requests))[1:]


class SaysItTwice(Echo):
    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        for found in super().answer(requests):
            yield from (found, found)


class NoShares(Echo):
    def reply(self, request: Request) -> Reply:
        found = super().reply(request)
        return replace(found, probabilities=(0.9, 0.9)) if found.probabilities else found


class Both(Echo):
    def reply(self, request: Request) -> Reply:
        return replace(super().reply(request), reason=NoReply.FAILED)


class AsTheyCome(Echo):
    """Numbers replies by when they are done, the shortest prompt first."""

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        found = [reply for _, reply in super().answer(requests)]
        yield from enumerate(sorted(found, key=lambda reply: reply.tokens))


class Stubborn(Echo):
    """Does not let itself be interrupted."""

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        for found in super().answer(requests):
            try:
                yield found
            except KeyboardInterrupt:
                yield found


class Breaks(Echo):
    """Answers nothing more once a round was stopped."""

    stopped = False

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        if self.stopped:
            return
        self.stopped = True
        yield from super().answer(requests)
        self.stopped = False


class Drifts(Echo):
    starts = 0

    @contextmanager
    def start(self) -> Iterator[Echo]:
        self.starts += 1
        with super().start() as running:
            yield running

    def reply(self, request: Request) -> Reply:
        share = 1 / (1 + self.starts)
        found = super().reply(request)
        return replace(found, probabilities=(share, 1 - share)) if found.probabilities else found


class Scribbles(Echo):
    def reply(self, request: Request) -> Reply:
        request.messages[-1]["content"] += " Please."
        return super().reply(request)


class NeverShorter(Echo):
    def reply(self, request: Request) -> Reply:
        return super().reply(replace(request, shorter=()))


class StopsAtTheFirstLongOne(Echo):
    def reply(self, request: Request) -> Reply:
        found = super().reply(request)
        if found.reason is NoReply.TOO_LONG:
            raise EngineError("the prompt is too long")
        return found


BROKEN: list[tuple[Any, Callable[..., None], str]] = [
    (NoSlice, engines.describes_itself, "least_slice is 0"),
    (NewEveryTime, engines.describes_itself, "another revision"),
    (SkipsOne, engines.gives_one_reply_per_request, "no reply to request 0"),
    (SaysItTwice, engines.gives_one_reply_per_request, "has two replies"),
    (NoShares, engines.gives_one_reply_per_request, "no shares of 1"),
    (Both, engines.gives_one_reply_per_request, "probabilities, a text or a reason"),
    (AsTheyCome, engines.a_request_is_answered_alike_in_any_company, "alone gets another reply"),
    (Stubborn, engines.answers_after_it_was_stopped, "an interruption was swallowed"),
    (Breaks, engines.answers_after_it_was_stopped, "no reply in the next"),
    (Drifts, engines.may_be_started_again, "it answers otherwise"),
    (Scribbles, engines.leaves_requests_alone, "was written to"),
    (NeverShorter, engines.a_prompt_of_any_length_is_a_reply, "is not asked in that form"),
    (StopsAtTheFirstLongOne, engines.a_prompt_of_any_length_is_a_reply, "a long prompt ends the round"),
]


@pytest.mark.parametrize(("broken", "check", "message"), BROKEN)
def test_broken_engines_are_found(broken: type[Echo], check: Callable[..., None], message: str) -> None:
    with pytest.raises(ConformanceError, match=message):
        check(broken)


# ---------------------------------------------------------------- engines that ask a server


class Altered(OpenAIEngine):
    """The engine of this package, with replies that somebody meddles with."""

    def changed(self, request: Request, reply: Reply) -> Reply:
        return reply

    def failed(self, error: EngineError, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        raise error

    @contextmanager
    def start(self) -> Iterator[Any]:
        with super().start() as running:
            answer = running.answer

            def altered(requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
                try:
                    for position, reply in answer(requests):
                        yield position, self.changed(requests[position], reply)
                except EngineError as error:
                    yield from self.failed(error, requests)

            running.answer = altered  # type: ignore[method-assign]
            yield running


class KeepsFailures(Altered):
    """Never asks again, neither now nor in a later run."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**{**fields, "retries": 0})

    def changed(self, request: Request, reply: Reply) -> Reply:
        return replace(reply, lasting=True)


class GoesOn(Altered):
    """A wrong key is a failed request, and then another."""

    def failed(self, error: EngineError, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        for position in range(len(requests)):
            yield position, Reply(reason=NoReply.FAILED, lasting=False)


class Guesses(Altered):
    """Takes silence for a yes."""

    def changed(self, request: Request, reply: Reply) -> Reply:
        return replace(reply, reason=None, text="yes") if reply.reason else reply


class Impatient(Altered):
    """Waits as long as the server likes."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**{**fields, "timeout_seconds": PATIENCE})


class WaitsForAll(Altered):
    """Ends when all that is under way has ended."""

    @contextmanager
    def start(self) -> Iterator[Any]:
        with super().start() as running:
            yield running
            for thread in threading.enumerate():
                if thread.name.startswith("asking-"):
                    thread.join()


class ShowsTheKey(Altered):
    def failed(self, error: EngineError, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        raise EngineError(f"{error}: is the key {self.server.key()} right?") from error


class SendsNoKey(Altered):
    def __init__(self, **fields: Any) -> None:
        super().__init__(**{**fields, "api_key_env": None})


class OneConnection(Echo):
    """Reads a reply from where the last one ended, whoever wrote what is there."""

    def __init__(self, address: Address) -> None:
        super().__init__()
        host, _, port = address.url.removeprefix("http://").removesuffix("/v1").partition(":")
        self.place = (host, int(port))

    @contextmanager
    def start(self) -> Iterator[Echo]:
        with socket.create_connection(self.place) as connection, connection.makefile("rwb") as self.stream:
            yield self

    def reply(self, request: Request) -> Reply:
        body = json.dumps({"messages": request.messages, "logprobs": True, "top_logprobs": 3}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\nAuthorization: none\r\n\r\n"
        self.stream.write(head.encode() + body)
        self.stream.flush()
        length = 0
        while line := self.stream.readline().strip():
            name, _, value = line.decode().partition(": ")
            length = int(value) if name == "Content-Length" else length
        return Reply(text=json.loads(self.stream.read(length))["choices"][0]["message"]["content"])


class Follows(Echo):
    """Goes where it is sent."""

    def __init__(self, address: Address) -> None:
        super().__init__()
        self.url = address.url

    def reply(self, request: Request) -> Reply:
        with urllib.request.urlopen(f"{self.url}/chat/completions", data=b"{}") as reply:
            return Reply(text=reply.read().decode())


BROKEN_AT_SERVERS: list[tuple[Any, Callable[..., None], str]] = [
    (KeepsFailures, engines.faults_that_pass_change_no_answer, "it would not be asked again"),
    (GoesOn, engines.final_errors_stop_at_once, "raises nothing"),
    (Guesses, engines.malformed_replies_are_replies_with_a_reason, "changed an answer|taken for an answer"),
    (OneConnection, engines.nothing_answers_the_next_request, "'surplus' changed an answer"),
    (Impatient, engines.slow_and_endless_replies_end, "'hang' was waited for"),
    (WaitsForAll, engines.nothing_waits_for_a_server_that_hangs, "ending it waited for the server"),
    (Follows, engines.prompts_go_to_no_other_address, "HTTP 301"),
    (ShowsTheKey, engines.the_key_is_sent_and_shown_nowhere, "the key is shown"),
    (SendsNoKey, engines.the_key_is_sent_and_shown_nowhere, "the key was not sent"),
]


@pytest.mark.parametrize(("broken", "check", "message"), BROKEN_AT_SERVERS)
def test_engines_that_break_at_servers_are_found(
    broken: Any, check: Callable[..., None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if broken in (Impatient, WaitsForAll):
        monkeypatch.setattr(engines, "_PATIENCE", 3.0)
    make = (lambda address: asking(broken, address)) if issubclass(broken, OpenAIEngine) else broken
    with pytest.raises(ConformanceError, match=message):
        check(make)


def test_every_check_can_fail() -> None:
    """The lists above leave none out."""
    assert {check for _, check, _ in BROKEN} == set(ENGINE_CHECKS)
    assert {check for _, check, _ in BROKEN_AT_SERVERS} == set(SERVER_ENGINE_CHECKS)
