"""Any OpenAI-compatible server, with the official client."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import urllib.parse
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import Field

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.errors import ConfigError, DTLNSError, EngineError
from recbole_dtlns.llm.bounded_http import bounded_http
from recbole_dtlns.llm.chat_model import ChatTokenizer
from recbole_dtlns.llm.engine import CONSTRAINED, LOG_PROBABILITIES, TEXT, Engine, EngineConfig, optional_import
from recbole_dtlns.llm.key_spellings import masked
from recbole_dtlns.llm.reply import NoReply, Reply, probabilities
from recbole_dtlns.llm.request import AsJSON, FreeText, OneOf, Request, Wanted
from recbole_dtlns.llm.under_way import as_they_come

logger = logging.getLogger("recbole_dtlns")

INSTALL = "pip install 'recbole_dtlns[openai]'"
_TOP_LOGPROBS = 20
_ANSWER_TOKENS = 16  # one of some answers, in an object or with a few words around it
_OBJECT_TOKENS = 12  # around an answer in JSON
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LOOKED_AT = 1 << 16  # characters of what a server sent
_AT_THE_CUT = 1 << 10  # of them, where only a part of the key may be left
_SHOWN = 500
_ABOUT_THE_KEY = (401, 403)
_ROUNDING = 1e-3  # by which a log-probability may be above 0
# By what is wanted, the best first; servers take some of them.
_MODES: dict[type[Wanted], tuple[str, ...]] = {
    OneOf: (LOG_PROBABILITIES, CONSTRAINED, TEXT),
    AsJSON: (CONSTRAINED, TEXT),
    FreeText: (TEXT,),
}


@dataclass(frozen=True)
class Server:
    """How to reach a server.

    Attributes:
        base_url: such as http://localhost:8000/v1; None for OpenAI's own.
        api_key_env: name of the environment variable that holds the key; None when the server needs none.
        concurrency: requests under way at once.
        timeout: of one attempt, from connecting to the reply's last byte, in seconds.
        retries: further attempts after 408, 409, 429, 5xx and connection faults, with growing, jittered pauses; a
            `retry-after` of the server is kept to.
        arguments: further fields of every request; null removes a field.
        keys: what the keys begin with by which all this is set, for messages.
    """

    base_url: str | None = None
    api_key_env: str | None = None
    concurrency: int = 32
    timeout: float = 120.0
    retries: int = 6
    arguments: Mapping[str, Any] = field(default_factory=dict)
    keys: str = "dtlns_judge_"

    def __post_init__(self) -> None:
        if self.api_key_env is not None and not _NAME.fullmatch(self.api_key_env):
            raise ConfigError(
                f"{self.keys}api_key_env must be the name of an environment variable, such as OPENAI_API_KEY, and what "
                "was given is not a name (it is not repeated here, in case it is the key itself)"
            )
        if self.base_url is not None:
            _check_address(self.base_url)
        try:
            json.dumps(dict(self.arguments), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{self.keys}engine_args cannot be sent as JSON: {error}") from None

    def key(self) -> str:
        """The key; never shown.

        Raises:
            ConfigError: the variable is not set, or holds what no HTTP header can.
        """
        if self.api_key_env is None:
            return "none"
        value = self._secret()
        if not value:
            raise ConfigError(f"{self.keys}api_key_env names {self.api_key_env}, and that variable is not set")
        if not (value.isascii() and value.isprintable()):
            raise ConfigError(f"{self.api_key_env} holds characters that no key has (it is not repeated here)")
        return value

    def without_key(self, text: object) -> str:
        """The beginning of what a server sent, without the key that it may repeat, however spelled."""
        secret, whole = self._secret(), str(text)
        if not secret:
            return whole[:_LOOKED_AT]
        shown = masked(whole[:_LOOKED_AT], secret)
        return shown if len(whole) <= _LOOKED_AT else shown[:-_AT_THE_CUT]

    def _secret(self) -> str:
        return os.environ.get(self.api_key_env or "", "").strip()  # a line break from a file is not part of it


class ServerConfig(EngineConfig):
    """How OpenAI-compatible servers are asked."""

    api_key_env: str | None = None
    """openai, ray: NAME of the environment variable that holds the key, such as OPENAI_API_KEY; never the key."""
    concurrency: int = Field(32, ge=1)
    """openai, ray: requests under way at once."""
    timeout_seconds: float = Field(120.0, gt=0)
    """openai, ray: seconds for one attempt, from connecting to the last byte of the reply."""
    retries: int = Field(6, ge=0)
    """openai, ray: further attempts after 408, 409, 429, 5xx and connection faults."""

    def server(self, base_url: str | None) -> Server:
        """The server at an address."""
        return Server(
            base_url, self.api_key_env, self.concurrency, self.timeout_seconds, self.retries, self.engine_args
        )


class OpenAIEngine(Engine):
    """Chat completions of one model on a server.

    Attributes:
        server: how to reach it.
    """

    class Config(ServerConfig):
        """Settings of a server."""

        base_url: str | None = None
        """The server, such as http://localhost:8000/v1; default OpenAI's."""
        tokenizer: str | None = None
        """Folder or name of the model's tokenizer, for counting tokens in a dry run."""

    config: Config
    name = "openai"
    what_model = "the model's name on the server"

    def __init__(self, config: ComponentConfig | None = None, /, **fields: Any) -> None:
        super().__init__(config, **fields)
        self.server = self.config.server(self.config.base_url)

    @contextmanager
    def start(self) -> Iterator[_Running]:
        library = optional_import("openai", self.name, INSTALL)
        key = self.server.key()
        with bounded_http(library, self.server.timeout) as http:
            client = library.OpenAI(
                api_key=key, base_url=self.server.base_url, max_retries=self.server.retries, http_client=http
            )
            yield _Running(library, client, self)

    def encoder(self) -> Callable[[Request], list[int]] | None:
        if self.config.tokenizer is None:
            return None
        return ChatTokenizer.load(self.config.tokenizer, None, self.name).ids


