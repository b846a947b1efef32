"""What is searched: a space file in yaml, or RecBole's own lines."""

from __future__ import annotations

import ast
import importlib.resources
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recbole_dtlns.errors import ConfigError
from recbole_dtlns.registry import nearest
from recbole_dtlns.settings.renamed import under_new_names
from recbole_dtlns.storage.yaml_file import read_yaml

# How many numbers each of Ray's distributions takes; the last of three is the step.
_NUMBERS = {
    "uniform": 2,
    "quniform": 3,
    "loguniform": 2,
    "qloguniform": 3,
    "randint": 2,
    "qrandint": 3,
    "lograndint": 2,
    "qlograndint": 3,
    "randn": 2,
    "qrandn": 3,
}
_LISTS = ("choice", "grid_search")
_RECBOLE = ("choice", "uniform", "loguniform", "quniform")


@dataclass(frozen=True)
class Parameter:
    """One searched key.

    Attributes:
        key: of RecBole or of this package.
        distribution: one of Ray's, such as `loguniform`.
        arguments: its numbers, or the values of a `choice` or `grid_search`.
    """

    key: str
    distribution: str
    arguments: tuple[Any, ...]

    @property
    def values(self) -> tuple[Any, ...] | None:
        """All values, where they are listed; None for a distribution of numbers."""
        return self.arguments if self.distribution in _LISTS else None

    @property
    def example(self) -> Any:
        """A value that may be drawn."""
        if self.values is not None:
            return self.values[0]
        return 0.0 if self.distribution.endswith("randn") else self.arguments[0]

    def of_ray(self, grid: bool) -> Any:
        """As Ray takes it; in a grid search, lists are walked through."""
        from ray import tune

        if self.values is None:
            return getattr(tune, self.distribution)(*self.arguments)
        listed = list(self.values)
        return tune.grid_search(listed) if grid or self.distribution == "grid_search" else tune.choice(listed)


def read_space(file: str | Path) -> list[Parameter]:
    """Read a space file.

    A yaml file holds one key per parameter, and under it the name of one of Ray's distributions with its arguments:
    `learning_rate: {loguniform: [1e-4, 1e-2]}`. Any other file holds RecBole's lines, `learning_rate loguniform -8,-2`,
    in which `loguniform` gives powers of e. A bare name such as `BPR` is a space that comes with the package.

    Raises:
        ConfigError: the file cannot be read; line and fault are named.
    """
    path = Path(file)
    spaces = importlib.resources.files("recbole_dtlns.properties") / "spaces"
    shipped = spaces / f"{path.name}.yaml"
    if not path.suffix and not path.exists() and shipped.is_file():
        with importlib.resources.as_file(shipped) as inside:
            return read_space(inside)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(sorted(entry.name.removesuffix(".yaml") for entry in spaces.iterdir()))
        raise ConfigError(
            f"cannot read the search space {path} (looked from {Path.cwd()}): {error}. Give a file, or one that comes "
            f"with the package: {names}"
        ) from error
    parameters = _yaml(path, text) if path.suffix in (".yaml", ".yml") else _lines(path, text)
    if not parameters:
        raise ConfigError(f"the search space {path} names no parameter")
    parameters = _under_new_names(parameters, f"the search space {path}")
    keys = [parameter.key for parameter in parameters]
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigError(f"{path}: {key} is searched twice")
    return parameters


def parse_space(content: dict[str, Any], where: str = "space") -> list[Parameter]:
    """Read a space from a dictionary of the same form as a yaml file."""
    found = []
    for key, entry in content.items():
        if not isinstance(entry, dict) or len(entry) != 1:
            raise ConfigError(
                f"{where}: {key} must name one distribution, such as {{choice: [1, 2]}} or {{uniform: [0, 1]}}, "
                f"not {entry!r}"
            )
        distribution, arguments = next(iter(entry.items()))
        found.append(_parameter(f"{where}: {key}", str(key), str(distribution), arguments))
    return _under_new_names(found, where)


def _under_new_names(parameters: list[Parameter], where: str) -> list[Parameter]:
    names = under_new_names({parameter.key: None for parameter in parameters}, where)
    if len(names) < len(parameters):
        return parameters  # one is there twice, which is refused where files are read
    return [replace(parameter, key=key) for parameter, key in zip(parameters, names, strict=True)]


def _yaml(path: Path, text: str) -> list[Parameter]:
    return parse_space(read_yaml(text, f"the search space {path}", "key: {distribution: arguments}"), str(path))


def _lines(path: Path, text: str) -> list[Parameter]:
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        where = f"{path}, line {number}"
        words = line.partition("#")[0].split(maxsplit=2)
        if not words:
            continue
        if len(words) < 3:
            raise ConfigError(f"{where}: expected 'key distribution arguments', found {line!r}")
        key, distribution, rest = words
        if distribution not in _RECBOLE:
            raise ConfigError(
                f"{where}: '{distribution}' is none of {', '.join(_RECBOLE)}; a .yaml space takes all of Ray's"
            )
        try:
            given = ast.literal_eval(rest if rest.startswith("[") else f"[{rest}]")
        except (ValueError, SyntaxError):
            raise ConfigError(f"{where}: cannot read the arguments {rest!r}") from None
        if distribution == "loguniform" and all(_is_number(power) for power in given):
            given = [math.exp(power) for power in given]
        found.append(_parameter(where, key, distribution, given))
    return found


def _parameter(where: str, key: str, distribution: str, arguments: Any) -> Parameter:
    known = [*_LISTS, *_NUMBERS]
    if distribution not in known:
        advice = f"Choices: {', '.join(known)}.{nearest(distribution, known)}"
        raise ConfigError(f"{where}: unknown distribution '{distribution}'. {advice}")
    if not isinstance(arguments, list) or not arguments:
        raise ConfigError(f"{where}: {distribution} needs a list of its arguments, not {arguments!r}")
    if distribution in _LISTS:
        return Parameter(key, distribution, tuple(arguments))
    if not all(map(_is_number, arguments)) or len(arguments) != _NUMBERS[distribution]:
        raise ConfigError(f"{where}: {distribution} needs {_NUMBERS[distribution]} numbers, not {arguments!r}")
    if not distribution.endswith("randn"):
        low, high = arguments[:2]
        logarithmic = "log" in distribution
        if not low < high or (logarithmic and low <= 0):
            raise ConfigError(
                f"{where}: {distribution} needs a lower{' positive' if logarithmic else ''} bound below the upper one, "
                f"not {low} and {high}"
            )
    return Parameter(key, distribution, tuple(arguments))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def combinations(parameters: list[Parameter]) -> int | None:
    """How many combinations of values there are; None where a parameter is a distribution of numbers."""
    if any(parameter.values is None for parameter in parameters):
        return None
    return math.prod(len(parameter.values or ()) for parameter in parameters)
