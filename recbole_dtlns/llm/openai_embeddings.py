"""Embeddings from any OpenAI-compatible server, with the official client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_dtlns.errors import DTLNSError, EngineError
from recbole_dtlns.llm.bounded_http import bounded_http
from recbole_dtlns.llm.engine import optional_import
from recbole_dtlns.llm.openai_engine import INSTALL, Server, named_model

_LARGEST_REPLY = 64 << 20  # bytes; 256 vectors of 4,096 numbers have some 20 MiB
_SHOWN = 500
_ABOUT_THE_KEY = (401, 403)


@dataclass(frozen=True)
class Embedded:
    """The answer to one request.

    Attributes:
        vectors: of the texts in their order, float32 [n, d].
        tokens: that the server counted.
        model: the name under which it says that it answered; None where it names none.
    """

    vectors: np.ndarray
    tokens: int
    model: str | None


class EmbeddingServer:
    """Asks one model of a server for vectors. Make it with `connected`.

    Args:
        library: the module `openai`.
        client: its client.
        server: how the server is reached.
        model: its name there.
        dimensions: length of the vectors to ask for; None: the model's own.
    """

    def __init__(self, library: Any, client: Any, server: Server, model: str, dimensions: int | None) -> None:
        self._library, self._client, self._server = library, client, server
        self._model, self._dimensions = model, dimensions

    @classmethod
    @contextmanager
    def connected(cls, server: Server, model: str, dimensions: int | None = None) -> Iterator[EmbeddingServer]:
        """Ready to be asked; nothing is sent yet.

        Raises:
            InstallationError: the client is not installed.
            ConfigError: the key is missing.
        """
        library = optional_import("openai", "openai", INSTALL)
        key = server.key()
        with bounded_http(library, server.timeout, _LARGEST_REPLY) as http:
            client = library.OpenAI(api_key=key, base_url=server.base_url, max_retries=server.retries, http_client=http)
            yield cls(library, client, server, model, dimensions)

    def embed(self, texts: Sequence[str]) -> Embedded:
        """The vectors of some texts, in one request; tried again where that may help.

        Raises:
            EngineError: the server cannot be asked, or what it sends are no vectors of these texts.
        """
        library, keys = self._library, self._server.keys
        body = {"model": self._model, "input": list(texts), "encoding_format": "float", "dimensions": self._dimensions}
        body = {key: value for key, value in {**body, **self._server.arguments}.items() if value is not None}
        try:
            reply = self._client.post("/embeddings", body=body, cast_to=object)
        except library.APIStatusError as error:
            raise EngineError(self._refused(error)) from None
        except library.APIConnectionError as error:  # connection faults and timeouts
            if isinstance(error.__cause__, DTLNSError):  # older versions wrap our own errors too
                raise error.__cause__ from None
            detail = self._shown(f"{error} ({error.__cause__})")
            raise EngineError(f"cannot reach {self._where()}: {detail}; check {keys}base_url") from None
        except (library.APIResponseValidationError, ValueError, RecursionError) as error:
            raise EngineError(f"{self._where()} sent what is no JSON: {self._shown(error)}") from None
        return self._read(reply, len(texts))

    def _read(self, reply: Any, count: int) -> Embedded:
        try:
            rows = {int(each.get("index", place)): each["embedding"] for place, each in enumerate(reply["data"])}
            vectors = np.array([rows[place] for place in range(count)], dtype=np.float64)
            if len(rows) != count or vectors.ndim != 2 or vectors.shape[1] == 0:
                raise ValueError(f"{len(rows)} vectors of {count} texts")
            with np.errstate(over="ignore"):
                vectors = vectors.astype(np.float32)
            if not np.isfinite(vectors).all():
                raise ValueError("a number is none (NaN or infinity)")
            tokens = int((reply.get("usage") or {}).get("prompt_tokens") or 0)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise EngineError(
                f"{self._where()} sent no embeddings ({type(error).__name__}: {self._shown(error)}): it gets "
                f"{count} texts a request and must give each a vector of one length. Check {self._server.keys}model"
            ) from None
        if self._dimensions is not None and vectors.shape[1] != self._dimensions:
            raise EngineError(
                f"{self._where()} sent vectors of {vectors.shape[1]} numbers, and {self._server.keys}dimensions is "
                f"{self._dimensions}: leave it out, for a model that cannot shorten its vectors"
            )
        name = named_model(reply)
        return Embedded(vectors, tokens, None if name is None else self._server.without_key(name))

    def _refused(self, error: Any) -> str:
        status, keys = error.status_code, self._server.keys
        message = self._shown(error.message)
        if status in _ABOUT_THE_KEY and self._server.api_key_env is not None:
            message = "what it says is not repeated here, as it may be about the key"
        if 300 <= status < 400:
            return (
                f"{self._where()} sends requests on elsewhere (HTTP {status}), and texts go to no address that was not "
                f"named: if that is right, set {keys}base_url to it"
            )
        if status in (408, 409, 429) or status >= 500:
            return (
                f"{self._where()} fails with HTTP {status} after {self._server.retries} retries: {message}. What it "
                f"answered is kept: run again to go on, with fewer {keys}concurrency where it is overloaded"
            )
        advice = {
            401: f"Check the key in the variable that {keys}api_key_env names",
            403: f"Check the key in the variable that {keys}api_key_env names",
            404: f"Check {keys}model and {keys}base_url (it usually ends in /v1)",
        }.get(status, f"Check {keys}model, {keys}dimensions, {keys}batch_size and {keys}engine_args")
        return f"{self._where()} refused the request with HTTP {status}: {message}. {advice}"

    def _shown(self, text: object) -> str:
        """What a message shows of it; cut last, or a part of the key could be left at the end."""
        return self._server.without_key(text)[:_SHOWN]

    def _where(self) -> str:
        return self._server.base_url or "the OpenAI server"
