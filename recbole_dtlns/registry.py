"""One explicit table of named strategies per concept, open to third parties through entry points."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from recbole_dtlns.errors import UnknownNameError

Strategy = TypeVar("Strategy")


def nearest(name: str, choices: Iterable[str]) -> str:
    """A sentence that names the choice most like `name`, or an empty string when none is close."""
    by_lower = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.5)
    return f" Did you mean '{by_lower[close[0]]}'?" if close else ""


class Registry(Generic[Strategy]):
    """Strategies of one kind by name.

    Args:
        kind: what is registered, in the singular, for messages ("judge").
        group: entry-point group in which other packages announce their own.
        builtin: name -> class or factory.
    """

    def __init__(self, kind: str, group: str, builtin: Mapping[str, Callable[..., Strategy]]) -> None:
        self.kind = kind
        self.group = group
        self._builtin = dict(builtin)

    def names(self) -> list[str]:
        """Every name that `get` accepts, built-in ones first."""
        return [*self._builtin, *sorted(self._third_party())]

    def get(self, name: str) -> Callable[..., Strategy]:
        """The class or factory registered as `name`.

        Raises:
            UnknownNameError: nothing is registered under that name; the message lists the choices.
        """
        if name in self._builtin:
            return self._builtin[name]
        third_party = self._third_party()
        if name in third_party:
            return third_party[name].load()
        raise UnknownNameError(
            f"unknown {self.kind} '{name}'. Choices: {', '.join(self.names())}.{nearest(name, self.names())}"
        )

    def make(self, name: str, flat: Mapping[str, Any]) -> Strategy:
        """The component registered as `name`, made from the flat keys that its `Config` reads.

        Args:
            name: as registered.
            flat: values by flat key, without `dtlns_`.

        Raises:
            UnknownNameError: nothing is registered under that name.
            ConfigError: a value is wrong.
        """
        component: Any = self.get(name)
        return component(component.Config.from_flat(flat, name))

    def _third_party(self) -> dict[str, Any]:
        return {point.name: point for point in entry_points(group=self.group)}
