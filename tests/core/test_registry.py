"""A strategy is found by name, and a wrong name is answered with the choices and the nearest one."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from recbole_dtlns import registry
from recbole_dtlns.components import ComponentConfig
from recbole_dtlns.errors import ConfigError, ContractError, InstallationError, UnknownNameError
from recbole_dtlns.judges.contract import Judge
from recbole_dtlns.judges.table import JUDGES
from recbole_dtlns.negatives.pools.table import POOLS
from recbole_dtlns.negatives.samplers import SAMPLERS
from recbole_dtlns.registry import Registry, nearest
from recbole_dtlns.settings.settings import DTLNSSettings
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


class WithoutConfig(Judge):
    """Its settings are none."""

    Config = dict  # type: ignore[assignment]


class TakesOurNames(Judge):
    """Its only key is the name of something that all settings have."""

    class Config(ComponentConfig):
        """A key that is called as a property."""

        prefix = ""

        active: bool = False
        """Whether anything is done."""


def announce(monkeypatch: pytest.MonkeyPatch, *places: str) -> Registry:
    """A table that other packages announce these in, all as `theirs`; the judges' settings know them too."""
    group = "recbole_dtlns.judges"
    announced = [EntryPoint("theirs", place, group) for place in places]
    monkeypatch.setattr(registry, "entry_points", lambda group: announced if group == "recbole_dtlns.judges" else [])
    return Registry("judge", group, {})


def test_a_module_that_ends_the_program_is_in_nobodys_way(monkeypatch: pytest.MonkeyPatch, empty_folder: Path) -> None:
    """It cannot be imported, as one with an error."""
    (empty_folder / "ends_the_program.py").write_text("import sys; sys.exit(3)")
    monkeypatch.setattr(sys, "path", [str(empty_folder), *sys.path])
    table = announce(monkeypatch, "ends_the_program:Judge")
    assert list(table.importable()) == []
    with pytest.raises(InstallationError, match="cannot be imported: SystemExit: 3"):
        table.get("theirs")


def test_two_packages_with_one_name_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of folders would decide which is taken."""
    places = ("recbole_dtlns.judges.controls:RandomJudge", "recbole_dtlns.judges.controls:AlwaysJudge")
    table = announce(monkeypatch, *places)
    assert list(table.importable()) == []
    with pytest.raises(InstallationError, match=r"'theirs' is announced more than once \(.*AlwaysJudge.*RandomJudge"):
        table.get("theirs")
    assert announce(monkeypatch, places[0], places[0]).get("theirs").__name__ == "RandomJudge"


def test_what_is_no_component_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its settings could not be read."""
    with pytest.raises(ContractError, match="the judge 'theirs' is no component: <function nearest"):
        announce(monkeypatch, "recbole_dtlns.registry:nearest").make("theirs", {})
    with pytest.raises(InstallationError, match=r"the judge 'theirs' .*Config is no subclass of ComponentConfig"):
        announce(monkeypatch, f"{__name__}:WithoutConfig").get("theirs")


def test_a_key_is_not_called_as_what_all_settings_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be hidden, or hide it."""
    announce(monkeypatch, f"{__name__}:TakesOurNames")
    with pytest.raises(ConfigError, match="dtlns_active, which judge theirs reads, is a name that no key can have"):
        DTLNSSettings.from_config({})
