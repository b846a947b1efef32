"""What every engine must hold to, and what an engine must hold to that asks a server."""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

from recbole_dtlns.conformance.faulty_server import FaultyServer, Script, chosen, truth
from recbole_dtlns.conformance.raw_server import RawServer, completion, http
from recbole_dtlns.conformance.rules import ConformanceError, require, require_plain
from recbole_dtlns.errors import EngineError
from recbole_dtlns.llm.engine import Engine, RunningEngine
from recbole_dtlns.llm.reply import NoReply, Reply
from recbole_dtlns.llm.request import AsJSON, FreeText, OneOf, Request, Wanted

MakeEngine = Callable[[], Engine]

_YES_OR_NO = OneOf(("yes", "no"))
_NUMBERS = AsJSON({"type": "array", "items": {"type": "integer"}}, 20)
_SAME = 1e-3  # two computations of one probability differ by rounding
_PATIENCE = 60.0  # seconds: what takes longer hangs
_TOO_MANY_WORDS = 1 << 14
_LARGEST_REPLY = 1 << 28  # bytes: far beyond what any engine needs to read of one reply
_KEY_VARIABLE = "RECBOLE_DTLNS_CONFORMANCE_KEY"
_KEY = "sk-canary-0123456789"
_TRANSIENT = ("429", "500", "503", "reset", "half a body")
_FINAL = ("401", "403", "404")
_MALFORMED = ("html", "not json", "wrong json", "nothing said")


@dataclass(frozen=True)
class Address:
    """How an engine is to reach the server of a check.

    Attributes:
        url: such as http://127.0.0.1:40001/v1.
        api_key_env: name of the environment variable that holds the key; None for a server that needs none.
        concurrency: requests under way at once.
        timeout_seconds: for one attempt.
        retries: further attempts.
    """

    url: str
    api_key_env: str | None = None
    concurrency: int = 4
    timeout_seconds: float = _PATIENCE
    retries: int = 2


MakeServerEngine = Callable[[Address], Engine]


def describes_itself(make: MakeEngine) -> None:
    """Name and model are texts, traits are of their types, a revision is a text or None and always the same."""
    engine = make()
    for what in ("name", "model"):
        value = getattr(engine, what)
        require(isinstance(value, str) and bool(value), f"its {what} is {value!r}")
    require(isinstance(engine.least_slice, int) and engine.least_slice >= 1, f"least_slice is {engine.least_slice!r}")
    for what in ("local", "loads_model"):
        require(isinstance(getattr(engine, what), bool), f"{what} is {getattr(engine, what)!r}, not True or False")
    revision = engine.revision()
    require(revision is None or isinstance(revision, str), f"its revision is {revision!r}")
    require(make().revision() == revision, "the same model has another revision the second time")
    encode = engine.encoder()
    if encode is not None:
        ids = encode(_asked(_YES_OR_NO, 1)[0])
        require(len(ids) > 0 and all(isinstance(each, int) for each in ids), "the encoder gives no token ids")


def gives_one_reply_per_request(make: MakeEngine) -> None:
    """Each request's position comes once, with probabilities, a text or a reason: for 0, 1 and 9 requests of any kind.

    Probabilities are of the answers among themselves, one for each; a reply is plain data.
    """
    with make().start() as running:
        for requests in (*_kinds(), _mixed(), _mixed()[:1], []):
            found = _replies(running, requests)
            for request, reply in zip(requests, found, strict=True):
                _check_reply(request, reply)
            if requests:
                require(isinstance(running.mode, str) and bool(running.mode), f"the mode is {running.mode!r}")
            require(isinstance(running.truncated, int), f"truncated is {running.truncated!r}")


