"""A real vLLM answers as the model does, in slices that are kept, and computes shared beginnings once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from llm_judges import llm_judge
from processes import PATIENCE, wait_for
from questions import random_question
from tiny_model import save_random_llama
from trained_model import PROMPT, rule_question, save_trained_llama

from recbole_dtlns.errors import EngineError
from recbole_dtlns.judges.contract import Label
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.llm.chat_model import ChatTokenizer
from recbole_dtlns.llm.openai_engine import OpenAIEngine
from recbole_dtlns.llm.request import Request
from recbole_dtlns.llm.transformers_engine import TransformersEngine
from recbole_dtlns.llm.vllm_engine import VLLMEngine

# vLLM's own warnings are not ours.
pytestmark = [pytest.mark.vllm, pytest.mark.usefixtures("needs_vllm"), pytest.mark.filterwarnings("ignore")]

SMALL = {"enforce_eager": True, "max_model_len": 512, "dtype": "float32", "max_num_seqs": 64}
QUESTION = random_question(n_users=20, candidates=5, history=8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_random_llama(tmp_path_factory.mktemp("model") / "llama"))


@pytest.fixture(scope="module")
def pair_engine(model: str) -> Iterator[WarmEngine]:
    engine = WarmEngine(model=model, engine_args=SMALL)
    yield engine
    engine.close()


class WarmEngine(VLLMEngine):
    """Starts vLLM once for all tests of the module, since that takes half a minute."""

    _warm = None

    def start(self):  # type: ignore[no-untyped-def]
        if self._warm is None:
            self._context = super().start()
            self._warm = self._context.__enter__()
        return _Kept(self._warm)

    def close(self) -> None:
        if self._warm is not None:
            self._context.__exit__(None, None, None)


class _Kept:
    def __init__(self, running: object) -> None:
        self.running = running

    def __enter__(self) -> object:
        return self.running

    def __exit__(self, *error: object) -> None:
        pass


def judge(engine: object, shape: str = "pair", folder: str = "verdicts", **limits: object) -> LLMJudge:
    return llm_judge(engine, shape, folder, **limits)


def test_probabilities_are_the_models_own(pair_engine: VLLMEngine, model: str) -> None:
    """Both compute in float32; another order of additions leaves differences in the last digits."""
    found = judge(pair_engine).judge(QUESTION)
    same = judge(TransformersEngine(model=model, engine_args={"dtype": torch.float32}), folder="other").judge(QUESTION)
    assert found.facts["mode"] == "log-probabilities"
    assert found.probability == pytest.approx(same.probability, abs=1e-4)
    assert np.ptp(found.probability) > 0.01, "the model tells pairs apart, so the comparison means something"


def test_slices_are_kept_and_nothing_is_asked_twice(pair_engine: VLLMEngine) -> None:
    first = judge(pair_engine, slice=16)
    assert first.judge(QUESTION).facts["requests"] > 64
    again = judge(pair_engine).judge(QUESTION)
    assert again.facts["requests"] == 0 and again.counts()["abstain"] == 0


def test_a_users_later_candidates_compute_less(pair_engine: VLLMEngine) -> None:
    """The history is in the prefix cache; prompts are longer than its blocks of 16 to 128 tokens."""
    other = random_question(n_users=3, candidates=6, history=30, n_items=60, seed=9)
    asked = judge(pair_engine)
    plan = asked.plan(other)
    requests = [inquiry.request() for inquiry in plan.inquiries(plan.missing(np.zeros(18, dtype=bool)))]
    with pair_engine.start() as running:
        tokens = [next(iter(running.answer([request])))[1].tokens for request in requests]
    assert tokens[1] < tokens[0] - 16
    assert all(reused < tokens[0] - 16 for reused in tokens[1:6])


def test_long_histories_lose_their_oldest_items(pair_engine: VLLMEngine, model: str) -> None:
    long = random_question(n_users=2, candidates=2, history=120, n_items=150)
    verdicts = judge(pair_engine).judge(long)
    assert verdicts.counts()["abstain"] == 0
    assert verdicts.facts["truncated"] > 0
    plan = judge(pair_engine).plan(long)
    inquiry = next(plan.inquiries(plan.missing(np.zeros(4, dtype=bool))))
    chat = ChatTokenizer.load(model, None, "vllm").within(512)
    ((ids, cut),) = chat.encode_all([inquiry.request()], 1)
    assert cut and ids is not None and len(ids) <= 511
    newest = chat.tokenizer.decode(ids)
    assert inquiry.history[-1][0] in newest.replace(" ", "") or inquiry.history[-1][0] in newest


def test_a_rejected_request_does_not_end_the_job(pair_engine: VLLMEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = judge(pair_engine)
    plan = asked.plan(QUESTION)
    requests = [
        inquiry.request() for inquiry in plan.inquiries(plan.missing(np.zeros(len(QUESTION.candidates), dtype=bool)))
    ][:8]
    with pair_engine.start() as running:
        encode_all = running.requests.chat.encode_all

        def too_long_for_one(asked: list[Request], reserved: int = 0) -> list[tuple[list[int] | None, bool]]:
            return [
                (ids * 20 if ids and n == 3 else ids, cut) for n, (ids, cut) in enumerate(encode_all(asked, reserved))
            ]

        monkeypatch.setattr(running.requests.chat, "encode_all", too_long_for_one)
        replies = dict(running.answer(requests))
    assert [position for position, reply in replies.items() if reply.probabilities is None] == [3]
    assert not replies[3].lasting and replies[3].detail


def test_lists_are_always_well_formed(model: str) -> None:
    """The model is random: only the grammar makes its lists lists."""
    engine = VLLMEngine(model=model, engine_args={**SMALL, "max_model_len": 1024})
    verdicts = judge(engine, "user").judge(QUESTION)
    assert verdicts.facts["mode"] == "constrained choice"
    assert verdicts.counts()["abstain"] == 0 and verdicts.counts()["positive"] > 0
    assert set(verdicts.probability) <= {0.0, 1.0}


def test_a_model_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="nothing-here"):
        judge(VLLMEngine(model=str(tmp_path / "nothing-here"))).judge(QUESTION)


JOB = """
import sys
sys.path[:0] = [{tests!r}]
from llm_judges import llm_judge
from questions import random_question
from recbole_dtlns.llm.vllm_engine import VLLMEngine
if __name__ == "__main__":
    engine = VLLMEngine(model={model!r}, engine_args={arguments!r})
    question = random_question(n_users=200, candidates=5, history=8)
    print(llm_judge(engine, "pair", "verdicts", slice=16).judge(question).facts["requests"])