def request_body(model: str, request: Request, mode: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """One chat completion as OpenAI's API takes it.

    Args:
        model: name on the server.
        request: what is asked.
        mode: "log-probabilities" (one token and the likeliest others), "constrained choice" (a JSON schema) or "text".
        arguments: fields to add or replace; null removes one.
    """
    wanted = request.wanted
    body: dict[str, Any] = {"model": model, "messages": request.messages, "temperature": 0}
    if mode == LOG_PROBABILITIES:
        body |= {"max_tokens": 1, "logprobs": True, "top_logprobs": _TOP_LOGPROBS}
    elif isinstance(wanted, OneOf):
        body["max_tokens"] = _ANSWER_TOKENS
    else:
        body["max_tokens"] = wanted.max_tokens + (_OBJECT_TOKENS if isinstance(wanted, AsJSON) else 0)
    if mode == CONSTRAINED and not isinstance(wanted, FreeText):
        schema = {
            "type": "object",
            "properties": {"answer": _schema(wanted)},
            "required": ["answer"],
            "additionalProperties": False,
        }
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": schema},
        }
    return {key: value for key, value in {**body, **arguments}.items() if value is not None}


def best_mode(wanted: Wanted) -> str:
    """How an answer of this kind is asked for, where the server takes everything."""
    return _MODES[type(wanted)][0]


def _schema(wanted: OneOf | AsJSON) -> Mapping[str, Any]:
    return {"type": "string", "enum": list(wanted.answers)} if isinstance(wanted, OneOf) else wanted.schema


