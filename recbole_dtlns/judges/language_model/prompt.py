"""What a language model is told, and what it may answer; whom to ask is another matter (`recbole_dtlns.llm`)."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from recbole_dtlns.errors import ConfigError
from recbole_dtlns.llm.request import AsJSON, Message, OneOf, bare
from recbole_dtlns.registry import nearest
from recbole_dtlns.storage.yaml_file import read_yaml

Code = tuple[str, str]  # of one item: in the structure tree, in the semantic tree

BUILTIN = ("pair", "user")
NO_CODE = "none"
_TOKENS_PER_NUMBER = 4  # "12, " and the brackets, of a reply in shape `user`
_HISTORY = ("structure_history", "semantic_history")
_PLACEHOLDERS = {
    "pair": {"user": (*_HISTORY, "structure", "semantic"), "system": _HISTORY, "candidate": ()},
    "user": {
        "user": (*_HISTORY, "candidates"),
        "system": _HISTORY,
        "candidate": ("number", "structure", "semantic"),
    },
}


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
            for name in re.findall(r"\{(\w+)\}", getattr(self, field)):
                if name not in known:
                    raise ValueError(f"unknown placeholder {{{name}}} in {field}.{nearest(name, known)}")
        needed = ("structure", "semantic") if self.shape == "pair" else ("candidates",)
        everything = self.system + self.user
        for name in (*_HISTORY, *needed):
            if f"{{{name}}}" not in everything:
                raise ValueError(f"{{{name}}} is missing")
        answers = {bare(self.positive), bare(self.negative)} - {""}
        if self.shape == "pair" and len(answers) < 2:
            raise ValueError("positive and negative must be two different answers, such as yes and no")
        if self.shape == "user":
            if not self.candidate:
                raise ValueError("candidate is missing: the line that describes one candidate")
            for name in _PLACEHOLDERS["user"]["candidate"]:
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
        """Read a built-in prompt (`pair`, `user`) or a prompt file.

        Raises:
            ConfigError: there is no such file, or it is not a prompt; the message says what is wrong with it.
        """
        if name in BUILTIN:
            source: Any = importlib.resources.files("recbole_dtlns.properties") / "prompts" / f"{name}.yaml"
        else:
            source = Path(name)
        try:
            text = source.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:  # ValueError: bytes that are no text, a name that no file can have
            raise ConfigError(
                f"cannot read the prompt file {name} ({error}); dtlns_judge_prompt is pair, user, or a file"
            ) from error
        try:
            found = _PromptFile.model_validate(read_yaml(text, f"the prompt file {name}", "field: text"))
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg'].removeprefix('Value error, ')}"
                for each in error.errors()
            )
            raise ConfigError(f"the prompt file {name} is not usable: {problems}") from None
        return cls(**found.model_dump())

    @property
    def digest(self) -> str:
        """SHA-256 over the texts: equal where equal questions get equal prompts."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def answers(self) -> tuple[str, str]:
        """The positive and the negative answer."""
        return self.positive, self.negative

    def messages(self, history: Sequence[Code], candidates: Sequence[Code]) -> list[Message]:
        """The chat messages of one request; everything filled in is made of digits, dots and `none`."""
        values = dict(zip(_HISTORY, history_codes(history), strict=True))
        if self.shape == "pair":
            (candidate,) = candidates
            values |= {"structure": candidate[0], "semantic": candidate[1]}
        else:
            lines = [
                _fill(self.candidate, {"number": str(number), "structure": structure, "semantic": semantic})
                for number, (structure, semantic) in enumerate(candidates, start=1)
            ]
            values["candidates"] = "\n".join(lines)
        messages = [{"role": "user", "content": _fill(self.user, values)}]
        if self.system:
            messages.insert(0, {"role": "system", "content": _fill(self.system, values)})
        return messages

    def wanted(self, count: int) -> OneOf | AsJSON:
        """What a well-formed reply about `count` candidates is."""
        if self.shape == "pair":
            return OneOf(self.answers)
        number = {"type": "integer", "minimum": 1, "maximum": count}
        schema = {"type": "array", "items": number, "uniqueItems": True, "maxItems": count}
        return AsJSON(schema, (count + 1) * _TOKENS_PER_NUMBER)


def history_codes(history: Sequence[Code]) -> tuple[str, str]:
    """The codes of a history in each tree, oldest first, each at its latest place, missing ones left out."""
    texts = []
    for tree in (0, 1):
        latest = dict.fromkeys(code[tree] for code in reversed(history) if code[tree] != NO_CODE)
        texts.append(" ".join(reversed(latest)) or NO_CODE)
    return texts[0], texts[1]


def _fill(text: str, values: Mapping[str, str]) -> str:
    """Fill all placeholders in one pass, so that nothing filled in is read again; other braces stay."""
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[0]), text)
