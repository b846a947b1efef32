"""What local models share: requests and answers as the tokenizer sees them, and the state of a model folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from recbole_dtlns.errors import EngineError
from recbole_dtlns.llm.engine import optional_import
from recbole_dtlns.llm.request import Message, OneOf, Request

_END_BYTES = 1 << 20
INSTALL = "pip install 'recbole_dtlns[transformers]'"


class ChatTokenizer:
    """Requests as token ids of one model.

    Args:
        tokenizer: a Hugging Face tokenizer.
        context: how many tokens a prompt may have; None for no limit.
        template_arguments: further arguments of the chat template.
    """

    def __init__(
        self, tokenizer: Any, context: int | None = None, template_arguments: Mapping[str, Any] | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.context = context
        # Thinking aloud would come before the label token, where the template can switch it off.
        self._arguments = {"enable_thinking": False, **(template_arguments or {})}
        self._takes_system = True

    @classmethod
    def load(
        cls, model: str, revision: str | None, engine: str, template_arguments: Mapping[str, Any] | None = None
    ) -> ChatTokenizer:
        """The tokenizer of a model folder or name, for the engine of that name.

        Raises:
            EngineError: there is no tokenizer under that name.
        """
        transformers = optional_import("transformers", engine, INSTALL)
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(model, revision=revision)
            return cls(tokenizer, template_arguments=template_arguments)
        except (OSError, ValueError) as error:
            raise EngineError(f"cannot load the tokenizer of '{model}': {_first_line(error)}") from error

    def within(self, context: int | None) -> ChatTokenizer:
        """The same for a model with this context."""
        return ChatTokenizer(self.tokenizer, context, self._arguments)

    def encode_all(self, requests: Sequence[Request], reserved: int = 0) -> list[tuple[list[int] | None, bool]]:
        """Token ids of every prompt, up to where the answer begins.

        Args:
            requests: what is asked.
            reserved: tokens of the context that each answer needs.

        Returns:
            the ids, and whether something had to be left out; (None, True) when the prompt is too long in its shortest
            form too.
        """
        if not requests:
            return []
        texts = [self._text(request.messages) for request in requests]
        whole = self._ids(texts)  # at once: the tokenizer uses all cores
        return [self._fitted(request, ids, reserved) for request, ids in zip(requests, whole, strict=True)]

    def _fitted(self, request: Request, ids: list[int], reserved: int) -> tuple[list[int] | None, bool]:
        if self.context is None or len(ids) + reserved <= self.context:
            return ids, False
        fits, too_many = -1, len(request.shorter)  # binary search for the longest form that fits
        best: list[int] | None = None
        while too_many - fits > 1:
            middle = (fits + too_many) // 2
            ids = self._encode(request.shorter[middle])
            if len(ids) + reserved <= self.context:
                fits, best = middle, ids
            else:
                too_many = middle
        return best, True

    def ids(self, request: Request) -> list[int]:
        """Token ids of the whole prompt, however long."""
        return self._encode(request.messages)

    def first_tokens(self, request: Request, wanted: OneOf) -> tuple[int, ...]:
        """First token of each answer after this prompt.

        Raises:
            EngineError: two begin with the same token.
        """
        text = self._text(request.messages)
        before = self._ids(text)
        first: list[int] = []
        for answer in wanted.answers:
            after = self._ids(text + answer)
            # Where the answer's beginning merges into the prompt's last token, take the answer's own first token.
            own = self.tokenizer(answer, add_special_tokens=False)["input_ids"]
            token = after[len(before)] if after[: len(before)] == before else own[0]
            if token in first:
                raise EngineError(
                    f"the answers {wanted.answers[first.index(token)]!r} and {answer!r} begin with the same token of "
                    "this model: choose others (in the prompt file, where they are a judge's)"
                )
            first.append(token)
        return tuple(first)

    def _encode(self, messages: list[Message]) -> list[int]:
        return self._ids(self._text(messages))

    def _ids(self, text: Any) -> Any:
        """Token ids of a text, or of each of several."""
        # A chat template writes the special tokens itself.
        return self.tokenizer(text, add_special_tokens=self.tokenizer.chat_template is None)["input_ids"]

    def _text(self, messages: list[Message]) -> str:
        if self.tokenizer.chat_template is None:
            return "\n\n".join(message["content"] for message in messages) + "\nAnswer: "
        if self._takes_system:
            try:
                return self._template(messages)
            except jinja2.TemplateError:
                if len(messages) == 1:
                    raise
                self._takes_system = False  # some templates refuse the role "system"
        joined = "\n\n".join(message["content"] for message in messages)
        return self._template([{"role": "user", "content": joined}])

    def _template(self, messages: list[Message]) -> str:
        return self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, **self._arguments
        )


def local_model(model: str) -> str:
    """The whole path of a model folder, so that it is one model from wherever it is named; a name as it is."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model


def model_revision(model: str, revision: str | None) -> str | None:
    """The revision asked for; for a folder, a hash over its files' names, sizes, beginnings and ends.

    Two states of one folder (a model trained further) must not share verdicts, and reading all of a large model takes
    minutes; its first and last MiB change with any training.
    """
    folder = Path(model)
    if not folder.is_dir():
        return revision
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(folder)}|{size}|".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_END_BYTES))
            if size > _END_BYTES:
                stream.seek(max(_END_BYTES, size - _END_BYTES))
                digest.update(stream.read())
    return digest.hexdigest()[:16]


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
