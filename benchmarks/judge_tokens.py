"""Tokens that an LLM computes per labelled pair, on the published Sports candidates, with a real tokenizer.

Counting rule. A token is computed when no cache holds it. Requests are made in user order, and a request reuses what it
begins with in common with the request before it: exactly ("perfect cache"), or in whole blocks of 16 tokens, as vLLM's
prefix cache keeps them. Every request generates at least one token, which counts. Pairs whose prompts are equal are
asked once and labelled together. The baseline asks one request per pair with the whole history as JSON objects (item id
and both paths, levels joined by dashes) and no cache, as the published script does; its system prompt is ours, which is
shorter than the published one, and its reply is not counted.

`distilled` is measured on other candidates and trees, because an audit has to hide train positives and make all that
knows them anew (ItemKNN's candidates, trees of the pairs that are left). Its LLM is a stand-in that answers by the
prefix rule with noise: it shows what learning from a sample costs and keeps, not how good an LLM is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from mistral_common.protocol.instruct.messages import SystemMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from sports_question import add_argument, audited_question, sports_question

from recbole_dtlns.conformance.rule_engine import shared_prefix, shown
from recbole_dtlns.judges.audit import audit
from recbole_dtlns.judges.contract import Question, Rehearsal
from recbole_dtlns.judges.distilled import DistilledJudge
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.judges.language_model.prompt import Prompt
from recbole_dtlns.judges.language_model.requests import Inquiry, RequestPlan
from recbole_dtlns.llm.cost import shared_beginning
from recbole_dtlns.llm.engine import Engine
from recbole_dtlns.llm.reply import Reply
from recbole_dtlns.llm.request import Message, Request
from recbole_dtlns.storage.whole_files import write_atomically

BLOCK = 16
RESULTS = Path(__file__).parent / "results" / "judge_tokens.json"
TOKENIZER = MistralTokenizer.v3(is_tekken=True)


def encode(messages: Sequence[Message]) -> list[int]:
    roles: dict[str, Any] = {"system": SystemMessage, "user": UserMessage}
    chat = [roles[message["role"]](content=message["content"]) for message in messages]
    return TOKENIZER.encode_chat_completion(ChatCompletionRequest(messages=chat)).tokens


def baseline(question: Question, pairs: np.ndarray) -> int:
    """Prompt tokens of one full-history request per pair."""
    structure, semantic = question.structure.paths, question.semantic.paths
    train, candidates = question.train, question.candidates

    @cache
    def described(item: int) -> str:
        return json.dumps(
            {"item_id": int(train.item_tokens[item]), "co_path": structure[item], "emb_path": semantic[item]}
        )

    system = {"role": "system", "content": Prompt.load("pair").system}
    total = 0
    for pair in pairs.tolist():
        history = ", ".join(described(item) for item in train.matrix[[candidates.users[pair]]].indices.tolist())
        text = f"USER_HISTORY:\n[{history}]\n\nCANDIDATE_ITEMS:\n[{described(int(candidates.items[pair]))}]"
        total += len(encode([system, {"role": "user", "content": text}]))
    return total


def computed(inquiries: Sequence[Inquiry], replies: int) -> dict[str, int]:
    """Tokens of these requests under each cache; `replies` are generated ones in all."""
    whole = perfect = blocks = 0
    before: list[int] = []
    for inquiry in inquiries:
        ids = encode(inquiry.messages())
        shared = shared_beginning(before, ids)
        whole += len(ids)
        perfect += len(ids) - shared
        blocks += len(ids) - shared // BLOCK * BLOCK
        before = ids
    return {name: count + replies for name, count in (("none", whole), ("perfect", perfect), ("blocks of 16", blocks))}


def shapes(question: Question, users: int) -> dict[str, float]:
    """Tokens per labelled pair of users taken evenly from all."""
    asked = np.unique(question.candidates.users)
    chosen = asked[np.linspace(0, len(asked) - 1, users).astype(int)]
    part = question.about(np.flatnonzero(np.isin(question.candidates.users, chosen)))
    labelled = len(part.candidates)
    every = np.linspace(0, labelled - 1, min(labelled, 2000)).astype(int)
    found = {"baseline: whole history per pair, JSON": baseline(part, every) / len(every)}
    for shape in ("pair", "user"):
        plan = RequestPlan(part, Prompt.load(shape), "benchmark", 0)
        requests = list(plan.inquiries(plan.missing(np.zeros(labelled, dtype=bool))))
        if shape == "pair":
            replies = len(requests)
        else:  # the longest reply: every number of the list
            texts = [str(list(range(1, len(request.candidates) + 1))) for request in requests]
            replies = sum(len(encode([{"role": "user", "content": text}])) for text in texts)
        for kept, count in computed(requests, replies).items():
            found[f"shape {shape}, cache: {kept}"] = count / labelled
    return found


class StandIn(Engine):
    """Answers by the prefix rule, surer the longer the prefix, with noise that depends on the prompt alone."""

    name = "stand-in"
    mode, truncated = "log-probabilities", 0

    def __init__(self) -> None:
        super().__init__(model="prefix rule with noise")
        self.tokens = 0
        self._before: list[int] = []

    @contextmanager
    def start(self) -> Iterator[StandIn]:
        yield self

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        for position, request in enumerate(requests):
            ids = encode(request.messages)
            new = len(ids) - shared_beginning(self._before, ids) // BLOCK * BLOCK + 1
            self._before = ids
            self.tokens += new
            history, (candidate,) = shown(request)
            share = max(
                shared_prefix(item, candidate[tree]) / min(len(item), len(candidate[tree]))
                for tree in (0, 1)
                for item in history[tree]
            )
            digest = hashlib.blake2b(bytes.fromhex(request.id), digest_size=4).digest()
            noise = int.from_bytes(digest, "little") / 2**32 - 0.5
            positive = 1 / (1 + math.exp(-8 * (share - 0.6) - 2 * noise))
            yield position, Reply(probabilities=(positive, 1 - positive), tokens=new)


def distilled(question: Question, rehearsal: Rehearsal, share: float) -> dict[str, Any]:
    """AUC and tokens of the stand-in asked about all pairs, and about a share of them."""
    everything, some = StandIn(), StandIn()
    budget = round(share * len(question.candidates))
    with tempfile.TemporaryDirectory() as folder:
        whole = LLMJudge(engine=everything, cache_dir=f"{folder}/whole")
        part = DistilledJudge(engine=some, cache_dir=f"{folder}/part", max_llm_pairs=budget)
        scores = audit({"LLM": whole, "distilled": part}, rehearsal, seed=1)
    pairs = scores.candidates
    return {
        "pairs": pairs,
        "asked by distilled": budget,
        "AUC of the LLM": scores.scores["LLM"].auc,
        "AUC of distilled": scores.scores["distilled"].auc,
        "same label": scores.agreement["LLM"]["distilled"],
        "tokens per pair, LLM": everything.tokens / pairs,
        "tokens per pair, distilled": some.tokens / pairs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_argument(parser)
    parser.add_argument("--users", type=int, default=1000, help="users whose requests are counted")
    parser.add_argument("--share", type=float, default=0.05, help="share of the pairs that distilled may ask about")
    given = parser.parse_args()
    per_pair = shapes(sports_question(given.sports), given.users)
    first = next(iter(per_pair.values()))
    print(f"tokens computed per labelled pair, Mistral's tekken tokenizer, {given.users} users of Sports\n")
    for name, count in per_pair.items():
        print(f"  {name:<42} {count:8.1f}   {first / count:6.1f}x fewer")
    small = distilled(*audited_question(given.sports, share=0.1, seed=1), given.share)
    small["fewer than baseline"] = first / small["tokens per pair, distilled"]
    print("\ndistilled, vLLM's block cache, stand-in LLM, hidden-positive audit\n")
    for name, value in small.items():
        print(f"  {name:<42} {value:8.4g}")
    RESULTS.parent.mkdir(exist_ok=True)
    write_atomically(RESULTS, json.dumps({"per pair": per_pair, "distilled": small}, indent=2).encode())


if __name__ == "__main__":
    main()
