"""The values of RecBole's own keys, checked before any work: RecBole would stop later, or go on with nonsense."""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from recbole.evaluator import metric_types
from recbole.utils import EvaluatorType

from recbole_dtlns.errors import ConfigError, InstallationError
from recbole_dtlns.registry import nearest

# Of `train_neg_sample_args`: one negative for every positive, as RecBole has it for general models.
ONE_UNIFORM = {"distribution": "uniform", "sample_num": 1, "alpha": 1.0, "dynamic": False, "candidate_num": 0}

_LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam")
_LEVELS = ("debug", "info", "warning", "error", "critical")
_TRANSFORMS = ("mask_itemseq", "inverse_itemseq", "crop_itemseq", "reorder_itemseq", "user_defined")
_LEAVE_OUT = ("valid_and_test", "valid_only", "test_only")
_INTERVAL = re.compile(r"\s*[\[(]\s*[-+.\w]+\s*,\s*[-+.\w]+\s*[\])]\s*")
_SEED_END = 2**32  # NumPy's
_LARGEST = 1e36  # beyond, a step leaves float32


def _one_of(*choices: str) -> AfterValidator:
    """In any case, as RecBole reads them."""

    def check(value: str) -> str:
        if value.lower() not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return AfterValidator(check)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, (str, int)) else value


def _metric(name: str) -> str:
    if name.lower() not in metric_types:
        raise ValueError(f"must be one of RecBole's metrics, {', '.join(metric_types)}")
    return name


def _columns(value: Any) -> Any:
    """Fields by suffix of an atomic file: a list of names, '*' for all, or nothing."""
    if not isinstance(value, dict) or not all(isinstance(suffix, str) for suffix in value):
        raise ValueError("write the fields of each file, such as {inter: [user_id, item_id]}")
    for suffix, names in value.items():
        if names not in ("*", None) and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise ValueError(f"the fields of {suffix} must be a list of names, or '*' for all")
    return value


def _split(value: Any) -> Any:
    if not isinstance(value, dict) or len(value) != 1 or next(iter(value)) not in ("RS", "LS", "TS"):
        raise ValueError("write {RS: [0.8, 0.1, 0.1]}, {TS: [0.8, 0.1, 0.1]} or {LS: valid_and_test}")
    ((kind, how),) = value.items()
    if kind == "LS":
        if how not in _LEAVE_OUT:
            raise ValueError(f"leaving one out (LS) must be one of {', '.join(_LEAVE_OUT)}")
        return value
    if not isinstance(how, list) or len(how) != 3 or not all(map(_is_number, how)):
        raise ValueError(f"the shares of {kind} must be three numbers, for train, validation and test")
    if min(how) < 0 or how[0] <= 0:
        raise ValueError(f"the shares of {kind} must not be below 0, and that of train must be above 0")
    return value


def _mode(value: Any) -> Any:
    modes = value if isinstance(value, dict) else {"valid": value, "test": value}
    for phase, mode in modes.items():
        if phase not in ("valid", "test"):
            raise ValueError("write one mode, or {valid: ..., test: ...}")
        if not isinstance(mode, str) or not re.fullmatch(r"full|labeled|(uni|pop)[1-9]\d*", mode):
            raise ValueError("must be full, labeled, or uni or pop with a number of negatives, such as uni100")
    return value


def _as_written(value: Any) -> Any:
    """An interval such as [0,60] or (0,60) is read as a list or tuple; RecBole takes its text."""
    return str(value) if isinstance(value, (list, tuple)) else value


def _intervals(value: str | None) -> str | None:
    if value is not None and not all(_INTERVAL.fullmatch(one) for one in value.split(";")):
        raise ValueError("write an interval such as [5,inf)")
    return value


def _refit(value: Any) -> Any:
    if not isinstance(value, bool) and not (isinstance(value, int) and value >= 1):
        raise ValueError("must be True, False, or a number of epochs from 1")
    return value


def _path(value: Any) -> Any:
    if not isinstance(value, (str, os.PathLike)) or not str(value):
        raise ValueError("must be a path")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


