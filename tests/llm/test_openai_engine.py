"""Servers: every fault between here and a model either costs nothing but time, or stops with a plain error."""

from __future__ import annotations

import json
import logging
import math
import random
import re
import signal
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llm_judges import llm_judge
from processes import PATIENCE, Child, Children, wait_for
from questions import random_question

from recbole_dtlns.conformance.faulty_server import TOKENS, FaultyServer, end_of_requests, truth
from recbole_dtlns.errors import ConfigError, EngineError, JudgeError
from recbole_dtlns.judges.contract import Label, Question, Verdicts
from recbole_dtlns.judges.language_model.answers import Reason, read_reply
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.judges.language_model.prompt import Prompt
from recbole_dtlns.judges.language_model.requests import Inquiry
from recbole_dtlns.judges.language_model.verdict_store import HEADER_BYTES, VerdictStore
from recbole_dtlns.llm.openai_engine import OpenAIEngine, read_completion
from recbole_dtlns.llm.reply import NoReply, Reply

PROMPTS = {shape: Prompt.load(shape) for shape in ("pair", "user")}
CANARY = "sk-canary-0123456789"
RETRIED = ["429", "500", "503", "408", "409", "reset", "half a body", "hang"]


def judge(server: FaultyServer, shape: str = "pair", limits: dict[str, Any] | None = None, **reach: Any) -> LLMJudge:
    reach = {"timeout_seconds": PATIENCE, "retries": 3, "concurrency": 8, **reach}
    engine = OpenAIEngine(model="a-model", base_url=server.url, **reach)
    return llm_judge(engine, shape, **(limits or {}))


def prompts(asked: LLMJudge, question: Question) -> list[str]:
    """The user message of every pair."""
    plan = asked.plan(question)
    return [next(plan.inquiries(np.array([pair]))).messages()[-1]["content"] for pair in range(len(plan.keys))]


def assert_is_the_truth(verdicts: Verdicts, asked: LLMJudge, question: Question, exact: bool = True) -> None:
    expected = np.array([truth(prompt) for prompt in prompts(asked, question)])
    np.testing.assert_allclose(verdicts.probability, expected if exact else expected >= 0.5, atol=1e-5)
    assert (verdicts.label == (expected >= 0.5)).all()
    assert verdicts.abstained == {}


def sometimes(fault: str, share: float = 0.3) -> Callable[[str, int], str | None]:
    """A share of the prompts fails once."""
    return lambda prompt, before: fault if before == 0 and hash_share(prompt) < share else None


def hash_share(prompt: str) -> float:
    return truth("share" + prompt)


# ---------------------------------------------------------------- faults that pass


@pytest.mark.parametrize("fault", RETRIED)
def test_a_fault_that_passes_changes_no_verdict(fault: str) -> None:
    """Asked again after a pause: the verdicts are those of a faultless server, and each answer counts once."""
    question = random_question(n_users=4)
    # On a busy machine a good answer can be later than this limit too, and is then asked for again.
    limit: dict[str, Any] = {"timeout_seconds": 1, "retries": 20} if fault == "hang" else {}
    with FaultyServer(fault=sometimes(fault)) as server:
        asked = judge(server, **limit)
        assert_is_the_truth(asked.judge(question), asked, question)
        assert len(server.answered) == 16
        assert limit or server.answered.total() == 16
        assert server.requests > 16


@pytest.mark.parametrize("fault", ["500", "reset", "html", "not json"])
def test_the_first_request_may_fail_too(fault: str) -> None:
    """The one by which the mode is found does not settle for a worse mode because the server stumbled."""
    question = random_question(n_users=2)
    with FaultyServer(fault=lambda prompt, before: fault if server.requests == 1 else None) as server:
        asked = judge(server)
        verdicts = asked.judge(question)
        assert verdicts.facts["mode"] == "log-probabilities"
        assert_is_the_truth(verdicts, asked, question)


def test_a_fault_that_lasts_is_an_abstention_that_is_not_kept() -> None:
    """After all retries the pair has no verdict, with the reason; the next run asks it again, and nothing else."""
    question = random_question(n_users=5)
    bad = prompts(_offline(), question)[7]
    with FaultyServer(fault=lambda prompt, before: "500" if prompt == bad else None) as server:
        verdicts = judge(server, limits={"max_abstain_rate": 0.2}).judge(question)
        assert verdicts.counts()["abstain"] == 1
        assert verdicts.abstained == {"not answered": 1}
        assert server.seen[bad] == 4
    with FaultyServer() as server:
        asked = judge(server)
        assert_is_the_truth(asked.judge(question), asked, question)
        assert list(server.answered) == [bad]


