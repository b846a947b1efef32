"""YAML for people, and what they wrote, read strictly.

What a file says twice, or hides behind aliases or Python tags, is refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from recbole_dtlns.errors import ConfigError

# The one in C, where PyYAML has it, is ten times as fast.
_Dumper: type[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_MOST_VALUES = 100_000  # with every alias written out; the longest config files have some hundreds


def to_yaml(content: dict[str, Any]) -> str:
    """Plain data by name, the names in order."""
    text: str = yaml.dump(content, Dumper=_Dumper, allow_unicode=True)
    return text


def read_yaml(text: str, what: str, expected: str, *, words_are_booleans: bool = False) -> dict[Any, Any]:
    """The mapping that a YAML text holds.

    1e-4 is a number, as in RecBole's config files; a key that is written twice is refused, and so are Python objects,
    and aliases that stand for more than a file of this kind could hold.

    Args:
        text: the file's content.
        what: names the file in errors.
        expected: the form of its lines, for the error of a text that holds none.
        words_are_booleans: whether yes, no, on and off are truth values, as in RecBole's config files; otherwise only
            true and false are (`off` is a preset).

    Raises:
        ConfigError: the text is no such mapping; the message names the line.
    """
    try:
        content = yaml.load(text, Loader=_RecBoleLoader if words_are_booleans else _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}," if mark else ""
        raise ConfigError(f"{what}{place} is not valid yaml: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that there is not
        raise ConfigError(f"{what} is not valid yaml: {error}") from None
    except RecursionError:
        raise ConfigError(f"{what} is nested too deeply to be read") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{what} holds no '{expected}' lines")
    return content


def read_yaml_file(path: str | Path, what: str, expected: str, *, words_are_booleans: bool = False) -> dict[Any, Any]:
    """`read_yaml` of a file.

    Raises:
        ConfigError: the file cannot be read, or holds no such mapping.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{what} does not exist (looked in {Path.cwd()})") from None
    except OSError as error:
        raise ConfigError(f"{what} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what} is not written in UTF-8: {error.reason} at byte {error.start}") from None
    return read_yaml(text, what, expected, words_are_booleans=words_are_booleans)


class _RecBoleLoader(yaml.SafeLoader):
    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _check(node, {})
        return node


def _check(node: yaml.Node, known: dict[int, int]) -> int:
    """Refuse keys written twice, and more values than can be meant; returns the values with every alias written out."""
    if id(node) not in known:
        known[id(node)] = _MOST_VALUES  # for an alias of something inside itself, which has no end
        if isinstance(node, yaml.MappingNode):
            _refuse_repeated_keys(node)
            below = [part for pair in node.value for part in pair]
        else:
            below = node.value if isinstance(node, yaml.SequenceNode) else []
        known[id(node)] = 1 + sum(_check(child, known) for child in below)
    if known[id(node)] > _MOST_VALUES:
        problem = f"its aliases stand for more than {_MOST_VALUES:,} values"
        raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
    return known[id(node)]


def _refuse_repeated_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if key.tag != _MERGE and isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                raise yaml.composer.ComposerError(None, None, f"{key.value} is written twice", key.start_mark)
            seen.add(key.value)


class _Loader(_RecBoleLoader):
    pass


_MERGE = "tag:yaml.org,2002:merge"
_BOOL, _FLOAT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:float"
_EXPONENT = re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)(?:[eE][-+]?[0-9]+)$")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
for _loader in (_RecBoleLoader, _Loader):
    _loader.add_implicit_resolver(_FLOAT, _EXPONENT, list("-+0123456789."))
