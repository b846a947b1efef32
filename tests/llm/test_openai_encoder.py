"""Embeddings of a server: a fault costs time, or is a plain error, and nothing is asked twice."""

from __future__ import annotations

import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedding_server import Embedder, embeddings, vector_of

from recbole_dtlns.conformance.raw_server import http
from recbole_dtlns.errors import ConfigError, EngineError
from recbole_dtlns.text.kept_vectors import encoded
from recbole_dtlns.text.openai_encoder import OpenAIEncoder

ROOT = Path("kept")
TEXTS = [f"{'x' * number} text" for number in range(40)]
CANARY = "sk-canary-0123456789"


def encoder(server: Embedder, **fields: Any) -> OpenAIEncoder:
    return OpenAIEncoder(**{"model": "a-model", "base_url": server.url, "batch_size": 4, "retries": 2, **fields})


def test_every_text_gets_its_vector_whatever_the_order_of_answers() -> None:
    with Embedder() as server:
        found = encoded(encoder(server), TEXTS, ROOT)
    assert found.tolist() == [vector_of(text) for text in TEXTS]
    assert len(server.bodies) == 10
    assert all(body["model"] == "a-model" and "dimensions" not in body for body in server.bodies)
    assert Counter(server.texts) == Counter(TEXTS)


def test_a_prompt_stands_before_every_text_and_dimensions_are_asked_for() -> None:
    with Embedder() as server:
        found = encoded(
            encoder(server, prompt="passage: ", dimensions=2, engine_args={"user": "me"}), ["a", "bb"], ROOT
        )
    assert found.tolist() == [vector_of(f"passage: {text}", 2) for text in ("a", "bb")]
    assert [body["dimensions"] for body in server.bodies] == [2]
    assert server.bodies[0]["user"] == "me"


@pytest.mark.parametrize("status", [429, 500, 503, 408])
def test_what_passes_is_asked_again(status: int) -> None:
    again = "retry-after-ms: 5\r\n"
    with Embedder(lambda body, before: http(status, "", again) if before == 1 else None) as server:
        found = encoded(encoder(server, concurrency=1), TEXTS, ROOT)
    assert found.tolist() == [vector_of(text) for text in TEXTS]
    assert len(server.bodies) == 11


def test_what_was_answered_before_the_server_failed_is_not_asked_again() -> None:
    down = lambda body, before: http(503, "", "retry-after-ms: 1\r\n") if before >= 4 else None  # noqa: E731
    with Embedder(down) as server, pytest.raises(EngineError, match=r"HTTP 503 after 0 retries.*run again to go on"):
        encoded(encoder(server, concurrency=1, retries=0), TEXTS, ROOT)
    answered = Counter(server.texts)
    assert len(answered) == 16
    with Embedder() as server:
        found = encoded(encoder(server), TEXTS, ROOT)
    assert found.tolist() == [vector_of(text) for text in TEXTS]
    assert not answered & Counter(server.texts)


def changed(**fields: Any) -> Any:
    return lambda body, before: http(200, {**embeddings(body["input"]), **fields})


def with_vectors(make: Any) -> Any:
    def change(body: dict[str, Any], before: int) -> bytes:
        data = [{"index": place, "embedding": make(place)} for place in range(len(body["input"]))]
        return http(200, {"data": data})

    return change


