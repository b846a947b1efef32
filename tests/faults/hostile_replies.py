"""Replies of servers that are broken, overloaded or hostile; all of them may repeat the key that they were sent."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from random import Random

from damage import truncated, zeroed

from recbole_dtlns.conformance.raw_server import completion, http

KEY = "sk-canary/0123456789"
_PAGE = f"<html><body>Authorization: Bearer {KEY}</body></html>"
_ERROR = {"error": {"message": f"the key was {KEY}", "type": KEY}}


def good(request: str) -> bytes:
    """Yes or no, by what is asked, whatever the mode."""
    prompt = json.loads(request.partition("\r\n\r\n")[2])["messages"][-1]["content"]
    yes = 0.9 if zlib.crc32(prompt.encode()) % 2 else 0.1
    top = [{"token": "yes", "logprob": math.log(yes)}, {"token": "no", "logprob": math.log(1 - yes)}]
    content = completion()
    content["choices"][0]["message"]["content"] = "yes" if yes > 0.5 else "no"
    content["choices"][0]["logprobs"]["content"] = [{**top[0], "top_logprobs": top}]
    return http(200, content)


def dripping(request: str, random: Random) -> Iterator[bytes]:
    """A byte now and then; the server of the tests waits after every piece."""
    for byte in good(request):
        yield bytes([byte])


def huge(request: str, random: Random) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n"
    for _ in range(1000):
        yield b" " * 0x10000


def cut(request: str, random: Random) -> Iterable[bytes]:
    """The connection is closed early."""
    return [truncated(good(request), random)]


def zeros(request: str, random: Random) -> Iterable[bytes]:
    head, gap, body = good(request).partition(b"\r\n\r\n")
    return [head + gap + zeroed(body, random)]


def echo(request: str, random: Random) -> Iterable[bytes]:
    """The key in place of an answer."""
    content = completion(**{random.choice(["id", "object", "choices", "usage", "error"]): f"Bearer {KEY}"})
    del content["choices"]
    return [http(200, content)]


def _status(status: int, body: object, headers: str = "") -> Callable[[str, Random], Iterable[bytes]]:
    return lambda request, random: [http(status, body, headers)]


# What passes by itself: another attempt, or the next run, gets the answer.
PASSING: dict[str, Callable[[str, Random], Iterable[bytes]]] = {
    "500": _status(500, _ERROR),
    "503 as a page": _status(503, _PAGE),
    "429": _status(429, _ERROR, "retry-after-ms: 5\r\n"),
    "an error with 200": _status(200, _ERROR),
    "a page with 200": _status(200, _PAGE),
    "a text with 200": _status(200, KEY),
    "JSON that is no object": _status(200, [KEY]),
    "deep JSON": _status(200, "[" * 100_000),
    "nothing": lambda request, random: [b""],
    "no HTTP": lambda request, random: [f"{KEY}\r\n\r\n".encode()],
    "dripping": dripping,
    "huge": huge,
    "cut": cut,
    "zeros": zeros,
    "echo": echo,
}
# What stops the run.
FINAL: dict[str, Callable[[str, Random], Iterable[bytes]]] = {
    "401": _status(401, _ERROR),
    "404 as a page": _status(404, _PAGE),
    "a redirect": _status(307, "", f"Location: http://127.0.0.1:9/{KEY}\r\n"),
}


def files_with_key(folder: Path) -> list[Path]:
    spelled = [KEY.encode(), json.dumps(KEY).encode().replace(b"/", b"\\/").strip(b'"'), KEY[:9].encode()]
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if any(each in path.read_bytes() for each in spelled)]
