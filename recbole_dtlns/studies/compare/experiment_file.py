"""Experiment files: read, and checked before any work."""

from __future__ import annotations

import importlib.resources
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.data.run_data import check_negative_sampling
from recbole_dtlns.bridge.models.capabilities import check_model
from recbole_dtlns.bridge.models.council import Council
from recbole_dtlns.bridge.refit import taught_by_checkpoint
from recbole_dtlns.bridge.runner import check_valid_metric
from recbole_dtlns.bridge.teacher import make_teacher
from recbole_dtlns.components import PREFIX
from recbole_dtlns.errors import ConfigError, UnknownNameError
from recbole_dtlns.evaluation.rankings import METRICS
from recbole_dtlns.judges.table import JUDGES
from recbole_dtlns.methods.table import METHODS
from recbole_dtlns.preparation.relabelling import Relabelled
from recbole_dtlns.registry import nearest
from recbole_dtlns.settings.renamed import under_new_names
from recbole_dtlns.storage.yaml_file import read_yaml
from recbole_dtlns.studies.compare.cell_result import Part
from recbole_dtlns.studies.compare.comparison import GroupKind, Varied
from recbole_dtlns.studies.compare.experiment import Arm, Cell, Experiment
from recbole_dtlns.teachers.by_recbole import TrainedConfig
from recbole_dtlns.teachers.table import TEACHERS

_PARTS = {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "user", "mode": "full"}
SPLITS: dict[str, dict[str, Any]] = {
    "given": {},
    "random": {"eval_args": {**_PARTS, "order": "RO"}},
    "time": {"eval_args": {**_PARTS, "order": "TO"}},
    "presplit": {"benchmark_filename": ["train", "valid", "test"]},
}
# By name: the model, and which of its keys have the values of the teacher's.
REFERENCES: dict[str, tuple[str, dict[str, str]]] = {
    "Pop": ("recbole_dtlns.bridge.models.popularity:Popularity", {}),
    "ItemKNN": ("ItemKNN", {"k": "dtlns_teacher_knn_k", "shrink": "dtlns_teacher_knn_shrink"}),
    "EASE": ("EASE", {"reg_weight": "dtlns_teacher_ease_reg"}),
}
_WITHOUT_SEED = [model for model, _ in REFERENCES.values()]  # draw nothing
_NOT_OF_JUDGES = frozenset(Relabelled.Config.keys()) | {"seed"}  # the seed follows the comparison
Reference = Literal["Pop", "ItemKNN", "EASE", "Council"]
_SEED_OF: dict[Varied, str] = {"run": "seed", "preparation": f"{PREFIX}seed"}
_OF_ALL = ("metrics", "topk", "valid_metric")  # arms are measured alike
_ADVICE = {
    "seed": " give seeds: [...] beside settings, and vary: [preparation] to hold the run's seed",
    "refit": " give refit: true beside settings, which refits every arm for a table of its own",
    f"{PREFIX}seed": " it follows seeds: [...]; add vary: [run] beside them to hold it",
}


class _File(BaseModel):
    """The keys of an experiment file."""

    model_config = ConfigDict(extra="forbid")

    about: str = ""
    model: str | None = None
    dataset: str | None = None
    seeds: list[int] = Field(default_factory=lambda: [2020, 2021, 2022], min_length=1)
    vary: list[Varied] = Field(default=["run", "preparation"], min_length=1)
    splits: list[str] | dict[str, dict[str, Any]] = Field(default_factory=lambda: ["given"], min_length=1)
    settings: dict[str, Any] = Field(default_factory=dict)
    arms: dict[str, dict[str, Any] | None] = Field(min_length=1)
    baseline: str | None = None
    references: list[Reference] = Field(default=["Pop", "ItemKNN", "EASE", "Council"])
    authors_mask: dict[str, Any] | None = None
    test: Literal["permutation", "wilcoxon"] = "permutation"
    margin: dict[str, Annotated[float, Field(gt=-1, allow_inf_nan=False)]] = Field(default_factory=dict)
    against: dict[str, list[str]] = Field(default_factory=dict)
    test_best: int | None = Field(None, ge=0, strict=True)
    refit: bool = Field(False, strict=True)
    groups: dict[GroupKind, list[Annotated[int, Field(ge=1, strict=True)]]] = Field(default_factory=dict)