def a_request_is_answered_alike_in_any_company(make: MakeEngine) -> None:
    """Positions are right: what comes for a request among others is what comes for it alone, and in another order."""
    requests = _mixed()
    with make().start() as running:
        alone = [_replies(running, [request])[0] for request in requests]
        together = _replies(running, requests)
        backwards = _replies(running, requests[::-1])[::-1]
    for number, (one, among, turned) in enumerate(zip(alone, together, backwards, strict=True)):
        require(_same(one, among) and _same(one, turned), f"request {number} alone gets another reply")


def answers_after_it_was_stopped(make: MakeEngine) -> None:
    """Taking no more replies ends the round, an interruption comes through, and the next round is answered whole."""
    requests = _mixed()
    with make().start() as running:
        with closing(running.answer(requests)) as replies:
            next(replies)
        interrupted = running.answer(requests)
        require(next(interrupted, None) is not None, "after a round was stopped, there is no reply in the next")
        try:
            interrupted.throw(KeyboardInterrupt())
        except KeyboardInterrupt:
            pass
        except StopIteration:
            raise ConformanceError("an interruption was swallowed") from None
        else:
            raise ConformanceError("an interruption was swallowed")
        _replies(running, requests)


def may_be_started_again(make: MakeEngine) -> None:
    """What was ended starts anew and answers as before."""
    engine, requests = make(), _asked(_YES_OR_NO, 3)
    rounds = []
    for _ in range(2):
        with engine.start() as running:
            rounds.append(_replies(running, requests))
    require(all(map(_same, *rounds)), "started again, it answers otherwise")


def leaves_requests_alone(make: MakeEngine) -> None:
    """Nothing of a request is written to."""
    requests = _mixed()
    before = deepcopy([request.plain() for request in requests])
    with make().start() as running:
        _replies(running, requests)
    require([request.plain() for request in requests] == before, "a request was written to")


def a_prompt_of_any_length_is_a_reply(make: MakeEngine) -> None:
    """A prompt beyond the model's context takes a shorter form, or is a reply that says so; it never ends a round."""
    long = [{"role": "user", "content": "yes " * _TOO_MANY_WORDS}]
    short = _asked(_YES_OR_NO, 1)[0]
    requests = [short, Request("long", long, _YES_OR_NO), Request("cut", long, _YES_OR_NO, shorter=[short.messages])]
    with make().start() as running:
        try:
            first, whole, cut = _replies(running, requests)
        except EngineError as error:
            raise ConformanceError(f"a long prompt ends the round: {error}") from error
    for request, reply in zip(requests, (first, whole, cut), strict=True):
        _check_reply(request, reply)
    if whole.reason is NoReply.TOO_LONG:
        require(_same(first, cut), "a prompt that is too long, and has a shorter form, is not asked in that form")
        require(running.truncated >= 1, "a prompt was shortened, and `truncated` does not count it")


ENGINE_CHECKS: tuple[Callable[[MakeEngine], None], ...] = (
    describes_itself,
    gives_one_reply_per_request,
    a_request_is_answered_alike_in_any_company,
    answers_after_it_was_stopped,
    may_be_started_again,
    leaves_requests_alone,
    a_prompt_of_any_length_is_a_reply,
)


def faults_that_pass_change_no_answer(make: MakeServerEngine) -> None:
    """Overload, broken connections and cut replies are asked again, or are replies with a reason that does not last."""
    for fault in _TRANSIENT:
        with FaultyServer(fault=_once(fault)) as server:
            _check_true_or_excused(_round(make, server, fault), fault)


def final_errors_stop_at_once(make: MakeServerEngine) -> None:
    """A wrong key, model or address is an EngineError, and the server is asked no further."""
    for status in _FINAL:
        with FaultyServer(fault=_always(status)) as server:
            _require_engine_error(partial(_answered, make, server), f"HTTP {status}")
            asked = server.requests
            require(asked <= Address("").concurrency, f"after HTTP {status} the server was asked {asked} times in all")
    with FaultyServer() as closed:
        pass
    _require_engine_error(partial(_answered, make, closed, retries=0), "an address where nobody listens")


