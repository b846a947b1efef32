"""A language model as a judge: asks what is not yet known, keeps every answer, and counts what it cost."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from recbole_dtlns.errors import EngineError
from recbole_dtlns.judges.contract import Judge, Label, Question, Verdicts
from recbole_dtlns.judges.language_model.answers import Reason, read_reply
from recbole_dtlns.judges.language_model.asked import Asked
from recbole_dtlns.judges.language_model.label_card import verdict_set_card
from recbole_dtlns.judges.language_model.prompt import Prompt
from recbole_dtlns.judges.language_model.requests import Inquiry, RequestPlan
from recbole_dtlns.judges.language_model.verdict_store import ShardWriter, VerdictStore
from recbole_dtlns.llm.engine import Engine, RunningEngine
from recbole_dtlns.storage.artefact_store import cache_folder

logger = logging.getLogger("recbole_dtlns")

_NO_CODE = "candidate or history is in neither tree"
_FIRST_BUDGETED_SLICE = 64


@dataclass(frozen=True)
class Limits:
    """When an LLM judge stops.

    Attributes:
        requests_per_slice: handed to the engine at once; the answers are on disk before the next ones are made.
        max_abstain_rate: share of abstentions beyond which the run stops, in [0, 1].
        max_tokens: computed tokens after which nothing more is asked; None for no limit.
    """

    requests_per_slice: int = 2048
    max_abstain_rate: float = 0.1
    max_tokens: int | None = None


class LLMJudge(Judge):
    """Puts every candidate to a language model, once ever.

    Args:
        engine: where the model runs.
        prompt: what it is told.
        store: folder of all verdict sets.
        threshold: a pair is positive from this probability on, in (0, 1].
        max_history: only this many of a user's latest items are shown; 0 means all.
        reask_abstained: whether to ask again about pairs on which the model abstained.
        limits: when to stop.
    """

    version = 1
    keeps_verdicts = True

    def __init__(
        self,
        engine: Engine,
        prompt: Prompt,
        store: str | Path,
        threshold: float = 0.5,
        max_history: int = 0,
        reask_abstained: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self.engine = engine
        self.prompt = prompt
        self.root = store
        self.threshold = threshold
        self.max_history = max_history
        self.reask_abstained = reask_abstained
        self.limits = limits or Limits()
        self._session: ExitStack | None = None
        self._running: RunningEngine | None = None

    @classmethod
    def from_settings(cls, engine: Callable[[Any], Engine], settings: Any) -> LLMJudge:
        """The judge that a run's settings describe, with the engine that `engine` makes of them."""
        made = engine(settings)
        slice_ = max(settings.judge_slice, getattr(made, "least_slice", 1))
        return cls(
            made,
            Prompt.load(settings.judge_prompt),
            cache_folder(settings.cache_dir) / "llm-verdicts",
            settings.judge_threshold,
            settings.judge_max_history,
            settings.judge_reask_abstained,
            Limits(slice_, settings.judge_max_abstain_rate, settings.judge_max_tokens_total),
        )

    def inputs(self) -> dict[str, Any]:
        return {"judge": self.engine.name, **self._identity(), "threshold": self.threshold, "history": self.max_history}

    def store(self) -> VerdictStore:
        """The verdict set of this model and prompt."""
        return VerdictStore(self.root, self._identity())

    def plan(self, question: Question) -> RequestPlan:
        """The requests that the question needs, whether answered before or not."""
        return RequestPlan(question, self.prompt, self.store().id, self.max_history)

    def judge(self, question: Question) -> Verdicts:
        """Verdicts for all candidates; asks only what the verdict set does not hold.

        Raises:
            EngineError: the model cannot be asked at all; answers so far are kept.
            JudgeError: too many abstentions; the message holds examples.
            ArtefactError: an answer cannot be written.
        """
        return self.verdicts(question, self.ask(question))

    @contextmanager
    def session(self) -> Iterator[None]:
        """Keep the engine, once started, for several rounds of asking."""
        with ExitStack() as self._session:
            try:
                yield
            finally:
                self._running = self._session = None

    def ask(self, question: Question, max_tokens: int | None = None) -> Asked:
        """Ask what is not known yet, within the limits; `max_tokens` replaces that of the limits."""
        plan, store = self.plan(question), self.store()
        with store.lock():
            asked = Asked(plan, store, self.limits.max_abstain_rate, _either(max_tokens, self.limits.max_tokens))
            known = asked.count_known(self.reask_abstained)
            pending = plan.missing(known)
            try:
                if len(pending):
                    logger.info(
                        "%s: %d of %d pairs answered before; asking %s in %d requests",
                        self.engine.name,
                        int(known.sum()),
                        len(known),
                        self.engine.model,
                        plan.count(pending),
                    )
                    self._ask(asked, pending)
            except KeyboardInterrupt:
                logger.warning("interrupted: %d new verdicts are kept; run again to go on", asked.answered)
                raise
            finally:
                asked.read_again()
                if asked.answered or not (store.folder / "LABELS.md").exists():
                    store.write_text("LABELS.md", verdict_set_card(store.identity, asked.stored, asked.facts()))
        return asked

    def verdicts(self, question: Question, asked: Asked) -> Verdicts:
        """The verdicts of the question as far as they are known; what was never answered is an abstention."""
        n = len(question.candidates)
        probability, label = np.full(n, np.nan, dtype=np.float32), np.full(n, Label.ABSTAIN, dtype=np.int8)
        found = np.flatnonzero((asked.place >= 0) & asked.plan.askable)
        rows = asked.stored.rows[asked.place[found]]
        probability[found] = rows["probability"]
        answered = rows["label"] != Label.ABSTAIN
        label[found] = np.where(rows["probability"] >= self.threshold, Label.POSITIVE, Label.NEGATIVE)
        label[found[~answered]] = Label.ABSTAIN
        abstained = Counter({Reason(code).sentence: int(count) for code, count in _counts(rows["reason"][~answered])})
        abstained[_NO_CODE] = int((~asked.plan.askable).sum())
        abstained["not answered"] = n - len(found) - abstained[_NO_CODE]
        facts = {**asked.facts(), "tokens_of_all": int(np.sum(rows["tokens"], dtype=np.int64))}
        return Verdicts(probability, label, {why: count for why, count in abstained.items() if count}, facts)

    def remark(self, facts: Mapping[str, Any]) -> str:
        how = f"asked {facts['model']} in {facts['requests']} requests, {facts['tokens']} tokens"
        return f"{how} ({facts['mode']})" if facts["mode"] else how

    def _identity(self) -> dict[str, Any]:
        return {"model": self.engine.model, "revision": self.engine.revision(), "prompt": self.prompt.digest}

    def _ask(self, asked: Asked, pending: np.ndarray) -> None:
        with (
            self._started() as engine,
            asked.store.writer(self.engine.name, engine.mode) as shard,
            tqdm(total=asked.plan.count(pending), desc="asking", unit="request", disable=None) as bar,
        ):
            inquiries = asked.plan.inquiries(pending)
            while True:
                slice_ = _take(inquiries, self._slice_size(asked))
                if not slice_:
                    break
                self._answer(engine, slice_, shard, asked, bar.update)
            asked.truncated = engine.truncated
        if asked.truncated:
            logger.warning("%d prompts lost their oldest items: the model's context is too short", asked.truncated)

    @contextmanager
    def _started(self) -> Iterator[RunningEngine]:
        if self._session is None:
            with self.engine.start() as running:
                yield running
        else:
            self._running = self._running or self._session.enter_context(self.engine.start())
            yield self._running

    def _answer(
        self,
        engine: RunningEngine,
        inquiries: list[Inquiry],
        shard: ShardWriter,
        asked: Asked,
        advance: Callable[[], object],
    ) -> None:
        waiting = set(range(len(inquiries)))
        with closing(engine.answer([inquiry.request() for inquiry in inquiries])) as replies:
            for position, reply in replies:
                keys = inquiries[position].keys
                kept = asked.of_one_model(reply)
                answers = read_reply(self.prompt, kept, len(keys))
                # Both are known since the first reply, where they had to be found out.
                asked.mode = shard.header["mode"] = engine.mode
                shard.header["answered_by"] = asked.answered_by
                if kept.lasting:
                    shard.append(list(keys), answers)
                asked.count(answers, kept.detail or kept.text or "")
                waiting.discard(position)
                advance()
        if waiting:
            raise EngineError(f"the engine '{self.engine.name}' gave no reply to {len(waiting)} of its requests")

    def _slice_size(self, asked: Asked) -> int:
        limit = asked.token_limit
        if limit is None:
            return self.limits.requests_per_slice
        if not asked.requests:
            return min(_FIRST_BUDGETED_SLICE, self.limits.requests_per_slice)
        if not asked.tokens:
            raise EngineError(
                f"the engine '{self.engine.name}' does not say how many tokens it computed, so "
                "dtlns_judge_max_tokens_total cannot be kept: limit the pairs instead (dtlns_judge_max_llm_pairs)"
            )
        affordable = (limit - asked.tokens) * asked.requests // asked.tokens
        return max(0, min(affordable, self.limits.requests_per_slice))


def _either(first: int | None, second: int | None) -> int | None:
    return second if first is None else first


def _take(inquiries: Iterator[Inquiry], count: int) -> list[Inquiry]:
    return [inquiry for _, inquiry in zip(range(count), inquiries, strict=False)]


def _counts(values: np.ndarray) -> Iterator[tuple[int, int]]:
    yield from zip(*(part.tolist() for part in np.unique(values, return_counts=True)), strict=True)
