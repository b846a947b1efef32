"""What generating with a language model would cost, before anything is asked."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from recbole_dtlns.data.interactions import TrainInteractions
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.generation.language_model.generator import KEYS, LLMGenerator, Work
from recbole_dtlns.generation.language_model.profiles import Profiles, Step
from recbole_dtlns.llm.asking import TextAsker
from recbole_dtlns.llm.cost import PROBED, count_tokens, time_in_words, tokens_in_words
from recbole_dtlns.llm.request import Message, Request
from recbole_dtlns.text.contract import Encoder
from recbole_dtlns.text.cost import EncodingCost, encoding_cost

_TOKENIZER = "dtlns_judge_tokenizer"


@dataclass(frozen=True)
class StepCost:
    """The cost of the requests of one kind.

    Attributes:
        name: of the step.
        requests: different ones.
        answered: of them, how many have a reply already.
        sampled, tokens, new_tokens: as `count_tokens` found of the others.
        reply_tokens: that their replies have at most.
        probed, seconds: how many were asked for real, and how long all that are left take at that speed.
        example: one prompt; None where nothing is to be asked.
    """

    name: str
    requests: int
    answered: int
    sampled: int
    tokens: int | None
    new_tokens: int | None
    reply_tokens: int
    probed: int
    seconds: float | None
    example: list[Message] | None

    def text(self) -> str:
        """For the terminal."""
        pending = self.requests - self.answered
        lines = [f"{self.name}: {self.requests} requests, {self.answered} answered before, {pending} to make"]
        if pending:
            lines.append(f"  {tokens_in_words(self.sampled, pending, self.tokens, self.new_tokens, _TOKENIZER)}")
            lines.append(f"  reply tokens: at most {self.reply_tokens}")
            lines.append(f"  {time_in_words(self.seconds, self.probed)}")
        lines += [f"[{message['role']}] {message['content']}" for message in self.example or ()]
        return "\n".join(lines)


@dataclass(frozen=True)
class GenerationCost:
    """The cost of generating.

    Attributes:
        steps: what a language model would be asked.
        queries: what would be encoded in the form `vector`; else None.
        by_template: whether profiles by template stand for ones that are not written yet, which are shorter or longer.
    """

    steps: tuple[StepCost, ...]
    queries: EncodingCost | None
    by_template: bool

    def text(self) -> str:
        """For the terminal."""
        parts = [step.text() for step in self.steps]
        if self.queries is not None:
            parts.append(self.queries.text())
        if self.by_template:
            parts.append("Profiles by template stand for those that are not written yet.")
        return "\n\n".join(parts)


def generation_cost(
    generator: LLMGenerator, train: TrainInteractions, encoder: Encoder | None, probe: int | None = None
) -> GenerationCost:
    """Count requests and tokens, and measure the speed where that is wanted; no judge is asked, no teacher fitted.

    Args:
        generator: whose work is meant.
        train: the train pairs, with `content`.
        encoder: of the items.
        probe: requests of each kind to ask for real, whose replies are kept; 0 for none; None for some where the model
            runs on this machine, and none where requests would leave it.

    Raises:
        ConfigError: items say nothing, or the encoder has no vectors of queries.
        EngineError: a tokenizer cannot be loaded, or the model cannot be probed.
    """
    work = generator.work(train)
    costs, written = [], True
    replies: list[Sequence[str]] = []
    for step in work.profile_steps:
        costs.append(_step_cost(generator, work, step, probe))
        known = step.kept.read(set(step.requests.ids))
        written &= len(known) == len(set(step.requests.ids))
        replies.append(step.texts(known))
    profiles = work.profiles(replies)
    queries = None
    if generator.writes_negatives:
        costs.append(_step_cost(generator, work, work.negatives(profiles), probe))
    else:
        queries = _query_cost(generator, work, profiles, encoder)
    return GenerationCost(tuple(costs), queries, not written)


def pending_steps(generator: LLMGenerator, train: TrainInteractions) -> list[tuple[Step, list[Request]]]:
    """The requests that can be made now and have no reply: for profiles, or once these are written, for negatives."""
    work = generator.work(train)
    found, replies = [], []
    for step in work.profile_steps:
        known = step.kept.read(set(step.requests.ids))
        replies.append(step.texts(known))
        found.append((step, list(_missing(step, known))))
    if any(requests for _, requests in found) or not generator.writes_negatives:
        return found
    step = work.negatives(work.profiles(replies))
    return [(step, list(_missing(step, step.kept.read(set(step.requests.ids)))))]


def _missing(step: Step, known: dict[str, str]) -> Iterator[Request]:
    return map(step.requests.make, step.requests.missing(known.__contains__).tolist())


def _step_cost(generator: LLMGenerator, work: Work, step: Step, probe: int | None) -> StepCost:
    known = step.kept.read(set(step.requests.ids))
    places = step.requests.missing(known.__contains__)
    count, engine = len(places), generator.engine

    def requests(start: int, stop: int) -> Iterator[Request]:
        return map(step.requests.make, places[start:stop].tolist())

    sampled, tokens, new_tokens = count_tokens(engine.encoder(), requests, count)
    wanted = min((PROBED if engine.local else 0) if probe is None else probe, max(count - 1, 0))
    seconds = None
    if wanted:
        with TextAsker(engine, generator.config.max_failed, KEYS) as asker:
            work.ask(step, asker, 1)  # starts the engine
            start = time.perf_counter()
            work.ask(step, asker, wanted)
            seconds = (time.perf_counter() - start) / wanted * (count - 1 - wanted)
    example = step.requests.make(int(places[0])).messages if count else None
    return StepCost(
        name=step.name,
        requests=len(known) + count,
        answered=len(known),
        sampled=sampled,
        tokens=tokens,
        new_tokens=new_tokens,
        reply_tokens=count * step.prompt.max_tokens,
        probed=wanted,
        seconds=seconds,
        example=example,
    )


def _query_cost(generator: LLMGenerator, work: Work, profiles: Profiles, encoder: Encoder | None) -> EncodingCost:
    if encoder is None:
        raise ConfigError(
            "dtlns_hnlmrec_generator: llm makes negatives in the space of texts: leave out space: teacher"
        )
    query = work.queries(profiles)
    return encoding_cost("queries", encoder, [query(place) for place in range(len(work.pairs))], generator.cache)