def malformed_replies_are_replies_with_a_reason(make: MakeServerEngine) -> None:
    """A page, broken JSON or a completion without an answer costs its own request, and is not an answer."""
    for fault in _MALFORMED:
        with FaultyServer(fault=_for_one(fault)) as server:
            found = _round(make, server, fault)
            _check_true_or_excused(found, fault)
            require(found[_ONE].reason is not None, f"'{fault}' was taken for an answer")


def nothing_answers_the_next_request(make: MakeServerEngine) -> None:
    """What a server sends beyond a reply is not read as the answer to what is asked next."""
    with FaultyServer(fault=_always("surplus")) as server:
        _check_true_or_excused(_round(make, server, "surplus", concurrency=1), "surplus")


def slow_and_endless_replies_end(make: MakeServerEngine) -> None:
    """A server that hangs, drips or sends without end costs one request its time, not the run its memory."""
    for fault in ("hang", "drip", "huge"):
        with FaultyServer(fault=_for_one(fault)) as server, _closed_when_it_takes_long(server):
            found = _round(make, server, fault, timeout_seconds=2.0, retries=0)
            require(not server.closing.is_set(), f"'{fault}' was waited for, until the server was closed")
            _check_true_or_excused(found, fault)
            require(found[_ONE].reason is not None, f"'{fault}' was taken for an answer")
            require(server.surplus < _LARGEST_REPLY, f"{server.surplus} bytes of a reply without end were read")


def nothing_waits_for_a_server_that_hangs(make: MakeServerEngine) -> None:
    """When the engine was ended and the server is closed, no thread of its requests is left."""
    before = set(threading.enumerate())
    requests = _asked(_YES_OR_NO, 6)
    answered = [request.messages[-1]["content"] for request in requests[:2]]
    with (
        FaultyServer(fault=lambda prompt, _: None if prompt in answered else "hang") as server,
        _closed_when_it_takes_long(server),
    ):
        with make(Address(server.url)).start() as running, closing(running.answer(requests)) as replies:
            next(replies), next(replies)  # others are under way now
        require(not server.closing.is_set(), "ending it waited for the server, until that was closed")
    end = time.monotonic() + _PATIENCE
    for thread in set(threading.enumerate()) - before:
        thread.join(max(0.0, end - time.monotonic()))
        require(not thread.is_alive(), f"the thread '{thread.name}' is left")


def prompts_go_to_no_other_address(make: MakeServerEngine) -> None:
    """A redirect is an EngineError; nobody is asked where it leads."""
    with RawServer(partial(_said, http(200, completion()))) as other:
        for status in (301, 302, 303, 307, 308):
            move = http(status, "", f"Location: {other.url}/chat/completions\r\n")
            with RawServer(partial(_said, move)) as server:
                _require_engine_error(partial(_all, make(Address(server.url, retries=0))), f"HTTP {status}")
            require(other.requests == 0, f"HTTP {status} led to an address that was not named")


def the_key_is_sent_and_shown_nowhere(make: MakeServerEngine) -> None:
    """Not in errors, replies, logs or printed objects, although the server repeats it."""
    scripts = [_always("401"), _always("400"), _always("500"), _for_one("400"), _for_one("500"), _for_one("chatter")]
    with _key_in_environment(), _logged() as records:
        for script in scripts:
            with FaultyServer(fault=script) as server:
                _show_nothing(make, server.url)
                require(any(_KEY in (key or "") for key in server.keys), "the key was not sent")
        echo = completion(model=f"Bearer {_KEY}")
        echo["choices"][0]["message"]["content"] = f"your key is {_KEY}"
        echo["choices"][0]["logprobs"] = None
        with RawServer(partial(_said, http(200, echo))) as raw:
            _show_nothing(make, raw.url)
    require(not any(_KEY in record for record in records), "the key stands in the log")


