"""What a language model is told, and what it may answer; whom to ask is another matter (`recbole_dtlns.llm`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from recbole_dtlns.llm.prompt_file import fill, load_prompt, placeholders, text_digest
from recbole_dtlns.llm.request import AsJSON, Message, OneOf, bare
from recbole_dtlns.registry import nearest

Code = tuple[str, ...]  # of one item: in the structure tree, in the semantic tree; where texts are shown, its text

BUILTIN = ("pair", "user", "pair_text", "user_text")
NO_CODE = "none"
PARTS = ("structure", "semantic", "text")  # what can be shown of an item, in the order of a Code
_TOKENS_PER_NUMBER = 4  # "12, " and the brackets, of a reply in shape `user`
_HISTORY = tuple(f"{part}_history" for part in PARTS)
_PLACEHOLDERS: dict[str, dict[str, tuple[str, ...]]] = {
    "pair": {"user": (*_HISTORY, *PARTS), "system": _HISTORY, "candidate": ()},
    "user": {"user": (*_HISTORY, "candidates"), "system": _HISTORY, "candidate": ("number", *PARTS)},
}
_CODES = PARTS[:2]


class _PromptFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    shape: Literal["pair", "user"]
    system: str = ""
    user: str
    candidate: str = ""
    positive: str = ""
    negative: str = ""

    @model_validator(mode="after")
    def _check_together(self) -> _PromptFile:
        for field, known in _PLACEHOLDERS[self.shape].items():
            for name in placeholders(getattr(self, field)):
                if name not in known:
                    raise ValueError(f"unknown placeholder {{{name}}} in {field}.{nearest(name, known)}")
        everything = self.system + self.user
        shown = shown_parts(everything + self.candidate)
        if "text" not in shown:  # without texts, both trees
            shown = _CODES
        of_candidate = shown if self.shape == "pair" else ("candidates",)
        for name in (*(f"{part}_history" for part in shown), *of_candidate):
            if f"{{{name}}}" not in everything:
                raise ValueError(f"{{{name}}} is missing")
        answers = {bare(self.positive), bare(self.negative)} - {""}
        if self.shape == "pair" and len(answers) < 2:
            raise ValueError("positive and negative must be two different answers, such as yes and no")
        if self.shape == "user":
            if not self.candidate:
                raise ValueError("candidate is missing: the line that describes one candidate")
            for name in ("number", *shown):
                if f"{{{name}}}" not in self.candidate:
                    raise ValueError(f"{{{name}}} is missing in candidate")
        return self


@dataclass(frozen=True)
class Prompt:
    """The texts of a prompt file.

    Attributes:
        shape: `pair`, one candidate a request, or `user`, all of a user's candidates in one request.
        system: the system message; empty for none.
        user: the user message.
        candidate: the line of one candidate (shape `user`).
        positive, negative: the two answers (shape `pair`).
    """

    shape: str
    system: str
    user: str
    candidate: str
    positive: str
    negative: str

    @classmethod
    def load(cls, name: str) -> Prompt:
        """Read a built-in prompt (`pair`, `user`, `pair_text`, `user_text`) or a prompt file.

        Raises:
            ConfigError: there is no such file, or it is not a prompt; the message says what is wrong with it.
        """
        found = load_prompt(name, _PromptFile, BUILTIN, "dtlns_judge_prompt")
        return cls(**found.model_dump())

    @property
    def digest(self) -> str:
        """SHA-256 over the texts: equal where equal questions get equal prompts."""
        return text_digest(asdict(self))

    @property
    def answers(self) -> tuple[str, str]:
        """The positive and the negative answer."""
        return self.positive, self.negative

    @property
    def shown(self) -> tuple[str, ...]:
        """Which of `PARTS` it shows of history and candidates."""
        return shown_parts(self.system + self.user + self.candidate)

    @property
    def reads_text(self) -> bool:
        """Whether it shows what items say."""
        return "text" in self.shown

    @property
    def parts(self) -> int:
        """Length of the codes that it is filled in with."""
        return len(PARTS) if self.reads_text else len(_CODES)

    def messages(self, history: Sequence[Code], candidates: Sequence[Code]) -> list[Message]:
        """The chat messages of one request.

        What is filled in of trees is made of digits, dots and `none`; a text is one line of whatever the items say.
        """
        values = dict(zip(_HISTORY, history_codes(history, self.parts), strict=False))
        if self.shape == "pair":
            (candidate,) = candidates
            values |= dict(zip(PARTS, candidate, strict=False))
        else:
            lines = [
                fill(self.candidate, {"number": str(number), **dict(zip(PARTS, candidate, strict=False))})
                for number, candidate in enumerate(candidates, start=1)
            ]
            values["candidates"] = "\n".join(lines)
        messages = [{"role": "user", "content": fill(self.user, values)}]
        if self.system:
            messages.insert(0, {"role": "system", "content": fill(self.system, values)})
        return messages

    def wanted(self, count: int) -> OneOf | AsJSON:
        """What a well-formed reply about `count` candidates is."""
        if self.shape == "pair":
            return OneOf(self.answers)
        number = {"type": "integer", "minimum": 1, "maximum": count}
        schema = {"type": "array", "items": number, "uniqueItems": True, "maxItems": count}
        return AsJSON(schema, (count + 1) * _TOKENS_PER_NUMBER)


def shown_parts(text: str) -> tuple[str, ...]:
    """Which of `PARTS` a text has a placeholder for, of an item or of a history."""
    return tuple(part for part in PARTS if re.search(rf"\{{{part}(_history)?\}}", text))


def history_codes(history: Sequence[Code], parts: int = len(_CODES)) -> Code:
    """Each part of a history, oldest first, each at its latest place, missing ones left out; a line for each text."""
    found = []
    for part, between in enumerate((" ", " ", "\n")[:parts]):
        latest = dict.fromkeys(code[part] for code in reversed(history) if code[part] != NO_CODE)
        found.append(between.join(reversed(latest)) or NO_CODE)
    return tuple(found)
