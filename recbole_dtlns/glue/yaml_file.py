"""YAML files of this package's own forms, read strictly."""

from __future__ import annotations

import re
from typing import Any

import yaml

from recbole_dtlns.errors import ConfigError


def read_yaml(text: str, what: str, expected: str) -> dict[Any, Any]:
    """The mapping that a YAML text holds.

    1e-4 is a number, as in RecBole's config files; only true and false are truth values (`off` is a preset); a key that
    is written twice is refused.

    Args:
        text: the file's content.
        what: names the file in errors.
        expected: the form of its lines, for the error of a text that holds none.

    Raises:
        ConfigError: the text is no such mapping.
    """
    try:
        content = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{what} is not valid yaml: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{what} holds no '{expected}' lines")
    return content


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"{key} is written twice{node.start_mark}")
        return super().construct_mapping(node, deep)


_BOOL, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)(?:[eE][-+]?[0-9]+)$"),
    list("-+0123456789."),
)
