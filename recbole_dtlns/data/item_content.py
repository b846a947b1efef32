"""What the data set says of its items beside who has them: texts, and codes that others gave them."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from recbole_dtlns.components import ComponentConfig, Names
from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.registry import nearest

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_NUMBERS = re.compile(r"[^A-Za-z]*")
_LARGEST = 2**15 - 2  # child of a node, as item trees hold them
_BETWEEN_FIELDS = ". "


@dataclass(frozen=True)
class ItemContent:
    """What is said of the items, one entry for each in canonical order. No interaction has a part in it.

    Attributes:
        texts: one line each; empty where an item has none.
        cut: how many of them were longer than allowed.
        codes: a tree path of each, such as 0-3-1, empty where an item has none; None where no field holds codes.
        encode: makes the vectors, when they are first looked at; None where nothing does.
    """

    texts: tuple[str, ...]
    cut: int = 0
    codes: tuple[str, ...] | None = None
    encode: Callable[[], np.ndarray] | None = None

    @classmethod
    def silent(cls, n_items: int) -> Self:
        """Nothing is said of so many items."""
        return cls(("",) * n_items)

    @classmethod
    def of_vectors(cls, vectors: np.ndarray, texts: Sequence[str] = ()) -> Self:
        """Content whose vectors are known, float32 [n_items, d]."""
        return cls(tuple(texts) or ("",) * len(vectors), encode=lambda: vectors)

    @cached_property
    def vectors(self) -> np.ndarray:
        """The texts as an encoder sees them, float32 [n_items, d]; a row of zeros for an item without one.

        Raises:
            ConfigError: no encoder was named.
        """
        if self.encode is None:
            raise ConfigError("there are no text vectors: set dtlns_text_fields, or dtlns_text_encoder: file")
        return self.encode()

    @cached_property
    def vector_digest(self) -> str:
        """SHA-256 over the vectors and their shape."""
        return hashlib.sha256(repr(self.vectors.shape).encode() + self.vectors.tobytes()).hexdigest()

    @property
    def without_text(self) -> np.ndarray:
        """Positions of the items that say nothing."""
        return np.flatnonzero([not text for text in self.texts])

    @property
    def digest(self) -> str:
        """SHA-256 over the texts in their order."""
        return _digest(self.texts)

    @property
    def code_digest(self) -> str:
        """SHA-256 over the codes in their order."""
        return _digest(self.codes or ())

    def dealt(self, order: np.ndarray) -> ItemContent:
        """The same texts and vectors, item i with those of item order[i]: a control. The codes stay."""
        return replace(
            self, texts=tuple(self.texts[place] for place in order.tolist()), encode=lambda: self.vectors[order]
        )


class ItemFields(ComponentConfig):
    """Which fields of the .item file say something of an item."""

    prefix = ""

    text_fields: Names = Field(default_factory=list)
    """Fields of the .item file that are an item's text, such as [title, categories]; whether load_col names them does
    not matter. None: items are known by who has them alone."""
    text_template: str | None = None
    """How the fields make a text, such as '{title}, in {categories}'; default: one after the other."""
    text_max_characters: int = Field(10_000, ge=1)
    """Longer texts are cut, and counted."""
    code_field: str | None = None
    """Field of the .item file that holds a path in a tree, such as 183-70-232-6: the item tree `codes` beside the
    others."""

    @model_validator(mode="after")
    def _template_has_fields(self) -> Self:
        named = _PLACEHOLDER.findall(self.text_template or "")
        for name in named:
            if name not in self.text_fields:
                raise ConfigError(
                    f"dtlns_text_template names {{{name}}}, and dtlns_text_fields does not."
                    f"{nearest(name, self.text_fields)}"
                )
        if self.text_template is not None and not named:
            raise ConfigError(
                "dtlns_text_template names no field: write it in braces, as in '{title}', and list it in "
                "dtlns_text_fields"
            )
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The fields that are read."""
        return tuple(dict.fromkeys([*self.text_fields, *([self.code_field] if self.code_field else [])]))

    def content(self, rows: Mapping[str, Mapping[str, str]], tokens: Iterable[str]) -> ItemContent:
        """What is said of the items.

        Args:
            rows: by item token, the values of `columns` as the file has them; an item may be missing.
            tokens: of the items, in canonical order.

        Raises:
            DataError: a code is no path.
        """
        texts, codes, cut = [], [], 0
        for token in tokens:
            row = rows.get(token, {})
            text = self._text({field: one_line(row.get(field, "")) for field in self.text_fields})
            cut += len(text) > self.text_max_characters
            texts.append(text[: self.text_max_characters].rstrip())
            codes.append(_path(row.get(self.code_field, ""), token) if self.code_field else "")
        return ItemContent(tuple(texts), cut, tuple(codes) if self.code_field else None)

    def _text(self, values: Mapping[str, str]) -> str:
        if not any(values.values()):
            return ""
        if self.text_template is None:
            return _BETWEEN_FIELDS.join(filter(None, values.values()))
        # In one pass, so that nothing filled in is read again.
        return one_line(_PLACEHOLDER.sub(lambda match: values[match[1]], self.text_template))


def one_line(text: str) -> str:
    """A text without control characters and line breaks, each run of blanks as one, in Unicode's composed form."""
    return " ".join(unicodedata.normalize("NFC", _CONTROLS.sub(" ", text)).split())


def _path(code: str, token: str) -> str:
    """A code as a tree path: its numbers, whatever stands between them."""
    numbers = re.findall(r"[0-9]+", code)
    if not _NUMBERS.fullmatch(code) or any(len(number) > 5 or int(number) > _LARGEST for number in numbers):
        raise DataError(
            f"the code {code!r:.60} of item '{token}' is no path in a tree (dtlns_code_field): numbers from 0 to "
            f"{_LARGEST} are due, such as 183-70-232-6"
        )
    return "-".join(numbers)


def _digest(values: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for value in values:
        encoded = value.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()
