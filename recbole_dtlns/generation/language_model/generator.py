"""A language model as a generator: it describes a hard negative, or reads the pair, and its hidden state is one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field

from recbole_dtlns.components import ComponentConfig, InputFile, Seed, SharedKey
from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.data.user_texts import UserFields
from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.generation.contract import GenerationTask, Generator
from recbole_dtlns.generation.language_model.profiles import (
    Profiles,
    Step,
    item_step,
    negative_texts,
    pair_values,
    user_step,
)
from recbole_dtlns.generation.language_model.prompts import GenerationPrompt
from recbole_dtlns.generation.language_model.query_vectors import QueryVectors, mapped
from recbole_dtlns.generation.language_model.shown import Shown
from recbole_dtlns.generation.matching import nearest_free
from recbole_dtlns.guidance.generated import GeneratedNegatives, MatchedItems, VectorsByPair
from recbole_dtlns.llm.asking import AskedTexts, TextAsker
from recbole_dtlns.llm.engine import Engine
from recbole_dtlns.llm.table import ENGINES
from recbole_dtlns.numerics.counter_random import counter_uniform
from recbole_dtlns.numerics.factors import unit_rows
from recbole_dtlns.storage.artefact_store import cache_folder
from recbole_dtlns.storage.sealed_arrays import Arrays
from recbole_dtlns.text.adapter_record import QUERY_FILE, AdapterRecord
from recbole_dtlns.text.contract import Encoder, TextwiseEncoder
from recbole_dtlns.text.kept_vectors import encoded_others
from recbole_dtlns.text.model_config import ModelEncoder

logger = logging.getLogger("recbole_dtlns")

KEYS = "dtlns_hnlmrec_llm_"
_VECTOR_FOLDER = "query-vectors"
_TEXTS_AT_ONCE = 1024


class LLMGenerator(Generator):
    """`llm`: what a language model makes of a user's and an item's profile (HNLMRec, arXiv 2504.05050).

    In the form `text` it is asked, once for every train pair, to describe an item that resembles the user's taste and
    is not of interest. The encoder of the items turns the description into a vector, and real items that are near to
    it, that the user has not, and that the judge calls no false negatives, stand for it; or the vector itself does,
    where the item nearest to it is no such. In the form `vector` nothing is written: a query about the pair is encoded,
    by the encoder of the items, and that is the vector. So queries and items lie in one space. The published
    fine-tuning that makes such vectors hard negatives is `recbole-dtlns finetune`.

    Every reply is kept by what was asked, and nothing is asked twice.

    Args:
        config: its settings; or give them by name.
        engine: where the model runs that is asked; None: where none is.
    """

    encodes = True

    class Config(ComponentConfig):
        """What is asked, of whom, and what becomes of the replies."""

        prefix = "hnlmrec_llm_"

        form: Literal["text", "vector"] = "text"
        """llm: text (the model describes a hard negative for every pair), or vector (the encoder, dtlns_text_encoder,
        reads a query about the pair; for one that `recbole-dtlns finetune` made)."""
        engine: str | None = None
        """llm: what brings its requests to the model, as dtlns_engine; default the same."""
        model: str | None = None
        """llm: the model that is asked; default dtlns_judge_model."""
        revision: str | None = None
        """llm: which state of that model; default dtlns_judge_revision where the model is the judge's."""
        engine_args: dict[str, Any] | None = None
        """llm: further arguments, as dtlns_judge_engine_args; default the same where the model is the judge's."""
        replies_file: Annotated[str | None, InputFile("replies of a language model")] = None
        """llm: with dtlns_hnlmrec_llm_engine: recorded, the file of batch replies (.jsonl)."""
        prompt: str = "negative"
        """llm, form text: what is asked for a pair; negative, or a prompt file of your own."""
        query: str = "query"
        """llm, form vector, and finetune: what is encoded for a pair; query, or a prompt file of your own."""
        user_prompt: str = "profile_user"
        """llm: what is asked for a user's profile; profile_user, or a prompt file of your own."""
        item_prompt: str = "profile_item"
        """llm: what is asked for an item's profile; profile_item, or a prompt file of your own."""
        profile: Annotated[Literal["template", "llm"], SharedKey("hnlmrec_profile")] = "template"
        """llm: a user's and an item's profile: template (the latest items that the user chose; the item's text), or llm
        (what the model writes of that: a request for each)."""
        history: int = Field(20, ge=1)
        """llm: a user's latest items that are shown."""
        text_characters: int = Field(200, ge=1)
        """llm: characters of an item's, or a user's, text that are shown."""
        match: Literal["items", "text"] = "items"
        """llm, form text: the negative is one of the real items nearest to the description (items), or the vector of
        the description itself (text)."""
        items: Annotated[int, SharedKey("hnlmrec_items")] = Field(4, ge=1)
        """rule, llm, projection: real items matched to every train pair at most; every epoch a row meets one of
        them."""
        max_pairs: int | None = Field(None, ge=1)
        """llm: ask about this many train pairs at most, drawn at random; the others keep the sampler's negative."""
        max_failed: float = Field(0.1, ge=0, le=1)
        """llm: stop with examples when more than this share of the requests has no reply."""
        cache_dir: Annotated[str | None, SharedKey("cache_dir")] = None
        """Where prepared artefacts are kept and shared by runs; default $RECBOLE_DTLNS_CACHE, else
        ~/.cache/recbole_dtlns."""
        seed: Seed = 42

    config: Config
    version = 1

    def __init__(self, config: Config | None = None, /, *, engine: Engine | None = None, **fields: Any) -> None:
        super().__init__(config, **fields)
        own = self.config
        self.writes_negatives = own.form == "text"
        self.writes_profiles = own.profile == "llm"
        if engine is None and (self.writes_negatives or self.writes_profiles):
            engine = _engine(own, {})
        self._engine = engine
        key = KEYS + ("prompt" if self.writes_negatives else "query")
        self.prompt = (
            GenerationPrompt.load(own.prompt, "negative", key)
            if self.writes_negatives
            else GenerationPrompt.load(own.query, "query", key)
        )
        self._user_prompt = GenerationPrompt.load(own.user_prompt, "user_profile", f"{KEYS}user_prompt")
        self._item_prompt = GenerationPrompt.load(own.item_prompt, "item_profile", f"{KEYS}item_prompt")

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any], name: str = "") -> Self:
        config = cls.Config.from_flat(flat, name)
        asks = config.form == "text" or config.profile == "llm"
        return cls(config, engine=_engine(config, flat) if asks else None)

    @classmethod
    def keys_read(cls, flat: Mapping[str, Any], name: str) -> frozenset[str]:
        config = cls.Config.from_flat(flat, name)
        engine = config.engine or flat["engine"]
        settings: type[ComponentConfig] = getattr(ENGINES.get(engine), "Config", ComponentConfig)
        return super().keys_read(flat, name) | settings.keys(engine).keys() | UserFields.keys().keys()

    @property
    def engine(self) -> Engine:
        """Where the model runs that is asked.

        Raises:
            ConfigError: these settings ask none.
        """
        if self._engine is None:
            raise ConfigError(f"{KEYS}form: vector with dtlns_hnlmrec_profile: template asks no language model")
        return self._engine

    @property
    def prompts(self) -> tuple[str, ...]:
        own = (self._user_prompt.digest, self._item_prompt.digest) if self.writes_profiles else ()
        return (self.prompt.digest, *own)

    def inputs(self) -> dict[str, Any]:
        own = self.config
        found: dict[str, Any] = {
            "generator": "llm",
            "form": own.form,
            "profile": own.profile,
            "prompts": list(self.prompts),
            "history": own.history,
            "characters": own.text_characters,
            "pairs": own.max_pairs,
            "seed": own.seed if own.max_pairs else None,
        }
        if self._engine is not None:
            found |= {"model": self._engine.model, "revision": self._engine.revision()}
        if self.writes_negatives:
            found |= {"match": own.match, "items": own.items if own.match == "items" else None}
        return found

    @property
    def cache(self) -> Path:
        """Folder of what is kept between runs."""
        return cache_folder(self.config.cache_dir)

    # --- what is asked ---

    def work(self, train: TrainInteractions) -> Work:
        """What is to be asked about these train pairs, step by step; nothing is asked here.

        Raises:
            ConfigError: the items say nothing.
        """
        own = self.config
        pairs = np.arange(train.matrix.nnz)
        if own.max_pairs is not None and own.max_pairs < len(pairs):
            drawn = counter_uniform(own.seed, 0, pairs, 1)[:, 0]
            pairs = np.sort(np.argsort(drawn, kind="stable")[: own.max_pairs])
        return Work(self, Shown(train, own.history, own.text_characters), pairs)

    def profile_steps(self, shown: Shown) -> list[Step]:
        """The requests for profiles: of users, and of items; none where these are made by template."""
        if not self.writes_profiles:
            return []
        told = (self.engine, self.cache, shown)
        return [user_step(self._user_prompt, *told), item_step(self._item_prompt, *told)]

    # --- what becomes of it ---

    def generate(self, task: GenerationTask) -> tuple[Arrays, dict[str, Any]]:
        """Items int32 [n_pairs, k], or rows int64 [n_pairs] of a table that is kept here or in a file of its own.

        Raises:
            ConfigError: the encoder has vectors of items alone, or items say nothing.
            EngineError: the model cannot be asked, or too many requests have no reply; what it wrote is kept.
            DataError: no pair got a negative.
        """
        encoder = task.encoder
        if encoder is None:
            raise ConfigError(
                "dtlns_hnlmrec_generator: llm makes negatives in the space of texts: leave out dtlns_hnlmrec_space: "
                "teacher"
            )
        work = self.work(task.train)
        if self._engine is None:
            return self._encoded(task, work, work.profiles([]), self._of_queries(encoder))
        with TextAsker(self.engine, self.config.max_failed, KEYS) as asker:
            replies = [step.texts(work.ask(step, asker).texts) for step in work.profile_steps]
            profiles = work.profiles(replies)
            if not self.writes_negatives:
                return self._encoded(task, work, profiles, self._of_queries(encoder))
            negatives = work.negatives(profiles)
            found = work.ask(negatives, asker)
            return self._placed(task, work, list(negative_texts(negatives.texts(found.texts))), encoder)

    def restored(self, arrays: Arrays, task: GenerationTask) -> GeneratedNegatives:
        if "items" in arrays:
            return MatchedItems(task.train, arrays["items"], task.vectors)
        if "table" in arrays:
            return VectorsByPair(task.train, arrays["table"], arrays["rows"])
        folder = arrays["folder"].tobytes().decode()
        return VectorsByPair(task.train, mapped(self.cache / _VECTOR_FOLDER, folder), arrays["rows"])

    def _of_queries(self, encoder: Encoder) -> TextwiseEncoder:
        """The encoder, where it has vectors of queries; a warning where it was trained on other profiles.

        Raises:
            ConfigError: it has none, or was trained with another template.
        """
        if not isinstance(encoder, TextwiseEncoder):
            raise ConfigError(
                f"{KEYS}form: vector takes the vectors of a model: set dtlns_text_encoder to transformers, vllm or "
                "openai"
            )
        record = AdapterRecord.of(encoder.model) if isinstance(encoder, ModelEncoder) else None
        if record is not None and isinstance(encoder, ModelEncoder):
            if record.query != self.prompt.user:
                raise ConfigError(
                    f"the adapter {encoder.model} was trained on queries of another template: set {KEYS}query: "
                    f"{Path(encoder.model) / QUERY_FILE}"
                )
            if record.shown != self.shown_settings:
                logger.warning(
                    "%s was trained on profiles by %s, and is given ones by %s",
                    *(encoder.model, record.shown, self.shown_settings),
                )
        return encoder

    @property
    def shown_settings(self) -> dict[str, Any]:
        """How profiles are made."""
        own = self.config
        return {"profile": own.profile, "history": own.history, "text_characters": own.text_characters}

    def _encoded(
        self, task: GenerationTask, work: Work, profiles: Profiles, encoder: TextwiseEncoder
    ) -> tuple[Arrays, dict[str, Any]]:
        """The vectors of queries about the pairs."""
        queries = QueryVectors(
            self.cache / _VECTOR_FOLDER, encoder.unprompted(), work.queries(profiles), len(work.pairs)
        )
        cut = queries.make(task.progress)
        rows = np.full(task.train.matrix.nnz, -1, dtype=np.int64)
        rows[work.pairs] = np.arange(len(work.pairs))
        return {"rows": rows, "folder": np.frombuffer(queries.name.encode(), np.uint8)}, {"cut": cut, **work.facts}

    def _placed(
        self, task: GenerationTask, work: Work, texts: Sequence[str], encoder: Encoder
    ) -> tuple[Arrays, dict[str, Any]]:
        """What was described [n of `work.pairs`], as items or vectors."""
        train = task.train
        distinct = sorted({text for text in texts if text})
        if not distinct:
            raise DataError(
                f"the language model described no hard negative for any of {len(texts)} train pairs: look at its "
                f"replies in {self.cache / 'llm-replies'}, and change {KEYS}prompt or the model"
            )
        vectors = unit_rows(encoded_others(encoder, train, distinct, self.cache))
        place = {text: number for number, text in enumerate(distinct)}
        rows = np.full(train.matrix.nnz, -1, dtype=np.int64)
        rows[work.pairs] = [place.get(text, -1) for text in texts]
        silent = np.linalg.norm(vectors, axis=1) == 0  # no word of it is one that items say
        rows[(rows >= 0) & silent[rows]] = -1
        facts = {"described": len(distinct), "none": sum(not text for text in texts), **work.facts}
        if self.config.match == "items":
            padded = np.vstack([vectors, np.zeros((1, vectors.shape[1]), dtype=np.float32)])
            return {"items": nearest_free(task, lambda part: padded[rows[part]], self.config.items)}, facts
        known = np.flatnonzero(rows >= 0)
        blocked = _nearest_is_blocked(task, vectors, rows, known)
        rows[known[blocked]] = -1
        task.progress(len(rows))
        return {"rows": rows, "table": vectors.astype(np.float16)}, {**facts, "of_blocked_items": int(blocked.sum())}


