"""A component is made from its settings, given as a Config, by name, or as the flat keys of a configuration."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import Field

from recbole_dtlns.components import Component, ComponentConfig, SharedKey
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.registry import Registry


class Sum(Component):
    """A component as somebody else would write it."""

    class Config(ComponentConfig):
        """Its settings."""

        k: int = Field(2, ge=1)
        """How many."""
        seed: Annotated[int, SharedKey("seed")] = 42
        """Of its draws."""

    config: Config


class Prefixed(Component):
    """One whose keys are not named after it."""

    class Config(ComponentConfig):
        """Its settings."""

        prefix = "judge_"
        threshold: float = 0.5
        """Positive from here on."""

    config: Config


SUMS: Registry[Sum] = Registry("sum", "recbole_dtlns.no_such_group", {"second": Sum, "third": Prefixed})


def test_a_config_and_its_fields_make_the_same() -> None:
    assert Sum(Sum.Config(k=3)).config == Sum(k=3).config
    assert Sum().config.k == 2


def test_flat_keys_are_named_after_the_component_its_prefix_or_what_is_shared() -> None:
    assert Sum.Config.keys("second") == {"second_k": "k", "seed": "seed"}
    assert Prefixed.Config.keys("third") == {"judge_threshold": "threshold"}


def test_a_table_makes_components_from_flat_keys() -> None:
    made = SUMS.make("second", {"second_k": 5, "seed": 7, "judge_threshold": 0.9})
    assert (made.config.k, made.config.seed) == (5, 7)


def test_every_field_is_documented_by_its_docstring() -> None:
    assert Sum.Config.model_fields["k"].description == "How many."


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"k": 0}, "Sum: k: input should be greater than or equal to 1, not 0"), ({"n": 1}, "Sum: n: ")],
)
def test_wrong_fields_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Sum(**fields)


def test_wrong_values_of_flat_keys_are_named_as_users_know_them() -> None:
    with pytest.raises(ConfigError, match="dtlns_second_k: input should be greater"):
        SUMS.make("second", {"second_k": 0})


def test_a_config_beside_fields_or_of_another_component_is_refused() -> None:
    with pytest.raises(ConfigError, match="not both"):
        Sum(Sum.Config(), k=2)
    with pytest.raises(ConfigError, match=r"Sum takes a Sum\.Config"):
        Sum(Prefixed.Config())


class Numbers(Component):
    """One with every form in which a number is wanted."""

    class Config(ComponentConfig):
        """Its settings."""

        whole: int | None = None
        """A number, or none."""
        share: float = 0.5
        """A number."""
        several: list[int] = []  # noqa: RUF012
        """Numbers."""
        either: bool | int = 3
        """A number, or whether."""
        wanted: bool = False
        """Whether."""
        text: str = ""
        """No number."""


@pytest.mark.parametrize("fields", [{"whole": True}, {"share": False}, {"several": [2, True]}], ids=str)
def test_a_truth_value_is_no_number(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"Numbers: {next(iter(fields))}.*a number is wanted, not"):
        Numbers(**fields)


def test_numbers_and_truth_values_are_taken_where_they_are_wanted() -> None:
    given = {"whole": 2, "share": 1, "several": [2], "either": True, "wanted": True, "text": "True"}
    assert Numbers(**given).config.model_dump() == given
