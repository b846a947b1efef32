"""What stands beside the arms: closed-form models, trained teachers, and the judges as recommenders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.models.council import Council
from recbole_dtlns.bridge.teacher import make_teacher
from recbole_dtlns.components import PREFIX
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.judges.table import JUDGES
from recbole_dtlns.methods.table import METHODS
from recbole_dtlns.preparation.relabelling import Relabelled
from recbole_dtlns.studies.compare.arms import errors_of, points
from recbole_dtlns.studies.compare.experiment import Arm, variants_of
from recbole_dtlns.teachers.by_recbole import TrainedConfig
from recbole_dtlns.teachers.table import TEACHERS

# By name: the model, and which of its keys have the values of the teacher's.
REFERENCES: dict[str, tuple[str, dict[str, str]]] = {
    "Pop": ("recbole_dtlns.bridge.models.popularity:Popularity", {}),
    "ItemKNN": ("ItemKNN", {"k": "dtlns_teacher_knn_k", "shrink": "dtlns_teacher_knn_shrink"}),
    "EASE": ("EASE", {"reg_weight": "dtlns_teacher_ease_reg"}),
}
_NOT_OF_JUDGES = frozenset(Relabelled.Config.keys()) | {"seed"}  # the seed follows the comparison
Reference = Literal["Pop", "ItemKNN", "EASE", "Council"]


def references(
    names: Sequence[Reference],
    choose: Mapping[Reference, Mapping[str, list[Any]]],
    arms: Sequence[Arm],
    base: DTLNSConfig,
    dataset: str,
    name: str,
) -> list[Arm]:
    """The closed-form models with the settings that they have as teachers; every trained teacher, and learnt judge.

    Args:
        names: of the references.
        choose: by name, values of a reference's own keys among which validation chooses.
        arms: beside which they stand.
        base: what all arms share.
        dataset: of the experiment.
        name: of the experiment, for messages.

    Raises:
        ConfigError: what is left to validation is no key of a reference that stands beside the arms.
    """
    for reference, grid in choose.items():
        own = {} if reference == Council.__name__ else REFERENCES[reference][1]
        if reference not in names:
            raise ConfigError(f"{name}: choose names '{reference}', which is not among the references: add it there")
        for key in grid:
            if key not in own:
                choices = f"it has {' and '.join(own)}" if own else "it has none that could be chosen"
                raise ConfigError(f"{name}: choose: the reference {reference} has no key '{key}': {choices}")
    found = []
    for reference in names:
        if reference == Council.__name__:
            continue
        model, shared_with_teacher = REFERENCES[reference]
        keys = {key: base[teacher_key] for key, teacher_key in shared_with_teacher.items()}
        title, among = _free(reference, "reference", arms), tuple(points(choose.get(reference, {})))
        found.append(Arm(title, model, {f"{PREFIX}preset": "off", **keys}, reference=True, among=among))
    trained: dict[str, Arm] = {}
    learners: dict[str, list[Arm]] = {}
    configured = _configured(arms, base, dataset)
    for arm, config in configured:
        settings = config.settings
        if not settings.prepares or settings.teacher in (*TEACHERS.names(), "checkpoint"):
            continue
        learners.setdefault(settings.teacher, []).append(arm)
        if settings.teacher not in trained:
            teacher = TrainedConfig.from_flat(settings.flat)
            given = DTLNSConfig(teacher.model, dataset, teacher.config_files).portable()
            epochs = {"epochs": teacher.epochs, "eval_step": 0}  # as a teacher: nothing chooses the epoch
            keys = {f"{PREFIX}preset": "off", **given, **epochs, "data_path": base.portable()["data_path"]}
            title = _free(settings.teacher, "teacher", arms)
            trained[settings.teacher] = Arm(title, settings.teacher, keys, reference=True)
    found += [replace(one, beside=_if_all_tried(learners[teacher])) for teacher, one in trained.items()]
    if Council.__name__ in names:
        found += _judges(arms, configured)
    return found


def _configured(arms: Sequence[Arm], base: DTLNSConfig, dataset: str) -> list[tuple[Arm, DTLNSConfig]]:
    """Every variant of the arms, with its whole configuration."""
    found = []
    for arm in variants_of(arms):
        with errors_of(f"arm '{arm.name}'"):
            found.append((arm, DTLNSConfig(arm.model, dataset, config_dict={**base.portable(), **arm.keys})))
    return found


def _judges(arms: Sequence[Arm], configured: Sequence[tuple[Arm, DTLNSConfig]]) -> list[Arm]:
    """What the arms learn from, as recommenders: one for every two learnt judges that answer differently."""
    judges: dict[str, dict[str, Any]] = {}
    learners: dict[str, list[Arm]] = {}
    for arm, config in configured:
        settings = config.settings
        if not config.prepares or settings.leaking or not getattr(JUDGES.get(settings.judge), "rehearses", False):
            continue
        flat = settings.flat
        read = sorted(METHODS.make(settings.method, flat).keys_read(flat, make_teacher(flat)) - _NOT_OF_JUDGES)
        keys = {f"{PREFIX}{key}": flat[key] for key in ("preset", "method", *read) if key in flat}
        judges.setdefault(repr(keys), keys)
        learners.setdefault(repr(keys), []).append(arm)
    name = Council.__name__
    found = []
    for judge, keys in judges.items():
        title = name if len(judges) == 1 else f"{name} of {learners[judge][0].name}"
        beside = _if_all_tried(learners[judge])
        found.append(Arm(_free(title, "reference", arms), name, keys, reference=True, beside=beside))
    return found


def _if_all_tried(learners: Sequence[Arm]) -> tuple[str, ...]:
    """Who learns from a reference, where validation has still to choose among all of them."""
    return tuple(arm.name for arm in learners) if all(arm.tried for arm in learners) else ()


def _free(name: str, role: str, arms: Sequence[Arm]) -> str:
    return name if name not in [arm.name for arm in arms] else f"{name} ({role})"
