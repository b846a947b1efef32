"""All that a search is made of, checked before any work."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.data.run_data import check_negative_sampling
from recbole_dtlns.bridge.models.capabilities import check_model
from recbole_dtlns.bridge.runner import check_valid_metric
from recbole_dtlns.bridge.teacher import make_teacher
from recbole_dtlns.components import PREFIX
from recbole_dtlns.errors import ArtefactError, ConfigError
from recbole_dtlns.methods.table import METHODS
from recbole_dtlns.storage.sealed_json import read_sealed, sealed
from recbole_dtlns.storage.typed_json import read_as
from recbole_dtlns.storage.whole_files import write_file
from recbole_dtlns.studies.tune.space import Parameter

SEARCH_FILE = "search.json"
# What changes the train split, which all stages before training start from.
_OF_THE_SPLIT = (
    "dtlns_hide_train",
    "dtlns_seed",
    "seed",
    "eval_args",
    "benchmark_filename",
    "val_interval",
    "user_inter_num_interval",
    "item_inter_num_interval",
    "rm_dup_inter",
)
_OF_THE_SEARCH = ("checkpoint_dir", "show_progress", "state", "gpu_id", "resume_from")


@dataclass(frozen=True)
class Plan:
    """All that a search is made of, and so all that is needed to go on with it.

    Attributes:
        model, dataset: what is trained.
        keys: settings of every trial.
        space: what is searched.
        samples: trials drawn; with listed values in a `grid_search`, as often as this through all of them.
        search: random, grid, optuna or hyperopt.
        scheduler: asha and median stop bad trials early, none does not.
        concurrent: trials at once at most; None: as many as there is room for.
        cpus, gpus: of one trial; fractions share a device.
        grace: evaluations before a trial may be stopped.
        checkpoint_every: evaluations between a trial's checkpoints; its best model so far is kept at once.
        max_failures: how often a trial that fails or loses its node starts again, from its checkpoint.
        seed: of the search.
    """

    model: str
    dataset: str
    keys: dict[str, Any]
    space: tuple[Parameter, ...]
    samples: int = 20
    search: Literal["random", "grid", "optuna", "hyperopt"] = "random"
    scheduler: Literal["asha", "median", "none"] = "asha"
    concurrent: int | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    grace: int = 10
    checkpoint_every: int = 1
    max_failures: int = 2
    seed: int = 42

    @property
    def examples(self) -> list[dict[str, Any]]:
        """Values that may be drawn: first ones, then each further listed value beside the first ones of the others."""
        first = {parameter.key: parameter.example for parameter in self.space}
        return [first, *({**first, one.key: value} for one in self.space for value in (one.values or ())[1:])]

    def config(self, sampled: dict[str, Any]) -> DTLNSConfig:
        """The configuration of a trial."""
        return DTLNSConfig(self.model, self.dataset, config_dict={**self.keys, **sampled})

    def keys_of_preparation(self) -> set[str]:
        """The keys on which what is prepared may depend, for any of the examples."""
        flat = [config.settings.flat for config in map(self.config, self.examples) if config.settings.prepares]
        read = {key for one in flat for key in _keys_read(one)}
        return {*_OF_THE_SPLIT, *(PREFIX + key for key in read)}

    def write(self, folder: Path) -> None:
        write_file(folder / SEARCH_FILE, sealed(asdict(self)), "--storage")

    @classmethod
    def read(cls, folder: Path) -> Plan:
        try:
            return read_as(cls, read_sealed(folder / SEARCH_FILE, old=True), folder / SEARCH_FILE)
        except ArtefactError as error:
            raise ConfigError(f"{folder} holds no search to resume: {error}") from error


def _keys_read(flat: dict[str, Any]) -> frozenset[str]:
    return METHODS.make(flat["method"], flat).keys_read(flat, make_teacher(flat)) | {"method"}


def make_plan(base: DTLNSConfig, parameters: list[Parameter]) -> Plan:
    """The plan of a search around a configuration; its options are the defaults."""
    # Trials run in folders, and perhaps on machines, of their own.
    given = {key: value for key, value in base.portable().items() if key not in _OF_THE_SEARCH}
    return Plan(base.model_name, base["dataset"], given, tuple(parameters))


def check_plan(plan: Plan) -> None:
    """Refuse what cannot work before any work is done.

    Every listed value is tried beside the first values of the others; what only fails in other combinations fails its
    trial.
    """
    if plan.search not in ("random", "grid", "optuna", "hyperopt"):
        raise ConfigError(f"unknown search '{plan.search}'. Choices: random, grid, optuna, hyperopt")
    if plan.scheduler not in ("asha", "median", "none"):
        raise ConfigError(f"unknown scheduler '{plan.scheduler}'. Choices: asha, median, none")
    for what in ("samples", "grace", "checkpoint_every"):
        if getattr(plan, what) < 1:
            raise ConfigError(f"{what} must be at least 1, not {getattr(plan, what)}")
    if plan.search == "grid":
        for parameter in plan.space:
            if parameter.values is None:
                raise ConfigError(
                    f"a grid search needs listed values, and {parameter.key} is {parameter.distribution}: write "
                    "choice: [...], or use --search=random"
                )
    first = plan.examples[0]
    forbidden = [key for key in first if key in (*_OF_THE_SEARCH, "model", "dataset", "eval_step", "valid_metric")]
    if forbidden:
        raise ConfigError(
            f"{forbidden[0]} cannot be searched: trials could not be compared, or it belongs to the search"
        )
    config = plan.config(first)
    for key, advice in config.undocumented_keys().items():
        if key not in first or config["allow_unknown_keys"]:
            print(f"key '{key}' is documented neither by RecBole nor by recbole_dtlns.{advice}", file=sys.stderr)
            continue
        raise ConfigError(f"the space searches '{key}', which neither RecBole nor recbole_dtlns knows.{advice}")
    if config.refits:
        raise ConfigError(
            "a search chooses by validation, on train alone: leave refit out, and refit what it found with "
            "recbole-dtlns train --refit"
        )
    if config["eval_step"] < 1:
        raise ConfigError("a search chooses by validation: set eval_step to 1 or more")
    check_valid_metric(config)
    for sampled in plan.examples:
        config = plan.config(sampled)
        check_model(config)
        check_negative_sampling(config, config.settings)
