"""A server that sends the bytes it is told to, at any pace: replies that no HTTP library would write."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any, Self

Told = Callable[[str], Iterable[bytes]]  # the request, headers and body -> the pieces of the reply


def completion(**fields: Any) -> dict[str, Any]:
    """A chat completion that says yes."""
    top = [{"token": "yes", "logprob": -0.1}, {"token": "no", "logprob": -2.4}]
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": "yes"},
        "logprobs": {"content": [{**top[0], "top_logprobs": top}]},
    }
    usage = {"prompt_tokens": 9, "completion_tokens": 1}
    return {"id": "1", "object": "chat.completion", "model": "a-model", "choices": [choice], "usage": usage, **fields}


def http(status: int, body: Any, headers: str = "", reason: str = "OK", kind: str = "application/json") -> bytes:
    """A whole reply; `body` is sent as JSON unless it is a text."""
    payload = (body if isinstance(body, str) else json.dumps(body)).encode()
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {len(payload)}\r\n{headers}\r\n"
    return head.encode() + payload


class RawServer:
    """A context manager; every request gets what `told` makes of it.

    Args:
        told: the reply's pieces; between two of them the server waits.
        pause: seconds between pieces.

    Attributes:
        requests: how many came in.
        connections: how many were made for them.
        whole: how many replies were sent to their end.
        sent: bytes of replies.
    """

    def __init__(self, told: Told, pause: float = 0.0) -> None:
        self.told, self.pause = told, pause
        self.requests = self.whole = self.sent = 0
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.set()
        socket.create_connection(self._listening.getsockname()).close()  # wakes the thread that accepts
        self._accepting.join()
        for thread in self._threads:
            thread.join()
        self._listening.close()

    @property
    def connections(self) -> int:
        return len(self._threads)

    def _accept(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            if self._closing.is_set():
                connection.close()
                return
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(0.05)
        with connection:
            try:
                while request := self._read(connection):
                    self.requests += 1
                    connection.settimeout(20)
                    for piece in self.told(request):
                        connection.sendall(piece)
                        self.sent += len(piece)
                        if self._closing.wait(self.pause):
                            return
                    self.whole += 1
                    connection.settimeout(0.05)
            except OSError:  # the client has gone
                return

    def _read(self, connection: socket.socket) -> str:
        """The next request; empty when there will be none."""
        found = b""
        while not self._closing.is_set():
            try:
                part = connection.recv(1 << 16)
            except TimeoutError:
                continue
            if not part:  # the client has gone, perhaps in the middle of a request
                return ""
            found += part
            head, end_of_head, body = found.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            if end_of_head and len(body) >= (int(length[1]) if length else 0):
                return found.decode()
        return ""
