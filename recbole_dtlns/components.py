"""Components carry their own settings: what a teacher, judge, engine, sampler, pool, loss or method can be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from recbole_dtlns.errors import ConfigError, DataError

PREFIX = "dtlns_"


@dataclass(frozen=True)
class SharedKey:
    """Marks a field whose flat key has no prefix of its component, because others read the same key.

    `seed: Annotated[int, SharedKey("seed")] = 42` is `dtlns_seed`.

    Attributes:
        key: without `dtlns_`.
    """

    key: str


@dataclass(frozen=True)
class InputFile:
    """Marks a field that names a file to be read: whether it is there is looked at before any work.

    Attributes:
        what: what it holds, for messages.
    """

    what: str


Seed = Annotated[
    int,
    SharedKey("seed"),
    Field(
        ge=0,
        description="Seed of the preparation (trees, random controls, trained teachers); RecBole's seed is the run's.",
    ),
]


def _listed(names: Any) -> Any:
    return [name.strip() for name in names.strip("[]").split(",") if name.strip()] if isinstance(names, str) else names


def _each_once(names: list[str]) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"'{name}' is there twice")
    return names


# Several names, none of them twice; on a command line, EASE,ItemKNN needs no quotation marks.
Names = Annotated[list[str], BeforeValidator(_listed), AfterValidator(_each_once)]


class ComponentConfig(BaseModel):
    """Settings of one component: a field with a type, a default and a docstring for each.

    Attributes:
        prefix: what stands between `dtlns_` and a field's name in the flat keys of a configuration; None: the name that
            the component is registered under, and an underscore.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
        arbitrary_types_allowed=True,
        allow_inf_nan=False,
    )
    prefix: ClassVar[str | None] = None

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value_for_a_number(cls, value: Any, about: ValidationInfo) -> Any:
        """Python counts True as 1, so `dtlns_candidates: True` would mean one candidate."""
        kinds = _kinds(cls.model_fields[about.field_name or ""].annotation)
        numbers = bool(kinds & {int, float}) and bool not in kinds
        if numbers and any(isinstance(one, bool) for one in (value if isinstance(value, list) else [value])):
            raise ValueError("a number is wanted")
        return value

    @classmethod
    def keys(cls, name: str = "") -> dict[str, str]:
        """The flat key, without `dtlns_`, of every field: field by key.

        Args:
            name: that the component is registered under.
        """
        prefix = f"{name}_" if cls.prefix is None else cls.prefix
        return {_own_key(about.metadata) or prefix + field: field for field, about in cls.model_fields.items()}

    def check_files(self) -> None:
        """Refuse a file that is named and cannot be read.

        Raises:
            DataError: the message says what the file should hold, and why it cannot be read.
        """
        for field, about in type(self).model_fields.items():
            marks = [mark for mark in about.metadata if isinstance(mark, InputFile)]
            file = getattr(self, field)
            if not marks or not file:
                continue
            try:
                with Path(file).open("rb"):
                    pass
            except OSError as error:
                raise DataError(f"cannot read the {marks[0].what} in {file}: {error.strerror}") from error

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any], name: str = "") -> Self:
        """The settings that flat keys hold; keys that are missing keep their defaults, others are not looked at.

        Args:
            flat: values by flat key, without `dtlns_`.
            name: that the component is registered under.

        Raises:
            ConfigError: a value is wrong, or two contradict; the message names the keys.
        """
        keys = cls.keys(name)
        try:
            return cls(**{field: flat[key] for key, field in keys.items() if key in flat})
        except ValidationError as error:
            key_of = {field: PREFIX + key for key, field in keys.items()}
            raise ConfigError(explained(error, lambda field: key_of.get(field, field))) from None


class Component:
    """Something that a configuration names, made from its `Config`: `Component(config)` or `Component(field=value)`.

    Attributes:
        config: what it was made from.

    Raises:
        ConfigError: a field is unknown, or a value wrong.
    """

    Config: ClassVar[type[ComponentConfig]] = ComponentConfig
    config: ComponentConfig

    def __init__(self, config: ComponentConfig | None = None, /, **fields: Any) -> None:
        if config is not None and fields:
            raise ConfigError(f"{type(self).__name__} takes a Config, or its fields by name, not both")
        if config is not None and not isinstance(config, self.Config):
            raise ConfigError(f"{type(self).__name__} takes a {self.Config.__qualname__}, not {config!r}")
        try:
            self.config = self.Config(**fields) if config is None else config
        except ValidationError as error:
            raise ConfigError(f"{type(self).__name__}: {explained(error, str)}") from None

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any], name: str = "") -> Self:
        """The component that flat keys describe; one that holds other components makes them of the same keys.

        Args:
            flat: values by flat key, without `dtlns_`.
            name: that the component is registered under.

        Raises:
            ConfigError: a value is wrong, or two contradict; the message names the keys.
        """
        return cls(cls.Config.from_flat(flat, name))

    def check_files(self) -> None:
        """Refuse a file that its settings name and that it could not use, before any work.

        Raises:
            DataError: the message says what the file should hold, and what is wrong with it.
        """
        self.config.check_files()


def explained(error: ValidationError, key_of: Any) -> str:
    """What pydantic found wrong, in a sentence for each key.

    Args:
        error: pydantic's.
        key_of: gives the name that a user knows a field by.
    """
    return "; ".join(_explain(detail, key_of) for detail in error.errors())


def _explain(detail: Any, key_of: Any) -> str:
    problem = detail["msg"].removeprefix("Value error, ")
    if not detail["loc"]:  # of a check of several fields together, whose message names them
        return problem
    first, *rest = detail["loc"]
    key = ".".join([key_of(first), *map(str, rest)])
    if detail["type"] == "missing":
        return f"{key} is needed, and has no default"
    found = detail["input"].plain() if hasattr(detail["input"], "plain") else detail["input"]
    return f"{key}: {problem[0].lower()}{problem[1:]}, not {found!r}"


def _kinds(annotation: Any) -> set[Any]:
    """The types that a field's annotation names, however deep."""
    inside = get_args(annotation)
    return set().union(*map(_kinds, inside)) if inside else {annotation}


def _own_key(metadata: list[Any]) -> str | None:
    return next((entry.key for entry in metadata if isinstance(entry, SharedKey)), None)
