"""The embeddings endpoint of a server as an encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from pydantic import Field

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.errors import EngineError
from recbole_dtlns.llm.openai_embeddings import EmbeddingServer
from recbole_dtlns.llm.openai_engine import Server
from recbole_dtlns.llm.under_way import as_they_come
from recbole_dtlns.text.model_config import ModelConfig, ModelEncoder, counter_of, load_tokenizer


class OpenAIEncoder(ModelEncoder):
    """Sends the texts to any server with OpenAI's embeddings endpoint, in batches.

    Attributes:
        server: how to reach it.
    """

    class Config(ModelConfig):
        """Settings of a server."""

        base_url: str | None = None
        """openai: the server, such as http://localhost:8000/v1; default OpenAI's."""
        api_key_env: str | None = None
        """openai: NAME of the environment variable that holds the key, such as OPENAI_API_KEY; never the key."""
        tokenizer: str | None = None
        """openai: folder or name of the model's tokenizer, for counting tokens in a dry run."""
        dimensions: int | None = Field(None, ge=1)
        """openai: length of the vectors to ask for, for models that can shorten theirs; default the model's own."""
        concurrency: int = Field(8, ge=1)
        """openai: requests under way at once."""
        timeout_seconds: float = Field(120.0, gt=0)
        """openai: seconds for one attempt, from connecting to the last byte of the reply."""
        retries: int = Field(6, ge=0)
        """openai: further attempts after 408, 409, 429, 5xx and connection faults."""

    config: Config
    name = "openai"
    version = 1

    def __init__(self, config: ComponentConfig | None = None, /, **fields: Any) -> None:
        super().__init__(config, **fields)
        own = self.config
        self.server = Server(
            own.base_url,
            own.api_key_env,
            own.concurrency,
            own.timeout_seconds,
            own.retries,
            own.engine_args,
            keys="dtlns_text_",
        )

    def inputs(self) -> dict[str, Any]:
        own = self.config
        return {
            "encoder": self.name,
            "model": self.model,
            "revision": own.revision,
            "prompt": own.prompt,
            "dimensions": own.dimensions,
            "arguments": own.engine_args,
        }

    def token_counter(self) -> Callable[[Sequence[str]], int] | None:
        own = self.config
        if own.tokenizer is None:
            return None
        return counter_of(load_tokenizer(own.tokenizer, None, self.name), own.prompt)

    @contextmanager
    def start(self) -> Iterator[_Running]:
        with EmbeddingServer.connected(self.server, self.model, self.config.dimensions) as server:
            yield _Running(server, self.config)


class _Running:
    def __init__(self, server: EmbeddingServer, config: OpenAIEncoder.Config) -> None:
        self._server, self._config = server, config
        self.answered_by: str | None = None
        self.truncated = self.tokens = 0

    def encode(self, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        size, prompt = self._config.batch_size, self._config.prompt
        length: int | None = None
        starts = range(0, len(texts), size)
        answers = as_they_come(
            starts,
            lambda start: self._server.embed([prompt + text for text in texts[start : start + size]]),
            self._config.concurrency,
        )
        for start, found in answers:
            length = length or found.vectors.shape[1]
            if found.vectors.shape[1] != length:
                raise EngineError(
                    f"the server sent vectors of {length} numbers, and then of {found.vectors.shape[1]}: it has "
                    "several models under one name"
                )
            self.answered_by = found.model
            self.tokens += found.tokens
            yield np.arange(start, start + len(found.vectors)), found.vectors
