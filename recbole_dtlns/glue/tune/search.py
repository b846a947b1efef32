"""`recbole-dtlns tune`: find settings by validation, on one machine or a cluster."""

from __future__ import annotations

import itertools
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from recbole_dtlns.artefact_store import cache_folder
from recbole_dtlns.compat import quiet_recbole
from recbole_dtlns.errors import ConfigError
from recbole_dtlns.glue.config import DTLNSConfig
from recbole_dtlns.glue.models import check_model
from recbole_dtlns.glue.run_data import check_negative_sampling
from recbole_dtlns.glue.runner import prepare_only, write_file
from recbole_dtlns.glue.settings import PREFIX
from recbole_dtlns.glue.tune.results import SearchResult, collect
from recbole_dtlns.glue.tune.space import Parameter, combinations, parse_space, read_space
from recbole_dtlns.glue.tune.trial import SCORE, train_trial
from recbole_dtlns.ray_cluster import ray_cluster

logger = logging.getLogger("recbole_dtlns")

INSTALL = "pip install 'recbole_dtlns[tune]'"
SEARCH_FILE = "search.json"
# Keys that the stages before training read, by their beginning.
_PREPARATION = (
    "dtlns_teacher",
    "dtlns_candidates",
    "dtlns_structure",
    "dtlns_semantic",
    "dtlns_graph",
    "dtlns_tree_branching",
    "dtlns_tree_leaf_size",
    "dtlns_tree_balance",
    "dtlns_tree_min_share",
    "dtlns_tree_max_share",
    "dtlns_judge",
    "dtlns_relabel_top",
    "dtlns_relabel_order",
    "dtlns_seed",
    # and those of RecBole that change the train split
    "seed",
    "eval_args",
    "benchmark_filename",
    "val_interval",
    "user_inter_num_interval",
    "item_inter_num_interval",
    "rm_dup_inter",
)
_OF_THE_SEARCH = ("checkpoint_dir", "show_progress", "state", "gpu_id", "resume_from")
_FILES = ("_file", "_files", "_paths", "_checkpoint", "_labels", "_dir")
_MOST_PREPARED_AHEAD = 16
_LISTED_AT_ONCE = ("random", "grid")  # searches that do not wait for results before they draw the next trial


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
        checkpoint_every: evaluations between a trial's checkpoints.
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
    grace: int = 3
    checkpoint_every: int = 1
    max_failures: int = 2
    seed: int = 42

    def config(self, sampled: dict[str, Any]) -> DTLNSConfig:
        """The configuration of a trial."""
        return DTLNSConfig(self.model, self.dataset, config_dict={**self.keys, **sampled})

    def write(self, folder: Path) -> None:
        write_file(folder / SEARCH_FILE, json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, folder: Path) -> Plan:
        try:
            content = json.loads((folder / SEARCH_FILE).read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"{folder} holds no search to resume ({SEARCH_FILE}: {error})") from error
        content["space"] = tuple(
            Parameter(entry["key"], entry["distribution"], tuple(entry["arguments"])) for entry in content["space"]
        )
        return cls(**content)


@quiet_recbole()
def tune(
    model: str | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: dict[str, Any] | None = None,
    *,
    space: str | Path | dict[str, Any],
    storage: str | Path = "tune_runs",
    name: str | None = None,
    address: str | None = None,
    arguments: Sequence[str] = (),
    **options: Any,
) -> SearchResult:
    """Search, evaluate the best trial on test once, and write everything to `storage/name`.

    Args:
        model, dataset, config_file_list, config_dict, arguments: as for `run_recbole_dtlns`.
        space: a space file, or a dictionary of its form (`recbole_dtlns.glue.tune.space`).
        storage: folder of all searches; on a cluster, one that all nodes share.
        name: of this search; default: model and data set.
        address: of a Ray cluster; None: this machine.
        options: `samples`, `search`, `scheduler`, `concurrent`, `cpus`, `gpus`, `grace`, `checkpoint_every`,
            `max_failures`, `seed`, as described at `Plan`.

    Raises:
        ConfigError: the space, a setting or an option is wrong; before anything is computed.
        TrialError: every trial failed.
    """
    parameters = parse_space(space) if isinstance(space, dict) else read_space(space)
    base = DTLNSConfig(model, dataset, config_file_list, config_dict, arguments)
    leak = "LEAKING-" if base.settings.leaking else ""
    folder = Path(storage).resolve() / f"{leak}{name or '-'.join([base['model'], base['dataset']])}"
    if (folder / SEARCH_FILE).exists():
        raise ConfigError(f"{folder} holds a search already: go on with --resume={folder}, or choose another --name")
    plan = replace(_plan(base, parameters), **options)
    _check(plan)
    plan.write(folder)
    return _run(plan, folder, address)


