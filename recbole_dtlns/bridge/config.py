"""RecBole's configuration with our keys: same files, same flags, stricter reading."""

from __future__ import annotations

import ast
import contextlib
import copy
import functools
import importlib.resources
import os
from collections.abc import Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import torch
import yaml
from recbole.config import Config

from recbole_dtlns.bridge.known_keys import (
    MEANT_AS_CONFIG_FILES,
    READ_UNDOCUMENTED,
    RECBOLE_MODEL_YAMLS,
    keys_of_all_models,
    meant,
)
from recbole_dtlns.bridge.models.capabilities import check_teacher, resolve_model
from recbole_dtlns.bridge.models.capability import PAIRWISE, SOFTMAX
from recbole_dtlns.bridge.models.council import UNTRAINED, Council
from recbole_dtlns.bridge.models.kinds import Kind, capability, kind_of
from recbole_dtlns.bridge.presets import preset_values
from recbole_dtlns.bridge.recbole_values import ONE_UNIFORM, check_recbole_values, check_sequential_values, cut_by_time
from recbole_dtlns.components import PREFIX
from recbole_dtlns.errors import ConfigError, UnsupportedModelError
from recbole_dtlns.generation.language_model.prompts import LLM_PROMPTS
from recbole_dtlns.judges.language_model.prompt import BUILTIN
from recbole_dtlns.llm.table import ENGINES
from recbole_dtlns.registry import nearest
from recbole_dtlns.settings.groups import AUTO_LOSS, MODEL_LOSS
from recbole_dtlns.settings.judge_and_engine import engine_apart
from recbole_dtlns.settings.owners import text_keys
from recbole_dtlns.settings.renamed import under_new_names
from recbole_dtlns.settings.settings import DTLNSSettings
from recbole_dtlns.storage.artefact_store import cache_folder
from recbole_dtlns.storage.yaml_file import read_yaml, read_yaml_file
from recbole_dtlns.text.table import ENCODERS
from recbole_dtlns.training.processes import ALONE, Processes

# RecBole derives these from the other keys and the machine. Given from outside they would break it: a `local_rank`, for
# example, makes it join a group of processes.
_DERIVED = frozenset(
    {
        "device",
        "single_spec",
        "local_rank",
        "eval_type",
        "MODEL_TYPE",
        "MODEL_INPUT_TYPE",
        "valid_metric_bigger",
        "valid_neg_sample_args",
        "test_neg_sample_args",
    }
)
_GIVEN_TOO = ("valid_metric_bigger",)  # RecBole documents it, and replaces it
_MISSING = object()
_ALLOW_UNKNOWN = "allow_unknown_keys"
# Keys that say what is done once, with their defaults: nothing of it is the model's, nor a teacher's.
OF_ONE_RUN: dict[str, Any] = {"refit": False, "init_from": None, "init_new": "neighbours"}
_OF_THE_RUN = (_ALLOW_UNKNOWN, "resume_from", *OF_ONE_RUN)  # keys of this package that have no prefix
_HIDE_LAST = f"{PREFIX}judge_hide_last"
# RecBole draws nothing for context-aware models by default, and overwrites the labels of the data where it does.
_DRAWS = "train_neg_sample_args"
_INTERVALS = ("user_inter_num_interval", "item_inter_num_interval")  # which look like lists
_FILES = ("_file", "_files", "_paths", "_checkpoint", "_labels", "_dir", "_ids")