"""


def test_a_killed_job_goes_on_where_it_was(model: str, pair_engine: VLLMEngine) -> None:
    Path("job.py").write_text(JOB.format(tests=str(Path(__file__).parent), model=model, arguments=SMALL))
    job = subprocess.Popen([sys.executable, "job.py"], start_new_session=True, stderr=subprocess.DEVNULL)
    store = judge(pair_engine).store()
    wait_for(lambda: len(store.read()) >= 32, "two slices are answered", job)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    kept = len(store.read())
    question = random_question(n_users=200, candidates=5, history=8)
    plan = judge(pair_engine).plan(question)
    everything = plan.count(plan.missing(np.zeros(1000, dtype=bool)))
    verdicts = judge(pair_engine).judge(question)
    assert 32 <= kept < everything
    assert verdicts.facts["requests"] == everything - kept
    assert (verdicts.label != Label.ABSTAIN).all()


def test_a_vllm_server_gives_the_same_probabilities(tmp_path: Path) -> None:
    """`vllm serve`, asked over HTTP, about a model whose answers are known because it was trained to give them."""
    model = str(save_trained_llama(tmp_path / "trained"))
    question, truth = rule_question(n_users=20, candidates=5, seed=3)
    port = "18431"
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--port", port]
    options = ["--enforce-eager", "--max-model-len", "128", "--dtype", "float32", "--served-model-name", "tiny"]
    with Path("server.log").open("w") as log:
        server = subprocess.Popen([*command, *options], stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(lambda: _answers(f"http://127.0.0.1:{port}/health"), "server.log ends with the server up", server)
        engine = OpenAIEngine(
            model="tiny", base_url=f"http://127.0.0.1:{port}/v1", concurrency=8, timeout_seconds=PATIENCE
        )
        served = llm_judge(engine, PROMPT, "served").judge(question)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    local = llm_judge(TransformersEngine(model=model), PROMPT, "local").judge(question)
    assert served.facts["mode"] == "log-probabilities" and served.facts["tokens"] > 0
    assert served.probability == pytest.approx(local.probability, abs=1e-3)
    assert (served.label == truth.astype(int)).mean() > 0.9, "the model learnt the rule, but for rare histories"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE):
            return True
    except (urllib.error.URLError, OSError):
        return False
