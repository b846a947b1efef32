"""Settings that matter: what changes the result of a component must be among what its result is kept by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args, get_origin

from recbole_dtlns.conformance.rules import require, require_plain
from recbole_dtlns.errors import ConfigError


def require_inputs_tell_results_apart(make: Callable[..., Any], result: Callable[[Any], Any]) -> None:
    """Raise where a setting changes the result and not the inputs, or where the inputs are not plain data.

    Args:
        make: gives the component; where it has settings, it takes them by name.
        result: of a component, to be compared with that of others.

    Raises:
        ConformanceError: an older result would be taken for one of the new setting.
    """
    first = make()
    inputs, version = first.inputs(), first.version
    require(isinstance(version, int) and not isinstance(version, bool), f"the version {version!r} is no whole number")
    require_plain(inputs, "inputs")
    require(first.inputs() == inputs == make().inputs(), "the same settings have other inputs the second time")
    before = result(first)
    for field, value in _other_values(first):
        try:
            other = make(**{field: value})
        except ConfigError:  # it contradicts another setting
            continue
        require_plain(other.inputs(), f"inputs with {field}={value!r}")
        if other.inputs() == inputs:
            require(result(other) == before, f"{field}={value!r} changes the result, and the inputs do not tell")


def _other_values(component: Any) -> Iterator[tuple[str, Any]]:
    """Fields of its settings, each with other values that its type allows."""
    config = getattr(component, "config", None)
    for name, about in type(config).model_fields.items() if config is not None else ():
        value = getattr(config, name)
        found: tuple[Any, ...] = ()
        if get_origin(about.annotation) is Literal:
            found = tuple(choice for choice in get_args(about.annotation) if choice != value)
        elif isinstance(value, bool):
            found = (not value,)
        elif isinstance(value, int):
            found = (value + 1, value // 2)
        elif isinstance(value, float):
            found = (value * 1.5 + 0.1, value / 2)
        yield from ((name, other) for other in found)
