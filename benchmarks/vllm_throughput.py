"""The judge `vllm` beside vLLM itself: same model, same prompts, same sampling, in turns within one process.

The model is a small random Llama made here; the prefix cache is emptied before each turn. "vLLM alone" is one call of
`LLM.chat` with the messages of all prompts in one batch, which is what one would write without this package; "judge" is
everything from the question to the verdicts on disk: codes, prompts, tokens, requests in slices, replies, rows.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.llm.engine import Engine, RunningEngine
from recbole_dtlns.llm.vllm_engine import VLLMEngine
from recbole_dtlns.storage.whole_files import write_atomically

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "llm"))
from questions import random_question
from tiny_model import save_random_llama

RESULTS = Path(__file__).parent / "results" / "vllm_throughput.json"


def measure(model: str, users: int, rounds: int, arguments: dict[str, Any]) -> dict[str, Any]:
    question = random_question(n_users=users, n_items=400, candidates=20, history=12)
    engine = VLLMEngine(model=model, engine_args=arguments)
    alone, judged = [], []
    with tempfile.TemporaryDirectory() as folder:
        plan = LLMJudge(engine=engine, cache_dir=folder).plan(question)
        everything = plan.missing(np.zeros(len(question.candidates), dtype=bool))
        requests = [inquiry.request() for inquiry in plan.inquiries(everything)]
        with engine.start() as running:
            sampling = running.sampling(requests[0])
            chats = [request.messages for request in requests]
            for turn in range(rounds + 1):  # the first one warms up
                running.llm.reset_prefix_cache()
                start = time.perf_counter()
                running.llm.chat(chats, sampling, use_tqdm=False)
                middle = time.perf_counter()
                running.llm.reset_prefix_cache()
                judge = LLMJudge(engine=_Started(engine, running), cache_dir=f"{folder}/{turn}")
                begin = time.perf_counter()
                judge.judge(question)
                end = time.perf_counter()
                if turn:
                    alone.append(middle - start)
                    judged.append(end - begin)
    ratios = [own / plain for own, plain in zip(judged, alone, strict=True)]
    return {
        "requests": len(requests),
        "vLLM alone, seconds": statistics.median(alone),
        "judge, seconds": statistics.median(judged),
        "judge, requests/s": len(requests) / statistics.median(judged),
        "judge / vLLM alone": statistics.median(ratios),
        "ratios": ratios,
    }


class _Started(Engine):
    """The engine that is running already."""

    def __init__(self, engine: VLLMEngine, running: RunningEngine) -> None:
        super().__init__(engine.config)
        self.name, self.least_slice = engine.name, engine.least_slice
        self._engine, self._running = engine, running

    def revision(self) -> str | None:
        return self._engine.revision()

    @contextmanager
    def start(self) -> Iterator[RunningEngine]:
        yield self._running


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, default=4, help="of the model")
    given = parser.parse_args()
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    with tempfile.TemporaryDirectory() as folder:
        model = str(save_random_llama(f"{folder}/llama", layers=given.layers))
        arguments = {"enforce_eager": True, "max_model_len": 1024}
        found = measure(model, given.pairs // 20, given.rounds, arguments)
    for name, value in found.items():
        print(f"{name:<24}{value if isinstance(value, list) else f'{value:10.4g}'}")
    RESULTS.parent.mkdir(exist_ok=True)
    write_atomically(RESULTS, json.dumps(found, indent=2).encode())


if __name__ == "__main__":
    main()
