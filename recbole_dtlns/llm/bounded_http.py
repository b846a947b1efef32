"""HTTP for the official client: an attempt ends in time, a reply has a largest size, nothing is sent on elsewhere.

A reply belongs to the request before it: what a server sends beyond it ends the connection.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
import urllib.parse
import urllib.request
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib import import_module
from typing import Any

from recbole_dtlns.errors import ConfigError
from recbole_dtlns.llm.engine import optional_import

LARGEST_REPLY = 4 << 20  # bytes; a chat completion about a few candidates has some thousand
_WRITTEN_AT_ONCE = 1 << 16
_KEPT_OPEN = 5.0  # seconds
_LONGEST_WAIT = 86400.0  # seconds; sockets take no number of any size
_PROXIES = ("http", "https", "socks5", "socks5h")
_READ_HEADERS = (b"content-type", b"location", b"retry-after", b"retry-after-ms", b"x-should-retry")


@contextmanager
def bounded_http(library: Any, timeout: float, largest: int = LARGEST_REPLY) -> Iterator[Any]:
    """An HTTP client for the `openai` library's `http_client`.

    Its own timeout is for every single read, so a server that sends a byte now and then holds a request for ever; and
    it reads whatever it is sent. Proxies named in the environment are used, as its own client does.

    Args:
        library: the module `openai`.
        timeout: of one attempt, from connecting to the reply's last byte, in seconds.
        largest: bytes that a reply may have.
    """
    # The library is built on httpx or, since version 3, on httpx2: the same classes under another name.
    bases = (base.__module__.partition(".")[0] for base in library.DefaultHttpxClient.__mro__)
    name = next(base for base in bases if base != library.__name__)
    http, core = import_module(name), import_module(name.replace("httpx", "httpcore"))
    for each in (library, http, core):
        # They write a line per request into the run's log and, where it is one of debugging, what a server sends. For
        # good: requests that were under way when a run stopped end after it.
        logging.getLogger(each.__name__).setLevel(logging.WARNING)
    transport = _Transport(http, core, timeout, largest)
    with library.DefaultHttpxClient(transport=transport, follow_redirects=False) as client:
        yield client


class _Transport:
    """What an httpx client sends requests with (`httpx.BaseTransport`); its errors become the client's own."""

    def __init__(self, http: Any, core: Any, timeout: float, largest: int) -> None:
        self._http, self._core = http, core
        self._faults = (core.NetworkError, core.ProtocolError, core.ProxyError, core.UnsupportedProtocol)
        self._timeout, self._largest = timeout, largest
        self._backend = _backend(core)
        self._pool: Any = None
        self._under_way = 0
        self._closed = False
        self._lock = threading.Lock()

    def __enter__(self) -> _Transport:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End what is under way; whoever ends last closes the connections, which others may be reading from."""
        with self._lock:
            self._closed = True
            if self._pool is not None:
                self._backend.hang_up()
                if not self._under_way:
                    self._pool.close()

    def handle_request(self, request: Any) -> Any:
        url = self._core.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        request.headers["accept-encoding"] = "identity"
        sent = self._core.Request(
            request.method, url, headers=request.headers.raw, content=request.stream, extensions=request.extensions
        )
        try:
            with self._pool_for(request.url) as pool, closing(pool.handle_request(sent)) as response:
                headers = [(name, value) for name, value in response.headers if name.lower() in _READ_HEADERS]
                return self._http.Response(
                    response.status, headers=headers, content=_body(response, self._largest), request=request
                )
        except (TimeoutError, self._core.TimeoutException):
            message = f"no whole reply within {self._timeout:g} seconds"
            raise self._http.ReadTimeout(message, request=request) from None
        except (_Refused, *self._faults) as error:
            raise self._http.TransportError(str(error) or type(error).__name__, request=request) from None

    @contextmanager
    def _pool_for(self, url: Any) -> Iterator[Any]:
        """The connections to the one server that this client asks, made with the first request, for one attempt."""
        with self._lock:
            if self._closed:
                raise _Refused("the run has ended")
            if self._pool is None:
                self._pool = self._make_pool(url)
            self._under_way += 1
        self._backend.clock.start(self._timeout)
        try:
            yield self._pool
        finally:
            with self._lock:
                self._under_way -= 1
                if self._closed and not self._under_way:
                    self._pool.close()

    def _make_pool(self, url: Any) -> Any:
        arguments = {
            "ssl_context": self._http.create_ssl_context() if url.scheme == "https" else None,
            "max_connections": None,
            "keepalive_expiry": _KEPT_OPEN,
            "network_backend": self._backend,
        }
        proxy = _proxy(url.scheme, url.host)
        if proxy is None:
            return self._core.ConnectionPool(**arguments)
        parts = _proxy_parts(proxy)
        if parts.scheme.startswith("socks"):
            optional_import("socksio", "openai", "pip install socksio")
        known = {"proxy_auth": tuple(urllib.parse.unquote(part or "") for part in (parts.username, parts.password))}
        port = "" if parts.port is None else f":{parts.port}"
        kind = self._core.SOCKSProxy if parts.scheme.startswith("socks") else self._core.HTTPProxy
        return kind(
            proxy_url=f"{parts.scheme}://{parts.hostname}{port}", **(known if parts.username else {}), **arguments
        )


def _body(response: Any, largest: int) -> bytes:
    """The whole body, while it is not too large; compressed ones, which were not asked for, may hide any size."""
    headers = {name.lower(): value for name, value in response.headers}
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in (b"", b"identity"):
        raise _Refused("the server sent a compressed reply, though none was asked for")
    body = bytearray()
    for part in response.stream:
        body += part
        if len(body) > largest:
            raise _Refused(f"the reply is larger than {largest >> 20} MiB, which no answer is")
    return bytes(body)


class _Refused(Exception):
    """A reply that is not read to its end."""


class _Clock(threading.local):
    """When the attempt of this thread has to end."""

    def __init__(self) -> None:
        self._end = 0.0

    def start(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return min(left, _LONGEST_WAIT)


class _Reply:
    """Follows what is read of one reply, to tell where it ends; `httpcore` takes what comes then for the next one.

    Attributes:
        begun: whether anything was read.
        whole: whether all of it was.
        surplus: whether more was than belongs to it, or what is no reply.
    """

    def __init__(self) -> None:
        self._parser = import_module("h11")  # which httpcore reads with
        self._read = self._parser.Connection(self._parser.CLIENT)
        self._read.send(self._parser.Request(method="POST", target="/", headers=[("Host", "x")]))
        self._read.send(self._parser.EndOfMessage())
        self.begun = self.whole = self.surplus = False

    def take(self, part: bytes) -> None:
        self.begun = True
        self.surplus |= self.whole and bool(part)
        if self.whole or self.surplus or not part:
            return
        self._read.receive_data(part)
        try:
            while not self.whole and (event := self._read.next_event()) is not self._parser.NEED_DATA:
                self.whole = isinstance(event, self._parser.EndOfMessage)
        except self._parser.RemoteProtocolError:
            self.surplus = True
        else:
            self.surplus = self.whole and bool(self._read.trailing_data[0])


def _backend(core: Any) -> Any:
    """Makes connections (`httpcore.NetworkBackend`) whose every wait ends when the attempt does.

    One on which more came than the reply to its last request is not used again.
    """
    clock = _Clock()
    made: weakref.WeakSet[Any] = weakref.WeakSet()

    class Stream(core.NetworkStream):
        def __init__(self, inner: Any) -> None:
            self._inner = inner
            self._reply = _Reply()
            made.add(self)

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            part = bytes(self._inner.read(max_bytes, clock.left()))
            self._reply.take(part)
            return part

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            if self._reply.begun:  # the next request
                if self._reply.whole and self.get_extra_info("is_readable"):  # since the pool looked
                    raise core.ConnectionNotAvailable  # it takes another one
                self._reply = _Reply()
            for start in range(0, len(buffer), _WRITTEN_AT_ONCE):
                self._inner.write(buffer[start : start + _WRITTEN_AT_ONCE], clock.left())

        def close(self) -> None:
            self._inner.close()

        def start_tls(
            self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
        ) -> Stream:
            return Stream(self._inner.start_tls(ssl_context, server_hostname, clock.left()))

        def get_extra_info(self, info: str) -> Any:
            if info == "is_readable" and self._reply.surplus:  # the pool then gives an idle connection up
                return True
            return self._inner.get_extra_info(info)

    class Backend(core.NetworkBackend):
        def __init__(self) -> None:
            self.clock = clock
            self._inner = core.SyncBackend()

        def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: Any = None,
        ) -> Stream:
            return Stream(self._inner.connect_tcp(host, port, clock.left(), local_address, socket_options))

        def hang_up(self) -> None:
            """Wake all who wait for a server."""
            for stream in list(made):
                with suppress(OSError):  # closed already
                    stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    return Backend()


def _proxy(scheme: str, host: str) -> str | None:
    """The proxy that the environment names for a server."""
    if urllib.request.proxy_bypass(host):
        return None
    named = urllib.request.getproxies()
    return named.get(scheme) or named.get("all")


def _proxy_parts(proxy: str) -> urllib.parse.SplitResult:
    """The parts of a proxy's address, which is not repeated in messages: it may hold a password."""
    try:
        parts = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        usable = parts.scheme in _PROXIES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, half an IPv6 address
        usable = False
    if not usable:
        raise ConfigError(
            "the environment names a proxy whose address cannot be used: set http_proxy, https_proxy or all_proxy to "
            "one such as http://localhost:3128, or the server's host in no_proxy"
        )
    return parts