def _offline() -> LLMJudge:
    return llm_judge(OpenAIEngine(model="a-model", base_url="http://127.0.0.1:9/v1"))


# ---------------------------------------------------------------- errors that stop the run


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("401", "Check the key in the variable that dtlns_judge_api_key_env names"),
        ("403", "Check the key in the variable that dtlns_judge_api_key_env names"),
        ("404", "Check dtlns_judge_model and dtlns_judge_base_url"),
    ],
)
def test_a_final_error_stops_at_once(status: str, advice: str) -> None:
    """One request, then an error that names the server, the status and what to check."""
    with FaultyServer(fault=lambda prompt, before: status) as server:
        with pytest.raises(EngineError, match=rf"{server.url} refused the request with HTTP {status}: .*{advice}"):
            judge(server).judge(random_question())
        assert server.requests == 1


def test_a_request_that_no_mode_makes_good_stops() -> None:
    """400 in every mode is the request's fault: each mode is tried once, none again."""
    with FaultyServer(fault=lambda prompt, before: "400") as server:
        with pytest.raises(EngineError, match=r"refused the request with HTTP 400: .*dtlns_judge_max_history"):
            judge(server).judge(random_question())
        assert dict(server.modes) == {"log-probabilities": 1, "schema": 1, "text": 1}


@pytest.mark.parametrize("shape", ["pair", "user"])
def test_a_server_that_fails_from_the_start_stops(shape: str) -> None:
    """Only after the retries, in one mode: a server that is down is not one that takes no schema."""
    with FaultyServer(fault=lambda prompt, before: "500") as server:
        with pytest.raises(EngineError, match=rf"{server.url} fails: HTTP 500: .*after 2 retries"):
            judge(server, shape, retries=2).judge(random_question())
        assert server.requests == 3


def test_an_address_without_a_server_is_named() -> None:
    """A wrong port is told from a model that answers badly."""
    with FaultyServer() as server:
        pass
    with pytest.raises(EngineError, match=rf"cannot reach {server.url}: .*check dtlns_judge_base_url"):
        judge(server, retries=0).judge(random_question())


def test_a_key_revoked_on_the_way_stops_and_keeps_the_answers() -> None:
    """What was answered before is kept; no more requests are sent than were under way."""
    question = random_question(n_users=10)
    with FaultyServer(fault=lambda prompt, before: "401" if server.requests > 20 else None) as server:
        with pytest.raises(EngineError, match="HTTP 401"):
            judge(server, concurrency=3).judge(question)
        assert server.requests <= 24
        server.fault = lambda prompt, before: None
        asked = judge(server)
        assert_is_the_truth(asked.judge(question), asked, question)
        assert server.answered.total() <= 40 + 3


# ---------------------------------------------------------------- modes

MODES = [
    ("pair", {}, "log-probabilities"),
    ("pair", {"logprobs": False}, "constrained choice"),
    ("pair", {"logprobs": "ignored"}, "constrained choice"),
    ("pair", {"logprobs": "ignored", "schema": "ignored"}, "constrained choice"),
    ("pair", {"logprobs": False, "schema": False}, "text"),
    ("user", {}, "constrained choice"),
    ("user", {"schema": False}, "text"),
]


