"""Servers that repeat the key, never finish, send too much, send prompts elsewhere, or answer as another model."""

from __future__ import annotations

import base64
import html
import json
import logging
import threading
import time
import traceback
import urllib.parse
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import openai
import pytest
from llm_judges import llm_judge
from questions import random_question

from recbole_dtlns.conformance.raw_server import RawServer, completion, http
from recbole_dtlns.errors import ConfigError, DTLNSError, EngineError, JudgeError
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.judges.language_model.verdict_store import HEADER_BYTES
from recbole_dtlns.llm.bounded_http import LARGEST_REPLY, bounded_http
from recbole_dtlns.llm.key_spellings import masked
from recbole_dtlns.llm.openai_engine import OpenAIEngine, Server
from recbole_dtlns.llm.ray_engine import RayEngine

KEY = 'sk-canary/01<23>"45\\67+89'  # with all that JSON, HTML, addresses and Python write otherwise
SPELLINGS = ("sk-canary", "canary/01", "canary%2F01", "canary\\/01")


def judge(server: RawServer, shape: str = "pair", revision: str | None = None, **reach: Any) -> LLMJudge:
    reach = {"timeout_seconds": 20.0, "retries": 0, "concurrency": 2, **reach}
    return llm_judge(OpenAIEngine(model="a-model", base_url=server.url, revision=revision, **reach), shape)


# ---------------------------------------------------------------- the key


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value of plain data stands: every field, and every field's name."""
    yield path
    children = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, child in children:
        yield from places(child, (*path, name))


def planted(content: Any, path: tuple[Any, ...]) -> Any:
    """The same data with the key in one place."""
    if not path:
        return f"Bearer {KEY}"
    copy = dict(content) if isinstance(content, dict) else list(content)
    copy[path[0]] = planted(content[path[0]], path[1:])
    return copy


def assert_not_shown(shown: str, caplog: pytest.LogCaptureFixture) -> None:
    written = "".join(path.read_text(errors="replace") for path in Path().rglob("*") if path.is_file())
    logged = "".join(record.getMessage() + str(record.exc_text or "") for record in caplog.records)
    for where, text in (("error or verdicts", shown), ("log", logged), ("files", written)):
        found = [spelling for spelling in SPELLINGS if spelling in text]
        assert not found, f"the key stands in {where}: {text}"


def ask(server: RawServer, shape: str) -> str:
    """All that a run shows: its verdicts or the error with its traceback."""
    asked = judge(server, shape, api_key_env="CANARY_KEY")
    try:
        shown = str(asked.judge(random_question(n_users=8)))
    except DTLNSError as error:
        shown = "".join(traceback.format_exception(error))
    return shown + repr(asked.engine.server) + str(asked.inputs())


