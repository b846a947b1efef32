"""Experiment files: read, and checked before any work."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.data.run_data import check_negative_sampling
from recbole_dtlns.bridge.models.capabilities import check_model, is_closed_form
from recbole_dtlns.bridge.refit import taught_by_checkpoint
from recbole_dtlns.bridge.runner import check_columns, check_valid_metric
from recbole_dtlns.components import PREFIX
from recbole_dtlns.errors import ConfigError, UnknownNameError
from recbole_dtlns.evaluation.rankings import METRICS
from recbole_dtlns.registry import nearest
from recbole_dtlns.settings.renamed import under_new_names
from recbole_dtlns.storage.yaml_file import read_yaml
from recbole_dtlns.studies.compare.arms import errors_of, read_arms
from recbole_dtlns.studies.compare.cell_result import Part
from recbole_dtlns.studies.compare.comparison import GroupKind, Varied
from recbole_dtlns.studies.compare.experiment import Arm, Cell, Experiment, Trial, variants_of
from recbole_dtlns.studies.compare.grown import check_grown
from recbole_dtlns.studies.compare.references import REFERENCES, Reference, references

_PARTS = {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "user", "mode": "full"}
SPLITS: dict[str, dict[str, Any]] = {
    "given": {},
    "random": {"eval_args": {**_PARTS, "order": "RO"}},
    "time": {"eval_args": {**_PARTS, "order": "TO"}},
    "presplit": {"benchmark_filename": ["train", "valid", "test"]},
}
_RANKED = "metrics: [Recall, NDCG], valid_metric: NDCG@10, and eval_args to hold mode: full"
_WITHOUT_SEED = [model for model, _ in REFERENCES.values()]  # draw nothing
_SEED_OF: dict[Varied, str] = {"run": "seed", "preparation": f"{PREFIX}seed"}
_OF_ALL = ("metrics", "topk", "valid_metric")  # arms are measured alike
_ADVICE = {
    "seed": " give seeds: [...] beside settings, and vary: [preparation] to hold the run's seed",
    "refit": " give refit: true beside settings, which refits every arm for a table of its own",
    f"{PREFIX}seed": " it follows seeds: [...]; add vary: [run] beside them to hold it",
}


Values = Annotated[list[Any], Field(min_length=1)]


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
    choose: dict[Reference, dict[str, Values]] = Field(default_factory=dict)
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
    arms = read_arms(file.arms, model or file.model, name)
    with errors_of(name):
        base = DTLNSConfig(arms[0].model, dataset, config_files, file.settings, arguments)
    shared = base.portable()
    for key, advice in base.unallowed_keys().items():
        raise ConfigError(f"{name}: neither RecBole nor recbole_dtlns knows the key '{key}'.{advice}")
    driven = [_SEED_OF[what] for what in file.vary]
    for key in ("checkpoint_dir", "resume_from", "refit", *driven):
        if key in shared:
            raise ConfigError(f"{name}: '{key}' belongs to the comparison;{_ADVICE.get(key, '')}")
    arms += references(file.references, file.choose, arms, base, dataset, name)
    named: dict[str, list[Any]] = {"seeds": file.seeds, "references": file.references, "arms": _names(arms)}
    for what, given_names in named.items():
        if twice := [one for one in given_names if given_names.count(one) > 1]:
            raise ConfigError(f"{name}: '{twice[0]}' is there twice among the {what}: leave one out, or rename it")
    splits = _splits(file.splits, name)
    of_arms = ((variant.name, variant.keys) for variant in variants_of(arms))
    given = [*splits.items(), *of_arms, ("authors_mask", file.authors_mask or {})]
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
        raise ConfigError(
            f"a comparison needs at least one of the metrics {', '.join(METRICS)}: set {_RANKED}; RecBole's defaults "
            "for models such as DIN measure labels"
        )
    topk = base["topk"] if isinstance(base["topk"], list) else [base["topk"]]
    measured: Part = "test" if file.test_best is None else "validation"
    left_open = {
        variant.name: (arm.name, settings)
        for arm in arms
        for variant, settings in zip(arm.variants, arm.among, strict=bool(arm.among))
    }
    made = tuple(_cells(variants_of(arms), splits, file.seeds, driven, dataset, shared, mask, measured))
    waiting = {arm.name for arm in arms if arm.beside}
    cells = tuple(cell for cell in made if cell.arm not in left_open and cell.arm not in waiting)
    trials = tuple(
        Trial(*left_open[cell.arm], replace(cell, measured="validation")) for cell in made if cell.arm in left_open
    )
    taught = [cell.arm for cell in made if file.refit and taught_by_checkpoint(cell.config())]
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
        trials=trials,
        waiting=tuple(cell for cell in made if cell.arm in waiting),
    )


def _under_new_names(file: _File, name: str) -> _File:
    """The file with the names that keys have today, wherever it gives settings."""
    arms = {}
    for title, given in file.arms.items():
        where = f"{name}, arm '{title}'"
        arms[title] = under_new_names(given or {}, where)
        for grid in ("sweep", "choose"):
            if isinstance(values := arms[title].get(grid), dict):
                arms[title][grid] = under_new_names(values, where)
    of_file: dict[str, Any] = {"settings": under_new_names(file.settings, name), "arms": arms}
    if isinstance(file.splits, dict):
        of_file["splits"] = {split: under_new_names(keys, name) for split, keys in file.splits.items()}
    if file.authors_mask is not None:
        of_file["authors_mask"] = under_new_names(file.authors_mask, name)
    return file.model_copy(update=of_file)


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


def _names(arms: list[Arm]) -> list[str]:
    """Of all arms, and of what validation chooses among for them."""
    return [name for arm in arms for name in (arm.name, *(one.name for one in arm.variants if arm.among))]


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
                with errors_of(f"arm '{arm.name}'"):
                    config = DTLNSConfig(arm.model, dataset, config_dict=keys)
                    if arm.tried and is_closed_form(config):  # validation is to see its one pass
                        config = DTLNSConfig(arm.model, dataset, config_dict={**keys, "eval_step": 1})
                _check(arm.name, config)
                if arm.grown_from is not None:
                    with errors_of(f"arm '{arm.name}'"):
                        check_grown(config)
                if arm.tried:
                    _check_choosable(arm.name, config)
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


def _check_choosable(arm: str, config: DTLNSConfig) -> None:
    """Refuse to leave to validation what it does not see, or must not be chosen by it."""
    if config.settings.leaking:
        raise ConfigError(f"arm '{arm}': it leaks, so validation cannot choose its settings: give them without choose")
    if not 0 < config["eval_step"] <= config["epochs"]:
        raise ConfigError(
            f"arm '{arm}': validation chooses its settings, and never looks at it: set eval_step to a number from 1 to "
            f"its {config['epochs']} epochs, not {config['eval_step']}"
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
    if Path(config["data_path"]).is_dir():
        with errors_of(f"arm '{arm}'"):
            check_columns(config)
    split = config["eval_args"]["split"]
    if config.kind.ordered and config["benchmark_filename"] is None and "LS" not in split:
        raise ConfigError(
            f"arm '{arm}': a comparison measures users, and RecBole asks a sequential model for every row of a "
            f"user: set eval_args.split to {{LS: valid_and_test}}, which leaves one, not {split}"
        )
    if config["eval_args"]["mode"] not in ("full", {"valid": "full", "test": "full"}):
        raise ConfigError(
            f"arm '{arm}': a comparison ranks all items, and eval_args.mode is {config['eval_args']['mode']}, which is "
            f"RecBole's default for models of labels such as DIN: set {_RANKED}"
        )
