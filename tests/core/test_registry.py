"""A strategy is found by name, and a wrong name is answered with the choices and the nearest one."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from recbole_dtlns import registry
from recbole_dtlns.errors import ConfigError, UnknownNameError
from recbole_dtlns.judges.table import JUDGES
from recbole_dtlns.negatives.pools.table import POOLS
from recbole_dtlns.negatives.samplers import SAMPLERS
from recbole_dtlns.registry import Registry, nearest
from recbole_dtlns.teachers.table import TEACHERS


@pytest.mark.parametrize(
    ("table", "kind", "wrong", "right"),
    [
        (JUDGES, "judge", "structurl", "structural"),
        (JUDGES, "judge", "Shuffeld", "shuffled"),
        (TEACHERS, "teacher", "ESAE", "EASE"),
        (TEACHERS, "teacher", "itemknn", "ItemKNN"),
        (SAMPLERS, "sampler", "dltns", "dtlns"),
        (POOLS, "pool", "populrity", "popularity"),
    ],
)
def test_a_misspelt_name_lists_the_choices_and_the_nearest(table: Registry, kind: str, wrong: str, right: str) -> None:
    """The message alone is enough to correct the configuration."""
    with pytest.raises(UnknownNameError) as caught:
        table.get(wrong)
    message = str(caught.value)
    assert message.startswith(f"unknown {kind} '{wrong}'. Choices: {', '.join(table.names())}.")
    assert message.endswith(f"Did you mean '{right}'?")
    assert isinstance(caught.value, ConfigError), "a wrong name is a wrong setting, and caught as one"


def test_a_name_like_no_other_gets_no_guess() -> None:
    """A far-fetched suggestion would mislead."""
    assert nearest("zzzzzz", ["structural", "always"]) == ""
    assert nearest("dtlns_second_k", ["dtlns_seed", "dtlns_srns_ramp"], "dtlns_") == "", "only the beginning is alike"
    assert nearest("dtlns_sede", ["dtlns_seed", "dtlns_srns_ramp"], "dtlns_") == " Did you mean 'dtlns_seed'?"
    with pytest.raises(UnknownNameError, match=r"shuffled.*\.$"):
        JUDGES.get("zzzzzz")


@pytest.mark.parametrize("table", [JUDGES, TEACHERS, SAMPLERS, POOLS], ids=lambda table: table.kind)
def test_every_listed_name_is_found(table: Registry) -> None:
    """The choices that an error lists are choices."""
    assert table.names()
    assert all(callable(table.get(name)) for name in table.names())


def test_other_packages_add_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point is listed after the built-in names, loaded when asked for, and never replaces a built-in."""
    group = "recbole_dtlns.judges"
    announced = [
        EntryPoint("oracle", "recbole_dtlns.judges.controls:RandomJudge", group),
        EntryPoint("always", "recbole_dtlns.judges.controls:RandomJudge", group),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: announced if group == "recbole_dtlns.judges" else [])
    table = Registry("judge", group, {"always": dict})
    assert table.get("oracle").__name__ == "RandomJudge"
    assert table.get("always") is dict
    assert table.names()[0] == "always"
    assert "oracle" in table.names()
