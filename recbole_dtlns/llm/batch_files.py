"""Requests and replies as files in OpenAI's batch format, so that any service or another machine can answer."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.llm.engine import CONSTRAINED, Engine, EngineConfig
from recbole_dtlns.llm.openai_engine import best_mode, read_completion, request_body
from recbole_dtlns.llm.reply import NoReply, Reply
from recbole_dtlns.llm.request import OneOf, Request
from recbole_dtlns.storage.whole_files import replacing


def write_requests(file: Path, requests: Iterable[Request], model: str, arguments: Mapping[str, Any]) -> int:
    """Write one request per line; returns how many.

    Args:
        file: to write.
        requests: what is to be asked.
        model: name of the model where the requests will be answered.
        arguments: fields to add to every request or replace; null removes one.
    """
    count = 0
    with replacing(file) as stream:
        for request in requests:
            body = request_body(model, request, best_mode(request.wanted), arguments)
            line = {"custom_id": request.id, "method": "POST", "url": "/v1/chat/completions", "body": body}
            stream.write(f"{json.dumps(line)}\n".encode())
            count += 1
    return count


class RecordedReplies(Engine):
    """Answers requests from a file of replies, one a line, as OpenAI's batch service writes them.

    Model and revision must be those that the requests were exported with.
    """

    class Config(EngineConfig):
        """Settings of replies in a file."""

        labels: str | None = None
        """File of labels (.tsv or .parquet: user_id, item_id, optionally label, probability); engine recorded: of batch
        replies (.jsonl)."""

    config: Config
    name = "recorded"
    what_model = "the model that answers, the same for requests and replies in files"

    def __init__(self, config: ComponentConfig | None = None, /, **fields: Any) -> None:
        super().__init__(config, **fields)
        # While the requests are being exported there are no replies yet.
        self.file = None if self.config.labels is None else Path(self.config.labels)

    @contextmanager
    def start(self) -> Iterator[_Running]:
        if self.file is None:
            raise ConfigError("dtlns_engine: recorded needs dtlns_judge_labels, a .jsonl file of replies")
        yield _Running(self.file, _read_replies(self.file))


class _Running:
    mode = "recorded"
    truncated = 0

    def __init__(self, file: Path, replies: dict[str, Any]) -> None:
        self.file = file
        self.replies = replies

    def answer(self, requests: Sequence[Request]) -> Generator[tuple[int, Reply]]:
        for position, request in enumerate(requests):
            yield position, self._reply(request)

    def _reply(self, request: Request) -> Reply:
        if request.id not in self.replies:
            detail = f"{self.file}; the replies may be of another data set, teacher, tree, prompt or model"
            return Reply(reason=NoReply.NOT_RECORDED, detail=detail, lasting=False)
        line = self.replies[request.id]
        response = line.get("response") or {}
        if line.get("error") or response.get("status_code", 200) != 200:
            detail = json.dumps(line.get("error") or response)[:200]
            return Reply(reason=NoReply.FAILED, detail=detail, lasting=False)
        body = response.get("body", {})
        return read_completion(request, _mode(request, body), body)


def _mode(request: Request, body: Any) -> str:
    """How this reply was asked for, which the file does not say."""
    best = best_mode(request.wanted)
    if not isinstance(request.wanted, OneOf):
        return best
    try:
        return best if body["choices"][0]["logprobs"]["content"] else CONSTRAINED
    except (KeyError, IndexError, TypeError):
        return CONSTRAINED


def _read_replies(file: Path) -> dict[str, Any]:
    """The replies by request; a later one counts only where an earlier one failed."""
    replies: dict[str, Any] = {}
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the replies in {file}: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            reply = json.loads(line)
            request, failed = reply["custom_id"], bool(reply.get("error"))
            if not isinstance(request, str) or not isinstance(reply.get("response") or {}, dict):
                raise TypeError("custom_id must be a text, and response an object")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(
                f"{file}, line {number}: not a batch reply ({error}); expected a JSON object with custom_id"
            ) from error
        if request not in replies or (replies[request].get("error") and not failed):
            replies[request] = reply
    if not replies:
        raise DataError(f"{file} holds no reply")
    return replies
