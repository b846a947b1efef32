"""A Hugging Face model in this process: one forward pass per request, on CPU or GPU."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from pydantic import Field
from safetensors import SafetensorError

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.errors import EngineError
from recbole_dtlns.llm.chat_model import INSTALL, ChatTokenizer, local_model, model_revision
from recbole_dtlns.llm.engine import LOG_PROBABILITIES, TEXT, Engine, EngineConfig, optional_import
from recbole_dtlns.llm.reply import NoReply, Reply, probabilities
from recbole_dtlns.llm.request import OneOf, Request


class TransformersEngine(Engine):
    """Loads `AutoModelForCausalLM` when there is something to ask.

    Attributes:
        device: where the model runs: the GPU if there is one.
    """

    class Config(EngineConfig):
        """Settings of a model in this process."""

        batch_size: int = Field(32, ge=1)
        """Prompts in one forward pass."""

    config: Config
    name = "transformers"
    what_model = "the folder or name of a model"
    local = True
    loads_model = True

    def __init__(self, config: ComponentConfig | None = None, /, **fields: Any) -> None:
        super().__init__(config, **fields)
        self.model = local_model(self.model)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self._arguments = dict(self.config.engine_args)
        self._template_arguments = self._arguments.pop("chat_template_kwargs", {})

    def revision(self) -> str | None:
        return model_revision(self.model, self.config.revision)

    @contextmanager
    def start(self) -> Iterator[_Running]:
        transformers = optional_import("transformers", self.name, INSTALL)
        chat = ChatTokenizer.load(self.model, self.config.revision, self.name, self._template_arguments)
        try:
            network, loading = transformers.AutoModelForCausalLM.from_pretrained(
                self.model,
                revision=self.config.revision,
                output_loading_info=True,
                **{"dtype": "auto", **self._arguments},
            )
        except (OSError, ValueError, TypeError, SafetensorError) as error:
            raise EngineError(f"cannot load the model '{self.model}': {error}") from error
        if loading["missing_keys"]:  # they would be random, and so would the verdicts
            missing = ", ".join(sorted(loading["missing_keys"])[:3])
            raise EngineError(
                f"'{self.model}' lacks weights of the model that its config.json describes: {missing} ..."
            )
        yield _Running(network.to(self.device).eval(), chat.within(_context(network)), self.config.batch_size)

    def encoder(self) -> Callable[[Request], list[int]] | None:
        return ChatTokenizer.load(self.model, self.config.revision, self.name, self._template_arguments).ids


class _Running:
    def __init__(self, network: Any, chat: ChatTokenizer, batch_size: int) -> None:
        self.network = network
        self.chat = chat
        self.batch_size = batch_size
        self.mode = ""
        self.truncated = 0
        self._first_tokens: dict[OneOf, tuple[int, ...]] = {}
        accepted = inspect.signature(network.forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        self._takes_positions = "position_ids" in accepted
        # Beside the end token's, any id will do: padding is masked.
        self._padding = chat.tokenizer.pad_token_id or chat.tokenizer.eos_token_id or 0

    @torch.inference_mode()
    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        """Replies batch by batch; prompts of like length share a batch, so little is padded."""
        alike: dict[OneOf | None, list[int]] = {}  # by the answers of which one is wanted; None: written ones
        for position, request in enumerate(requests):
            alike.setdefault(request.wanted if isinstance(request.wanted, OneOf) else None, []).append(position)
        for wanted, positions in alike.items():
            self.mode = TEXT if wanted is None else LOG_PROBABILITIES
            for place, reply in self._alike(wanted, [requests[position] for position in positions]):
                yield positions[place], reply

    def _alike(self, wanted: OneOf | None, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        encoded: list[tuple[int, list[int]]] = []
        # Any two requests may come into one batch, which writes as long as its longest reply.
        reserved = max(map(_longest_text, requests))
        for position, (ids, cut) in enumerate(self.chat.encode_all(requests, reserved)):
            if ids is None:
                yield position, Reply(reason=NoReply.TOO_LONG)
            else:
                self.truncated += cut
                encoded.append((position, ids))
        encoded.sort(key=lambda pair: len(pair[1]))
        for start in range(0, len(encoded), self.batch_size):
            batch = encoded[start : start + self.batch_size]
            asked = [requests[position] for position, _ in batch]
            replies = self._texts(asked, batch) if wanted is None else self._probabilities(wanted, asked, batch)
            yield from zip((position for position, _ in batch), replies, strict=True)

    def _probabilities(
        self, wanted: OneOf, asked: list[Request], batch: list[tuple[int, list[int]]]
    ) -> Iterator[Reply]:
        if wanted not in self._first_tokens:
            self._first_tokens[wanted] = self.chat.first_tokens(asked[0], wanted)
        ids, mask = self._pad(batch)
        positions = {"position_ids": (mask.cumsum(1) - 1).clamp_min(0)} if self._takes_positions else {}
        logits = self.network(
            input_ids=ids, attention_mask=mask, use_cache=False, **positions, **self._last_only
        ).logits
        found = logits[:, -1, list(self._first_tokens[wanted])].double().tolist()
        for row, (_, tokens) in zip(found, batch, strict=True):
            shares = probabilities(row)
            reason, detail = (NoReply.MALFORMED, "the model's logits are no numbers") if shares is None else (None, "")
            yield Reply(probabilities=shares, reason=reason, detail=detail, tokens=len(tokens))

    def _texts(self, asked: list[Request], batch: list[tuple[int, list[int]]]) -> list[Reply]:
        ids, mask = self._pad(batch)
        most = max(map(_longest_text, asked))
        written = self.network.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=most, do_sample=False, pad_token_id=self._padding
        )
        replies = []
        for request, row, (_, tokens) in zip(asked, written[:, ids.shape[1] :].tolist(), batch, strict=True):
            row = row[: _longest_text(request)]  # others of the batch may write more
            text = self.chat.tokenizer.decode(row, skip_special_tokens=True)
            generated = sum(token != self._padding for token in row)
            replies.append(Reply(text=text, tokens=len(tokens) + generated))
        return replies

    def _pad(self, batch: list[tuple[int, list[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
        width = max(len(tokens) for _, tokens in batch)
        ids = torch.full((len(batch), width), self._padding, dtype=torch.long)
        mask = torch.zeros((len(batch), width), dtype=torch.long)
        for row, (_, tokens) in enumerate(batch):
            ids[row, width - len(tokens) :] = torch.tensor(tokens)
            mask[row, width - len(tokens) :] = 1
        return ids.to(self.network.device), mask.to(self.network.device)


def _longest_text(request: Request) -> int:
    return 0 if isinstance(request.wanted, OneOf) else request.wanted.max_tokens


def _context(network: Any) -> int | None:
    return getattr(network.config.get_text_config(), "max_position_embeddings", None)