class DTLNSConfig(Config):
    """`recbole.config.Config` plus the `dtlns_*` keys, checked, as `settings`.

    Differences from RecBole: the command line is read only from `arguments` (RecBole parses the arguments of
    whatever process it runs in); values are read as Python literals, never evaluated; a model class that inherits
    from a built-in one gets that one's defaults; `use_gpu: False` means the CPU; and CUDA_VISIBLE_DEVICES is
    respected unless `gpu_id` is given.

    Args:
        model: a model name, `package.module:Class`, or a model class.
        dataset: name of the data set.
        config_file_list: yaml files, later ones win.
        config_dict: values that win over the files.
        arguments: command-line arguments, which win over everything.
        processes: this process among those of the run.

    Raises:
        ConfigError: a file cannot be read, or a key, value or combination is wrong.
        UnknownNameError: there is no such model, preset, teacher or judge.
    """

    def __init__(
        self,
        model: str | type | None = None,
        dataset: str | None = None,
        config_file_list: Sequence[str | Path] | None = None,
        config_dict: dict[str, Any] | None = None,
        arguments: Sequence[str] = (),
        processes: Processes = ALONE,
    ) -> None:
        self._arguments, self.processes = list(arguments), processes
        super().__init__(model, dataset, list(config_file_list or []), dict(config_dict or {}))
        if issubclass(self.model_class, Council):
            self.final_config_dict.update({PREFIX + key: value for key, value in UNTRAINED.items()})
        if self.final_config_dict[_HIDE_LAST] == "auto":
            self.final_config_dict[_HIDE_LAST] = cut_by_time(self)
        self.settings = DTLNSSettings.from_config(self.final_config_dict)
        if self.kind.featured and self.settings.makes_rows and _DRAWS not in self.external_config_dict:
            self.final_config_dict[_DRAWS] = dict(ONE_UNIFORM)
        for teacher in self.settings.flat["teachers"] or [self.settings.teacher]:
            check_teacher(teacher)
        for name, value in self.settings.of_chosen.items():  # of other packages, which dtlns.yaml does not know
            self.final_config_dict.setdefault(PREFIX + name, value)

    def _load_config_files(self, file_list: list[str | Path]) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for file in file_list:
            what = f"config file '{file}'"
            content = read_yaml_file(file, what, "key: value", words_are_booleans=True)
            merged.update(under_new_names(_with_text_keys(content, what), what))
        return merged

    def _load_variable_config_dict(self, config_dict: dict[str, Any]) -> dict[str, Any]:
        given = under_new_names(_with_text_keys(config_dict, "config_dict"), "config_dict")
        return super()._load_variable_config_dict(given)

    def _convert_config_dict(self, config_dict: dict[str, Any]) -> dict[str, Any]:
        return {key: _value(key, value) if isinstance(value, str) else value for key, value in config_dict.items()}

    def _load_cmd_line(self) -> dict[str, Any]:
        given: dict[str, str] = {}
        for argument in self._arguments:
            if argument == f"--{_ALLOW_UNKNOWN}":
                argument = f"--{_ALLOW_UNKNOWN}=True"
            key, separator, value = argument.removeprefix("--").partition("=")
            if not argument.startswith("--") or not separator:
                raise ConfigError(f"cannot read the argument '{argument}': write --key=value")
            if given.setdefault(key, value) != value:
                raise ConfigError(f"--{key} is given twice with different values: {given[key]} and {value}")
        return self._convert_config_dict(under_new_names(given, "the command line"))

    def _get_model_and_dataset(self, model: str | type | None, dataset: str | None) -> tuple[str, type, str]:
        self._refuse_other_names_of_config_files()  # here: the model may be named in the file that was not read
        named = model if model is not None else self.external_config_dict.get("model")
        if named is None:
            run = self.external_config_dict.get("resume_from")
            kept = f", such as config.yaml of the run that {run} belongs to" if run else ""
            raise ConfigError(f"no model given: use --model=NAME, a config file{kept}, or the argument model=")
        if dataset is None and "dataset" not in self.external_config_dict:
            raise ConfigError("no dataset given: use --dataset=NAME, a config file, or the argument dataset=")
        data = dataset if dataset is not None else self.external_config_dict["dataset"]
        if not isinstance(data, str):
            raise ConfigError(f"dataset: must be a name, not {data!r}")
        if Path(data).name != data:
            raise ConfigError(
                f"dataset: must be the name of a folder, without its path, not {data!r}: set data_path to where it lies"
            )
        return super()._get_model_and_dataset(resolve_model(named), dataset)

    def _load_internal_config_dict(self, model: str, model_class: type, dataset: str) -> None:
        documented = [
            base.__name__ for base in model_class.__mro__ if (RECBOLE_MODEL_YAMLS / f"{base.__name__}.yaml").is_file()
        ]
        super()._load_internal_config_dict(documented[0] if documented else model, model_class, dataset)
        properties = importlib.resources.files("recbole_dtlns.properties")
        given = engine_apart(self.external_config_dict)
        self.external_config_dict.clear()
        self.external_config_dict.update(given)
        if self.external_config_dict.get(f"{PREFIX}preset") is False:  # as YAML reads a bare off
            self.external_config_dict[f"{PREFIX}preset"] = "off"
        preset = self.external_config_dict.get(f"{PREFIX}preset", "clean")
        self._overlay(properties / "dtlns.yaml")
        self.by_softmax = self._choose_form(model_class)
        self._of_preset = preset_values(preset, model_class, self.by_softmax)
        self.internal_config_dict.update(self._of_preset)
        self.internal_config_dict[f"{PREFIX}preset"] = preset

    def _choose_form(self, model_class: type) -> bool:
        """Settle which form of loss a sequential model has; whether it is a softmax over all items.

        A `dtlns_loss` takes the place of a pairwise loss, so that is the form where none is given. RecBole draws no
        negatives for a softmax, and stops unless its default for them is taken back.

        Raises:
            UnsupportedModelError: a `dtlns_loss` is given, and the form is none whose place it takes.
        """
        able, given, documented = capability(model_class), self.external_config_dict, self.internal_config_dict
        if not kind_of(model_class).ordered:
            return False
        named = given.get(f"{PREFIX}loss", MODEL_LOSS) not in (MODEL_LOSS, AUTO_LOSS)
        if named and PAIRWISE in able.forms and "loss_type" in documented:
            documented["loss_type"] = PAIRWISE
        form = given.get("loss_type", documented.get("loss_type"))
        if named and form == SOFTMAX and SOFTMAX in able.forms:
            raise UnsupportedModelError(
                f"dtlns_loss: {given[f'{PREFIX}loss']} takes the place of a pairwise loss, and {model_class.__name__} "
                "is trained by a softmax over all items: "
                + (f"leave loss_type: {SOFTMAX} out" if PAIRWISE in able.forms else "leave dtlns_loss out")
            )
        if form == SOFTMAX and not hasattr(model_class, "input_type"):
            documented["train_neg_sample_args"] = None
        return form == SOFTMAX and SOFTMAX in able.forms

    def _get_final_config_dict(self) -> dict[str, Any]:
        self._defaults = copy.deepcopy(self.internal_config_dict)  # RecBole changes some of them in place
        final = super()._get_final_config_dict()
        documented = {key: value for key, value in self.internal_config_dict.items() if not key.startswith(PREFIX)}
        self._refuse_mistyped_keys(final[_ALLOW_UNKNOWN])
        check_recbole_values(final, documented)
        if self.kind.ordered:
            check_sequential_values(final, draws=hasattr(self.model_class, "input_type"))
        return final

    def _refuse_other_names_of_config_files(self) -> None:
        for key in MEANT_AS_CONFIG_FILES:
            if key in self.external_config_dict and self.external_config_dict.get(_ALLOW_UNKNOWN) is not True:
                raise ConfigError(
                    f"unknown key '{key}', which no file would be read for. Did you mean 'config_files'? On the "
                    "command line it is --config_files='A.yaml B.yaml', in Python the argument config_file_list. If "
                    f"your model reads '{key}', add --{_ALLOW_UNKNOWN}"
                )

    def _refuse_mistyped_keys(self, allowed: bool) -> None:
        of_this_run = self._documented_keys() | READ_UNDOCUMENTED
        for key in self.external_config_dict:
            if key in _DERIVED and key not in _GIVEN_TOO:
                raise ConfigError(f"{key} follows from the other settings and the machine: leave it out")
        for key in self.undocumented_keys():
            if allowed is not True and (close := meant(key, of_this_run)) is not None:
                raise ConfigError(
                    f"unknown key '{key}'. Did you mean '{close}'? If your model reads '{key}', add --{_ALLOW_UNKNOWN}"
                )

    def _update_internal_config_dict(self, file: str | Path) -> dict[str, Any] | None:
        text = Path(file).read_text(encoding="utf-8")
        content: dict[str, Any] | None = copy.deepcopy(_defaults(text, self.yaml_loader))
        self.internal_config_dict.update(content or {})
        return content

    def _overlay(self, file: Traversable) -> None:
        with importlib.resources.as_file(file) as path:
            self._update_internal_config_dict(path)

    def _init_device(self) -> None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if self.final_config_dict.get("use_gpu") is False:
            self.final_config_dict["gpu_id"] = ""
        elif visible is not None and "gpu_id" not in self.external_config_dict:
            self.final_config_dict["gpu_id"] = visible
        super()._init_device()
        # To RecBole each process is a single one: what they share is ours to share, on CPUs as on GPUs.
        if self.processes.several and self.final_config_dict["device"].type == "cuda":
            self.final_config_dict["device"] = torch.device("cuda", self.processes.on_machine)
        if not self.processes.first:
            self.final_config_dict.update(show_progress=False, log_wandb=False)

    def undocumented_keys(self) -> dict[str, str]:
        """Keys given from outside that neither RecBole nor this package reads, with the nearest known one."""
        known = self._known_keys()
        given = [key for key in self.external_config_dict if key not in known and not key.startswith(PREFIX)]
        return {key: nearest(key, sorted(known)) for key in given}

    def in_place_of_preset(self) -> dict[str, tuple[Any, Any]]:
        """RecBole's keys that the preset sets and that were given another value: that, and the preset's."""
        given = self.external_config_dict
        return {
            key: (given[key], value)
            for key, value in self._of_preset.items()
            if not key.startswith(PREFIX) and key in given and given[key] != value
        }

    def unallowed_keys(self) -> dict[str, str]:
        """Undocumented keys, for those who refuse them all; none where `allow_unknown_keys` is set."""
        return {} if self[_ALLOW_UNKNOWN] else self.undocumented_keys()

    def _known_keys(self) -> set[str]:
        return self._documented_keys() | READ_UNDOCUMENTED | keys_of_all_models()

    def _documented_keys(self) -> set[str]:
        """RecBole's for any model, this model's, and this package's."""
        return {*self.internal_config_dict, *(key for group in self.parameters.values() for key in group)}

    def changed(self) -> str:
        """The settings that were given and differ from their defaults, a line for each group of them."""
        groups: dict[str, list[str]] = {
            name: [] for name in ("Run", "Training", "Evaluation", "Data", "Model, other", "DTL-NS")
        }
        for key, value in self.external_config_dict.items():
            if key not in ("model", "dataset", "config_files") and value != self._defaults.get(key, _MISSING):
                groups[self._group(key)].append(f"{key} = {value}")
        lines = [f"  {name:<13} {', '.join(settings)}" for name, settings in groups.items() if settings]
        head = f"{self['model']} on {self['dataset']}, preset {self.settings.preset}"
        return "\n".join(
            [f"{head}; settings that differ from their defaults:" if lines else f"{head}, as it stands", *lines]
        )

    def _group(self, key: str) -> str:
        if key.startswith(PREFIX):
            return "DTL-NS"
        if key in _OF_THE_RUN:
            return "Run"
        names = {"General": "Run", "Training": "Training", "Evaluation": "Evaluation", "Dataset": "Data"}
        return next((names[group] for group, keys in self.parameters.items() if key in keys), "Model, other")

    @property
    def kind(self) -> Kind:
        """The kind of model that is trained."""
        return kind_of(self.model_class)

    @property
    def adds_targets(self) -> bool:
        """Whether pseudo-positives are further targets of a user's sequences, and no rows of their own."""
        return self.kind.ordered and (self.by_softmax or self.settings.shares_negatives)

    @property
    def prepares(self) -> bool:
        """Whether the method has anything to do before training, or in place of it."""
        return self.settings.prepares or issubclass(self.model_class, Council)

    @property
    def refits(self) -> bool:
        """Whether the run's model is trained on train and validation."""
        return self["refit"] is not False

    @property
    def validates_first(self) -> bool:
        """Whether validation chooses, by a model of its own, for how many epochs the run's model is trained."""
        return self["refit"] is True

    @property
    def model_name(self) -> str:
        """What finds the model's class in another process: its name, or `package.module:Class`."""
        cls = self.model_class
        return self["model"] if cls.__module__.startswith("recbole.") else f"{cls.__module__}:{cls.__qualname__}"

    def portable(self) -> dict[str, Any]:
        """The keys given from outside, except model and data set, so that they mean the same in any folder."""
        given = {
            key: value
            for key, value in self.external_config_dict.items()
            if key not in ("model", "dataset", "config_files")
        }
        for key, value in given.items():
            if key.startswith(PREFIX) and key.endswith(_FILES) and value:
                given[key] = [_resolved(one) for one in value] if isinstance(value, list) else _resolved(value)
        for key in self._names_or_paths():
            if (value := given.get(key)) and Path(str(value)).exists():
                given[key] = _resolved(value)
        if given.get("init_from"):
            given["init_from"] = _resolved(given["init_from"])
        given["data_path"] = _resolved(self.plain()["data_path"])
        given[f"{PREFIX}cache_dir"] = _resolved(cache_folder(self.settings.cache_dir))
        return given

    def _names_or_paths(self) -> list[str]:
        """Keys whose value is a path where there is such a file, and else the name of something."""
        flat = self.settings.flat
        keys = [f"{PREFIX}judge_tokenizer", f"{PREFIX}text_tokenizer"]
        if flat["judge_prompt"] not in BUILTIN:
            keys.append(f"{PREFIX}judge_prompt")
        # Servers have names of their own for models, such as the path that they were started with.
        if flat["judge_model"] and ENGINES.make(flat["engine"], flat).loads_model:
            keys.append(f"{PREFIX}judge_model")
        if flat["text_model"] and getattr(ENCODERS.get(flat["text_encoder"]), "loads_model", False):
            keys.append(f"{PREFIX}text_model")
        keys += [f"{PREFIX}{key}" for key, shipped in LLM_PROMPTS.items() if flat[key] != shipped]
        if getattr(ENGINES.get(flat["hnlmrec_llm_engine"] or flat["engine"]), "loads_model", False):
            keys.append(f"{PREFIX}hnlmrec_llm_model")
        return keys

    def plain(self) -> dict[str, Any]:
        """The resolved configuration as plain data, for the run folder and checkpoints.

        Given back as a config file it gives the same configuration.
        """
        given = {key: _plain(value) for key, value in sorted(self.final_config_dict.items()) if key not in _DERIVED}
        given["data_path"] = str(Path(given["data_path"]).parent)  # RecBole has appended the name of the data set
        return given