@quiet_recbole()
def resume_tune(folder: str | Path, address: str | None = None) -> SearchResult:
    """Go on with a search that was interrupted: unfinished trials from their checkpoints, finished ones not again."""
    folder = Path(folder).resolve()
    return _run(Plan.read(folder), folder, address)


def _plan(base: DTLNSConfig, parameters: list[Parameter]) -> Plan:
    given = {key: value for key, value in base.external_config_dict.items() if key not in _OF_THE_SEARCH}
    for key in ("model", "dataset", "config_files"):
        given.pop(key, None)
    for key, value in given.items():  # trials run in folders, and perhaps on machines, of their own
        if key.startswith(PREFIX) and key.endswith(_FILES) and value:
            given[key] = [str(Path(one).resolve()) for one in value] if isinstance(value, list) else _resolved(value)
    given["data_path"] = str(Path(base.plain()["data_path"]).resolve())
    given[f"{PREFIX}cache_dir"] = str(cache_folder(base.settings.cache_dir).resolve())
    cls = base.model_class
    builtin = cls.__module__.startswith("recbole.")
    name = base["model"] if builtin else f"{cls.__module__}:{cls.__qualname__}"
    return Plan(name, base["dataset"], given, tuple(parameters))


def _resolved(value: Any) -> Any:
    return str(Path(value).resolve()) if isinstance(value, str) else value


def _check(plan: Plan) -> None:
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
    first = {parameter.key: parameter.example for parameter in plan.space}
    forbidden = [key for key in first if key in (*_OF_THE_SEARCH, "model", "dataset", "eval_step", "valid_metric")]
    if forbidden:
        raise ConfigError(
            f"{forbidden[0]} cannot be searched: trials could not be compared, or it belongs to the search"
        )
    config = plan.config(first)
    for key, advice in config.undocumented_keys().items():
        if key not in first:
            print(f"key '{key}' is documented neither by RecBole nor by recbole_dtlns.{advice}", file=sys.stderr)
            continue
        raise ConfigError(f"the space searches '{key}', which neither RecBole nor recbole_dtlns knows.{advice}")
    if config["eval_step"] < 1:
        raise ConfigError("a search chooses by validation: set eval_step to 1 or more")
    for parameter in plan.space:
        for value in parameter.values or (parameter.example,):
            config = plan.config({**first, parameter.key: value})
            check_model(config.model_class, config.settings)
            check_negative_sampling(config, config.settings)


def _run(plan: Plan, folder: Path, address: str | None) -> SearchResult:
    config = plan.config({parameter.key: parameter.example for parameter in plan.space})
    if plan.gpus == 0 and torch.cuda.is_available():
        print("trials train on CPUs; to give each a share of a GPU: --gpus=0.5")
    os.environ.setdefault(
        "TUNE_GLOBAL_CHECKPOINT_S", "1"
    )  # seconds between snapshots that a resumed search starts from
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    with ray_cluster(address, INSTALL):
        _prepare(plan)
        tuner = _tuner(plan, folder, config)
        return collect(plan, tuner.fit(), folder, config)


