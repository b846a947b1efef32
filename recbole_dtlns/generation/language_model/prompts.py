"""What a language model is asked for profiles and hard negatives, and what is encoded for a pair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from recbole_dtlns.errors import ConfigError
from recbole_dtlns.llm.prompt_file import fill, load_prompt, placeholders, text_digest
from recbole_dtlns.llm.request import Message
from recbole_dtlns.registry import nearest

Purpose = Literal["user_profile", "item_profile", "negative", "query"]

BUILTIN: dict[Purpose, str] = {
    "user_profile": "profile_user",
    "item_profile": "profile_item",
    "negative": "negative",
    "query": "query",
}
LLM_PROMPTS = {  # by the flat key that names it
    "hnlmrec_llm_user_prompt": BUILTIN["user_profile"],
    "hnlmrec_llm_item_prompt": BUILTIN["item_profile"],
    "hnlmrec_llm_prompt": BUILTIN["negative"],
    "hnlmrec_llm_query": BUILTIN["query"],
}
_PLACEHOLDERS: dict[Purpose, tuple[str, ...]] = {
    "user_profile": ("about", "history"),
    "item_profile": ("item", "beside"),
    "negative": ("profile", "history", "item"),
    "query": ("profile", "history", "item"),
}
_NEEDED: dict[Purpose, tuple[tuple[str, ...], ...]] = {  # one of each
    "user_profile": (("history",),),
    "item_profile": (("item",),),
    "negative": (("profile", "history"), ("item",)),
    "query": (("profile", "history"), ("item",)),
}


class _PromptFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    purpose: Purpose
    system: str = ""
    user: str
    max_tokens: int = Field(128, ge=1)

    @model_validator(mode="after")
    def _check_together(self) -> _PromptFile:
        known = _PLACEHOLDERS[self.purpose]
        named = placeholders(self.system + self.user)
        for name in named:
            if name not in known:
                raise ValueError(f"unknown placeholder {{{name}}}.{nearest(name, known)}")
        for choices in _NEEDED[self.purpose]:
            if not set(choices) & set(named):
                raise ValueError(f"{' or '.join(f'{{{name}}}' for name in choices)} is missing")
        if self.purpose == "query" and self.system:
            raise ValueError("a query is encoded as it stands, so it has no system message: put all into user")
        return self


@dataclass(frozen=True)
class GenerationPrompt:
    """The texts of a prompt file.

    Attributes:
        purpose: what is asked for.
        system: the system message; empty for none.
        user: the user message; of a query, the text that is encoded.
        max_tokens: that a reply may have.
    """

    purpose: Purpose
    system: str
    user: str
    max_tokens: int

    @classmethod
    def load(cls, name: str, purpose: Purpose, key: str) -> GenerationPrompt:
        """Read a prompt that comes with the package, or a file.

        Args:
            name: of it.
            purpose: that it must have.
            key: that names it, with `dtlns_`, for messages.

        Raises:
            ConfigError: there is no such file, it is not a prompt, or one for something else.
        """
        found = load_prompt(name, _PromptFile, (BUILTIN[purpose],), key)
        if found.purpose != purpose:
            raise ConfigError(f"the prompt file {name} has the purpose {found.purpose}, and {key} is for {purpose}")
        return cls(**found.model_dump())

    @property
    def digest(self) -> str:
        """SHA-256 over the texts: equal where equal values get equal prompts."""
        return text_digest(asdict(self))

    def shows(self, name: str) -> bool:
        """Whether it has this placeholder."""
        return name in placeholders(self.system + self.user)

    def messages(self, values: Mapping[str, str]) -> list[Message]:
        """The chat messages; what is filled in is never read again."""
        messages = [{"role": "user", "content": fill(self.user, values)}]
        return [{"role": "system", "content": fill(self.system, values)}, *messages] if self.system else messages

    def text(self, values: Mapping[str, str]) -> str:
        """What is encoded for a pair, where it is a query."""
        return fill(self.user, values)

    def file(self) -> str:
        """A prompt file that says the same."""
        return yaml.safe_dump(asdict(self), sort_keys=False, allow_unicode=True)