def read_completion(request: Request, mode: str, body: Mapping[str, Any]) -> Reply:
    """The reply in a chat completion, as plain data; what is not one is a reply with a reason."""
    model = named_model(body)
    try:
        choice = body["choices"][0]
        usage = body.get("usage") or {}
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        tokens = int(usage.get("prompt_tokens") or 0) - int(cached) + int(usage.get("completion_tokens") or 0)
        tokens = max(0, tokens)
        text = choice["message"]["content"]
        if mode == LOG_PROBABILITIES and isinstance(request.wanted, OneOf):
            first = choice["logprobs"]["content"][0]["top_logprobs"]
            likely = [(str(each["token"]), _log_probability(each["logprob"])) for each in first]
            shares = _probabilities(request.wanted.answers, likely)
            if shares is None:
                return Reply(reason=NoReply.NO_ANSWER_LIKELY, detail=str(text), tokens=tokens, model=model)
            return Reply(probabilities=shares, tokens=tokens, model=model)
        if not isinstance(text, str):
            raise TypeError("the message has no content")
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        detail = f"not a chat completion ({type(error).__name__}: {error}): {json.dumps(body, default=str)}"
        return Reply(reason=NoReply.MALFORMED, detail=detail, lasting=False, model=model)
    return Reply(text=_constrained(text) if mode == CONSTRAINED else text, tokens=tokens, model=model)


class _Running:
    def __init__(self, library: Any, client: Any, engine: OpenAIEngine) -> None:
        self.library = library
        self.client = client
        self.model = engine.model
        self.server = engine.server
        self.mode = ""
        self.truncated = 0
        self._modes: dict[type[Wanted], str] = {}  # that the server takes

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        positions = list(range(len(requests)))
        for position, request in enumerate(requests):
            if type(request.wanted) not in self._modes:
                positions.remove(position)
                yield position, self._probe(request)

        def ask(position: int) -> Reply:
            return self._ask(requests[position], self._modes[type(requests[position].wanted)])

        for position, reply in as_they_come(positions, ask, self.server.concurrency):
            self.mode = self._modes[type(requests[position].wanted)]
            yield position, reply

    def _probe(self, request: Request) -> Reply:
        """Find the best mode that the server takes, with a real request, whose answer counts."""
        for mode in _MODES[type(request.wanted)]:
            self.mode = mode
            try:
                reply = self._ask(request, mode)
                if reply.reason is NoReply.MALFORMED:  # garbage for once must not decide the mode of a whole run
                    reply = self._ask(request, mode)
            except _NotTaken as refusal:
                logger.info("the server does not take mode '%s': %s", mode, refusal)
                continue
            if reply.reason is NoReply.FAILED:
                raise EngineError(f"{self._where()} fails: {reply.detail} (after {self.server.retries} retries)")
            if reply.reason is NoReply.MALFORMED and mode == LOG_PROBABILITIES:
                logger.info("the server returns no log-probabilities")
                continue
            if mode == CONSTRAINED and reply.text is None:
                continue
            logger.info("asking %s in mode '%s'", self.model, mode)
            break
        self._modes[type(request.wanted)] = self.mode
        return reply

    def _ask(self, request: Request, mode: str) -> Reply:
        """The reply, with nothing of the key in what may be shown of it."""
        reply = self._asked(request, mode)
        if reply.text is not None and _is_plain_answer(request.wanted, reply.text):
            return replace(reply, model=self._masked(reply.model))  # an answer is read, not shown
        return replace(
            reply, model=self._masked(reply.model), text=self._masked(reply.text), detail=self._shown(reply.detail)
        )

    def _masked(self, text: str | None) -> str | None:
        return None if text is None else self.server.without_key(text)

    def _shown(self, text: object) -> str:
        """What a message shows of it; cut last, or a part of the key could be left at the end."""
        return self.server.without_key(text)[:_SHOWN]

    def _asked(self, request: Request, mode: str) -> Reply:
        library = self.library
        probed = type(request.wanted) in self._modes
        body = request_body(self.model, request, mode, self.server.arguments)
        try:
            completion = self.client.post("/chat/completions", body=body, cast_to=object)
        except library.APIStatusError as error:
            status = error.status_code
            message = self._shown(error.message)
            if status in _ABOUT_THE_KEY and self.server.api_key_env is not None:
                message = "what it says is not repeated here, as it may be about the key"
            if status in (400, 422) and not probed and mode != TEXT:
                raise _NotTaken(message) from None
            if 300 <= status < 400:
                place = self._shown(error.response.headers.get("location", "an address that it does not name"))
                raise EngineError(
                    f"{self._where()} sends requests on to {place} (HTTP {status}), and prompts go to no address that "
                    "was not named: if it is right, set dtlns_judge_base_url to it"
                ) from None
            if status in (408, 409, 429) or status >= 500:
                return Reply(reason=NoReply.FAILED, detail=f"HTTP {status}: {message}", lasting=False)
            raise EngineError(
                f"{self._where()} refused the request with HTTP {status}: {message}. {_advice(status)}"
            ) from None
        except library.APIConnectionError as error:  # connection faults and timeouts
            if isinstance(error.__cause__, DTLNSError):  # older versions wrap our own errors too
                raise error.__cause__ from None
            detail = self._shown(f"{error} ({error.__cause__})")
            if not probed:
                raise EngineError(f"cannot reach {self._where()}: {detail}; check dtlns_judge_base_url") from None
            return Reply(reason=NoReply.FAILED, detail=detail, lasting=False)
        except (library.APIResponseValidationError, ValueError, RecursionError) as error:
            return Reply(reason=NoReply.MALFORMED, detail=str(error), lasting=False)
        return read_completion(request, mode, completion)

    def _where(self) -> str:
        return self.server.base_url or "the OpenAI server"


