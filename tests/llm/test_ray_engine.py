"""Ray Data LLM on a real cluster of two nodes, with vLLM engines as actors and with a fleet of servers."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from llm_judges import llm_judge
from questions import random_question
from tiny_model import save_random_llama

from recbole_dtlns.errors import ConfigError, EngineError
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.llm.ray_engine import RayEngine
from recbole_dtlns.llm.transformers_engine import TransformersEngine

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings are not ours

ARGUMENTS = {"enforce_eager": True, "max_model_len": 512, "dtype": "float32", "max_num_seqs": 32}
QUESTION = random_question(n_users=10, candidates=5, history=8)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray", reason="Ray is not installed; make test-ray installs it in .venv-llm")
    pytest.importorskip("vllm", reason="vLLM is not installed; make test-ray installs it in .venv-llm")
    import ray
    from ray.cluster_utils import Cluster

    before = os.environ.copy()
    os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "1", "RAY_USAGE_STATS_ENABLED": "0", "CANARY_KEY": "sk-canary-1234567890"}
    # The nodes must find the modules that these tests are made of.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    nodes.worker = nodes.add_node(num_cpus=2, resources={"second": 1})
    ray.init(address=nodes.address, log_to_driver=False)
    yield nodes
    ray.shutdown()
    nodes.shutdown()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_random_llama(tmp_path_factory.mktemp("model") / "llama"))


def judge(engine: Any, folder: str = "verdicts", **limits: Any) -> LLMJudge:
    return llm_judge(engine, "pair", folder, **limits)


def actors(model: str, **resources: float) -> RayEngine:
    return RayEngine(model=model, ray_resources=resources or {"CPU": 1}, engine_args=ARGUMENTS)


@pytest.mark.usefixtures("cluster")
def test_actors_answer_as_the_model_does(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = judge(actors(model)).judge(QUESTION)
    same = judge(TransformersEngine(model=model, engine_args={"dtype": torch.float32}), "other").judge(QUESTION)
    assert found.facts["mode"] == "log-probabilities" and found.facts["tokens"] > 0
    assert found.probability == pytest.approx(same.probability, abs=1e-4)
    again = judge(actors(model)).judge(QUESTION)
    assert again.facts["requests"] == 0, "every verdict was kept"


@pytest.mark.usefixtures("cluster")
def test_a_bad_row_does_not_end_the_job(model: str) -> None:
    """The one with a prompt beyond the context is refused by vLLM; a rerun asks for it again, and nothing else."""
    engine = actors(model, CPU=1, second=1)  # on the second node
    asked = judge(engine, max_abstain_rate=1.0)
    with engine.start() as running:
        plan = asked.plan(QUESTION)
        requests = [
            inquiry.request()
            for inquiry in plan.inquiries(plan.missing(np.zeros(len(QUESTION.candidates), dtype=bool)))
        ][:10]
        encode_all = running.requests.chat.encode_all  # type: ignore[attr-defined]
        running.requests.chat.encode_all = lambda rows, reserved=0: [  # type: ignore[attr-defined]
            (ids * 20 if n == 3 else ids, cut) for n, (ids, cut) in enumerate(encode_all(rows, reserved))
        ]
        replies = dict(running.answer(requests))
    assert sorted(replies) == list(range(10))
    assert [position for position, reply in replies.items() if reply.probabilities is None] == [3]
    assert not replies[3].lasting and "context" in replies[3].detail


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("resources", [{"GPU": 1.0}, {"CPU": 64.0}, {"CPU": 1.0, "TPU": 1.0}])
def test_what_the_cluster_can_never_give_is_told_at_once(model: str, resources: dict[str, float]) -> None:
    """Ray itself would wait for ever."""
    with pytest.raises(EngineError, match=r"no node of the Ray cluster has that .*dtlns_judge_ray_resources"):
        judge(actors(model, **resources)).judge(QUESTION)


@pytest.mark.usefixtures("cluster")
def test_users_in_one_request_get_well_formed_lists(model: str) -> None:
    verdicts = llm_judge(actors(model), "user", "verdicts").judge(QUESTION)
    assert verdicts.counts()["abstain"] == 0 and set(verdicts.probability) <= {0.0, 1.0}


class Answering(ThreadingHTTPServer):
    """Says yes to every prompt, but fails for good where the prompt holds `fails_on`; counts what it was asked."""

    daemon_threads = True

    def __init__(self, fails_on: str = "\0") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.fails_on = fails_on
        self.asked: Counter[str] = Counter()
        self.keys: set[str | None] = set()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: Answering

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][-1]["content"]
        self.server.keys.add(self.headers["Authorization"])
        failing = self.server.fails_on in prompt
        if not failing:
            self.server.asked[prompt] += 1
        top = [{"token": "yes", "logprob": -0.1}, {"token": "no", "logprob": -2.4}]
        choice = {"message": {"content": "yes"}, "logprobs": {"content": [{"token": "yes", "top_logprobs": top}]}}
        usage = {"prompt_tokens": 50, "completion_tokens": 1}
        payload = json.dumps({"error": {"message": "broken"}} if failing else {"choices": [choice], "usage": usage})
        self.send_response(500 if failing else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload.encode())

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def fleet() -> Iterator[list[Answering]]:
    servers = [Answering(), Answering()]
    yield servers
    for server in servers:
        server.shutdown()
        server.server_close()


def of_servers(fleet: list[Answering], **server: Any) -> RayEngine:
    return RayEngine(model="tiny", ray_urls=[each.url for each in fleet], retries=1, **server)


@pytest.mark.usefixtures("cluster")
def test_a_fleet_shares_the_requests(fleet: list[Answering]) -> None:
    question = random_question(n_users=40, candidates=5, history=8)
    verdicts = judge(of_servers(fleet)).judge(question)
    assert verdicts.counts()["positive"] == 200
    assert verdicts.facts["mode"] == "log-probabilities" and verdicts.facts["tokens"] == 51 * verdicts.facts["requests"]
    asked = [set(server.asked) for server in fleet]
    assert all(len(prompts) > 20 for prompts in asked) and not asked[0] & asked[1]
    assert sum(map(len, asked)) == verdicts.facts["requests"]
    assert max(count for server in fleet for count in server.asked.values()) == 1
    assert judge(of_servers(fleet)).judge(question).facts["requests"] == 0


@pytest.mark.usefixtures("cluster")
def test_a_request_that_always_fails_is_the_only_one_missing(fleet: list[Answering]) -> None:
    plan = judge(of_servers(fleet)).plan(QUESTION)
    requests = [
        inquiry.request() for inquiry in plan.inquiries(plan.missing(np.zeros(len(QUESTION.candidates), dtype=bool)))
    ]
    for server in fleet:
        server.fails_on = requests[7].messages[-1]["content"]
    verdicts = judge(of_servers(fleet)).judge(QUESTION)
    assert verdicts.abstained == {"not answered": int((plan.keys == plan.keys[7]).all(axis=1).sum())}
    for server in fleet:
        server.fails_on = "\0"
    again = judge(of_servers(fleet)).judge(QUESTION)
    assert again.facts["requests"] == 1 and again.counts()["abstain"] == 0


@pytest.mark.usefixtures("cluster")
def test_a_dead_server_does_not_end_the_job(fleet: list[Answering]) -> None:
    fleet[1].shutdown()
    fleet[1].server_close()
    question = random_question(n_users=40, candidates=5, history=8)
    first = judge(of_servers(fleet), max_abstain_rate=1.0).judge(question)
    assert 0 < first.counts()["abstain"] < 200
    missing = first.counts()["abstain"]
    second = judge(of_servers(fleet[:1])).judge(question)
    assert second.counts()["abstain"] == 0 and second.facts["asked"] <= missing


@pytest.mark.usefixtures("cluster")
def test_the_key_comes_from_the_environment_of_the_nodes(
    fleet: list[Answering], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level("DEBUG", logger="recbole_dtlns")
    judge(of_servers(fleet, api_key_env="CANARY_KEY")).judge(QUESTION)
    assert {key for server in fleet for key in server.keys} == {f"Bearer {os.environ['CANARY_KEY']}"}
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert os.environ["CANARY_KEY"] not in caplog.text and os.environ["CANARY_KEY"].encode() not in kept
    with pytest.raises(ConfigError, match="NOT_SET"):
        judge(of_servers(fleet, api_key_env="NOT_SET"), "other").judge(QUESTION)


def test_a_lost_node_leaves_only_the_missing_to_a_rerun(cluster: Any, model: str) -> None:
    """The last test, since it takes the second node away while its engine works."""
    question = random_question(n_users=150, candidates=5, history=8)
    asked = judge(actors(model, CPU=1, second=1), max_abstain_rate=1.0)
    total = asked.plan(question).count(asked.plan(question).missing(np.zeros(750, dtype=bool)))
    seen = 0
    original = RayEngine.start

    def watched(self: RayEngine) -> Any:
        context = original(self)

        class Context:
            def __enter__(self) -> Any:
                running = context.__enter__()
                answer = running.answer

                def losing(requests: Any) -> Any:
                    nonlocal seen
                    for reply in answer(requests):
                        seen += 1
                        yield reply
                        if seen == 100:
                            cluster.remove_node(cluster.worker, allow_graceful=False)
                            cluster.add_node(num_cpus=2, resources={"second": 1})

                running.answer = losing
                return running

            def __exit__(self, *error: Any) -> Any:
                return context.__exit__(*error)

        return Context()

    RayEngine.start = watched  # type: ignore[method-assign]
    try:
        first = asked.judge(question)
    except EngineError:
        first = None
    finally:
        RayEngine.start = original  # type: ignore[method-assign]
    kept = len(asked.store().read())
    assert kept >= 100
    second = judge(actors(model)).judge(question)
    assert second.counts()["abstain"] == 0
    assert second.facts["requests"] == total - kept
    assert first is None or first.facts["requests"] == total
