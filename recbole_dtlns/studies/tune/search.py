"""`recbole-dtlns tune`: find settings by validation, on one machine or a cluster."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from recbole_dtlns.bridge.config import DTLNSConfig
from recbole_dtlns.bridge.runner import prepare_run
from recbole_dtlns.errors import ConfigError, InstallationError
from recbole_dtlns.ray_cluster import ray_cluster
from recbole_dtlns.studies.tune.plan import SEARCH_FILE, Plan, check_plan, make_plan
from recbole_dtlns.studies.tune.results import Trial, Trials
from recbole_dtlns.studies.tune.snapshots import Snapshots
from recbole_dtlns.studies.tune.space import Parameter, combinations
from recbole_dtlns.studies.tune.trial import SCORE, train_trial

INSTALL = "pip install 'recbole_dtlns[tune]'"
_MOST_PREPARED_AHEAD = 16
_LISTED_AT_ONCE = ("random", "grid")  # searches that do not wait for results before they draw the next trial


def search(
    base: DTLNSConfig,
    parameters: list[Parameter],
    storage: str | Path,
    name: str | None = None,
    address: str | None = None,
    **options: Any,
) -> Trials:
    """Run all trials; test pairs are not looked at.

    Args:
        base: the run that is searched around.
        parameters: what is searched.
        storage: folder of all searches; on a cluster, one that all nodes share.
        name: of this search; default: model and data set.
        address: of a Ray cluster; None: this machine.
        options: of `Plan`.

    Raises:
        ConfigError: the space, a setting or an option is wrong; before anything is computed.
        TrialError: every trial failed.
    """
    leak = "LEAKING-" if base.settings.leaking else ""
    folder = Path(storage).resolve() / f"{leak}{name or '-'.join([base['model'], base['dataset']])}"
    if (folder / SEARCH_FILE).exists():
        raise ConfigError(f"{folder} holds a search already: go on with --resume={folder}, or choose another --name")
    plan = replace(make_plan(base, parameters), **options)
    check_plan(plan)
    return _run(plan, folder, address)


def resume(folder: str | Path, address: str | None = None) -> Trials:
    """Go on with a search that was interrupted: unfinished trials from their checkpoints, finished ones not again."""
    folder = Path(folder).resolve()
    return _run(Plan.read(folder), folder, address)


def _run(plan: Plan, folder: Path, address: str | None) -> Trials:
    config = plan.config(plan.examples[0])
    if plan.gpus == 0 and torch.cuda.is_available():
        print("trials train on CPUs; to give each a share of a GPU: --gpus=0.5")
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1")  # between snapshots that a resumed search starts from
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    with ray_cluster(address, INSTALL):
        plan.write(folder)
        _prepare(plan)
        results = _tuner(plan, folder, config).fit()
    trials = Trials.of(plan, folder, config, [Trial.of_ray(result) for result in results])
    trials.write()
    trials.best()  # an error where there is none
    return trials


def _prepare(plan: Plan) -> None:
    """Do what all trials share before there are any, and say how much it is."""
    prepared = next((example for example in plan.examples if plan.config(example).settings.prepares), None)
    if prepared is None:
        print("nothing to prepare")
        return
    read = plan.keys_of_preparation()
    searched = [parameter for parameter in plan.space if parameter.key in read]
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
        prepare_run(plan.config({**prepared, **sampled, "state": "WARNING"}))


def _tuner(plan: Plan, folder: Path, config: DTLNSConfig) -> Any:
    try:
        from ray import tune as ray_tune
    except ImportError as error:  # Ray is there, what its search needs is not
        raise InstallationError(f"Ray Tune cannot be imported ({error}); install it with: {INSTALL}") from error

    from recbole_dtlns.studies.tune.progress import Progress  # imports Ray

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
    if ray_tune.Tuner.can_restore(str(folder)) and Snapshots(folder).mend():
        _follow_checkpoints(folder)
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
            callbacks=[Progress(str(folder), config["valid_metric"], mode)],
            verbose=0,
        ),
    )


def _follow_checkpoints(folder: Path) -> None:
    """Let trials of a killed search find their checkpoints.

    Ray removes a trial's last checkpoint when the next is there, but notes that in its snapshot a moment later. Between
    the two, the snapshot names a checkpoint that is gone; the oldest one after it was complete before that went.
    """
    from ray.tune import ExperimentAnalysis

    for trial in ExperimentAnalysis(str(folder)).trials:
        named = Path(trial.checkpoint.path) if trial.checkpoint else None
        if named is None or named.exists():
            continue
        after = sorted(path for path in named.parent.glob("checkpoint_*") if path.name > named.name)
        if after:
            after[0].rename(named)


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
