"""A language model as a judge: asks what is not yet known, keeps every answer, and counts what it cost."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field
from tqdm import tqdm

from recbole_dtlns.components import ComponentConfig, SharedKey
from recbole_dtlns.errors import EngineError
from recbole_dtlns.judges.contract import Judge, Label, Question, Verdicts
from recbole_dtlns.judges.language_model.answers import Reason, read_reply
from recbole_dtlns.judges.language_model.asked import Asked
from recbole_dtlns.judges.language_model.label_card import verdict_set_card
from recbole_dtlns.judges.language_model.prompt import Prompt
from recbole_dtlns.judges.language_model.requests import Inquiry, RequestPlan
from recbole_dtlns.judges.language_model.verdict_store import ShardWriter, VerdictStore
from recbole_dtlns.llm.asking import replies
from recbole_dtlns.llm.engine import Engine, RunningEngine
from recbole_dtlns.llm.table import ENGINES
from recbole_dtlns.storage.artefact_store import cache_folder

logger = logging.getLogger("recbole_dtlns")

_NO_CODE = "candidate or history is in neither tree"
_NO_TEXT = "candidate or history says nothing"
_FIRST_BUDGETED_SLICE = 64


class LLMJudge(Judge):
    """Puts every candidate to a language model, once ever.

    Args:
        config: its settings; or give them by name.
        engine: where the model runs; None: the engine that the settings name, with its own defaults.
        fields: settings by name.
    """

    class Config(ComponentConfig):
        """Settings of judges that ask a language model."""

        prefix = "judge_"

        engine_name: Annotated[str, SharedKey("engine")] = "openai"
        """What brings an LLM judge's requests to the model: openai (any server that takes OpenAI's requests),
        transformers or vllm (in this process), ray (on a cluster, or to several servers), recorded (replies in a
        file)."""
        threshold: float = Field(0.5, gt=0, le=1)
        """Probability that makes a positive."""
        prompt: str = "pair"
        """pair: one candidate a request. user: all of a user's candidates in one. Both show tree codes alone; pair_text
        and user_text show what items say (dtlns_text_fields) in their place. Or a prompt file of your own."""
        text_characters: int = Field(200, ge=1)
        """Prompts that show text: characters of an item's text."""
        max_history: int = Field(0, ge=0)
        """Show only this many of a user's latest items; 0: all. What is too long loses its oldest items."""
        slice: int = Field(2048, ge=1)
        """Requests handed to the engine at once."""
        max_abstain_rate: float = Field(0.1, ge=0, le=1)
        """Stop with examples when more than this share of the replies cannot be used."""
        reask_abstained: bool = False
        """Ask again about pairs on which the model abstained."""
        max_tokens_total: int | None = Field(None, ge=1)
        """Ask nothing more once this many tokens were computed; what is left abstains (distilled: the small model
        answers)."""
        cache_dir: Annotated[str | None, SharedKey("cache_dir")] = None
        """Where prepared artefacts are kept and shared by runs; default $RECBOLE_DTLNS_CACHE, else
        ~/.cache/recbole_dtlns."""

    config: Config
    version = 1
    keeps_verdicts = True

    def __init__(
        self, config: ComponentConfig | None = None, /, *, engine: Engine | None = None, **fields: Any
    ) -> None:
        super().__init__(config, **fields)
        self.engine = ENGINES.make(self.config.engine_name, {}) if engine is None else engine
        self.prompt = Prompt.load(self.config.prompt)
        self._requests_at_once = max(self.config.slice, self.engine.least_slice)
        self.llm, self.called = self, self.engine.name
        self._session: ExitStack | None = None
        self._running: RunningEngine | None = None

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any], name: str = "") -> Self:
        config = cls.Config.from_flat(flat, name)
        return cls(config, engine=ENGINES.make(config.engine_name, flat))

    @property
    def reads_text(self) -> bool:  # type: ignore[override]
        return self.prompt.reads_text

    def inputs(self) -> dict[str, Any]:
        return {
            "judge": self.engine.name,
            **self._identity(),
            "threshold": self.config.threshold,
            "history": self.config.max_history,
            **({"text_characters": self.config.text_characters} if self.reads_text else {}),
        }

    def store(self) -> VerdictStore:
        """The verdict set of this model and prompt."""
        return VerdictStore(cache_folder(self.config.cache_dir) / "llm-verdicts", self._identity())

    def plan(self, question: Question) -> RequestPlan:
        """The requests that the question needs, whether answered before or not."""
        config = self.config
        return RequestPlan(question, self.prompt, self.store().id, config.max_history, config.text_characters)

    def judge(self, question: Question) -> Verdicts:
        """Verdicts for all candidates; asks only what the verdict set does not hold.

        Raises:
            EngineError: the model cannot be asked at all; answers so far are kept.
            JudgeError: too many abstentions; the message holds examples.
            ArtefactError: an answer cannot be written.
        """
        return self.verdicts(question, self.ask(question))

    def known(self, question: Question) -> Verdicts | None:
        """As `Judge.known`: what the verdict set holds."""
        asked = Asked(self.plan(question), self.store(), abstain_limit=1.0)
        return self.verdicts(question, asked) if (asked.place >= 0).any() else None

    @contextmanager
    def session(self) -> Iterator[None]:
        """Keep the engine, once started, for several rounds of asking."""
        with ExitStack() as self._session:
            try:
                yield
            finally:
                self._running = self._session = None

    def ask(self, question: Question, max_tokens: int | None = None) -> Asked:
        """Ask what is not known yet, within the limits; `max_tokens` replaces `max_tokens_total`."""
        plan, store = self.plan(question), self.store()
        with store.lock():
            asked = Asked(plan, store, self.config.max_abstain_rate, _either(max_tokens, self.config.max_tokens_total))
            known = asked.count_known(self.config.reask_abstained)
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
        label[found] = np.where(rows["probability"] >= self.config.threshold, Label.POSITIVE, Label.NEGATIVE)
        label[found[~answered]] = Label.ABSTAIN
        abstained = Counter({Reason(code).sentence: int(count) for code, count in _counts(rows["reason"][~answered])})
        unknown = int((~asked.plan.askable).sum())
        abstained[_NO_TEXT if self.reads_text else _NO_CODE] = unknown
        abstained["not answered"] = n - len(found) - unknown
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
        with closing(replies(self.engine, engine, [inquiry.request() for inquiry in inquiries])) as found:
            for position, reply in found:
                keys = inquiries[position].keys
                kept = asked.of_one_model(reply)
                answers = read_reply(self.prompt, kept, len(keys))
                # Both are known since the first reply, where they had to be found out.
                asked.mode = shard.header["mode"] = engine.mode
                shard.header["answered_by"] = asked.answered_by
                if kept.lasting:
                    shard.append(list(keys), answers)
                asked.count(answers, kept.detail or kept.text or "")
                advance()

    def _slice_size(self, asked: Asked) -> int:
        limit = asked.token_limit
        if limit is None:
            return self._requests_at_once
        if not asked.requests:
            return min(_FIRST_BUDGETED_SLICE, self._requests_at_once)
        if not asked.tokens:
            raise EngineError(
                f"the engine '{self.engine.name}' does not say how many tokens it computed, so "
                "dtlns_judge_max_tokens_total cannot be kept: limit the pairs instead (dtlns_judge_max_llm_pairs)"
            )
        affordable = (limit - asked.tokens) * asked.requests // asked.tokens
        return max(0, min(affordable, self._requests_at_once))


def _either(first: int | None, second: int | None) -> int | None:
    return second if first is None else first


def _take(inquiries: Iterator[Inquiry], count: int) -> list[Inquiry]:
    return [inquiry for _, inquiry in zip(range(count), inquiries, strict=False)]


def _counts(values: np.ndarray) -> Iterator[tuple[int, int]]:
    yield from zip(*(part.tolist() for part in np.unique(values, return_counts=True)), strict=True)