def _check_address(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, half an IPv6 address
        usable = False
    if not usable or not url.isprintable() or " " in url:
        raise ConfigError(f"{url!r} is not the address of a server, such as http://localhost:8000/v1")


def named_model(body: Any) -> str | None:
    """The model that a reply names, in plain characters."""
    named = body.get("model") if isinstance(body, Mapping) else None
    return ascii(named)[1:-1] if isinstance(named, str) and named else None


class _NotTaken(Exception):
    """The server refuses a mode."""


def _advice(status: int) -> str:
    if status in (401, 403):
        return "Check the key in the variable that dtlns_judge_api_key_env names"
    if status == 404:
        return "Check dtlns_judge_model and dtlns_judge_base_url (it usually ends in /v1)"
    return "Check dtlns_judge_model, dtlns_judge_engine_args and, for long histories, dtlns_judge_max_history"


def _probabilities(answers: Sequence[str], likely: list[tuple[str, float]]) -> tuple[float, ...] | None:
    """Probabilities of the answers; one that is not listed is at most as likely as the last one listed."""
    mass = [0.0] * len(answers)
    spelled = [answer.strip().casefold() for answer in answers]
    for token, logarithm in likely:
        said = token.strip().casefold()
        begin = [place for place, answer in enumerate(spelled) if said and answer.startswith(said)]
        if len(begin) == 1:
            mass[begin[0]] += math.exp(logarithm)
    if not any(mass):
        return None
    floor = math.exp(min(logarithm for _, logarithm in likely)) if len(likely) >= _TOP_LOGPROBS else 0.0
    return probabilities([math.log(share or floor) if share or floor else -math.inf for share in mass])


def _log_probability(value: Any) -> float:
    if isinstance(value, bool) or not float(value) <= _ROUNDING:  # NaN is not below anything
        raise ValueError(f"{value} is no logarithm of a probability")
    return float(value)


def _is_plain_answer(wanted: Wanted, text: str) -> bool:
    """Whether a text is one of the answers, or JSON without any text in it."""
    if isinstance(wanted, OneOf):
        return wanted.named(text) is not None
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(wanted, AsJSON) and '"' not in text


def _constrained(text: str) -> str | None:
    """The answer inside a JSON reply; a server that ignored the schema gave plain text, read as such."""
    try:
        answer = json.loads(text)["answer"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return text
    return answer if isinstance(answer, str) else json.dumps(answer)
