"""Prompts are files that users copy and change: how they are found, checked and filled in."""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from recbole_dtlns.errors import ConfigError
from recbole_dtlns.storage.yaml_file import read_yaml

Form = TypeVar("Form", bound=BaseModel)
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def load_prompt(name: str, form: type[Form], builtin: Collection[str], key: str) -> Form:
    """Read a prompt that comes with the package, or a file of somebody's own.

    Args:
        name: one of `builtin`, or a path.
        form: the fields of such a file.
        builtin: names of those that come with the package, in `properties/prompts`.
        key: that names it, with `dtlns_`, for messages.

    Raises:
        ConfigError: there is no such file, or it is not a prompt; the message says what is wrong with it.
    """
    if name in builtin:
        source: Any = importlib.resources.files("recbole_dtlns.properties") / "prompts" / f"{name}.yaml"
    else:
        source = Path(name)
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: bytes that are no text, a name that no file can have
        raise ConfigError(
            f"cannot read the prompt file {name} ({error}); {key} is {', '.join(builtin)}, or a file"
        ) from error
    try:
        return form.model_validate(read_yaml(text, f"the prompt file {name}", "field: text"))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg'].removeprefix('Value error, ')}"
            for each in error.errors()
        )
        raise ConfigError(f"the prompt file {name} is not usable: {problems}") from None


def placeholders(text: str) -> list[str]:
    """The names in braces, in their order."""
    return _PLACEHOLDER.findall(text)


def fill(text: str, values: Mapping[str, str]) -> str:
    """Fill all placeholders in one pass, so that nothing filled in is read again; other braces stay."""
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)


def text_digest(texts: Mapping[str, Any]) -> str:
    """SHA-256 over the texts of a prompt: equal where equal questions get equal prompts."""
    return hashlib.sha256(json.dumps(dict(texts), sort_keys=True).encode()).hexdigest()