Whole = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Step = Annotated[float, Field(ge=0, le=_LARGEST)]
Columns = Annotated[Any, AfterValidator(_columns)] | None
Intervals = Annotated[str | None, BeforeValidator(_as_written), AfterValidator(_intervals)]
FilePath = Annotated[Any, AfterValidator(_path)]
Names = list[str] | None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _EvalArgs(_Strict):
    split: Annotated[Any, AfterValidator(_split)] = None
    group_by: Literal["user", "none", "None"] | None = None
    order: Literal["RO", "TO"] = "RO"
    mode: Annotated[Any, AfterValidator(_mode)] = "full"


class _Negatives(_Strict):
    distribution: Literal["uniform", "popularity", "None"] | None = None
    sample_num: Count = 1
    alpha: float = 1.0
    dynamic: bool = False
    candidate_num: Whole = 0


class _Clipping(_Strict):
    """The arguments of torch's `clip_grad_norm_`."""

    max_norm: Annotated[float, Field(gt=0)]
    norm_type: float = 2.0
    error_if_nonfinite: bool = False
    foreach: bool | None = None


class _Values(_Strict):
    """RecBole's keys that have one meaning for every model; the others are compared with their defaults."""

    worker: Whole
    seed: Annotated[int, Field(ge=0, lt=_SEED_END)]
    state: Annotated[str, _one_of(*_LEVELS)] | None
    data_path: FilePath
    checkpoint_dir: FilePath
    epochs: Whole
    train_batch_size: Count
    learner: Annotated[str, _one_of(*_LEARNERS)]
    learning_rate: Step
    train_neg_sample_args: _Negatives | None
    eval_step: Whole
    stopping_step: Whole
    clip_grad_norm: _Clipping | None
    weight_decay: Step
    loss_decimal_place: Whole
    transform: Annotated[str, _one_of(*_TRANSFORMS)] | None
    eval_args: _EvalArgs
    metrics: Annotated[list[Annotated[str, AfterValidator(_metric)]], BeforeValidator(_listed), Field(min_length=1)]
    topk: Annotated[list[Count], BeforeValidator(_listed), Field(min_length=1)]
    valid_metric: str
    eval_batch_size: Count
    metric_decimal_place: Whole
    seq_len: dict[str, Count] | None
    threshold: dict[str, float] | None
    load_col: Columns
    unload_col: Columns
    unused_col: Columns
    additional_feat_suffix: Annotated[list[str], BeforeValidator(_listed)] | None
    rm_dup_inter: Annotated[str, _one_of("first", "last")] | None
    val_interval: dict[str, Any] | None
    user_inter_num_interval: Intervals
    item_inter_num_interval: Intervals
    alias_of_user_id: Names
    alias_of_item_id: Names
    preload_weight: dict[str, str] | None
    normalize_field: Names
    normalize_all: bool | None
    discretization: dict[str, Any] | None
    MAX_ITEM_LIST_LENGTH: Count
    benchmark_filename: Annotated[list[str], Field(min_length=3, max_length=3)] | None
    resume_from: FilePath | None
    refit: Annotated[Any, AfterValidator(_refit)]
    init_from: FilePath | None
    init_new: Literal["neighbours", "random"]
    n_layers: Whole = 0  # some models have it
    nproc: Count = 1
    world_size: Count | Literal[-1] | None = None
    group_offset: Whole | None = None
    ip: str | None = None
    port: Annotated[int, Field(ge=0, lt=2**16, strict=False)] | None = None


_NESTED: dict[str, type[BaseModel]] = {
    "eval_args": _EvalArgs,
    "train_neg_sample_args": _Negatives,
    "clip_grad_norm": _Clipping,
}
_WITH_ANY_VALUE = ("gpu_id",)


def cut_by_time(config: Any) -> bool:
    """Whether `eval_args` cuts the data by time; of files that are split in advance it cuts none."""
    return config["benchmark_filename"] is None and config["eval_args"]["order"] == "TO"