@pytest.fixture
def with_key(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    monkeypatch.setenv("CANARY_KEY", KEY)
    caplog.set_level(logging.DEBUG)  # of every library
    return caplog


STATUSES = [200, 201, 202, 204, 206, 299, 300, 301, 302, 303, 304, 307, 308]
STATUSES += [400, 401, 402, 403, 404, 405, 408, 409, 413, 418, 422, 425, 429, 451, 499, 500, 501, 502, 503, 504, 529]
HOLDING_THE_KEY = {
    "an error object": {"error": {"message": f"wrong key {KEY}", "type": KEY, "code": KEY}},
    "a text": f"Incorrect API key provided: {KEY}",
    "an HTML page": f"<html><body>Authorization: Bearer {KEY}</body></html>",
    "JSON as PHP writes it": json.dumps({"error": f"key {KEY}"}).replace("/", "\\/"),
    "a key at the cut": {"error": {"message": "x" * 170 + KEY}},
    "broken JSON": '{"error": "' + KEY,
}


@pytest.mark.parametrize("status", STATUSES)
def test_no_status_brings_the_key_out(status: int, with_key: pytest.LogCaptureFixture) -> None:
    """Whatever body, status line or header repeats it, at the first request or later."""
    headers = (
        f'WWW-Authenticate: Bearer realm="{KEY}"\r\nLocation: http://127.0.0.1:9/?{KEY}\r\nX-Request-Id: {KEY}\r\n'
    )
    for body in HOLDING_THE_KEY.values():
        for good in (0, 3):
            kind = "text/html" if isinstance(body, str) and body.startswith("<") else "application/json"
            bad = http(status, body, headers, KEY, kind)
            replies = iter([*[http(200, completion())] * good, *[bad] * 40])
            with RawServer(lambda _, replies=replies: [next(replies)]) as server:
                shown = ask(server, "pair")
            assert_not_shown(shown, with_key)


@pytest.mark.parametrize("shape", ["pair", "user"])
@pytest.mark.parametrize("path", list(places(completion())), ids=lambda path: ".".join(map(str, path)) or "whole")
def test_no_field_of_a_reply_brings_the_key_out(
    path: tuple[Any, ...], shape: str, with_key: pytest.LogCaptureFixture
) -> None:
    """A model or gateway that echoes the key where an answer, a name or a number should stand."""
    with RawServer(lambda _: [http(200, planted(completion(), path))]) as server:
        assert_not_shown(ask(server, shape), with_key)


RESPELLED = {
    "spaces": " ".join(KEY),
    "dashes": "-".join(KEY),
    "line breaks": "\n".join(KEY),
    "tabs and commas": ",\t".join(KEY),
    "no width": "\u200b".join(KEY),
    "groups": f"{KEY[:7]} ... {KEY[7:14]} ... {KEY[14:]}",
    "capitals": " ".join(KEY.upper()),
    "hexadecimal": KEY.encode().hex(),
    "hexadecimal pairs": KEY.encode().hex(":"),
    "percent": "".join(f"%{ord(each):02X}" for each in KEY),
    "percent twice": "".join(f"%25{ord(each):02x}" for each in KEY),
    "percent and spaces": " ".join(f"%{ord(each):02x}" for each in KEY),
    "numbers of HTML": " ".join(f"&#{ord(each)};" for each in KEY),
    "base64": base64.b64encode(KEY.encode()).decode(),
    "base64 of a header": base64.b64encode(f"Bearer {KEY}".encode()).decode(),
    "base64 of a user": base64.b64encode(f":{KEY}".encode()).decode(),
    "base64 of a line": base64.b64encode(f"key={KEY} refused".encode()).decode(),
    "base64 for addresses": base64.urlsafe_b64encode(f"a{KEY}".encode()).decode(),
    "base64 in lines": "\r\n".join(
        base64.b64encode(f"Bearer {KEY}".encode()).decode()[n : n + 8] for n in range(0, 44, 8)
    ),
}


@pytest.mark.parametrize("spelling", RESPELLED)
def test_no_spelling_brings_the_key_out(spelling: str, with_key: pytest.LogCaptureFixture) -> None:
    """Not even the middle third of it, as it was sent or as a message quotes it."""
    sent = RESPELLED[spelling]
    third = len(sent) // 3
    middle = sent[third : 2 * third]
    quoted = (middle, repr(middle)[1:-1], json.dumps(middle)[1:-1], repr(repr(middle))[2:-2], html.escape(middle))
    chat = completion(model=sent)
    chat["choices"][0]["message"]["content"] = f"the key {sent} is wrong"
    chat["choices"][0]["logprobs"] = None
    error = {"error": {"message": f"wrong key {sent} in the request", "code": sent}}
    for reply in (
        http(200, chat),
        http(200, completion(model=sent)),
        http(400, error),
        http(401, error),
        http(404, f"<p>{sent}</p>", kind="text/html"),
        http(500, error),
        http(307, "", f"Location: http://127.0.0.1:9/?{urllib.parse.quote(sent)}\r\n"),
    ):
        with RawServer(lambda _, reply=reply: [reply]) as server:
            shown = ask(server, "pair") + ask(server, "user")
        written = "".join(path.read_text(errors="replace") for path in Path().rglob("*") if path.is_file())
        logged = "".join(record.getMessage() for record in with_key.records)
        assert not [text for text in (shown, written, logged) if any(part in text for part in quoted)]


@pytest.mark.parametrize("status", [401, 403])
def test_what_is_said_of_a_key_is_not_repeated(status: int, with_key: pytest.LogCaptureFixture) -> None:
    """No list of spellings is whole. A server that was sent no key can repeat none."""
    reply = http(status, {"error": {"message": f"the key {KEY[::-1]} is none"}})
    with RawServer(lambda _: [reply]) as server:
        shown = ask(server, "pair")
        assert f"HTTP {status}: what it says is not repeated here" in shown and "dtlns_judge_api_key_env" in shown
        assert KEY[::-1][:9] not in shown + with_key.text
        with pytest.raises(EngineError, match=r"the key .* is none"):
            judge(server).judge(random_question(n_users=1))


@pytest.mark.parametrize(
    "key", ["none", "EMPTY", "yes", "x", "-", "--------------------", "token-abc123", "sk-" + "a" * 40]
)
def test_what_is_no_key_stays(key: str) -> None:
    """Short keys are masked where they stand alone, and are not put together from the letters of a sentence."""
    text = "HTTP 400: {'error': {'message': 'Model n-o n-e does not take 20 log-probabilities \\n e m p t y', 'id': 1}}"
    assert masked(text, key) == text.replace(key, "***")


def test_a_long_reply_takes_no_time_to_mask() -> None:
    """Nor does one that holds all of the key but its end, over and over."""
    for key in ("-" * 60, "a-" * 30, "%25" * 20, KEY):
        began = time.process_time()
        masked((key[:-1] + "\\-%25& ") * (60_000 // len(key)), key)
        assert time.process_time() - began < 5


def test_a_key_at_the_end_of_what_is_looked_at_is_not_shown_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_KEY", KEY)
    server = Server(api_key_env="CANARY_KEY")
    for shift in range(len(KEY)):
        assert "sk-can" not in server.without_key(KEY + "." * ((1 << 16) - len(KEY) - shift) + KEY)


def test_a_key_that_is_also_an_answer_does_not_spoil_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers without keys are given any word for one; what is read as an answer is not shown, so it stays."""
    monkeypatch.setenv("CANARY_KEY", "yes")
    plain = completion()
    del plain["choices"][0]["logprobs"]
    with RawServer(lambda _: [http(200, plain)]) as server:
        verdicts = judge(server, api_key_env="CANARY_KEY").judge(random_question(n_users=2))
    assert verdicts.counts()["positive"] == 8


# ---------------------------------------------------------------- time and size


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_reply_that_drips_ends_with_the_attempt(part: str) -> None:
    """Every byte comes in time, and the reply would take minutes: the time is for the whole attempt."""
    whole = http(200, completion(), headers="X-Filler: " + "x" * 4000 + "\r\n")
    fast = 0 if part == "headers" else whole.index(b"\r\n\r\n") + 4
    pieces = [whole[:fast], *(bytes([byte]) for byte in whole[fast:])]
    with RawServer(lambda _: pieces, pause=0.05) as server:
        with pytest.raises(EngineError, match=r"no whole reply within 0\.3 seconds"):
            judge(server, timeout_seconds=0.3, retries=1).judge(random_question(n_users=1))
        assert server.requests <= 2  # less where a busy machine takes the time before a request is sent
        assert server.whole == 0


def endless() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"10000\r\n" + b" " * 0x10000 + b"\r\n"


@pytest.mark.parametrize("status", [200, 500])
def test_a_reply_without_end_is_read_no_further_than_an_answer_can_be(status: int) -> None:
    """Neither time nor memory goes into it; an error's body is a reply too."""
    announced = f"HTTP/1.1 {status} Odd\r\nContent-Length: 99999999999\r\n\r\n".encode()
    for pieces in (endless(), [announced, *[b" " * 0x10000] * 10_000]):
        with RawServer(lambda _, pieces=pieces: pieces) as server:
            with pytest.raises(EngineError, match="the reply is larger than 4 MiB"):
                judge(server).judge(random_question(n_users=1))
            assert server.sent < 8 * LARGEST_REPLY  # what was under way is not counted


def test_a_compressed_reply_is_refused() -> None:
    """A few bytes of it may stand for any number."""
    with (
        RawServer(lambda _: [http(200, completion(), "Content-Encoding: gzip\r\n")]) as server,
        pytest.raises(EngineError, match="the server sent a compressed reply, though none was asked for"),
    ):
        judge(server).judge(random_question(n_users=1))


# ---------------------------------------------------------------- more than one reply


def chunked(body: Any) -> bytes:
    text = json.dumps(body).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(text), text)


def saying_no() -> dict[str, Any]:
    plain = completion()
    top = [{"token": "no", "logprob": -0.1}, {"token": "yes", "logprob": -2.4}]
    plain["choices"][0]["logprobs"]["content"] = [{**top[0], "top_logprobs": top}]
    return plain


@pytest.mark.parametrize("reply", [http(200, completion()), chunked(completion())], ids=["a length", "chunks"])
@pytest.mark.parametrize(
    "surplus", [http(200, saying_no()), http(200, saying_no())[:40], b"\r\n"], ids=["a reply", "half a one", "a break"]
)
def test_what_follows_a_reply_is_not_the_answer_to_the_next_request(reply: bytes, surplus: bytes) -> None:
    """Whatever came with it goes with its connection."""
    with RawServer(lambda _: [reply + surplus]) as server:
        assert judge(server, concurrency=1).judge(random_question(n_users=4)).counts()["positive"] == 16
        assert server.requests == server.connections == 16


@pytest.mark.parametrize("reply", [http(200, completion()), chunked(completion())], ids=["a length", "chunks"])
def test_a_connection_that_holds_nothing_more_is_used_again(reply: bytes) -> None:
    with RawServer(lambda _: [b"HTTP/1.1 100 Continue\r\n\r\n", reply[:-9], reply[-9:]]) as server:
        judge(server, concurrency=1).judge(random_question(n_users=4))
        assert (server.requests, server.connections) == (16, 1)


def test_a_reply_that_comes_just_before_a_request_is_not_its_answer() -> None:
    """After the connection was found idle and before anything is written; another one is used, and nobody notices."""
    taken = threading.Event()

    def told(request: str) -> Iterator[bytes]:
        yield http(200, "first" if server.requests == 1 else "second")
        taken.wait(20)
        yield http(200, "nobody's")

    def started(event: str, _: dict[str, Any]) -> None:
        if event == "http11.send_request_headers.started":
            taken.set()
            while not server.whole:
                time.sleep(0.01)

    with RawServer(told) as server, bounded_http(openai, 20.0) as client:
        assert client.post(server.url).text == "first"
        second = client.build_request("POST", server.url, extensions={"trace": started})
        assert client.send(second).text == "second"
        assert (server.requests, server.connections) == (2, 2)


# ---------------------------------------------------------------- elsewhere


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_prompt_goes_to_no_other_server(status: int) -> None:
    """A redirect is an error that names the address, and nobody is asked there."""
    with RawServer(lambda _: [http(200, completion())]) as other:
        move = http(status, "", f"Location: {other.url}/chat/completions\r\n")
        with RawServer(lambda _: [move]) as server:
            with pytest.raises(EngineError, match=rf"sends requests on to {other.url}.*HTTP {status}"):
                judge(server, retries=2).judge(random_question(n_users=1))
            assert server.requests == 1
        assert other.requests == 0


@pytest.mark.parametrize("proxy", ["{address}", "http://{address}", "http://user:pass%20word@{address}"])
def test_the_proxy_that_the_environment_names_is_used(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by the client's own HTTP."""
    seen: list[str] = []

    def told(request: str) -> list[bytes]:
        seen.append(request)
        return [http(200, completion())]

    with RawServer(told) as server:
        monkeypatch.setenv("http_proxy", proxy.format(address=server.url.split("/")[2]))
        monkeypatch.delenv("no_proxy", raising=False)
        engine = OpenAIEngine(model="a-model", base_url="http://nowhere.invalid/v1", retries=0)
        verdicts = llm_judge(engine).judge(random_question(n_users=1))
    assert verdicts.counts()["positive"] == 4
    assert all(request.startswith("POST http://nowhere.invalid/v1/chat/completions ") for request in seen)
    assert all(("proxy-authorization: basic" in request.lower()) == ("@" in proxy) for request in seen)


@pytest.mark.parametrize("proxy", ["gopher://x", "http://[::1", "http://x:abc", "http://:0", "http://"])
def test_a_proxy_without_an_address_is_refused(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    engine = OpenAIEngine(model="a-model", base_url="http://nowhere.invalid/v1", retries=0)
    with pytest.raises(ConfigError, match="the environment names a proxy whose address cannot be used"):
        llm_judge(engine).judge(random_question(n_users=1))


# ---------------------------------------------------------------- what no server can be asked with


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "http://", "http://[::1", "ftp://x/v1", "http://x:abc/v1", "http://x:99999/v1", "http://a b/v1"],
)
def test_what_is_no_address_is_refused_before_any_work(url: str) -> None:
    """Also as one of a fleet."""
    with pytest.raises(ConfigError, match="is not the address of a server, such as"):
        OpenAIEngine(model="a-model", base_url=url)
    with pytest.raises(ConfigError, match="is not the address of a server, such as"):
        RayEngine(model="a-model", ray_urls=["http://localhost:1/v1", url])


@pytest.mark.parametrize("value", [date(2026, 1, 1), {1}, float("nan")], ids=["a date", "a set", "no number"])
def test_fields_that_are_no_json_are_refused_before_any_work(value: object) -> None:
    """YAML reads 2026-01-01 as a date."""
    with pytest.raises(ConfigError, match="dtlns_judge_engine_args cannot be sent as JSON"):
        OpenAIEngine(model="a-model", engine_args={"stop": value})


def test_any_timeout_that_settings_allow_can_be_waited() -> None:
    """Sockets take no number of any size."""
    with RawServer(lambda _: [http(200, completion())]) as server:
        assert judge(server, timeout_seconds=1e300).judge(random_question(n_users=1)).counts()["positive"] == 4


# ---------------------------------------------------------------- another model


def header() -> dict[str, Any]:
    (shard,) = Path("store").rglob("*.verdicts")
    found: dict[str, Any] = json.loads(shard.read_bytes()[:HEADER_BYTES])
    return found


def test_a_model_that_answers_under_another_name_is_recorded_under_it(caplog: pytest.LogCaptureFixture) -> None:
    """In the shard, the label card and the facts, with a warning; the answers are not asked again."""
    question = random_question(n_users=6)
    with RawServer(lambda _: [http(200, completion(model="a-model-2026-08-06"))]) as server:
        verdicts = judge(server).judge(question)
        assert "'a-model' was asked for, and the server answers as 'a-model-2026-08-06'" in caplog.text
        assert header()["answered_by"] == verdicts.facts["answered_by"] == "a-model-2026-08-06"
        assert "a-model-2026-08-06" in next(Path("store").rglob("LABELS.md")).read_text()
        asked = server.requests
        judge(server).judge(question)
        assert server.requests == asked


@pytest.mark.parametrize(("name", "revision"), [("a-model", None), ("state-7", "state-7")])
def test_the_name_that_was_asked_for_is_no_news(
    name: str, revision: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is that of the revision."""
    with RawServer(lambda _: [http(200, completion(model=name))]) as server:
        judge(server, revision=revision).judge(random_question(n_users=1))
    assert "was asked for" not in caplog.text


def test_a_stray_answer_of_another_model_is_not_kept() -> None:
    """It is an abstention that the next run asks again; a set is of one model."""
    question = random_question(n_users=10)
    with RawServer(lambda _: [http(200, completion(model="other" if server.requests == 7 else "a-model"))]) as server:
        verdicts = judge(server, concurrency=1).judge(question)
        assert verdicts.counts()["abstain"] == 1
        assert verdicts.abstained == {"not answered": 1}
        assert judge(server).judge(question).counts()["abstain"] == 0
        assert server.requests == 41


def test_verdicts_of_two_models_do_not_share_a_set() -> None:
    """A server that has loaded another model since is told at its first answer, unless a revision keeps them apart."""
    first, more = random_question(n_users=3), random_question(n_users=12, seed=1)
    with RawServer(
        lambda _: [http(200, completion(model="a-model-1" if server.requests <= 12 else "a-model-2"))]
    ) as server:
        judge(server).judge(first)
        with pytest.raises(EngineError, match=r"answered as 'a-model-2', and as 'a-model-1' before.*judge_revision"):
            judge(server).judge(more)
        assert server.requests == 13
        assert judge(server, revision="a-model-2").judge(more).counts()["abstain"] == 0


def test_too_many_strays_stop_the_run() -> None:
    """A gateway that deals requests to several models."""
    with (
        RawServer(lambda _: [http(200, completion(model=f"model-{server.requests % 2}"))]) as server,
        pytest.raises(JudgeError, match="the server answered as 'model-0', and as 'model-1' before"),
    ):
        judge(server, concurrency=1).judge(random_question(n_users=30, n_items=80))


@pytest.mark.parametrize("name", ["x" * 5000, "\u2028\u00e4" * 400, 'a"\\b' * 300, ""])
def test_any_name_fits_into_a_shard(name: str) -> None:
    """The header keeps its length, so the verdicts behind it are found."""
    with RawServer(lambda _: [http(200, completion(model=name))]) as server:
        asked = judge(server)
        assert asked.judge(random_question(n_users=3)).counts()["positive"] == 12
    assert len(asked.store().read()) == 12
    assert asked.store().read().damaged == 0
