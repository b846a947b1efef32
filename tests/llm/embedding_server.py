"""A real server on this machine whose embeddings are known, and that fails as a test says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from recbole_dtlns.conformance import RawServer
from recbole_dtlns.conformance.raw_server import http

Change = Callable[[dict[str, Any], int], bytes | None]  # the request's body, how many came before -> another reply


def vector_of(text: str, dimensions: int = 3) -> list[float]:
    """What the server says of a text: its length, its first letter's number, and ones."""
    return [float(len(text)), float(ord(text[0])), 1.0, 1.0][:dimensions]


def embeddings(texts: list[str], dimensions: int = 3, **fields: Any) -> dict[str, Any]:
    """The reply, the last text's first: the order of what is sent means nothing."""
    data = [{"index": place, "embedding": vector_of(text, dimensions)} for place, text in enumerate(texts)]
    return {"model": "a-model", "data": data[::-1], "usage": {"prompt_tokens": len(texts)}, **fields}


class Embedder:
    """Answers requests, and notes the texts in them; a context manager.

    Args:
        change: gives another reply than the due one, where it gives any.
    """

    def __init__(self, change: Change = lambda body, before: None) -> None:
        self.change = change
        self.texts: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.heads: list[str] = []
        self.server = RawServer(self._told)

    def __enter__(self) -> Embedder:
        self.url = self.server.__enter__().url
        return self

    def __exit__(self, *error: object) -> None:
        self.server.__exit__(*error)

    def _told(self, request: str) -> list[bytes]:
        head, _, content = request.partition("\r\n\r\n")
        body = json.loads(content)
        other = self.change(body, len(self.bodies))
        self.heads.append(head)
        self.bodies.append(body)
        if other is not None:
            return [other]
        self.texts += body["input"]
        return [http(200, embeddings(body["input"], body.get("dimensions") or 3))]