def check_recbole_values(config: dict[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse values of RecBole's keys that cannot work; tuples and NumPy's numbers become lists and Python's.

    A key that the table above does not hold must be of the kind that its default is.

    Args:
        config: all keys and values.
        defaults: what RecBole documents for the model.

    Raises:
        ConfigError: a value is wrong; key, fault and value are named.
        InstallationError: a value needs a package that is not installed.
    """
    for key in config:
        if key in _Values.model_fields or key in defaults:
            config[key] = _plain(config[key])
    _undo_none(config)
    try:
        _Values.model_validate({key: config[key] for key in _Values.model_fields if key in config})
    except ValidationError as error:
        raise ConfigError("; ".join(dict.fromkeys(map(_explain, error.errors())))) from None
    for key, default in defaults.items():
        if key not in _Values.model_fields and key not in _WITH_ANY_VALUE:
            problem = _of_another_kind(key, config[key], default)
            if problem:
                raise ConfigError(f"{key}: {problem}, not {config[key]!r}")
    _check_metrics_together(config)
    if config["log_wandb"] and importlib.util.find_spec("wandb") is None:
        raise InstallationError("log_wandb: True needs the package wandb: pip install wandb, or leave it out")


def check_sequential_values(config: Mapping[str, Any], draws: bool) -> None:
    """Refuse what RecBole does not take for sequential models.

    Args:
        config: all keys and values.
        draws: whether the model's rows have negatives, whatever its `loss_type`.

    Raises:
        ConfigError: the message says what to set.
    """
    if config["repeatable"] is not True:
        raise ConfigError(
            "repeatable: False is not for sequential models, which RecBole evaluates with all items ranked, those of "
            "the sequence among them: leave it out"
        )
    order = config["eval_args"].get("order", "RO")
    if order != "TO":
        raise ConfigError(
            f"eval_args.order is {order}, and sequences are cut by time: set eval_args to hold order: TO beside the "
            "split, such as {split: {LS: valid_and_test}, order: TO, mode: full}"
        )
    if config.get("loss_type") == "CE" and not draws and config["train_neg_sample_args"] is not None:
        raise ConfigError(
            "loss_type: CE is a softmax over all items, which takes no negatives: leave train_neg_sample_args out, or "
            "set loss_type: BPR"
        )


def _check_metrics_together(config: Mapping[str, Any]) -> None:
    names = [config["metrics"]] if isinstance(config["metrics"], str) else config["metrics"]
    kinds = {metric_types[name.lower()] for name in names}
    if len(kinds) > 1:
        raise ConfigError(
            f"metrics: {', '.join(names)} hold metrics of rankings and of values, which do not go together"
        )
    mode = config["eval_args"].get("mode", "full")
    modes = mode.values() if isinstance(mode, dict) else [mode]
    if kinds == {EvaluatorType.VALUE} and "full" in modes:
        raise ConfigError(
            f"metrics: {', '.join(names)} cannot be computed with eval_args.mode: full; set it to labeled, or "
            "metrics to those of rankings, such as [Recall, NDCG], and valid_metric to NDCG@10"
        )


def _undo_none(config: dict[str, Any]) -> None:
    """RecBole writes 'none' into the arguments of a model that draws no negatives, and does not read it again."""
    given = config["train_neg_sample_args"]
    if given == "None" or (isinstance(given, dict) and str(given.get("distribution", "")).lower() == "none"):
        config["train_neg_sample_args"] = None


def _of_another_kind(key: str, value: Any, default: Any) -> str:
    """What a value should be, judged by the default; empty where it is."""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "must be True or False"
    if isinstance(default, int) and key.endswith("_size"):
        return "" if isinstance(value, int) and _is_number(value) and value > 0 else "must be a whole number above 0"
    if isinstance(default, (int, float)):
        return "" if _is_number(value) else "must be a number"
    if value is None or default is None:
        return ""
    if isinstance(default, list):
        if not isinstance(value, list):
            return "must be a list"
        numbers = bool(default) and all(map(_is_number, default))
        return "" if not numbers or all(map(_is_number, value)) else "must be a list of numbers"
    wanted = {str: "text", dict: "a mapping"}
    for kind, name in wanted.items():
        if isinstance(default, kind):
            return "" if isinstance(value, kind) else f"must be {name}"
    return ""


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value.item() if isinstance(value, np.generic) else value


def _explain(detail: Any) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    given = detail["input"]
    if detail["type"] == "extra_forbidden":
        known = list(_NESTED[detail["loc"][0]].model_fields)
        return f"unknown key '{key}'.{nearest(detail['loc'][-1], known)} Keys: {', '.join(known)}"
    if detail["type"] == "model_type":
        return f"{key}: must be a mapping of its own keys to values, not {given!r}"
    problem = detail["msg"].removeprefix("Value error, ")
    advice = f".{nearest(given, metric_types)}" if key.startswith("metrics.") and isinstance(given, str) else ""
    return f"{key}: {problem[0].lower()}{problem[1:]}, not {given!r}{advice}"