@pytest.mark.parametrize(("shape", "takes", "mode"), MODES, ids=lambda value: str(value))
def test_the_best_mode_that_the_server_takes_is_found(
    shape: str, takes: dict[str, Any], mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Log-probabilities, else a schema, else the text itself; the log and the facts say which."""
    question = random_question(n_users=5, n_items=200)
    with caplog.at_level(logging.INFO, "recbole_dtlns"), FaultyServer(**takes) as server:
        asked = judge(server, shape)
        verdicts = asked.judge(question)
        assert server.requests - server.answered.total() <= 2
    assert f"asking a-model in mode '{mode}'" in caplog.text
    assert caplog.text.count("asking a-model in mode") == 1
    assert verdicts.facts["mode"] == mode
    (shard,) = Path("store").rglob("*.verdicts")
    assert json.loads(shard.read_bytes()[:HEADER_BYTES])["mode"] == mode
    if shape == "pair":
        assert_is_the_truth(verdicts, asked, question, exact=mode == "log-probabilities")
    else:
        assert verdicts.counts()["abstain"] == 0
        codes = asked.plan(question)._codes
        lines = ["A {} B {}".format(*codes[item]) for item in question.candidates.items.tolist()]
        assert verdicts.label.tolist() == [int(truth(line) >= 0.5) for line in lines]


def test_fields_of_a_request_can_be_added_and_removed() -> None:
    """For servers that want another field: null removes one."""
    with FaultyServer() as server:
        arguments = {"logprobs": None, "top_logprobs": None, "max_tokens": None, "max_completion_tokens": 5}
        judge(server, engine_args=arguments).judge(random_question(n_users=1))
        assert "log-probabilities" not in server.modes


# ---------------------------------------------------------------- malformed replies


@pytest.mark.parametrize("fault", ["html", "not json", "wrong json", "nothing said", "chatter"])
def test_a_malformed_reply_is_an_abstention(fault: str) -> None:
    """One strange reply among good ones costs its own pair, and the run goes on."""
    question = random_question(n_users=10)
    bad = prompts(_offline(), question)[13]
    with FaultyServer(fault=lambda prompt, before: fault if prompt == bad else None) as server:
        verdicts = judge(server).judge(question)
    assert verdicts.counts()["abstain"] == 1
    assert verdicts.label[13] == Label.ABSTAIN
    assert sum(verdicts.abstained.values()) == 1


@pytest.mark.parametrize("takes", [{}, {"logprobs": False, "schema": False}], ids=["log-probabilities", "text"])
def test_too_many_malformed_replies_stop_the_run_with_examples(takes: dict[str, Any]) -> None:
    """A model that chatters is not paid to the end."""
    question = random_question(n_users=100, n_items=200)
    fault = sometimes("chatter", 0.6)
    with FaultyServer(
        fault=lambda prompt, before: fault(prompt, 0) if server.requests > 5 else None, **takes
    ) as server:
        with pytest.raises(JudgeError) as caught:
            judge(server, concurrency=4).judge(question)
        end_of_requests()
        assert server.requests < 60
    message = str(caught.value)
    assert re.search(r"\d+ of \d+ verdicts are abstentions, more than dtlns_judge_max_abstain_rate \(10%\)", message)
    assert f"Examples: {Reason.MALFORMED.sentence}: '" in message
    assert "Well, that depends" in message


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(), st.text(max_size=3), st.just(1e400)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    "token",
                    "logprob",
                    "content",
                    "top_logprobs",
                    "answer",
                    "prompt_tokens",
                    "prompt_tokens_details",
                    "cached_tokens",
                ]
            ),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=8,
)


@settings(deadline=None, derandomize=True, max_examples=400)
@given(st.data(), st.sampled_from(["log-probabilities", "constrained choice", "text"]), st.sampled_from(list(PROMPTS)))
def test_no_body_of_a_reply_can_stop_a_run(data: st.DataObject, mode: str, shape: str) -> None:
    """Whatever JSON a server sends becomes verdicts that can be stored: a probability in [0, 1], or an abstention."""
    part = data.draw(json_values)
    top = data.draw(
        st.one_of(
            json_values,
            st.lists(
                st.fixed_dictionaries(
                    {
                        "token": st.sampled_from(["yes", "no", "y", ""]),
                        "logprob": st.one_of(st.floats(), st.integers(-9, 10**6)),
                    }
                )
            ),
        )
    )
    message = {"message": {"content": data.draw(st.one_of(json_values, st.sampled_from(["yes", '{"answer": "no"}'])))}}
    body = data.draw(
        st.sampled_from(
            [
                part,
                {"choices": part},
                {"choices": [part], "usage": part},
                {"choices": [{**message, "logprobs": {"content": [{"top_logprobs": top}]}}], "usage": part},
                {
                    "choices": [{**message, "logprobs": {"content": [{"top_logprobs": top}]}}],
                    "usage": {"prompt_tokens": 5},
                },
            ]
        )
    )
    request = Inquiry(PROMPTS[shape], (("0", "0"),), (("1", "1"),), (bytes(16),)).request()
    answers = read_reply(PROMPTS[shape], read_completion(request, mode, body), 1)
    assert len(answers) == 1
    assert answers[0].tokens >= 0
    abstains = answers[0].label is Label.ABSTAIN
    assert abstains == math.isnan(answers[0].probability)
    assert abstains or 0 <= answers[0].probability <= 1
    with VerdictStore("store", {"model": "m", "revision": None, "prompt": "p"}).writer("openai", mode) as shard:
        shard.append([bytes(16)], answers)


def test_probabilities_come_from_every_spelling_of_the_answers() -> None:
    """Known answers: spellings add up, and an unlisted answer is at most as likely as the last one listed."""

    def probability(likely: dict[str, float], prompt: Prompt = PROMPTS["pair"]) -> Reply:
        top = [{"token": token, "logprob": math.log(share)} for token, share in likely.items()]
        choice = {"message": {"content": "x"}, "logprobs": {"content": [{"top_logprobs": top}]}}
        request = Inquiry(prompt, (), (("1", "1"),), (bytes(16),)).request()
        return read_completion(request, "log-probabilities", {"choices": [choice]})

    assert probability({"yes": 0.3, " Yes": 0.2, "YE": 0.1, "no": 0.2, "maybe": 0.2}).probabilities[0] == pytest.approx(
        0.75
    )
    assert probability({"yes": 0.3, "x": 0.7}).probabilities[0] == 1.0
    fillers = {f"x{number}": 0.01 for number in range(19)}
    assert probability({"no": 0.3, **fillers}).probabilities[0] == pytest.approx(0.01 / 0.31)
    assert probability({"maybe": 0.9}).reason is NoReply.NO_ANSWER_LIKELY
    same = Prompt("pair", "", "", "", "positive", "pointless")
    assert probability({"po": 0.9, "pos": 0.1}, same).probabilities[0] == 1.0, "what both begin with says nothing"
    spaced = Prompt("pair", "", "", "", " yes", "no ")
    assert probability({"yes": 0.6, "no": 0.2}, spaced).probabilities[0] == pytest.approx(0.75)


# ---------------------------------------------------------------- the key


def files_with(text: str) -> list[Path]:
    return [path for path in Path().rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.mark.parametrize("key", [CANARY, CANARY + "\n", CANARY + "\r\n", CANARY + "ä", "\x7f" + CANARY])
@pytest.mark.parametrize("status", [None, "401", "500", "400", "chatter"])
def test_the_key_is_shown_nowhere(
    status: str | None, key: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in logs, errors, files or printed objects, even when the server repeats it or it cannot be sent."""
    monkeypatch.setenv("CANARY_KEY", key)
    caplog.set_level(logging.DEBUG, "recbole_dtlns")
    question = random_question(n_users=6)
    shown = ""
    with FaultyServer(
        fault=lambda prompt, before: status if server.requests > 1 or status != "500" else None
    ) as server:
        asked = judge(server, api_key_env="CANARY_KEY", retries=1)
        try:
            shown = str(asked.judge(question))
        except (EngineError, JudgeError, ConfigError) as error:
            shown = "".join(traceback.format_exception(error))
        shown += repr(asked.engine.server) + repr(vars(asked.engine)) + str(asked.inputs())
        if key.strip() == CANARY:
            assert server.keys == {f"Bearer {CANARY}"}
        else:
            assert "CANARY_KEY holds characters that no key has" in shown
            assert server.requests == 0
    ours = [record for record in caplog.records if record.name == "recbole_dtlns"]
    assert CANARY not in "".join(record.getMessage() for record in ours)
    assert CANARY not in shown
    assert files_with(CANARY) == []


@pytest.mark.parametrize("given_", [CANARY, "sk_live.abc", "Bearer x", ""])
def test_a_key_in_place_of_the_variables_name_is_refused(given_: str) -> None:
    """Settings are stored in logs and checkpoints: a key there is refused, and not repeated."""
    with pytest.raises(ConfigError, match="dtlns_judge_api_key_env must be the name of an environment") as caught:
        OpenAIEngine(model="a-model", api_key_env=given_)
    assert not given_ or given_ not in str(caught.value)


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any request."""
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with FaultyServer() as server:
        with pytest.raises(
            ConfigError, match="dtlns_judge_api_key_env names NO_SUCH_KEY, and that variable is not set"
        ):
            judge(server, api_key_env="NO_SUCH_KEY").judge(random_question())
        assert server.requests == 0


# ---------------------------------------------------------------- many at once, and a budget


def test_requests_are_under_way_at_once_but_no_more_than_allowed() -> None:
    """Concurrency is what makes a server fast, and its limit is what keeps it alive."""
    question = random_question(n_users=12, n_items=200)
    six = threading.Event()

    def together(prompt: str, before: int) -> None:
        """No answer until six requests wait for one; the first request, which finds the mode, comes alone."""
        if server.at_once == 6:
            six.set()
        assert server.requests == 1 or six.wait(PATIENCE)

    with FaultyServer(fault=together) as server:
        judge(server, concurrency=6).judge(question)
        assert server.most_at_once == 6
        assert server.answered.total() == 48


def test_the_token_budget_is_kept_within_one_slice() -> None:
    """What is asked after the budget is spent fits into one slice; a rerun goes on where it ended."""
    question = random_question(n_users=100, n_items=300)
    with FaultyServer() as server:
        spent = 0
        for budget in (100 * TOKENS, 70 * TOKENS):
            verdicts = judge(server, limits={"slice": 16, "max_tokens_total": budget}).judge(question)
            assert verdicts.facts["tokens"] == verdicts.facts["requests"] * TOKENS
            assert budget - 16 * TOKENS < verdicts.facts["tokens"] <= budget + 16 * TOKENS
            spent += verdicts.facts["tokens"]
            assert verdicts.facts["tokens_of_all"] == spent
            assert verdicts.abstained["not answered"] == 400 - spent // TOKENS
        assert server.answered.total() == len(server.answered) == spent // TOKENS


# ---------------------------------------------------------------- killed and interrupted

CLIENT = """
import sys
sys.path[:0] = {path!r}
from questions import random_question
from llm_judges import llm_judge
from recbole_dtlns.llm.openai_engine import OpenAIEngine
judge = llm_judge(OpenAIEngine(model="a-model", base_url=sys.argv[1], concurrency=5, timeout_seconds=1e4))
print("asking", flush=True)
judge.judge(random_question(n_users=100, n_items=300))
"""


def client(server: FaultyServer, children: Children) -> Child:
    return children.code(CLIENT.format(path=[str(Path(__file__).parent)]), server.url)


def test_a_killed_run_goes_on_where_it_was(children: Children) -> None:
    """kill -9 at random moments: kept answers are not asked again, only those under way; the whole set is right."""
    question = random_question(n_users=100, n_items=300)
    moment = random.Random(1)
    kills = 0
    with FaultyServer(delay=0.01) as server:
        for part in (40, 130, 230):
            killed = threading.Event()

            def slow(prompt: str, before: int, part: int = part, killed: threading.Event = killed) -> None:
                """No run ends before it is killed: sixty answers later at most, the server waits for that."""
                if server.answered.total() >= part + 60:
                    killed.wait(PATIENCE)

            server.fault = slow
            process = client(server, children)
            wait_for(lambda part=part: server.answered.total() >= part, "some requests are answered", process)
            time.sleep(moment.uniform(0, 0.05))
            process.kill()
            process.communicate()
            killed.set()
            kills += 1
            store = judge(server).store().read()
            assert len(store) >= server.answered.total() - 5 * kills
            assert store.damaged == 0
        assert server.answered.total() < 400, "killed on the way"
        asked = judge(server)
        assert_is_the_truth(asked.judge(question), asked, question)
        assert len(server.answered) == 400
        assert server.answered.total() <= 400 + 5 * kills


@pytest.mark.parametrize("hanging", [False, True], ids=["answering", "hanging"])
def test_an_interrupted_run_keeps_its_answers_and_ends(hanging: bool, children: Children) -> None:
    """Ctrl-C: says how many verdicts are kept, and does not wait for a server that hangs until the test is over."""
    last = 50 if hanging else 300
    with FaultyServer(delay=0.01, fault=lambda prompt, before: "hang" if server.requests > last else None) as server:
        process = client(server, children)
        wait_for(lambda: server.requests > 50, "many requests have come in", process)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode in (-signal.SIGINT, 130, 1), errors
        assert errors.rstrip().endswith("KeyboardInterrupt")
        kept = len(judge(server).store().read())
        assert server.answered.total() - 5 <= kept <= server.answered.total()
        assert kept >= 45
        assert "Fatal" not in errors
