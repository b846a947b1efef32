"""A real server on this machine that answers chat completions by rule, and fails as it is told to.

    from recbole_dtlns.conformance import FaultyServer

    with FaultyServer(fault=lambda prompt, before: "503" if before == 0 else None) as server:
        ...  # ask server.url; every request fails once

It listens on 127.0.0.1 alone, at a port of its own.
"""

from __future__ import annotations

import hashlib
import json
import math
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Script = Callable[[str, int], str | None]  # prompt, how often it was seen before -> name of a fault, or None

# What a server can do to a request, beside answering it with a status: "400", "429", "503" ...
FAULTS = {
    "hang": "no answer before the server is closed",
    "drip": "the answer, a byte at a time",
    "reset": "the connection is reset",
    "half a body": "the connection is closed in the middle of the answer",
    "surplus": "behind the answer comes another, which says the opposite and is nobody's",
    "huge": "a body that does not end",
    "html": "the page of a gateway, with status 200",
    "not json": "JSON that breaks off, with status 200",
    "wrong json": "JSON that is no chat completion",
    "nothing said": "a chat completion without a choice",
    "chatter": "a chat completion that says none of the answers that were wanted",
}
PATIENCE = 300.0  # seconds: ends what hangs, and is beyond what a busy machine needs
_DRIP = 0.02  # seconds between two bytes

PROMPT_TOKENS, CACHED_TOKENS = 50, 20
TOKENS = PROMPT_TOKENS - CACHED_TOKENS + 1  # computed for one answer


def truth(prompt: str) -> float:
    """Probability of `yes` for a user message: by its hash, so that about half of them are answered `yes`."""
    return 0.02 + 0.96 * int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:2], "big") / 65535


def chosen(prompt: str) -> list[int]:
    """Numbers of the positive candidates in a user message about several."""
    lines = prompt.split("Candidates:\n")[1].split("\n")
    return [number for number, line in enumerate(lines, start=1) if truth(line.split(": ")[1]) >= 0.5]


def end_of_requests() -> None:
    """Wait for the threads that ask a server: a run that stops does not wait for them, and their sockets are open."""
    for thread in threading.enumerate():
        if thread.name.startswith("asking-"):
            thread.join(PATIENCE)