SERVER_ENGINE_CHECKS: tuple[Callable[[MakeServerEngine], None], ...] = (
    faults_that_pass_change_no_answer,
    final_errors_stop_at_once,
    malformed_replies_are_replies_with_a_reason,
    nothing_answers_the_next_request,
    slow_and_endless_replies_end,
    nothing_waits_for_a_server_that_hangs,
    prompts_go_to_no_other_address,
    the_key_is_sent_and_shown_nowhere,
)


# ---------------------------------------------------------------- requests and replies


def _asked(wanted: Wanted, count: int) -> list[Request]:
    """Requests of one kind, about different things."""
    system = {"role": "system", "content": "Answer what is asked, and nothing else."}
    listed = "\n".join(f"{{0}}{number}: item {{0}}-{number}" for number in range(1, 4))
    text = f"Candidates:\n{listed}" if isinstance(wanted, AsJSON) else "Is item {0} like item 7? Answer yes or no."
    kind = type(wanted).__name__
    return [
        Request(f"{kind}-{number}", [system, {"role": "user", "content": text.format(number)}], wanted)
        for number in range(count)
    ]


def _kinds() -> Iterator[list[Request]]:
    for wanted in (_YES_OR_NO, _NUMBERS, FreeText(8)):
        yield _asked(wanted, 3)


def _mixed() -> list[Request]:
    """Nine requests, one kind after the other."""
    one_of, as_json, text = _kinds()
    return [request for requests in zip(one_of, as_json, text, strict=True) for request in requests]


_FIRST = [request.messages[-1]["content"] for request in _mixed()[:3]]  # of each kind
_ONE = 3  # the place of the request that fails where one does


def _replies(running: RunningEngine, requests: Sequence[Request]) -> list[Reply]:
    """The replies in the order of their requests."""
    found: dict[int, Reply] = {}
    for position, reply in running.answer(requests):
        require(0 <= position < len(requests), f"there is no request {position}")
        require(position not in found, f"request {position} has two replies")
        require(isinstance(reply, Reply), f"request {position} got a {type(reply).__name__}, not a Reply")
        found[position] = reply
    missing = sorted(set(range(len(requests))) - set(found))
    require(not missing, f"no reply to request {', '.join(map(str, missing))}")
    return [found[position] for position in range(len(requests))]


def _check_reply(request: Request, reply: Reply) -> None:
    said = [reply.probabilities is not None, reply.text is not None, reply.reason is not None]
    require(sum(said) == 1, f"a reply is probabilities, a text or a reason, and this is {reply}")
    require(isinstance(reply.tokens, int) and reply.tokens >= 0, f"a reply cost {reply.tokens!r} tokens")
    if reply.probabilities is not None:
        require(isinstance(request.wanted, OneOf), f"probabilities came for {type(request.wanted).__name__}")
        wanted = len(request.wanted.answers) if isinstance(request.wanted, OneOf) else 0
        require(len(reply.probabilities) == wanted, f"{len(reply.probabilities)} probabilities of {wanted} answers")
        whole = math.fsum(reply.probabilities)
        require(
            all(0 <= share <= 1 for share in reply.probabilities) and math.isclose(whole, 1, abs_tol=_SAME),
            f"the answers' probabilities {reply.probabilities} are no shares of 1",
        )
    plain = {**reply.plain(), "probabilities": None if reply.probabilities is None else list(reply.probabilities)}
    require_plain(plain, "what a reply holds")


def _same(first: Reply, second: Reply) -> bool:
    if (first.text, first.reason) != (second.text, second.reason):
        return False
    shares = (first.probabilities or (), second.probabilities or ())
    return len(shares[0]) == len(shares[1]) and all(abs(a - b) < _SAME for a, b in zip(*shares, strict=True))


# ---------------------------------------------------------------- servers


def _always(fault: str) -> Script:
    return lambda prompt, before: fault