@dataclass
class Work:
    """What a generator has to ask about some train pairs.

    Attributes:
        generator: whose work it is.
        shown: what is shown of users and items.
        pairs: places of the pairs that are asked about, int64.
        facts: counts of the requests that were made.
    """

    generator: LLMGenerator
    shown: Shown
    pairs: np.ndarray
    facts: dict[str, int] = field(default_factory=lambda: {"requests": 0, "tokens": 0, "failed": 0})

    def __post_init__(self) -> None:
        self.profile_steps = self.generator.profile_steps(self.shown)

    def profiles(self, replies: Sequence[Sequence[str]]) -> Profiles:
        """Of users and items, given what was written of both; by template, where nothing was asked."""
        return Profiles.written(self.shown, *replies) if replies else Profiles.by_template(self.shown)

    def negatives(self, profiles: Profiles) -> Step:
        """The requests for hard negatives."""
        own = self.generator
        _, items = self._ids
        askable = [bool(profiles.items[item]) for item in items]
        at_pair = self._values(profiles)
        return Step.of("hard negatives", own.prompt, own.engine, own.cache, at_pair, askable)

    def queries(self, profiles: Profiles) -> Callable[[int], str]:
        """What is encoded for each of the pairs."""
        values = self._values(profiles)
        return lambda place: self.generator.prompt.text(values(place))

    def _values(self, profiles: Profiles) -> Callable[[int], dict[str, str]]:
        """What the placeholders stand for, by place in `pairs`."""
        values = pair_values(self.shown, profiles, self.generator.prompt)
        users, items = self._ids
        return lambda place: values(users[place], items[place])

    @cached_property
    def _ids(self) -> tuple[list[int], list[int]]:
        users, items = (ids[self.pairs].tolist() for ids in self.shown.train.histories())
        return users, items

    def ask(self, step: Step, asker: TextAsker, most: int | None = None) -> AskedTexts:
        """Ask what a step's kept replies do not hold."""
        found = asker.ask(step.name, step.requests, step.kept, most)
        for name, count in (("requests", found.asked), ("tokens", found.tokens), ("failed", found.failed)):
            self.facts[name] += count
        return found


