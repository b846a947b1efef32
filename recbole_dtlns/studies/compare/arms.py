"""The arms of an experiment as its file describes them: settings, sweeps, and settings that are left to validation."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from recbole_dtlns.errors import ConfigError, DataError
from recbole_dtlns.studies.compare.experiment import Arm, at_point


def read_arms(given: Mapping[str, Mapping[str, Any] | None], model: str | None, name: str) -> list[Arm]:
    """One arm for each that is described, or for each combination of the values that it sweeps.

    Args:
        given: keys by title; `model`, `sweep`, `choose` and `grown_from` are the comparison's, others are settings.
        model: of arms that name none.
        name: of the experiment, for messages.

    Raises:
        ConfigError: an arm has no model, or what belongs to the comparison is not what it should be.
    """
    arms = []
    for title, described in given.items():
        keys = dict(described or {})
        used, grown = keys.pop("model", model), keys.pop("grown_from", None)
        sweep, among = (
            _grid(keys.pop(what, {}), f"{name}: the {what} of the arm '{title}'") for what in ("sweep", "choose")
        )
        if grown is not None and not (isinstance(grown, float) and 0 < grown < 1):
            raise ConfigError(
                f"{name}: grown_from of the arm '{title}' is the share of the train pairs that an earlier run learnt "
                f"from, between 0 and 1, not {grown!r}"
            )
        if used is None:
            raise ConfigError(f"{name}: the arm '{title}' has no model: add 'model: NAME' to it or to the file")
        if not isinstance(used, str):
            raise ConfigError(f"{name}: the model of the arm '{title}' must be a name, not {used!r}")
        if twice := sweep.keys() & among.keys():
            raise ConfigError(f"{name}: the arm '{title}' sweeps '{min(twice)}' and leaves it to validation: do one")
        arms += [
            Arm(
                at_point(title, point),
                used,
                {**keys, **point},
                swept=point or None,
                grown_from=grown,
                among=tuple(points(among)),
            )
            for point in points(sweep) or [{}]
        ]
    return arms


def _grid(given: Any, what: str) -> dict[str, list[Any]]:
    if not isinstance(given, dict) or not all(isinstance(values, list) and values for values in given.values()):
        raise ConfigError(f"{what} must give a list of values for each of its keys")
    return given


def points(grid: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values of some keys, the last key's going round first; none of no key."""
    combined = itertools.product(*grid.values()) if grid else ()
    return [dict(zip(grid, values, strict=True)) for values in combined]


@contextmanager
def errors_of(place: str) -> Iterator[None]:
    """Errors in settings say whose they are."""
    try:
        yield
    except (ConfigError, DataError) as error:
        raise type(error)(f"{place}: {error}") from None