class FaultyServer:
    """A context manager.

    Args:
        logprobs, schema: whether the server takes these parts of a request; "ignored": without saying so.
        fault: the fault of a request, if any: one of `FAULTS`, or a status code. An error's message repeats the key
            that came with the request.
        delay: seconds before every answer.

    Attributes:
        answered: how often each prompt was answered.
        seen: how often each prompt came in.
        modes: how often each mode was asked in: "log-probabilities", "schema" or "text".
        keys: the values of the header Authorization that came in.
        requests: how many came in.
        at_once: requests that have come in and have not begun to be answered.
        most_at_once: the most of them so far.
        surplus: bytes sent of bodies that do not end.
    """

    def __init__(
        self, logprobs: bool | str = True, schema: bool | str = True, fault: Script | None = None, delay: float = 0.0
    ) -> None:
        self.logprobs = logprobs
        self.schema = schema
        self.fault = fault or (lambda prompt, before: None)
        self.delay = delay
        self.answered: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.modes: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.requests = self.at_once = self.most_at_once = self.surplus = 0
        self.lock = threading.Lock()
        self.closing = threading.Event()

    def __enter__(self) -> Self:
        """From here on `url` is the address, such as http://127.0.0.1:40001/v1."""
        self._server = _Quiet(("127.0.0.1", 0), _Handler)
        self._server.told = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """When this returns, no thread and no socket of the server is left."""
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()
        self._server.server_close()

    def completion(self, body: dict[str, Any], prompt: str, opposite: bool = False) -> dict[str, Any]:
        """What a model would say: by `truth`, or where the user message lists candidates, by `chosen`."""
        several = "Candidates:" in prompt
        yes = 1 - truth(prompt) if opposite else truth(prompt)
        answer: Any = "yes" if yes >= 0.5 else "no"
        if several:
            answer = [] if opposite else chosen(prompt)
        message = {"role": "assistant", "content": json.dumps(answer) if several else answer}
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": message}
        if body.get("logprobs") and self.logprobs is True:
            likely = [("yes", yes * 0.75), (" Yes", yes * 0.25), ("no", 1 - yes)]
            likely += [(f"filler{number}", 1e-9) for number in range(body["top_logprobs"] - 3)]
            top = [{"token": token, "logprob": math.log(share)} for token, share in likely]
            choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
        if "response_format" in body and self.schema is True:
            message["content"] = json.dumps({"answer": answer})
        usage = {
            "prompt_tokens": PROMPT_TOKENS,
            "completion_tokens": 1,
            "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS},
        }
        return {"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage}


class _Quiet(ThreadingHTTPServer):
    told: FaultyServer
    daemon_threads = False  # so that closing waits for them
    request_queue_size = 256

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End the connections that clients keep open; their threads wait for the next request."""
        for connection in self._open.copy():
            with suppress(OSError):  # it was closed meanwhile
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no error here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Quiet

    def do_POST(self) -> None:
        told = self.server.told
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["messages"][-1]["content"]
        mode = "log-probabilities" if "logprobs" in body else "schema" if "response_format" in body else "text"
        with told.lock:
            told.requests += 1
            told.modes[mode] += 1
            told.keys.add(self.headers["Authorization"])
            before = told.seen[prompt]
            told.seen[prompt] += 1
            told.at_once += 1
            told.most_at_once = max(told.most_at_once, told.at_once)
        told.closing.wait(told.delay)
        fault = told.fault(prompt, before)
        with told.lock:  # before a byte is sent: then the client may start its next request
            told.at_once -= 1
        self._answer(told, body, prompt, fault)

    def _answer(self, told: FaultyServer, body: dict[str, Any], prompt: str, fault: str | None) -> None:
        if "logprobs" in body and told.logprobs is False:
            return self._send(400, {"error": {"message": "logprobs are not supported"}})
        if "response_format" in body and told.schema is False:
            return self._send(422, {"error": {"message": "response_format is not supported"}})
        whole = told.completion(body, prompt)
        if fault is None:
            with told.lock:
                told.answered[prompt] += 1
            return self._send(200, whole)
        if fault == "hang":
            told.closing.wait()
            self.close_connection = True
        elif fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True  # the reset is sent when the last file of the socket is closed
        elif fault == "half a body":
            self._send(200, whole, part=0.5)
        elif fault == "drip":
            self._send(200, whole, pause=_DRIP)
        elif fault == "surplus":
            self._send(200, whole, behind=told.completion(body, prompt, opposite=True))
        elif fault == "huge":
            self._send_endlessly(told)
        elif fault == "html":
            self._send(200, "<html>Bad gateway</html>", kind="text/html")
        elif fault == "not json":
            self._send(200, '{"choices": [')
        elif fault == "wrong json":
            self._send(200, {"choices": [{"text": "yes"}]})
        elif fault == "nothing said":
            self._send(200, {"choices": []})
        elif fault == "chatter":
            choice = {"message": {"role": "assistant", "content": "Well, that depends"}}
            self._send(200, {"choices": [choice]})
        else:
            message = f"told to fail with {fault}; the key was {self.headers['Authorization']}"
            self._send(int(fault), {"error": {"message": message}})
        return None

    def _send(
        self,
        status: int,
        content: Any,
        kind: str = "application/json",
        part: float = 1.0,
        pause: float = 0.0,
        behind: Any = None,
    ) -> None:
        payload = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(payload)))
        if status >= 400:
            self.send_header("retry-after-ms", "20")
        self.end_headers()
        if pause:
            self._drip(payload, pause)
        else:
            # In one piece: what comes later, when the next request is sent, nobody can tell from its answer.
            self.wfile.write(payload[: int(len(payload) * part)] + (_whole_reply(behind) if behind else b""))
        if part < 1:
            self.close_connection = True

    def _drip(self, payload: bytes, pause: float) -> None:
        with suppress(OSError):  # the client has gone
            for byte in payload:
                if self.server.told.closing.wait(pause):
                    break
                self.wfile.write(bytes([byte]))
            else:
                return
        self.close_connection = True

    def _send_endlessly(self, told: FaultyServer) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(1 << 40))
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):  # the client has gone
            while not told.closing.is_set():
                self.wfile.write(b" " * 0x10000)
                with told.lock:
                    told.surplus += 0x10000

    def log_message(self, *arguments: object) -> None:
        """Quiet."""


def _whole_reply(content: Any) -> bytes:
    payload = json.dumps(content).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
    return head.encode() + payload
