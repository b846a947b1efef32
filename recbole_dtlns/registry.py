"""One explicit table of named strategies per concept, open to third parties through entry points."""

from __future__ import annotations

import contextlib
import difflib
import functools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any, Generic, TypeVar

from recbole_dtlns.components import Component, ComponentConfig
from recbole_dtlns.errors import ContractError, InstallationError, UnknownNameError

Strategy = TypeVar("Strategy")
_NAMED = 3
_ALIKE = 0.6  # of 1, by difflib; seed and second_k are at 0.5


def nearest(name: str, choices: Iterable[str], prefix: str = "") -> str:
    """A sentence that names the choice most like `name`, or an empty string when none is close.

    Args:
        name: what was written.
        choices: what it may be.
        prefix: what they may all begin with; that both do makes no two of them alike.
    """
    by_rest = {choice.removeprefix(prefix).lower(): choice for choice in choices}
    close = difflib.get_close_matches(name.removeprefix(prefix).lower(), list(by_rest), n=1, cutoff=_ALIKE)
    return f" Did you mean '{by_rest[close[0]]}'?" if close else ""


def nearest_ones(name: str, choices: Iterable[str], prefix: str = "") -> str:
    """A sentence that names up to three choices that are like `name`, the likest first; arguments as for `nearest`."""
    by_rest = {choice.removeprefix(prefix).lower(): choice for choice in choices}
    asked = name.removeprefix(prefix).lower()
    close = difflib.get_close_matches(asked, list(by_rest), n=_NAMED, cutoff=_ALIKE)
    if not close:
        return ""
    *first, last = [f"'{by_rest[one]}'" for one in close]
    return f" Did you mean {', '.join(first)} or {last}?" if first else f" Did you mean {last}?"


def entry_points(group: str) -> Sequence[EntryPoint]:
    """What the installed packages announce in a group.

    Args:
        group: of entry points.
    """
    return _announced(tuple(sys.path)).get(group, ())


@functools.cache  # reading the metadata of all packages takes longer than all else that a configuration needs
def _announced(path: tuple[str, ...]) -> dict[str, list[EntryPoint]]:
    packages: dict[str, Distribution] = {}
    for found in distributions(path=list(path)):
        packages.setdefault(re.sub(r"[-_.]+", "-", found.name).lower(), found)  # the first on the path hides the others
    by_group: dict[str, list[EntryPoint]] = {}
    for point in (point for package in packages.values() for point in package.entry_points):
        by_group.setdefault(point.group, []).append(point)
    return by_group


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
        return [*self._builtin, *self._others()]

    def get(self, name: str) -> Callable[..., Strategy]:
        """The class or factory registered as `name`.

        Raises:
            UnknownNameError: nothing is registered under that name; the message lists the choices.
            InstallationError: somebody else's cannot be imported, or is announced more than once.
        """
        if name in self._builtin:
            return self._builtin[name]
        others = self._others()
        if name in others:
            return self._loaded(others[name])
        raise UnknownNameError(
            f"unknown {self.kind} '{name}'. Choices: {', '.join(self.names())}.{nearest(name, self.names())}"
        )

    def importable(self) -> Iterator[tuple[str, Callable[..., Strategy]]]:
        """Names and what is registered under them, without somebody else's that cannot be imported."""
        yield from self._builtin.items()
        for name, point in self._others().items():
            with contextlib.suppress(InstallationError):
                yield name, self._loaded(point)

    def broken(self) -> dict[str, str]:
        """Somebody else's that cannot be imported, with the reason by name."""
        found = {}
        for name, point in self._others().items():
            try:
                self._loaded(point)
            except InstallationError as error:
                found[name] = str(error)
        return found

    def package_of(self, name: str) -> str:
        """The package that announces `name`, and its version; empty for a built-in one."""
        point = None if name in self._builtin else self._others().get(name)
        return "" if point is None else _package(point)

    def make(self, name: str, flat: Mapping[str, Any]) -> Strategy:
        """The component registered as `name`, made from the flat keys that its `Config` reads.

        Args:
            name: as registered.
            flat: values by flat key, without `dtlns_`.

        Raises:
            UnknownNameError: nothing is registered under that name.
            ConfigError: a value is wrong.
            ContractError: somebody else's is no component.
        """
        component: Any = self.get(name)
        if not hasattr(component, "from_flat"):
            raise ContractError(f"the {self.kind} '{name}' is no component: {component!r}")
        return component.from_flat(flat, name)

    def _others(self) -> dict[str, EntryPoint]:
        """What other packages announce, by name; a built-in name stays ours."""
        announced = {point.name: point for point in entry_points(group=self.group)}
        return {name: announced[name] for name in sorted(announced) if name not in self._builtin}

    def _loaded(self, point: EntryPoint) -> Any:
        announced = [one for one in entry_points(group=self.group) if one.name == point.name]
        same = {f"{one.value}{_package(one, ' of ')}" for one in announced}
        if len(same) > 1:  # which of them is found first is left to the order of folders
            raise InstallationError(
                f"the {self.kind} '{point.name}' is announced more than once ({', '.join(sorted(same))}): "
                "uninstall all but one"
            )
        try:
            found = point.load()
        except (Exception, SystemExit) as error:  # whatever somebody else's module raises when it is imported
            raise InstallationError(
                f"the {self.kind} '{point.name}' ({point.value}{_package(point, ' of ')}) cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from error
        if isinstance(found, type) and issubclass(found, Component) and not _has_config(found):
            raise InstallationError(
                f"the {self.kind} '{point.name}' ({point.value}{_package(point, ' of ')}) cannot be used: its Config "
                f"is no subclass of ComponentConfig but {found.Config!r}"
            )
        return found


def _has_config(component: type[Component]) -> bool:
    return isinstance(component.Config, type) and issubclass(component.Config, ComponentConfig)


def _package(point: EntryPoint, before: str = "") -> str:
    return "" if point.dist is None else f"{before}{point.dist.name} {point.dist.version}"
