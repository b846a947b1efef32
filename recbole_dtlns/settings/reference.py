"""The reference of all keys, in the components' own words: for `properties/dtlns.yaml` and `recbole-dtlns keys`."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from recbole_dtlns.blocks.where import WhereConfig
from recbole_dtlns.components import PREFIX, ComponentConfig
from recbole_dtlns.data.item_content import ItemFields
from recbole_dtlns.data.user_texts import UserFields
from recbole_dtlns.errors import UnknownNameError
from recbole_dtlns.generation.finetuning import FineTuning
from recbole_dtlns.generation.table import GENERATORS
from recbole_dtlns.judges.distilled import DistilledJudge
from recbole_dtlns.judges.language_model.judge import LLMJudge
from recbole_dtlns.judges.table import JUDGES
from recbole_dtlns.llm.table import ENGINES
from recbole_dtlns.losses.table import LOSSES
from recbole_dtlns.negatives.pools.table import POOLS
from recbole_dtlns.negatives.samplers import SAMPLERS
from recbole_dtlns.negatives.vectors.semantic import SemanticMixing
from recbole_dtlns.numerics.per_epoch import PerEpoch
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
from recbole_dtlns.registry import Registry, nearest_ones
from recbole_dtlns.settings import groups
from recbole_dtlns.settings.judge_and_engine import engine_apart
from recbole_dtlns.settings.owners import TABLES, Key, Owner, keys_of, owners, owners_in
from recbole_dtlns.settings.presets import changed_by_presets
from recbole_dtlns.settings.renamed import under_new_names
from recbole_dtlns.teachers.by_recbole import SavedConfig, TrainedConfig
from recbole_dtlns.teachers.table import TEACHERS
from recbole_dtlns.text.table import ENCODERS

_COLUMN, _STEP = 32, 4
_SOME = "..."  # a value
_HEAD = """\
# Every key of recbole_dtlns with its default. RecBole's own keys keep their meaning and stand beside these.
# Any key can be given in a config file, in config_dict, or on the command line: --dtlns_alpha_structure=0.2
# Made by: recbole-dtlns keys --format=yaml > properties/dtlns.yaml
"""


@dataclass(frozen=True)
class Section:
    """Keys that stand together in the reference.

    Attributes:
        title: its comment.
        sources: whose keys, in this order; of a table, those of this package's components.
        without: names of components whose keys stand elsewhere.
        further: lines for keys that are no settings of this package's, and are read by its runner.
    """

    title: str
    sources: tuple[type[ComponentConfig] | Registry[Any], ...]
    further: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


SECTIONS = (
    Section(
        "Run",
        (groups.RunKeys, StoreConfig, WhereConfig),
        (
            "allow_unknown_keys: False       # (bool) Go on with keys that look like a mistyped one; on the command "
            "line, --allow_unknown_keys is enough.",
            "resume_from: ~                  # (str) Run folder, or a checkpoint in it, to continue: best.pth or "
            "last.pth (exact: 2 + 3 epochs equal 5).",
            "refit: False                    # (bool or int) True: once validation has chosen the epoch, prepare and "
            "train anew on train and validation for as many epochs; test is read of that model alone. A number: do so "
            "for so many epochs of epochs, without validating first.",
            "init_from: ~                    # (str) Run folder whose model training begins with, on data that have "
            "grown since: users and items are matched by token.",
            "init_new: neighbours            # (str) With init_from, what the vectors of new users and items begin "
            "with: neighbours (the mean of those that they share train pairs with), random (what the model draws).",
        ),
    ),
    Section(
        "Teacher: names the candidates and gives the item vectors of the semantic tree. It sees train pairs only.",
        (Teaching.Config, Convening.Config, TEACHERS, TrainedConfig, SavedConfig, GivenCandidates.Config),
    ),
    Section(
        "What items say: texts of the .item file, as vectors, for the teacher ContentKNN, judges and the text tree.",
        (ItemFields, Encoding.Config, ENCODERS),
    ),
    Section(
        "Trees",
        (
            StructureVectors.Config,
            StructureTree.Config,
            SemanticTree.Config,
            TextTree.Config,
            CodeTree.Config,
            TreeControl.Config,
        ),
    ),
    Section(
        "Judge: which candidates are false negatives?",
        (Judging.Config, JUDGES, Rehearsing.Config),
        without=("llm", "distilled"),
    ),
    Section(
        "LLM judges. An answered pair is never asked again: verdicts are kept in dtlns_cache_dir by prompt, model and "
        "codes.",
        (LLMJudge.Config, ENGINES, DistilledJudge.Config),
    ),
    Section(
        "Relabelling: what a positive verdict does in training. Nothing of it reaches evaluation.",
        (groups.RelabelKeys, Relabelled.Config),
    ),
    Section(
        "Negatives: which item is chosen. A value per epoch may be a number, or points such as {0: 1, 20: 10}, linear "
        "in between.",
        (groups.NegativeKeys, SAMPLERS),
    ),
    Section(
        "Generated negatives (dtlns_method: hnlmrec): made before training, mixed into those that the sampler chooses.",
        (Generating.Config, UserFields, GENERATORS, SemanticMixing.Config),
    ),
    Section(
        "Fine-tuning (recbole-dtlns finetune): a causal model learns to encode a train pair as a hard negative of it.",
        (FineTuning.Config,),
    ),
    Section(
        "Pool: which items the candidates are drawn from. Observed and forbidden ones never are.",
        (groups.PoolKeys, POOLS),
    ),
    Section(
        "Loss. How many negatives a positive has is RecBole's train_neg_sample_args.sample_num.",
        (groups.LossKeys, LOSSES),
    ),
    Section("Training", (groups.TrainingKeys,)),
)


def yaml_reference() -> str:
    """The text of `properties/dtlns.yaml`: every key of this package with its default, type and meaning."""
    keys = keys_of(owner for owner in owners() if not owner.package)
    parts: list[str] = [_HEAD]
    written: set[str] = set()
    for section in SECTIONS:
        names = [name for name in dict.fromkeys(_names(section)) if name not in written]
        written |= set(names)
        parts.append(
            "\n".join([f"# {section.title}", *map(_yaml_line, (keys[name] for name in names)), *section.further])
        )
    return "\n\n".join([parts[0].rstrip(), *parts[1:]]) + "\n"


def text_reference(about: str | None = None) -> str:
    """Keys with their types, defaults, owners and meanings, those of other packages' components included.

    Args:
        about: a component, a kind of components, a part of keys' names, or else words of their meanings; None for all
            keys.

    Raises:
        UnknownNameError: nothing is called so, nor speaks of it; the message names what is like it.
    """
    keys = every = keys_of(owners())
    if about is not None:
        about = _under_its_new_name(about)
        found = _of_a_kind(about, keys) or {name: key for name, key in keys.items() if _is_read_by(key, about)}
        if not found and any(owner.name == about for owner in owners()):
            raise UnknownNameError(f"'{about}' has no keys of its own. All keys: recbole-dtlns keys")
        asked = about.removeprefix(PREFIX)
        named = [name for name in keys if asked in name]
        found = found or {name: keys[name] for name in sorted(named, key=lambda name: name != asked)}
        found = found or {name: key for name, key in keys.items() if about.lower() in meaning_of(key).lower()}
        if not found:
            with_keys = dict.fromkeys(owner.name for key in keys.values() for owner, _ in key.owners if owner.name)
            known = [*(PREFIX + name for name in keys), *with_keys]
            raise UnknownNameError(
                f"there is no key, and no component with keys, called '{about}'.{nearest_ones(about, known, PREFIX)}"
            )
        keys = found
    changed = changed_by_presets({PREFIX + name: key.plain_default for name, key in every.items()})
    return "\n".join(_entry(key, changed.get(PREFIX + key.name, [])) for key in keys.values())


def _entry(key: Key, changed: list[str]) -> str:
    presets = [f"    presets: {'; '.join(changed)}"] if changed else []
    return "\n".join([_head(key), f"    {meaning_of(key)}", *presets])


def _under_its_new_name(about: str) -> str:
    """What is asked about; of a key that was renamed the new name, with a warning."""
    written = PREFIX + about.removeprefix(PREFIX)
    (new,) = under_new_names(engine_apart({written: _SOME}), "recbole-dtlns keys")
    return about if new == written else new


def type_in_words(field: FieldInfo) -> str:
    """The type of a field as RecBole writes types in its yaml files: `str`, `list of int`, `float per epoch`."""
    per_epoch = [entry for entry in field.metadata if isinstance(entry, PerEpoch)]
    return f"{per_epoch[0].number} per epoch" if per_epoch else _words(field.annotation)


def meaning_of(key: Key) -> str:
    """What a key means: in the words of its reader, or in those of each where they differ."""
    said: dict[str, list[Owner]] = {}
    for owner, meaning in key.owners:
        said.setdefault(meaning, []).append(owner)
    return " ".join(_with_readers(meaning, readers, len(said)) for meaning, readers in said.items())


def _with_readers(meaning: str, readers: list[Owner], meanings: int) -> str:
    """What these say; after their names, where others say something else or it does not name its only reader."""
    names = [owner.name for owner in readers if owner.name and owner.kind != "stage"]
    unnamed = len(readers) == 1 and names and names[0] not in meaning
    if not names or not (meanings > 1 or unnamed):
        return meaning
    first, _, _ = meaning.partition(" ")
    plain = len(first) == 1 or first[1:].islower()  # neither a name nor an abbreviation
    return f"{', '.join(names)}: {meaning[:1].lower() if plain else meaning[:1]}{meaning[1:]}"


def _names(section: Section) -> Iterator[str]:
    for source in section.sources:
        if isinstance(source, Registry):
            for owner in owners_in(source):
                if not owner.package and owner.name not in section.without:
                    yield from owner.config.keys(owner.name)
        else:
            yield from source.keys()


def _yaml_line(key: Key) -> str:
    given = f"{PREFIX}{key.name}: {_yaml_value(key)}"
    width = max(_COLUMN, -(-(len(given) + 1) // _STEP) * _STEP)
    return f"{given:<{width}}# ({type_in_words(key.field)}) {meaning_of(key)}"


def _yaml_value(key: Key) -> str:
    value = key.plain_default
    if value is None:
        return "~"
    if value == "":
        return '""'
    if isinstance(key.default, Schedule) and float(value).is_integer() and type_in_words(key.field).startswith("int"):
        return str(int(value))
    if isinstance(value, float):
        return re.sub(r"^(-?\d+)e", r"\1.0e", str(value))  # in YAML, 2e-05 is a text
    return str(value)


def _head(key: Key) -> str:
    readers: list[Owner] = [owner for owner, _ in key.owners]
    by = ", ".join(dict.fromkeys(map(str, readers)))
    return f"{PREFIX}{key.name}: {_yaml_value(key)}  ({type_in_words(key.field)}; {by})"


def _of_a_kind(kind: str, keys: dict[str, Key]) -> dict[str, Key]:
    """The key that chooses a component of a kind, its components' keys, and then those that speak of it.

    Nothing where no key chooses by that name: the word is then a component, or a part of keys.
    """
    written = kind.replace(" ", "_")
    chooser = [name for name in keys if name == written or name.endswith(f"_{written}")]  # as in hnlmrec_generator
    if kind not in {table.kind for table in TABLES} or not chooser:
        return {}
    read = [name for name, key in keys.items() if _is_read_by(key, kind)]
    named = [name for name in keys if kind in name]
    meant = [name for name, key in keys.items() if kind in meaning_of(key).lower()]
    return {name: keys[name] for name in (*sorted(chooser, key=len)[:1], *read, *named, *meant)}


def _is_read_by(key: Key, about: str) -> bool:
    return about in {word for owner, _ in key.owners for word in (owner.kind, owner.name)}


def _words(kind: Any) -> str:
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _words(inside[0])
    if origin is Literal:
        return type(inside[0]).__name__
    if origin in (Union, types.UnionType):
        return " or ".join(_words(one) for one in inside if one is not type(None))
    if origin is list:
        return f"list of {_words(inside[0])}"
    if origin is not None:
        return str(origin.__name__)
    return str(getattr(kind, "__name__", kind))