def read_experiment(
    experiment: str | Path,
    model: str | None = None,
    dataset: str | None = None,
    config_files: Sequence[str | Path] = (),
    arguments: Sequence[str] = (),
) -> Experiment:
    """Read and check an experiment.

    Args:
        experiment: a yaml file, or the name of one that the package brings (`shipped_experiments`).
        model, dataset: in place of the file's.
        config_files: RecBole config files that all arms share; the experiment's own settings win.
        arguments: `--key=value`, for all arms; they win over the experiment's shared settings, not over an arm's own.

    Raises:
        ConfigError: a key or value is wrong; the message names it.
        DTLNSError: some arm cannot run with its settings.
    """
    name, content = _read_yaml(str(experiment))
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{name}: {'; '.join(map(_explain, error.errors()))}") from None
    file = _under_new_names(file, name)
    dataset = dataset or file.dataset
    if dataset is None:
        raise ConfigError(f"{name} names no dataset: add 'dataset: NAME', or give --dataset=NAME")
    arms = _arms(file, model or file.model, name)
    with _named(name):
        base = DTLNSConfig(arms[0].model, dataset, config_files, file.settings, arguments)
    shared = base.portable()
    for key, advice in base.unallowed_keys().items():
        raise ConfigError(f"{name}: neither RecBole nor recbole_dtlns knows the key '{key}'.{advice}")
    driven = [_SEED_OF[what] for what in file.vary]
    for key in ("checkpoint_dir", "resume_from", "refit", *driven):
        if key in shared:
            raise ConfigError(f"{name}: '{key}' belongs to the comparison;{_ADVICE.get(key, '')}")
    arms += _references(file.references, arms, base, dataset)
    named: dict[str, list[Any]] = {"seeds": file.seeds, "references": file.references, "arms": [a.name for a in arms]}
    for what, given_names in named.items():
        if twice := [one for one in given_names if given_names.count(one) > 1]:
            raise ConfigError(f"{name}: '{twice[0]}' is there twice among the {what}: leave one out, or rename it")
    splits = _splits(file.splits, name)
    given = [*splits.items(), *((arm.name, arm.keys) for arm in arms), ("authors_mask", file.authors_mask or {})]
    for where, keys in given:
        for key in (*driven, "refit", *_OF_ALL):
            if key in keys:
                raise ConfigError(
                    f"{name}: '{where}' sets '{key}', which belongs to the comparison;"
                    f"{_ADVICE.get(key, ' set it in settings, for all arms')}"
                )
    baseline = file.baseline or arms[0].name
    if baseline not in [arm.name for arm in arms]:
        raise ConfigError(f"{name}: the baseline '{baseline}' is no arm.{nearest(baseline, [a.name for a in arms])}")
    if file.authors_mask is not None and file.test_best is not None:
        raise ConfigError(f"{name}: authors_mask looks at test pairs, which test_best keeps from being looked at")
    mask = None if file.authors_mask is None else _portable_mask(file.authors_mask, arms[0].model, dataset, shared)
    metrics = tuple(metric.lower() for metric in base["metrics"] if metric.lower() in METRICS)
    if not metrics:
        raise ConfigError(f"a comparison needs at least one of the metrics {', '.join(METRICS)}: set metrics")
    topk = base["topk"] if isinstance(base["topk"], list) else [base["topk"]]
    measured: Part = "test" if file.test_best is None else "validation"
    cells = tuple(_cells(arms, splits, file.seeds, driven, dataset, shared, mask, measured))
    taught = [cell.arm for cell in cells if file.refit and taught_by_checkpoint(cell.config())]
    if taught:
        raise ConfigError(
            f"{name}: refit: true prepares on train, and on train and validation, and the checkpoint that teaches the "
            f"arm '{taught[0]}' knows one of the two: name its teacher by a model, or leave refit out"
        )
    return Experiment(
        name=name,
        about=file.about,
        arms=tuple(arms),
        baseline=baseline,
        seeds=tuple(file.seeds),
        vary=tuple(dict.fromkeys(file.vary)),
        splits=splits,
        test=file.test,
        margin=_margin(file, [f"{metric}@{k}" for metric in metrics for k in topk], name),
        against=_against(file.against, {arm.name: arm for arm in arms}, baseline, dataset, shared, name),
        test_best=file.test_best,
        refit=file.refit,
        groups=_groups(file, name),
        metrics=metrics,
        topk=tuple(topk),
        valid_metric=base["valid_metric"],
        valid_metric_bigger=base["valid_metric_bigger"],
        cells=cells,
    )