def _told(config: LLMGenerator.Config, flat: Mapping[str, Any]) -> dict[str, Any]:
    """Flat keys for an engine, which are the judge's but for what the generator has of its own."""
    own: dict[str, Any] = {"judge_labels": config.replies_file}
    if config.model is not None:
        own |= {"judge_model": config.model, "judge_revision": None, "judge_engine_args": {}}
    if config.revision is not None:
        own["judge_revision"] = config.revision
    if config.engine_args is not None:
        own["judge_engine_args"] = config.engine_args
    return {**flat, **own}


def _engine(config: LLMGenerator.Config, flat: Mapping[str, Any]) -> Engine:
    return ENGINES.make(config.engine or flat.get("engine", "openai"), _told(config, flat))


def _nearest_is_blocked(task: GenerationTask, vectors: np.ndarray, rows: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Of pairs whose negative is a vector, whether the item nearest to it is observed or a false negative, bool."""
    chunks = range(0, len(vectors), _TEXTS_AT_ONCE)
    nearest = [np.argmax(vectors[start : start + _TEXTS_AT_ONCE] @ task.vectors.T, axis=1) for start in chunks]
    train, found = task.train, task.false_negatives
    keys = train.histories()[0][known] * train.n_items + np.concatenate(nearest)[rows[known]]
    blocked: np.ndarray = np.isin(keys, np.append(train.pair_keys, found.users * train.n_items + found.items))
    return blocked
