"""A real server on this machine that answers chat completions by rule, and fails as it is told to."""

from __future__ import annotations

import hashlib
import json
import math
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Fault = Callable[[str, int], str | None]  # prompt, how often it was seen before -> name of a fault

PROMPT_TOKENS, CACHED_TOKENS = 50, 20
TOKENS = PROMPT_TOKENS - CACHED_TOKENS + 1  # computed for one answer


def truth(prompt: str) -> float:
    """Probability of `yes` for a user message."""
    return 0.02 + 0.96 * int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:2], "big") / 65535


def chosen(prompt: str) -> list[int]:
    """Numbers of the positive candidates in a user message about several."""
    lines = prompt.split("Candidates:\n")[1].split("\n")
    return [number for number, line in enumerate(lines, start=1) if truth(line.split(": ")[1]) >= 0.5]


class FaultyServer:
    """A context manager.

    Args:
        logprobs, schema: whether the server takes these parts of a request; "ignored": without saying so.
        fault: the fault of a request, if any: a name below, or a status code.
        delay: seconds before every answer.

    Attributes:
        answered: how often each prompt was answered.
        modes: how often each mode was asked in.
        requests: how many came in.
        most_at_once: requests under way at the same time.
    """

    def __init__(
        self, logprobs: bool | str = True, schema: bool | str = True, fault: Fault | None = None, delay: float = 0.0
    ) -> None:
        self.logprobs = logprobs
        self.schema = schema
        self.fault = fault or (lambda prompt, before: None)
        self.delay = delay
        self.answered: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.modes: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.requests = self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.closing = threading.Event()

    def __enter__(self) -> Self:
        self._server = _Quiet(("127.0.0.1", 0), _Handler)
        self._server.told = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def completion(self, body: dict[str, Any], prompt: str) -> dict[str, Any]:
        """What a model would say."""
        several = "Candidates:" in prompt
        answer: Any = chosen(prompt) if several else "yes" if truth(prompt) >= 0.5 else "no"
        message = {"role": "assistant", "content": json.dumps(answer) if several else answer}
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": message}
        if body.get("logprobs") and self.logprobs is True:
            likely = [("yes", truth(prompt) * 0.75), (" Yes", truth(prompt) * 0.25), ("no", 1 - truth(prompt))]
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
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

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
        try:
            time.sleep(told.delay)
            self._answer(told, body, prompt, told.fault(prompt, before))
        finally:
            with told.lock:
                told.at_once -= 1

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
            told.closing.wait(60)
        elif fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif fault == "half a body":
            self._send(200, whole, part=0.5)
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

    def _send(self, status: int, content: Any, kind: str = "application/json", part: float = 1.0) -> None:
        payload = (content if isinstance(content, str) else json.dumps(content)).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(payload)))
        if status >= 400:
            self.send_header("retry-after-ms", "20")
        self.end_headers()
        self.wfile.write(payload[: int(len(payload) * part)])
        if part < 1:
            self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        """Quiet."""