def _prepare(plan: Plan) -> None:
    """Do what all trials share before there are any, and say how much it is."""
    first = {parameter.key: parameter.example for parameter in plan.space}
    examples = [first, *({**first, one.key: value} for one in plan.space for value in one.values or ())]
    prepared = next((example for example in examples if plan.config(example).settings.prepares), None)
    if prepared is None:
        print("nothing to prepare")
        return
    searched = [parameter for parameter in plan.space if parameter.key.startswith(_PREPARATION)]
    count = combinations(searched)
    if searched:
        names = ", ".join(parameter.key for parameter in searched)
        print(f"{f'up to {plan.samples}' if count is None else count} preparations, as the space searches {names}")
    else:
        print("1 preparation, shared by all trials")
    if count is None or count > min(plan.samples, _MOST_PREPARED_AHEAD):
        return  # each is made by the first trial that needs it, while others wait for it
    for values in itertools.product(*(parameter.values or () for parameter in searched)):
        sampled = dict(zip((parameter.key for parameter in searched), values, strict=True))
        prepare_only(plan.model, plan.dataset, config_dict={**plan.keys, **prepared, **sampled, "state": "WARNING"})


def _tuner(plan: Plan, folder: Path, config: DTLNSConfig) -> Any:
    from ray import tune as ray_tune

    from recbole_dtlns.glue.tune.progress import Progress  # imports Ray

    keys = {**plan.keys, **({"use_gpu": False} if plan.gpus == 0 else {})}
    trainable = ray_tune.with_resources(
        ray_tune.with_parameters(
            train_trial,
            model=plan.model,
            dataset=plan.dataset,
            keys=keys,
            checkpoint_every=plan.checkpoint_every,
        ),
        {"cpu": plan.cpus, "gpu": plan.gpus},
    )
    if ray_tune.Tuner.can_restore(str(folder)):
        return ray_tune.Tuner.restore(str(folder), trainable=trainable, resume_unfinished=True)
    mode = "max" if config["valid_metric_bigger"] else "min"
    evaluations = max(1, config["epochs"] // config["eval_step"])
    return ray_tune.Tuner(
        trainable,
        param_space={parameter.key: parameter.of_ray(plan.search == "grid") for parameter in plan.space},
        tune_config=ray_tune.TuneConfig(
            metric=SCORE,
            mode=mode,
            search_alg=_searcher(plan, mode),
            scheduler=_scheduler(plan, evaluations),
            num_samples=plan.samples,
            max_concurrent_trials=None if plan.search in _LISTED_AT_ONCE else plan.concurrent,
            reuse_actors=True,  # a process that is there need not import everything again
            trial_name_creator=lambda trial: trial.trial_id,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=ray_tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            failure_config=ray_tune.FailureConfig(max_failures=plan.max_failures),
            checkpoint_config=ray_tune.CheckpointConfig(num_to_keep=1),
            callbacks=[Progress(str(folder / "tensorboard"), config["valid_metric"], mode)],
            verbose=0,
        ),
    )


def _searcher(plan: Plan, mode: str) -> Any:
    from ray.tune.search import BasicVariantGenerator

    if plan.search in _LISTED_AT_ONCE:
        return BasicVariantGenerator(random_state=plan.seed, max_concurrent=plan.concurrent or 0)
    try:
        if plan.search == "optuna":
            from ray.tune.search.optuna import OptunaSearch

            return OptunaSearch(metric=SCORE, mode=mode, seed=plan.seed)
        from ray.tune.search.hyperopt import HyperOptSearch

        return HyperOptSearch(metric=SCORE, mode=mode, random_state_seed=plan.seed)
    except (ImportError, AssertionError) as error:
        raise ConfigError(f"--search={plan.search} needs {plan.search} ({error}): pip install {plan.search}") from error


def _scheduler(plan: Plan, evaluations: int) -> Any:
    from ray.tune import schedulers

    if plan.scheduler == "none":
        return schedulers.FIFOScheduler()
    grace = min(plan.grace, evaluations)
    if plan.scheduler == "median":
        return schedulers.MedianStoppingRule(time_attr="evaluations", grace_period=grace)
    return schedulers.AsyncHyperBandScheduler(
        time_attr="evaluations", max_t=evaluations, grace_period=grace, reduction_factor=3
    )