def _under_new_names(file: _File, name: str) -> _File:
    """The file with the names that keys have today, wherever it gives settings."""
    arms = {}
    for title, given in file.arms.items():
        where = f"{name}, arm '{title}'"
        arms[title] = under_new_names(given or {}, where)
        if isinstance(sweep := arms[title].get("sweep"), dict):
            arms[title]["sweep"] = under_new_names(sweep, where)
    of_file: dict[str, Any] = {"settings": under_new_names(file.settings, name), "arms": arms}
    if isinstance(file.splits, dict):
        of_file["splits"] = {split: under_new_names(keys, name) for split, keys in file.splits.items()}
    if file.authors_mask is not None:
        of_file["authors_mask"] = under_new_names(file.authors_mask, name)
    return file.model_copy(update=of_file)


@contextmanager
def _named(place: str) -> Iterator[None]:
    """Errors in settings say whose they are."""
    try:
        yield
    except ConfigError as error:
        raise type(error)(f"{place}: {error}") from None


def shipped_experiments() -> dict[str, str]:
    """Names of the package's own experiments, with the question that each asks."""
    files = sorted((file for file in _shipped().iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return {
        file.name.removesuffix(".yaml"): read_yaml(file.read_text(), file.name, "key: value")["about"] for file in files
    }


def _shipped() -> Traversable:
    return importlib.resources.files("recbole_dtlns.properties") / "experiments"


def _read_yaml(experiment: str) -> tuple[str, Any]:
    shipped = _shipped() / f"{experiment}.yaml"
    path = Path(experiment)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ConfigError(f"there is no experiment file {path} (looked in {Path.cwd()})")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"cannot read the experiment file {path} as text in UTF-8: {error}") from error
    elif shipped.is_file():
        text = shipped.read_text(encoding="utf-8")
    else:
        names = list(shipped_experiments())
        raise UnknownNameError(
            f"unknown experiment '{experiment}'. Give a .yaml file, or one of: {', '.join(names)}."
            f"{nearest(experiment, names)}"
        )
    return path.stem, read_yaml(text, f"experiment '{experiment}'", "key: value")


def _explain(detail: Any) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"unknown key '{key}'.{nearest(key, list(_File.model_fields))} Keys: {', '.join(_File.model_fields)}"
    return f"{key}: {detail['msg'][0].lower()}{detail['msg'][1:]}"


def _arms(file: _File, model: str | None, name: str) -> list[Arm]:
    arms = []
    for title, given in file.arms.items():
        keys = dict(given or {})
        used, sweep, grown = keys.pop("model", model), keys.pop("sweep", {}), keys.pop("grown_from", None)
        if grown is not None and not (isinstance(grown, float) and 0 < grown < 1):
            raise ConfigError(
                f"{name}: grown_from of the arm '{title}' is the share of the train pairs that an earlier run learnt "
                f"from, between 0 and 1, not {grown!r}"
            )
        if used is None:
            raise ConfigError(f"{name}: the arm '{title}' has no model: add 'model: NAME' to it or to the file")
        if not isinstance(used, str):
            raise ConfigError(f"{name}: the model of the arm '{title}' must be a name, not {used!r}")
        if not isinstance(sweep, dict) or not all(isinstance(values, list) and values for values in sweep.values()):
            raise ConfigError(f"{name}: the sweep of the arm '{title}' must give a list of values for each of its keys")
        for values in itertools.product(*sweep.values()):
            point = dict(zip(sweep, values, strict=True))
            place = ", ".join(f"{key.removeprefix(PREFIX)}={value}" for key, value in point.items())
            arms.append(
                Arm(f"{title} ({place})" if point else title, used, {**keys, **point}, False, point or None, grown)
            )
    return arms


def _references(names: Sequence[str], arms: list[Arm], base: DTLNSConfig, dataset: str) -> list[Arm]:
    """The closed-form models with the settings that they have as teachers; every trained teacher, and learnt judge."""
    found = []
    for name in names:
        if name == Council.__name__:
            continue
        model, shared_with_teacher = REFERENCES[name]
        keys = {key: base[teacher_key] for key, teacher_key in shared_with_teacher.items()}
        found.append(Arm(_free(name, "reference", arms), model, {f"{PREFIX}preset": "off", **keys}, reference=True))
    for arm in arms:
        with _named(f"arm '{arm.name}'"):
            settings = DTLNSConfig(arm.model, dataset, config_dict={**base.portable(), **arm.keys}).settings
        trained = settings.prepares and settings.teacher not in (*TEACHERS.names(), "checkpoint")
        if trained and settings.teacher not in [one.model for one in found]:
            teacher = TrainedConfig.from_flat(settings.flat)
            given = DTLNSConfig(teacher.model, dataset, teacher.config_files).portable()
            epochs = {"epochs": teacher.epochs, "eval_step": 0}  # as a teacher: nothing chooses the epoch
            keys = {f"{PREFIX}preset": "off", **given, **epochs, "data_path": base.portable()["data_path"]}
            found.append(Arm(_free(settings.teacher, "teacher", arms), settings.teacher, keys, reference=True))
    if Council.__name__ in names:
        found += _judges(arms, base, dataset)
    return found


def _judges(arms: list[Arm], base: DTLNSConfig, dataset: str) -> list[Arm]:
    """What the arms learn from, as recommenders: one for every two learnt judges that answer differently."""
    judges: dict[str, tuple[str, dict[str, Any]]] = {}
    for arm in arms:
        with _named(f"arm '{arm.name}'"):
            config = DTLNSConfig(arm.model, dataset, config_dict={**base.portable(), **arm.keys})
        settings = config.settings
        if not config.prepares or settings.leaking or not getattr(JUDGES.get(settings.judge), "rehearses", False):
            continue
        flat = settings.flat
        read = sorted(METHODS.make(settings.method, flat).keys_read(flat, make_teacher(flat)) - _NOT_OF_JUDGES)
        keys = {f"{PREFIX}{key}": flat[key] for key in ("preset", "method", *read) if key in flat}
        judges.setdefault(repr(keys), (arm.name, keys))
    name = Council.__name__
    return [
        Arm(_free(name if len(judges) == 1 else f"{name} of {arm}", "reference", arms), name, keys, reference=True)
        for arm, keys in judges.values()
    ]


def _free(name: str, role: str, arms: list[Arm]) -> str:
    return name if name not in [arm.name for arm in arms] else f"{name} ({role})"


def _splits(given: list[str] | dict[str, dict[str, Any]], name: str) -> dict[str, dict[str, Any]]:
    if isinstance(given, dict):
        return given
    for split in given:
        if split not in SPLITS:
            raise ConfigError(
                f"{name}: unknown split '{split}'. Choices: {', '.join(SPLITS)}, or your own as 'name: {{settings}}'."
                f"{nearest(split, SPLITS)}"
            )
    return {split: SPLITS[split] for split in given}


def _portable_mask(keys: dict[str, Any], model: str, dataset: str, shared: dict[str, Any]) -> dict[str, Any]:
    return DTLNSConfig(model, dataset, config_dict={**shared, **keys}).portable()


def _margin(file: _File, metrics: list[str], name: str) -> dict[str, float]:
    for metric in file.margin:
        if metric.lower() not in metrics:
            raise ConfigError(
                f"{name}: the margin's '{metric}' is not measured. Choices: {', '.join(metrics)}."
                f"{nearest(metric.lower(), metrics)}"
            )
    if file.margin and file.test != "permutation":
        raise ConfigError(f"{name}: a margin is of means, and the test {file.test} compares ranks: test: permutation")
    return {metric.lower(): margin for metric, margin in file.margin.items()}


def _groups(file: _File, name: str) -> dict[GroupKind, list[int]]:
    for by, bounds in file.groups.items():
        if not bounds or bounds != sorted(set(bounds)):
            raise ConfigError(f"{name}: groups: {by} are bounds in ascending order, such as [5, 20], not {bounds}")
    return file.groups


def _against(
    given: dict[str, list[str]], arms: dict[str, Arm], baseline: str, dataset: str, shared: dict[str, Any], name: str
) -> dict[str, list[str]]:
    """Named pairs, each once, besides those with the baseline."""
    seen = {frozenset([baseline, arm]) for arm in arms}
    for first, others in given.items():
        for arm in (first, *others):
            if arm not in arms:
                raise ConfigError(f"{name}: against names '{arm}', which is no arm.{nearest(arm, list(arms))}")
            keys = {**shared, **arms[arm].keys}
            if DTLNSConfig(arms[arm].model, dataset, config_dict=keys).settings.leaking:
                raise ConfigError(f"{name}: against names '{arm}', which leaks: it can be compared with nothing")
        for other in others:
            pair = frozenset([first, other])
            if len(pair) == 1 or pair in seen:
                why = "are one arm" if len(pair) == 1 else "are tested already (all arms are against the baseline)"
                raise ConfigError(f"{name}: against: '{first}' and '{other}' {why}")
            seen.add(pair)
    return given


def _cells(
    arms: list[Arm],
    splits: dict[str, dict[str, Any]],
    seeds: list[int],
    driven: list[str],
    dataset: str,
    shared: dict[str, Any],
    mask: dict[str, Any] | None,
    measured: Part,
) -> Iterator[Cell]:
    for split, of_split in splits.items():
        for seed in seeds:
            of_seed = dict.fromkeys(driven, seed)
            of_mask = None if mask is None else {**mask, **of_seed}
            for arm in arms:
                keys = {**shared, **of_split, **arm.keys, **of_seed}
                if arm.reference:  # nothing of DTL-NS reaches it, and the file's settings are for the arms' models
                    kept = {f"{PREFIX}preset", f"{PREFIX}cache_dir", f"{PREFIX}hide_train", f"{PREFIX}seed"}
                    keys = {key: value for key, value in keys.items() if key in kept or not key.startswith(PREFIX)}
                    keys |= {**arm.keys, **of_seed}
                with _named(f"arm '{arm.name}'"):
                    config = DTLNSConfig(arm.model, dataset, config_dict=keys)
                _check(arm.name, config)
                for_all = not _depends_on(driven, arm, config, mask)
                if for_all and seed != seeds[0]:
                    continue
                own = (config.model_name, dataset, config.portable())
                yield Cell(
                    arm.name,
                    split,
                    seed,
                    *own,
                    of_mask,
                    arm.reference,
                    arm.swept,
                    for_all,
                    measured,
                    grown_from=arm.grown_from,
                )


def _depends_on(driven: list[str], arm: Arm, config: DTLNSConfig, mask: dict[str, Any] | None) -> bool:
    """Whether another seed gives this arm another result."""
    trains_alike = arm.reference and arm.model in _WITHOUT_SEED
    of_run = not trains_alike or _random_split(config)
    of_preparation = config.prepares or config.settings.hide_train > 0 or mask is not None
    return (of_run and _SEED_OF["run"] in driven) or (of_preparation and _SEED_OF["preparation"] in driven)


def _random_split(config: DTLNSConfig) -> bool:
    return config["benchmark_filename"] is None and config["eval_args"]["order"] == "RO"


def _check(arm: str, config: DTLNSConfig) -> None:
    for key, advice in config.unallowed_keys().items():
        raise ConfigError(f"arm '{arm}': neither RecBole nor recbole_dtlns knows the key '{key}'.{advice}")
    check_model(config)
    check_negative_sampling(config, config.settings)
    check_valid_metric(config)
    split = config["eval_args"]["split"]
    if config.kind.ordered and config["benchmark_filename"] is None and "LS" not in split:
        raise ConfigError(
            f"arm '{arm}': a comparison measures users, and RecBole asks a sequential model for every row of a "
            f"user: set eval_args.split to {{LS: valid_and_test}}, which leaves one, not {split}"
        )
    if config["eval_args"]["mode"] not in ("full", {"valid": "full", "test": "full"}):
        raise ConfigError(
            f"arm '{arm}': a comparison ranks all items: set eval_args.mode to full, not {config['eval_args']['mode']}"
        )
