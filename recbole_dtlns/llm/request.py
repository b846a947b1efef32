"""What a language model is asked, and how the answer is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Message = dict[str, str]  # role and content, as chat templates take them


@dataclass(frozen=True)
class OneOf:
    """One of some short answers, with the probability of each where the engine can tell.

    Attributes:
        answers: they begin differently, so that the first token tells them apart.
    """

    answers: tuple[str, ...]

    def named(self, text: str) -> int | None:
        """The place of the answer that a text is, but for case, quotes, blanks around it and a full stop; or None."""
        return {bare(answer): place for place, answer in enumerate(self.answers)}.get(bare(text))


@dataclass(frozen=True)
class AsJSON:
    """JSON, as a schema describes it.

    Attributes:
        schema: a JSON schema.
        max_tokens: that the longest answer may have.
    """

    schema: Mapping[str, Any]
    max_tokens: int


@dataclass(frozen=True)
class FreeText:
    """Whatever the model writes.

    Attributes:
        max_tokens: after which it is cut off.
    """

    max_tokens: int


Wanted = OneOf | AsJSON | FreeText
_KINDS: dict[str, type[OneOf] | type[AsJSON] | type[FreeText]] = {
    kind.__name__: kind for kind in (OneOf, AsJSON, FreeText)
}


@dataclass(frozen=True)
class Request:
    """One request to a model.

    Attributes:
        id: names the request in files.
        messages: of the chat.
        wanted: how it is to be answered.
        shorter: the same messages with something left out, the shortest first, for a model whose context is too short:
            the longest that fits is taken. Each is looked up when it is needed, so it may be made then.
    """

    id: str
    messages: list[Message]
    wanted: Wanted
    shorter: Sequence[list[Message]] = ()

    def plain(self) -> dict[str, Any]:
        """The request as plain data, without its shorter forms."""
        wanted = {"kind": type(self.wanted).__name__, **asdict(self.wanted)}
        return {"id": self.id, "messages": self.messages, "wanted": wanted}

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Request:
        """The request that `plain` described, also after a way through JSON."""
        fields = dict(plain["wanted"])
        kind = _KINDS[fields.pop("kind")]
        if kind is OneOf:
            fields["answers"] = tuple(fields["answers"])
        return cls(plain["id"], plain["messages"], kind(**fields))


def bare(text: str) -> str:
    """An answer without what does not matter: case, quotes, blanks around it and a full stop."""
    return text.strip().strip("\"'`").removesuffix(".").strip().casefold()