def _once(fault: str) -> Script:
    """Every prompt fails once but the first of each kind, by which an engine may find out what the server takes."""
    return lambda prompt, before: fault if before == 0 and prompt not in _FIRST else None


def _for_one(fault: str) -> Script:
    prompt_of_one = _mixed()[_ONE].messages[-1]["content"]
    return lambda prompt, before: fault if prompt == prompt_of_one else None


@contextmanager
def _closed_when_it_takes_long(server: FaultyServer) -> Iterator[None]:
    """Ends what the server lets wait, so that a check of an engine that waits for ever ends too."""
    timer = threading.Timer(_PATIENCE, server.closing.set)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _said(reply: bytes, _: str) -> list[bytes]:
    """What a raw server sends for any request."""
    return [reply]


def _answered(make: MakeServerEngine, server: FaultyServer, **reach: Any) -> list[Reply]:
    return _all(make(Address(server.url, **reach)))


def _round(make: MakeServerEngine, server: FaultyServer, fault: str, **reach: Any) -> list[Reply]:
    """The replies of a server whose fault must not end the round."""
    try:
        return _answered(make, server, **reach)
    except EngineError as error:
        raise ConformanceError(f"'{fault}' ends the round: {error}") from error


def _all(engine: Engine) -> list[Reply]:
    with engine.start() as running:
        return _replies(running, _mixed())


def _check_true_or_excused(replies: Sequence[Reply], fault: str) -> None:
    """Every reply is what the server says of its request, or has a reason that does not last."""
    for request, reply in zip(_mixed(), replies, strict=True):
        _check_reply(request, reply)
        prompt = request.messages[-1]["content"]
        if reply.reason is not None:
            lasts = reply.lasting and fault in _TRANSIENT
            require(not lasts, f"'{fault}' is a reply that is kept: it would not be asked again")
        elif reply.probabilities is not None:
            require(abs(reply.probabilities[0] - truth(prompt)) < _SAME, f"'{fault}' changed an answer")
        else:
            listed = isinstance(request.wanted, AsJSON)
            right = json.dumps(chosen(prompt)) if listed else "yes" if truth(prompt) >= 0.5 else "no"
            said = "".join(str(reply.text).split())
            require(said == "".join(right.split()), f"'{fault}' changed an answer from {right} to {reply.text!r}")


def _require_engine_error(ask: Callable[[], object], what: str) -> None:
    try:
        ask()
    except EngineError:
        return
    except ConformanceError:
        raise
    except Exception as error:
        raise ConformanceError(f"{what} raises {type(error).__name__}, not EngineError: {error}") from error
    raise ConformanceError(f"{what} raises nothing: a run would go on with a model that cannot be asked")


# ---------------------------------------------------------------- the key


def _show_nothing(make: MakeServerEngine, url: str) -> None:
    engine = make(Address(url, api_key_env=_KEY_VARIABLE, retries=0))
    try:
        shown = repr(_all(engine))
    except EngineError as error:
        shown = "".join(traceback.format_exception(error))
    require(_KEY not in shown, f"the key is shown: {shown}")
    require(_KEY not in f"{engine!r} {vars(engine)!r}", "the engine's own fields show the key")


@contextmanager
def _key_in_environment() -> Iterator[None]:
    before = os.environ.get(_KEY_VARIABLE)
    os.environ[_KEY_VARIABLE] = _KEY
    try:
        yield
    finally:
        if before is None:
            del os.environ[_KEY_VARIABLE]
        else:
            os.environ[_KEY_VARIABLE] = before


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(self.format(record))


@contextmanager
def _logged() -> Iterator[list[str]]:
    """What any library logs, whatever its importance."""
    root, kept = logging.getLogger(), _Kept()
    level = root.level
    root.addHandler(kept)
    root.setLevel(logging.DEBUG)
    try:
        yield kept.said
    finally:
        root.setLevel(level)
        root.removeHandler(kept)
