"""Who reads which key: every component of every table, somebody else's included, and the run's own groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo

from recbole_dtlns.blocks.where import WhereConfig
from recbole_dtlns.components import PREFIX, Component, ComponentConfig, InputFile, SharedKey
from recbole_dtlns.data.item_content import ItemFields
from recbole_dtlns.data.user_texts import UserFields
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.generation.finetuning import FineTuning
from recbole_dtlns.generation.table import GENERATORS
from recbole_dtlns.judges.table import JUDGES
from recbole_dtlns.llm.table import ENGINES
from recbole_dtlns.losses.table import LOSSES
from recbole_dtlns.methods.table import METHODS
from recbole_dtlns.negatives.pools.table import POOLS
from recbole_dtlns.negatives.samplers import SAMPLERS
from recbole_dtlns.negatives.vectors.semantic import SemanticMixing
from recbole_dtlns.numerics.schedule import Schedule
from recbole_dtlns.preparation.convening import Convening
from recbole_dtlns.preparation.encoding import Encoding
from recbole_dtlns.preparation.generating import Generating
from recbole_dtlns.preparation.growing import (
    CodeTree,
    SemanticTree,
    StructureTree,
    StructureVectors,
    TextTree,
    TreeControl,
)
from recbole_dtlns.preparation.judging import Judging
from recbole_dtlns.preparation.rehearsing import Rehearsing
from recbole_dtlns.preparation.relabelling import Relabelled
from recbole_dtlns.preparation.stage import StoreConfig
from recbole_dtlns.preparation.teaching import GivenCandidates, Teaching
from recbole_dtlns.registry import Registry
from recbole_dtlns.settings import groups
from recbole_dtlns.teachers.by_recbole import SavedConfig, TrainedConfig
from recbole_dtlns.teachers.table import TEACHERS
from recbole_dtlns.text.table import ENCODERS

TABLES: tuple[Registry[Any], ...] = (
    METHODS,
    TEACHERS,
    JUDGES,
    ENGINES,
    ENCODERS,
    GENERATORS,
    SAMPLERS,
    POOLS,
    LOSSES,
)
GROUPS: tuple[type[ComponentConfig], ...] = (
    groups.RunKeys,
    groups.RelabelKeys,
    groups.NegativeKeys,
    groups.PoolKeys,
    groups.LossKeys,
    groups.TrainingKeys,
)
STAGES: dict[str, type[ComponentConfig]] = {
    "store": StoreConfig,
    "where": WhereConfig,
    "item fields": ItemFields,
    "user fields": UserFields,
    Encoding.name: Encoding.Config,
    Teaching.name: Teaching.Config,
    Convening.name: Convening.Config,
    GivenCandidates.name: GivenCandidates.Config,
    StructureVectors.name: StructureVectors.Config,
    StructureTree.name: StructureTree.Config,
    SemanticTree.name: SemanticTree.Config,
    TextTree.name: TextTree.Config,
    CodeTree.name: CodeTree.Config,
    TreeControl.name: TreeControl.Config,
    Rehearsing.name: Rehearsing.Config,
    Judging.name: Judging.Config,
    Relabelled.name: Relabelled.Config,
    Generating.name: Generating.Config,
    "semantic mixing": SemanticMixing.Config,
    "fine-tuning": FineTuning.Config,
}


@dataclass(frozen=True)
class Owner:
    """Something that reads keys.

    Attributes:
        kind: what it is ("judge"); "run" for the run's own groups.
        name: that it is registered under; empty for the run's own groups.
        config: what it reads.
        package: of somebody else, with its version; empty for this one.
    """

    kind: str
    name: str
    config: type[ComponentConfig]
    package: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip() + (f" ({self.package})" if self.package else "")


@dataclass(frozen=True)
class Key:
    """A flat key.

    Attributes:
        name: without `dtlns_`.
        field: its type, default and meaning, as its first owner has them.
        owners: all who read it, with what each says about it.
    """

    name: str
    field: FieldInfo
    owners: tuple[tuple[Owner, str], ...]

    @property
    def default(self) -> Any:
        """None, too, where the component must be told."""
        return None if self.field.is_required() else self.field.get_default(call_default_factory=True)

    @property
    def plain_default(self) -> Any:
        """As a configuration file holds it."""
        return self.default.plain() if isinstance(self.default, Schedule) else self.default


OF_RECBOLE = (Owner("RecBole model as teacher", "", TrainedConfig), Owner("teacher", "checkpoint", SavedConfig))


def config_of(component: Any) -> type[ComponentConfig] | None:
    """The settings of what a table holds; None for what has none."""
    if isinstance(component, type) and issubclass(component, Component):
        return component.Config
    return None


def owners_in(table: Registry[Any]) -> Iterator[Owner]:
    """The components of one table, without those that cannot be imported."""
    for name, component in table.importable():
        config = config_of(component)
        if config is not None:
            yield Owner(table.kind, name, config, table.package_of(name))


def owners() -> Iterator[Owner]:
    """All who read keys, the run's own groups first."""
    yield from (Owner("run", "", group) for group in GROUPS)
    yield from (Owner("stage", name, config) for name, config in STAGES.items())
    yield from OF_RECBOLE
    for table in TABLES:
        yield from owners_in(table)


def broken_plug_ins() -> list[str]:
    """What other packages announce and cannot be imported, a sentence for each."""
    return [message for table in TABLES for message in table.broken().values()]


def keys_of(readers: Iterable[Owner]) -> dict[str, Key]:
    """Every key that some of these read, by its name.

    Raises:
        ConfigError: two components give one key different types or defaults.
    """
    found: dict[str, Key] = {}
    for owner in readers:
        for name, field_name in owner.config.keys(owner.name).items():
            field = owner.config.model_fields[field_name]
            meaning = " ".join((field.description or "").split())
            known = found.get(name)
            if known is not None and not _agree(known.field, field):
                raise ConfigError(
                    f"{PREFIX}{name} is read by {known.owners[0][0]} as {_form_in_words(known.field)}, and by {owner} "
                    f"as {_form_in_words(field)}: components that share a key must agree on it; rename the field, or "
                    "uninstall the package"
                )
            before = known.owners if known else ()
            first = field if known is None or known.field.is_required() else known.field
            found[name] = Key(name, first, (*before, (owner, meaning)))
    return found


def text_keys() -> frozenset[str]:
    """The keys, with `dtlns_`, whose values are texts, so that a number given to them is one too."""
    texts = (str, str | None)
    return frozenset(PREFIX + name for name, key in keys_of(owners()).items() if key.field.annotation in texts)


def _agree(first: FieldInfo, second: FieldInfo) -> bool:
    """Whether two fields can share a key; one without a default takes the other's."""
    *kind, default = _form(first)
    *other_kind, other_default = _form(second)
    return kind == other_kind and (default == other_default or first.is_required() or second.is_required())


def _form(field: FieldInfo) -> tuple[Any, ...]:
    limits = [entry for entry in field.metadata if not isinstance(entry, (SharedKey, InputFile))]
    return field.annotation, limits, field.get_default(call_default_factory=True)


def _form_in_words(field: FieldInfo) -> str:
    kind, limits, default = _form(field)
    text = getattr(kind, "__name__", str(kind))
    return f"{text} {', '.join(map(str, limits))}".strip() + f" with the default {default!r}"