@functools.cache  # a comparison makes a configuration for each of its runs
def _defaults(text: str, loader: type[yaml.Loader]) -> dict[str, Any] | None:
    """What a file of defaults holds, for callers that change no part of it."""
    content: dict[str, Any] | None = yaml.load(text, Loader=loader)
    return content


def _with_text_keys(content: dict[Any, Any] | None, where: str) -> dict[str, Any]:
    for key in content or {}:
        if not isinstance(key, str):
            raise ConfigError(f"{where}: the key {key!r} is no name; write it in quotes, or leave it out")
    return content or {}


def _resolved(path: Any) -> str:
    return str(Path(path).resolve())


def _value(key: str, text: str) -> Any:
    """What a text stands for; the text itself for a key whose values are texts, such as a revision called 429."""
    if key in _INTERVALS:
        return text
    found = _literal(text)
    return found if found is None or isinstance(found, str) or key not in text_keys() else text


def _literal(text: str) -> Any:
    """The Python literal in `text`, true and false in any case, null, a list or mapping as config files have them, or
    the text itself, such as the interval [5,inf)."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text == "null":
        return None
    with contextlib.suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return ast.literal_eval(text)
    if text.lstrip().startswith(("[", "{")):
        with contextlib.suppress(ConfigError):
            return read_yaml(f"value: {text}", text, "key: value", words_are_booleans=True)["value"]
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(entry) for entry in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