WRONG = {
    "no data": changed(data=None),
    "too few": changed(data=[{"index": 0, "embedding": [1.0]}]),
    "twice": changed(data=[{"index": 0, "embedding": [1.0]}] * 4),
    "several lengths": with_vectors(lambda place: [1.0] * (place + 1)),
    "NaN": with_vectors(lambda place: [float("nan"), 1.0]),
    "infinity": with_vectors(lambda place: [float("inf"), 1.0]),
    "infinity in four bytes": with_vectors(lambda place: [1e300, 1.0]),
    "null": with_vectors(lambda place: [None, 1.0]),
    "words": with_vectors(lambda place: ["a", "b"]),
    "nothing": with_vectors(lambda place: []),
    "a page": lambda body, before: http(200, "<html>Bad gateway</html>", kind="text/html"),
    "broken JSON": lambda body, before: http(200, '{"data": ['),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_are_no_vectors_is_refused_and_not_kept(what: str) -> None:
    with Embedder(WRONG[what]) as server, pytest.raises(EngineError, match=r"sent (no embeddings|what is no JSON)"):
        encoded(encoder(server, retries=0), TEXTS[:4], ROOT)
    assert not list(ROOT.rglob("*.safetensors"))


def test_a_model_that_cannot_shorten_its_vectors_is_refused() -> None:
    ignores = lambda body, before: http(200, embeddings(body["input"], 3))  # noqa: E731
    with (
        Embedder(ignores) as server,
        pytest.raises(EngineError, match="dtlns_text_dimensions is 2"),
    ):
        encoded(encoder(server, dimensions=2), TEXTS[:4], ROOT)


def test_batches_of_other_lengths_are_refused() -> None:
    grows = lambda body, before: http(200, embeddings(body["input"], 2 + before))  # noqa: E731
    with Embedder(grows) as server, pytest.raises(EngineError, match="several models under one name"):
        encoded(encoder(server, concurrency=1), TEXTS[:8], ROOT)


def test_another_model_that_answers_is_refused() -> None:
    with Embedder() as server:
        encoded(encoder(server), TEXTS[:4], ROOT)
    with Embedder(changed(model="another")) as server, pytest.raises(EngineError, match="'another', and as 'a-model'"):
        encoded(encoder(server), TEXTS[:8], ROOT)


@pytest.mark.parametrize(
    ("status", "message"),
    [(401, "api_key_env"), (404, "dtlns_text_base_url"), (400, "dtlns_text_batch_size"), (307, "sends requests on")],
)
def test_final_errors_stop_at_once(status: int, message: str) -> None:
    with Embedder(lambda body, before: http(status, {"error": {"message": "no"}}, "Location: /x\r\n")) as server:
        with pytest.raises(EngineError, match=message):
            encoded(encoder(server, concurrency=1), TEXTS, ROOT)
        assert len(server.bodies) == 1


def test_a_server_that_nobody_started_is_named() -> None:
    with Embedder() as closed:
        pass
    with pytest.raises(EngineError, match=r"cannot reach .*check dtlns_text_base_url"):
        encoded(encoder(closed, retries=0), ["a"], ROOT)


@pytest.mark.parametrize("status", [200, 400, 401, 500])
def test_the_key_is_sent_and_shown_nowhere(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although the server repeats it."""
    monkeypatch.setenv("CANARY_KEY", CANARY)
    echo: Any = {"error": {"message": f"your key is {CANARY}"}} if status != 200 else {"data": f"Bearer {CANARY}"}
    with Embedder(lambda body, before: http(status, echo)) as server:
        asked = encoder(server, api_key_env="CANARY_KEY", retries=0)
        with pytest.raises(EngineError) as caught:
            encoded(asked, ["a"], ROOT)
    assert CANARY in server.heads[0]
    shown = "".join(traceback.format_exception(caught.value)) + repr(asked) + repr(vars(asked)) + repr(asked.inputs())
    assert CANARY not in shown
    assert not any(CANARY.encode() in file.read_bytes() for file in ROOT.rglob("*") if file.is_file())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": None}, "dtlns_text_model"),
        ({"base_url": "localhost:8000"}, "is not the address of a server"),
        ({"api_key_env": "sk-123 456"}, "dtlns_text_api_key_env must be the name"),
    ],
)
def test_settings_that_cannot_work_are_named_by_their_keys(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OpenAIEncoder(**{"model": "a-model", **fields})


def test_the_address_is_no_part_of_what_vectors_are_kept_by() -> None:
    """A server may move; a model, its state and its prompt may not."""
    there, here = (OpenAIEncoder(model="m", base_url=f"http://{host}/v1") for host in ("there", "here"))
    assert there.inputs() == here.inputs()
    for field in ({"revision": "2"}, {"prompt": "query: "}, {"dimensions": 4}, {"engine_args": {"x": 1}}):
        assert OpenAIEncoder(model="m", **field).inputs() != here.inputs()
    assert np.array_equal(encoded(here, ["", ""], ROOT), np.zeros((2, 1)))
